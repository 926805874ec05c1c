from datetime import UTC, datetime

import pytest
from prometheus_client.parser import text_string_to_metric_families

from inspection.core.decision import Verdict
from inspection.station.state import BundleStatus, OutputStatus, StationState
from inspection.station.web.metrics import Metrics
from tests.station.events import event, named
from tests.station.outputs.status import status

pytestmark = pytest.mark.fast
NOW = datetime(2025, 3, 1, 6, 30, tzinfo=UTC)


def read(metrics: Metrics) -> dict[tuple[str, ...], float]:
    """Give each value by its name and its labels' values, in the order of the labels' names."""
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(metrics.text().decode())
        for sample in family.samples
    }


def test_snapshot_becomes_metrics():
    """Every figure of the snapshot that an alarm may be built on has its metric."""
    taken = status(
        StationState.IMPAIRED,
        beat=9,
        since_start={Verdict.PASS: 5, Verdict.FAULT: 1},
        waiting=2,
        late=1,
        source="camera unplugged",
        outputs=(
            OutputStatus(name="csv", up=True, waiting=0, reason=""),
            OutputStatus(name="mqtt", up=False, waiting=12, reason="no broker"),
        ),
        bundles=(
            BundleStatus(
                product="plate",
                camera="top",
                name="plates",
                bundle_id="abc",
                review_above=0.5,
                reject_above=0.8,
                since=NOW,
                trial=True,
                note="",
            ),
        ),
        disk_bytes=100,
        dropped={"pictures of PASS": 4},
    )
    found = read(Metrics(lambda: taken, lambda: 0.25, 1_000))
    wanted = {
        ("inspection_station_info", "line-1", "station-1", "0.1.0"): 1,
        ("inspection_state", "IMPAIRED"): 1,
        ("inspection_state", "READY"): 0,
        ("inspection_start_time_seconds",): NOW.timestamp(),
        ("inspection_heartbeats_total",): 9,
        ("inspection_heartbeat_age_seconds",): 0.25,
        ("inspection_events_total", "PASS"): 5,
        ("inspection_events_total", "FAULT"): 1,
        ("inspection_late_parts_total",): 1,
        ("inspection_queue_parts",): 2,
        ("inspection_source_up",): 0,
        ("inspection_output_up", "csv"): 1,
        ("inspection_output_up", "mqtt"): 0,
        ("inspection_output_waiting_events", "mqtt"): 12,
        ("inspection_bundle_info", "abc", "top", "plates", "plate"): 1,
        ("inspection_bundle_trial", "top", "plate"): 1,
        ("inspection_threshold", "top", "plate", "REVIEW"): 0.5,
        ("inspection_threshold", "top", "plate", "REJECT"): 0.8,
        ("inspection_disk_bytes",): 100,
        ("inspection_disk_budget_bytes",): 16_000_000,
        ("inspection_dropped_total", "pictures of PASS"): 4,
    }
    assert {name: found.get(name) for name in wanted} == wanted


def test_exactly_one_state_is_on():
    """Whatever the state, an alarm on it sees one 1 and zeros."""
    for state in StationState:
        taken = status(state)
        found = read(Metrics(lambda taken=taken: taken, lambda: 0, 1_000))
        states = {name[1]: value for name, value in found.items() if name[0] == "inspection_state"}
        assert states == {str(one): float(one is state) for one in StationState}


def test_latency_buckets_divide_at_the_deadline():
    """The share of late parts can be read off: a bucket ends exactly at the deadline."""
    metrics = Metrics(status, lambda: 0, 200)
    for latency_ms in (10, 199, 200, 201):
        metrics.observe(event(1, latency_ms=float(latency_ms)))
    found = read(metrics)
    assert found[("inspection_latency_seconds_bucket", "0.2")] == 3
    assert found[("inspection_latency_seconds_count",)] == 4
    assert found[("inspection_latency_seconds_sum",)] == pytest.approx(0.61)


def test_known_defects_and_how_the_look_for_them_ended_are_counted():
    """A second stage that comes late more and more is seen before it holds the line."""
    metrics = Metrics(status, lambda: 0, 200)
    metrics.observe(named(1, Verdict.REJECT, ("pore", 0.9), ("pore", 0.6)))
    metrics.observe(named(2, Verdict.REVIEW, status="late"))
    metrics.observe(event(3))
    found = read(metrics)
    assert found[("inspection_known_defects_total", "default", "pore")] == 2
    assert found[("inspection_second_stage_total", "done")] == 1
    assert found[("inspection_second_stage_total", "late")] == 1


def test_two_stations_of_one_process_do_not_share_metrics():
    """Nothing is registered globally."""
    first, second = (Metrics(status, lambda: 0, 1_000) for _ in range(2))
    first.observe(event(1))
    assert read(second)[("inspection_latency_seconds_count",)] == 0

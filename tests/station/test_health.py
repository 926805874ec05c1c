from pathlib import Path

import pytest

from inspection.core.decision import Verdict
from inspection.station.health import HANGS_AFTER_S, Health, Surroundings
from inspection.station.heart import Heart, read_status
from inspection.station.state import OutputStatus, StationState, StationStatus
from tests.fakes import StillClock
from tests.station.events import event
from tests.station.rig import configure

pytestmark = pytest.mark.fast


def healthy(folder: Path, clock: StillClock, **changes: object) -> Health:
    """Make the health of a station that judges."""
    health = Health(configure(folder, **changes), {}, [], clock)
    health.turn(StationState.READY)
    return health


def test_snapshot_goes_on_from_the_record(tmp_path: Path):
    """Counters and the last part of earlier runs are there from the first heartbeat."""
    counters = {"PASS": 7, "FAULT": 1, "pictures of PASS": 3}
    health = Health(configure(tmp_path), counters, [event(8)], StillClock())
    status = health.beat(Surroundings())
    assert status.state is StationState.STARTING
    assert status.counts == {"PASS": 7, "REVIEW": 0, "REJECT": 0, "FAULT": 1}
    assert sum(status.since_start.values()) == 0
    assert (status.sequence, status.last, status.latency) == (8, (event(8),), None)
    assert status.dropped == {"pictures of PASS": 3}


def test_loop_that_hangs_is_not_ready(tmp_path: Path):
    """READY is what the loop proves by turning; a hang shows without anybody saying so."""
    clock = StillClock()
    health = healthy(tmp_path, clock, deadline_ms=1_000)
    clock.advance(1 + HANGS_AFTER_S - 0.1)
    assert health.beat(Surroundings()).state is StationState.READY
    clock.advance(0.2)
    status = health.beat(Surroundings())
    assert (status.state, health.hangs) == (StationState.BLOCKED, True)
    assert "the loop hangs" in status.reason
    health.tick()
    assert health.beat(Surroundings()).state is StationState.READY


def test_source_in_trouble_impairs_a_ready_station_only(tmp_path: Path):
    """What is worse than a silent camera is not hidden by it."""
    health = healthy(tmp_path, StillClock())
    troubled = Surroundings(source="camera main: no frame")
    status = health.beat(troubled)
    assert (status.state, status.reason) == (StationState.IMPAIRED, "camera main: no frame")
    health.block("disk is full")
    assert health.beat(troubled).state is StationState.BLOCKED
    health.block("")
    assert health.beat(Surroundings()).state is StationState.READY


def test_late_parts_and_latencies_are_counted(tmp_path: Path):
    """Percentiles are of the last parts; late is beyond the deadline."""
    health = healthy(tmp_path, StillClock(), deadline_ms=100)
    for number, latency_ms in enumerate((10.0, 20.0, 30.0, 101.0), 1):
        health.judged(event(number, Verdict.PASS, latency_ms=latency_ms))
    status = health.beat(Surroundings())
    assert status.latency is not None
    assert (status.late, status.latency.parts, status.latency.p50_ms) == (1, 4, 25.0)


def test_every_beat_counts_and_reaches_outputs_and_file(tmp_path: Path):
    """A snapshot goes to the outputs and to status.json; a full disk loses only the file."""
    health = healthy(tmp_path, StillClock())
    up = OutputStatus(name="csv", up=True, waiting=0, reason="")
    told: list[StationStatus] = []
    heart = Heart(
        tmp_path, 1, health, lambda: health.beat(Surroundings(outputs=(up,))), told.append
    )
    heart.beat()
    assert read_status(tmp_path)[0] == told[0] == heart.status
    (tmp_path / "status.json").unlink()
    (tmp_path / "status.json").mkdir()  # cannot be replaced by a file
    heart.beat()
    heart.beat()
    assert [status.beat for status in told] == [2, 3, 4]

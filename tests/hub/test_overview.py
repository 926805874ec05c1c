"""The overview: counts by hour, rates, drift lamps, and what needs a person."""

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import httpx
import numpy as np
import pytest
from sqlalchemy import insert, update

from inspection.core.decision import Verdict
from inspection.core.errors import HubError
from inspection.hub import metrics
from inspection.hub.database import Database
from inspection.hub.ingest import keep_status
from inspection.hub.loop_tables import alarms, drift_looks
from inspection.hub.needs import needs_of
from inspection.hub.overview import overview
from inspection.hub.reviews import decide
from inspection.hub.stations import enrol
from inspection.hub.tables import hours
from inspection.hub.wire.line import NewStation
from inspection.hub.wire.people import Me, Role
from inspection.hub.wire.review import Decision, NewReview
from inspection.metrics.causes import Cause
from inspection.station.state import BundleStatus, StationState
from tests.hub.parts import SENDER, part, store
from tests.hub.stations import status

ANN = Me(account="ann", role=Role.REVIEWER)
SPAN_H = 24


def hour(ago: int) -> datetime:
    now = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
    return now - timedelta(hours=ago)


def today(*parts):
    """The same parts, captured now."""
    return [one.model_copy(update={"captured_at": datetime.now(UTC)}) for one in parts]


def add_hour(hub, ago: int, scores, *, verdict: str = "PASS", bundle_id: str = "b" * 64) -> None:
    values = np.asarray(scores, np.float64)
    row = {
        "line": "line-1",
        "hour": hour(ago),
        "station": "station-1",
        "product": "plate",
        "bundle_id": bundle_id,
        "verdict": verdict,
        "parts": values.size,
        "latency_sum_ms": 5.0 * values.size,
        "latency_most_ms": 5.0,
        "score_sum": float(values.sum()),
        "score_squares": float((values**2).sum()),
        "scores": values.size,
    }
    with hub.database.writing() as connection:
        connection.execute(insert(hours).values(row))


def add_alarm(hub, cause: str, **changes) -> None:
    row = {
        "line": "line-1",
        "product": "plate",
        "camera": "top",
        "bundle_id": "b" * 64,
        "cause": cause,
        "raised_at": hour(2),
        "effect": -2.5,
        "p_value": 0.001,
        "words": "It is dark.",
    }
    with hub.database.writing() as connection:
        connection.execute(insert(alarms).values(row | changes))


def line_of(hub):
    return overview(hub, SPAN_H).lines[0]


def needs(hub) -> list[str]:
    return [need.what for need in overview(hub, SPAN_H).needs]


def test_a_hub_without_anything_has_an_empty_overview(plant):
    shown = plant.person(Role.VIEWER).overview(hours=SPAN_H)
    assert (shown.lines, shown.needs, shown.span_h) == ((), (), SPAN_H)


def test_a_line_shows_what_its_hours_hold(plant):
    plant.station_token()
    parts = (part(1, 0.5), part(2, 0.5), part(3, 1.5), part(4, 9.0), part(5, None))
    store(plant.hub, *today(*parts))
    store(plant.hub, part(6, 0.5))  # of a time before
    new = NewReview(decision=Decision.DEFECT, defect="scratch", revision=0)
    decide(plant.hub, "part-4", new, ANN)
    shown = plant.person(Role.VIEWER).overview(hours=SPAN_H).lines[0]
    assert (shown.line, shown.parts) == ("line-1", 5)
    assert shown.rates[Verdict.PASS].value == pytest.approx(0.4)
    assert (shown.rates[Verdict.FAULT].count, shown.rates[Verdict.FAULT].of) == (1, 5)
    assert (shown.latency_mean_ms, shown.latency_most_ms) == (5.0, 5.0)
    assert sum(one.parts for one in shown.hours) == 5
    assert shown.defects == {"scratch": 1}
    assert shown.waiting == 2  # the REVIEW and the FAULT; the REJECT was decided
    assert [row.station for row in shown.stations] == ["station-1"]


def test_an_alarm_that_stands_lights_the_lamp_and_is_a_need(hub):
    add_hour(hub, 2, [0.5] * 3)
    add_alarm(hub, "light")
    add_alarm(hub, "score", cleared_at=hour(1), why_cleared="settled")
    (lamp,) = line_of(hub).drift
    assert (lamp.lit, lamp.cause, lamp.shift, lamp.note) == (True, Cause.LIGHT, -2.5, "It is dark.")
    assert needs(hub) == ["bundle bbbbbbbbbbbb: It is dark."]


def test_the_lamp_of_a_bundle_without_an_alarm_is_dark_where_the_hub_looks(sqlite_hub):
    add_hour(sqlite_hub, 2, [0.5] * 3)
    add_alarm(sqlite_hub, "light", line="line-2")
    assert line_of(sqlite_hub).drift == ()
    with sqlite_hub.database.writing() as connection:
        connection.execute(insert(drift_looks).values(line="line-1", at=hour(4)))
    assert line_of(sqlite_hub).drift == ()
    with sqlite_hub.database.writing() as connection:
        connection.execute(update(drift_looks).values(at=hour(1)))
    (lamp,) = line_of(sqlite_hub).drift
    assert (lamp.bundle_id, lamp.lit, lamp.cause) == ("b" * 64, False, None)
    assert needs(sqlite_hub) == []


@pytest.mark.parametrize(("wanted", "count"), [("a" * 64, 1), ("b" * 64, 0), (None, 0)])
def test_a_station_that_runs_another_bundle_than_was_chosen_is_a_need(sqlite_hub, wanted, count):
    runs = BundleStatus(
        product="plate",
        camera="top",
        name="plate",
        bundle_id="b" * 64,
        review_above=1.0,
        reject_above=2.0,
        since=hour(1),
        trial=False,
        note="",
    )
    enrol(sqlite_hub, NewStation(station="station-1", line="line-1"), "test")
    keep_status(sqlite_hub, SENDER, status(bundles=(runs,)).model_dump_json().encode())
    chosen = {} if wanted is None else {("station-1", "plate"): wanted}
    assert len(list(needs_of(line_of(sqlite_hub), chosen, 200))) == count


NEEDS = {
    "all well": ({}, []),
    "blocked": (
        {"state": StationState.BLOCKED, "reason": "disk full"},
        ["station-1 is BLOCKED: disk full"],
    ),
    "late": ({"late": 3}, ["station-1 was late for 3 parts since its start; look at its load"]),
    "skewed": (
        {"at": hour(0) - timedelta(days=400)},
        ["station-1 has a clock that is off by"],
    ),
}


@pytest.mark.parametrize(("said", "wanted"), NEEDS.values(), ids=NEEDS)
def test_needs_follow_from_what_a_station_says(sqlite_hub, said, wanted):
    enrol(sqlite_hub, NewStation(station="station-1", line="line-1"), "test")
    keep_status(sqlite_hub, SENDER, status(**said).model_dump_json().encode())
    found = needs(sqlite_hub)
    assert len(found) == len(wanted)
    assert all(what.startswith(begins) for what, begins in zip(found, wanted, strict=True))


def test_a_station_that_never_spoke_and_one_that_fell_silent_are_needs(sqlite_hub, monkeypatch):
    for name in ("station-1", "station-2"):
        enrol(sqlite_hub, NewStation(station=name, line="line-1"), "test")
    keep_status(sqlite_hub, SENDER, status().model_dump_json().encode())
    monkeypatch.setattr(
        type(sqlite_hub), "now", lambda _hub: datetime.now(UTC) + timedelta(seconds=20)
    )
    first, last = overview(sqlite_hub, SPAN_H).needs
    assert (first.station, first.urgency) == ("station-1", 1)
    assert "is silent since" in first.what
    assert (last.station, last.urgency) == ("station-2", 3)
    assert "never said anything" in last.what


def test_faults_and_a_long_queue_are_needs(make_hub, sqlite_url):
    hub = make_hub(sqlite_url, review={"per_shift": 3})
    store(hub, *today(*(part(number, None) for number in range(1, 5))))
    assert needs(hub) == [
        "4 of 4 parts could not be judged; look at their reasons",
        "4 parts wait for review, more than the 3 of a shift",
    ]


def test_what_a_clock_that_goes_ahead_says_is_not_of_late(sqlite_hub):
    add_hour(sqlite_hub, 1, [0.5] * 3)
    add_hour(sqlite_hub, -9_000, [9.0] * 200, verdict="REJECT")
    line = line_of(sqlite_hub)
    assert (line.parts, len(line.hours)) == (3, 1)


def test_a_method_that_was_made_up_is_no_series_of_its_own(sqlite_plant):
    for number in range(3):
        assert httpx.request(f"MADE{number}", f"{sqlite_plant.url}/healthz").status_code == 405
    text = httpx.get(f"{sqlite_plant.url}/metrics").text
    assert "MADE" not in text
    assert 'method="other"' in text


def test_however_often_strangers_ask_the_database_is_asked_once(sqlite_plant, monkeypatch):
    """Neither can hold the threads that stations and people need."""
    asked, reading = [], Database.reading

    def counted(database):
        asked.append(database)
        return reading(database)

    monkeypatch.setattr(metrics, "RECENT_S", 3_600.0)
    for path in ("healthz", "metrics"):
        assert httpx.get(f"{sqlite_plant.url}/{path}").status_code == 200
    monkeypatch.setattr(Database, "reading", counted)
    for path in ("healthz", "metrics"):
        with ThreadPoolExecutor(8) as pool:
            answers = pool.map(lambda _, p=path: httpx.get(f"{sqlite_plant.url}/{p}"), range(32))
            assert {one.status_code for one in answers} == {200}
    assert asked == []


def test_metrics_that_cannot_be_told_are_asked_once_a_second_too(sqlite_plant, monkeypatch):
    """Nor do they hold up the health, which can."""
    asked = []

    def text(_):
        asked.append("text")
        raise ValueError("a status that cannot be read")

    monkeypatch.setattr(metrics, "RECENT_S", 3_600.0)
    monkeypatch.setattr(metrics, "generate_latest", text)
    for _ in range(3):
        assert httpx.get(f"{sqlite_plant.url}/metrics").status_code == 503
    assert asked == ["text"]
    assert httpx.get(f"{sqlite_plant.url}/healthz").status_code == 200


def test_a_database_that_does_not_answer_is_no_health(sqlite_plant, monkeypatch):
    """Nor is it a mistake of ours."""

    def reading(_):
        raise HubError("database: does not answer")

    monkeypatch.setattr(metrics, "RECENT_S", 0.0)
    monkeypatch.setattr(Database, "reading", reading)
    assert httpx.get(f"{sqlite_plant.url}/healthz").status_code == 503


def test_health_and_metrics_need_no_token_and_tell_no_part(sqlite_plant):
    sqlite_plant.station_token()
    keep_status(sqlite_plant.hub, SENDER, status(sequence=3).model_dump_json().encode())
    store(sqlite_plant.hub, *today(part(1, 9.0)))
    add_alarm(sqlite_plant.hub, "focus")
    assert httpx.get(f"{sqlite_plant.url}/healthz").json() == {"state": "READY"}
    text = httpx.get(f"{sqlite_plant.url}/metrics").text
    labels = '{line="line-1",station="station-1"}'
    assert f"inspection_hub_station_up{labels} 1.0" in text
    assert f"inspection_hub_station_behind_events{labels} 2.0" in text
    assert (
        'inspection_hub_request_seconds_count{method="GET",route="/healthz",status="200"}' in text
    )
    place = 'camera="top",cause="focus",line="line-1",product="plate",station=""'
    assert f"inspection_drift_alarm{{{place}}} 1.0" in text
    assert "serial" not in text


def test_tokens_are_listed_for_admins_only(sqlite_plant):
    sqlite_plant.station_token()
    (seen,) = sqlite_plant.person(Role.ENGINEER).stations()
    (whole,) = sqlite_plant.person(Role.ADMIN).stations()
    assert (seen.station, len(seen.tokens), len(whole.tokens)) == ("station-1", 0, 1)

"""Numbers at and beyond the bounds of the wire: pages stand all that is taken."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import httpx
import pytest

from inspection.core.errors import ConfigError, HubError
from inspection.core.limits import END, EPOCH, MAX_SCORE
from inspection.hub.client import HubClient
from inspection.hub.ingest import Sender, keep_status, store_events
from inspection.hub.monitors import look
from inspection.hub.overview import overview
from inspection.hub.stations import enrol
from inspection.hub.wire.line import NewStation, RefusalCode
from inspection.hub.wire.people import Role
from tests.hub.parts import SENDER, part
from tests.hub.stations import status

YEAR_MS = 366 * 864e5
MOST = 2**53
DAY_H = 24


def sent(number: int, **changes) -> dict:
    """Give the JSON of a part of this hour; `frame` is what of its frame is another."""
    at = (datetime.now(UTC) - timedelta(seconds=number)).isoformat()
    event = part(number, 0.5).model_dump(mode="json") | {"captured_at": at, "judged_at": at}
    event["frames"][0] |= changes.pop("frame", {})
    return event | changes


def give(hub, *events: dict):
    return store_events(hub, SENDER, json.dumps(events).encode())


def said(hub, body: dict, sender: Sender = SENDER) -> None:
    keep_status(hub, sender, json.dumps(body).encode())


BAND = {"review_above": MAX_SCORE, "reject_above": MAX_SCORE}
STATISTICS = dict.fromkeys(("light", "focus", "across", "down", "texture"), MAX_SCORE)
AT_A_BOUND = {
    "latency of a year": {"latency_ms": YEAR_MS},
    "no latency": {"latency_ms": 0},
    "largest sequence": {"sequence": MOST},
    "largest score": {"frame": {"score": MAX_SCORE}},
    "least score": {"frame": {"score": -MAX_SCORE}},
    "largest band": {"frame": {"band": BAND}},
    "largest statistics": {"frame": {"statistics": STATISTICS | {"embedding": [-MAX_SCORE] * 16}}},
    "first moment": {"captured_at": EPOCH.isoformat(), "judged_at": EPOCH.isoformat()},
    "last moment": {"captured_at": (END - timedelta(microseconds=1)).isoformat()},
    "another zone": {"captured_at": "9998-12-31T23:59:59+23:59"},
}
BEYOND = {
    "latency without end": {"latency_ms": 1.7e308},
    "latency below 0": {"latency_ms": -1},
    "sequence without end": {"sequence": 2**63},
    "score without end": {"frame": {"score": 1e100}},
    "band without end": {"frame": {"band": BAND | {"reject_above": 1.7e308}}},
    "statistics without end": {"frame": {"statistics": STATISTICS | {"light": 1.7e308}}},
    "before all clocks": {"captured_at": "0001-01-01T00:00:00+23:00"},
    "after all clocks": {"judged_at": "9999-12-31T23:59:59-14:00"},
    "no zone": {"captured_at": "2026-01-01T00:00:00"},
}


@pytest.mark.parametrize("changes", AT_A_BOUND.values(), ids=AT_A_BOUND)
def test_pages_stand_an_event_at_each_bound(plant, changes):
    """What is taken in is shown: overview, lists, monitors and scores go on, on each database."""
    hub = plant.hub
    plant.station_token()
    assert give(hub, sent(1), sent(2, **changes)).refused == ()
    assert look(hub, hub.now()) == ()
    viewer = plant.person(Role.VIEWER)
    assert viewer.overview(hours=366 * DAY_H).lines[0].line == "line-1"
    assert {one.event_id for one in viewer.events().items} == {"part-1", "part-2"}
    assert viewer.event("part-2").event.part_id == "serial 2"
    assert {one.bundle_id for one in viewer.monitors("line-1")} <= {"b" * 64}


@pytest.mark.parametrize("changes", BEYOND.values(), ids=BEYOND)
def test_an_event_beyond_a_bound_is_refused_alone(sqlite_hub, changes):
    """It is refused for good and named, and those beside it are stored."""
    stored = give(sqlite_hub, sent(1), sent(2, **changes), sent(3))
    assert stored.stored == 3
    assert [(one.index, one.code) for one in stored.refused] == [(1, RefusalCode.INVALID)]
    assert overview(sqlite_hub, DAY_H).lines[0].parts == 2


def test_sums_of_the_largest_numbers_are_still_numbers(plant):
    """A hundred parts of a year each, scored at the bound, beside stations that count to it."""
    plant.station_token()
    enrol(plant.hub, NewStation(station="station-2", line="line-1"), "test")
    extreme = {"latency_ms": YEAR_MS, "frame": {"score": MAX_SCORE}}
    assert give(plant.hub, *(sent(number, **extreme) for number in range(1, 101))).refused == ()
    counts = {"late": MOST, "sequence": MOST, "deadline_ms": MOST, "disk_bytes": MOST}
    for station in ("station-1", "station-2"):
        body = status(station=station).model_dump(mode="json") | counts
        said(plant.hub, body, Sender(station, "line-1"))
    line = plant.person(Role.VIEWER).overview().lines[0]
    assert line.latency_mean_ms == pytest.approx(YEAR_MS)
    assert (line.latency_most_ms, line.late, line.deadline_ms) == (YEAR_MS, 2 * MOST, MOST)


def test_an_answer_without_end_is_not_read_to_its_end():
    """Whoever answers in the hub's place fills no client's memory."""
    given = []

    def pieces() -> Iterator[bytes]:
        while len(given) < 1_000:
            given.append(1_000_000)
            yield bytes(1_000_000)

    endless = httpx.MockTransport(lambda _: httpx.Response(200, content=pieces()))
    client = HubClient("http://hub", transport=endless)
    with pytest.raises(HubError, match="/v1/overview: answer has more than 64,000,000 bytes"):
        client.overview()
    client.close()
    assert len(given) == 65


ODD_STATUS = {
    "counts": {"PASS": 10**400},
    "deadline_ms": -1,
    "at": "0001-01-01T00:00:00+23:00",
    "latency": {"parts": 1, "p50_ms": 1.7e308, "p99_ms": 1.7e308},
    "disk_bytes": 2**63,
}


@pytest.mark.parametrize("field", ODD_STATUS)
def test_a_status_beyond_a_bound_is_refused(plant, field):
    """A status is kept for the pages of all lines, which have to stand it."""
    plant.station_token()
    body = status().model_dump(mode="json") | {field: ODD_STATUS[field]}
    with pytest.raises(ConfigError, match=f"status of 'station-1': {field}"):
        said(plant.hub, body)
    assert overview(plant.hub, DAY_H).lines[0].line == "line-1"


@pytest.mark.parametrize("at", [EPOCH, END - timedelta(microseconds=1)], ids=["first", "last"])
def test_a_clock_however_wrong_is_kept_and_said(plant, at):
    """A station whose clock lost its battery is shown as off, not sent away."""
    plant.station_token()
    said(plant.hub, status().model_dump(mode="json") | {"at": at.isoformat()})
    row = overview(plant.hub, DAY_H).lines[0].stations[0]
    assert row.skewed
    assert row.skew_s == pytest.approx((at - datetime.now(UTC)).total_seconds(), abs=60)

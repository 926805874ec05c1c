"""A line with a champion, a challenger, and stations that judge, for tests of the loop's end."""

from datetime import datetime, timedelta

from inspection.core.decision import Verdict
from inspection.core.records import Interval
from inspection.hub.challengers import challenge
from inspection.hub.hub import Hub
from inspection.hub.ingest import Sender, keep_status
from inspection.hub.models import choose
from inspection.hub.shadows import take_shadows
from inspection.hub.stations import enrol
from inspection.hub.tables import bundles
from inspection.hub.wire.line import NewStation
from inspection.hub.wire.models import NewChoice
from inspection.hub.wire.retraining import (
    Challenger,
    ChallengerState,
    Compared,
    Comparison,
    Shadow,
)
from inspection.station.state import BundleStatus
from tests.hub.parts import BEGIN, SENDER
from tests.hub.stations import status

CHAMPION, RIVAL, OTHER = "b" * 64, "c" * 64, "d" * 64
SURE = Interval(value=1, low=1, high=1)
COMPARED = Compared(
    parts=100,
    goods=50,
    defects=50,
    champion=SURE,
    challenger=SURE,
    difference=SURE,
    champion_false_rejects=2,
    challenger_false_rejects=1,
    champion_escapes=0,
    challenger_escapes=0,
    p_value=1.0,
)
COMPARISON = Comparison(
    better=False, not_worse=True, frozen=COMPARED, recent=None, words="It is no worse."
)


def add_bundles(hub: Hub, *ids: str, day: int = 0) -> None:
    """Let bundles named 'plate' be known, without their files."""
    made = BEGIN + timedelta(days=day)
    rows = [
        {
            "bundle_id": one,
            "name": "plate",
            "created_at": made,
            "received_at": made,
            "card": "{}",
            "gate": "{}",
        }
        for one in ids
    ]
    with hub.database.writing() as connection:
        connection.execute(bundles.insert(), rows)


def runs(hub: Hub, station: str, bundle_id: str, note: str = "", deadline_ms: int = 100) -> None:
    """Let a station say by which bundle it judges."""
    one = BundleStatus(
        product="plate",
        camera="top",
        name="plate",
        bundle_id=bundle_id,
        review_above=1.0,
        reject_above=2.0,
        since=BEGIN,
        trial=False,
        note=note,
    )
    said = status(station=station, bundles=(one,), deadline_ms=deadline_ms)
    keep_status(hub, Sender(station, "line-1"), said.model_dump_json().encode())


def set_up(hub: Hub, *stations: str, chosen: bool = True) -> None:
    """Let stations of line-1 judge by the champion; champion and rival are on the hub."""
    add_bundles(hub, CHAMPION, RIVAL)
    for station in stations:
        enrol(hub, NewStation(station=station, line="line-1"), "test")
        runs(hub, station, CHAMPION)
    if chosen:
        choose(hub, "line-1", NewChoice(bundle_id=CHAMPION, comment="the first"), "ann")


def begin(
    hub: Hub, state: ChallengerState = ChallengerState.SHADOW, bundle_id: str = RIVAL
) -> Challenger:
    """Let the rival challenge the champion."""
    return challenge(hub, "line-1", "plate", bundle_id, CHAMPION, COMPARISON, state)


def said(
    number: int,
    verdict: Verdict,
    champion: Verdict,
    *,
    camera: str = "top",
    bundle_id: str = RIVAL,
    latency_ms: float = 5.0,
    at: datetime | None = None,
) -> Shadow:
    """Give what the rival said of a part."""
    return Shadow(
        event_id=f"part-{number}",
        camera=camera,
        bundle_id=bundle_id,
        score=None if verdict is Verdict.FAULT else 1.5,
        verdict=verdict,
        champion=champion,
        latency_ms=latency_ms,
        at=at or BEGIN + timedelta(seconds=number),
    )


def take(hub: Hub, *shadows: Shadow) -> int:
    """Take what the station of `tests.hub.parts` sent."""
    return take_shadows(hub, SENDER, shadows)

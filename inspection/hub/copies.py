"""Notices that two machines send under one station's name: a token, or a disk, was copied."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, func, select, update

from inspection.hub.audit import note
from inspection.hub.tables import events, stations

ACTOR = "hub"


def note_copies(
    connection: Connection, now: datetime, station: str, new: Sequence[Mapping[str, Any]]
) -> None:
    """Mark a station whose new events cannot all come from one machine; they are stored, too.

    Two signs: a place in one record that is taken twice, by different events; and a record that
    goes on after another one of the station had begun.

    Args:
        connection: in whose transaction the events were stored.
        now: the hub's time.
        station: whose they are.
        new: rows of events that were not known.
    """
    # what was judged here, or by an older station, has no record
    told = [row for row in new if row["record_id"]]
    if not told:
        return
    of_station = stations.c.station == station
    state = connection.execute(
        select(stations.c.record_id, stations.c.copied_at).where(of_station)
    ).one()
    newest = told[-1]["record_id"]
    if state.copied_at is None and (
        _goes_on(connection, station, state.record_id, told) or _twice(connection, station, told)
    ):
        note(connection, now, ACTOR, "station copied", station, record_id=newest)
        connection.execute(update(stations).where(of_station).values(copied_at=now))
    if newest != state.record_id:
        connection.execute(update(stations).where(of_station).values(record_id=newest))


def _goes_on(
    connection: Connection, station: str, current: str | None, told: Sequence[Mapping[str, Any]]
) -> bool:
    """Say whether a record goes on that another one had followed."""
    counted = Counter(row["record_id"] for row in told)
    counted.pop(current or "", None)
    if not counted:
        return False
    found = connection.execute(
        select(events.c.record_id, func.count())
        .where(events.c.station == station, events.c.record_id.in_(counted))
        .group_by(events.c.record_id)
    ).all()
    return any(count > counted[record_id] for record_id, count in found)


def _twice(connection: Connection, station: str, told: Sequence[Mapping[str, Any]]) -> bool:
    """Say whether another event has the place that one of these has in the same record."""
    places: defaultdict[str, set[int]] = defaultdict(set)
    for row in told:
        places[row["record_id"]].add(row["sequence"])
    found = sum(
        connection.execute(
            select(func.count()).where(
                events.c.station == station,
                events.c.record_id == record_id,
                events.c.sequence.in_(sequences),
            )
        ).scalar_one()
        for record_id, sequences in places.items()
    )
    return found > sum(map(len, places.values()))

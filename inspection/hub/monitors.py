"""Keeps the alarms of drift: raised once, standing until settled, replaced or dismissed.

Looking again changes nothing, and two hubs may look at once: an index lets one alarm of a cause
stand at a place, and a look that a dismissal overtook is thrown away.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import Connection, Row, select, update

from inspection.hub.audit import note
from inspection.hub.blocks import HOUR, LATELY, Place, Watch, reference_row, watch_line
from inspection.hub.database import insert_new
from inspection.hub.hub import Hub
from inspection.hub.loop_tables import alarms, drift_references
from inspection.hub.refusals import NotThere, Standing
from inspection.hub.tables import hours
from inspection.hub.wire.retraining import Alarm, Monitored
from inspection.metrics.blocks import REFERENCE_PARTS
from inspection.metrics.causes import Cause, advise
from inspection.metrics.drift import (
    Finding,
    Reading,
    block_limits,
    column_of,
    explains,
    name_causes,
    read_causes,
    standardised,
)

LISTED = 500
ALL_JUDGED = "Hardly any part passes any more, so this is of all judged parts."


class _Found(NamedTuple):
    """What one place shows."""

    readings: Mapping[Cause, Reading]
    findings: Sequence[Finding]
    watches: Mapping[Cause, Watch]


def look(hub: Hub, now: datetime) -> tuple[Alarm, ...]:
    """Look at every line that judged lately; raise and clear alarms, and give the raised ones."""
    lately = select(hours.c.line).where(hours.c.hour.between(now - LATELY, now - HOUR))
    with hub.database.reading() as connection:
        lines = sorted(connection.execute(lately.distinct()).scalars())
    return tuple(alarm for line in lines for alarm in _look_at(hub, line, now))


def list_alarms(hub: Hub, line: str | None, *, standing: bool) -> tuple[Alarm, ...]:
    """Give alarms, the newest first, at most 500.

    Args:
        hub: open.
        line: of one line only.
        standing: only those that stand.
    """
    with hub.database.reading() as connection:
        return read_alarms(connection, hub.now(), line, standing=standing)


def read_alarms(
    connection: Connection, now: datetime, line: str | None, *, standing: bool
) -> tuple[Alarm, ...]:
    """Give alarms as `list_alarms` does, on an open connection."""
    query = select(alarms).order_by(alarms.c.raised_at.desc(), alarms.c.id.desc()).limit(LISTED)
    if line is not None:
        query = query.where(alarms.c.line == line)
    if standing:
        query = query.where(alarms.c.cleared_at.is_(None))
    return tuple(_alarm(row, now) for row in connection.execute(query))


def dismiss(hub: Hub, alarm: int, comment: str, who: str) -> Alarm:
    """Clear an alarm; from now on parts are gathered for another reference of its cause.

    Raises:
        NotThere: there is no such alarm.
        Standing: it was cleared already.
    """
    now, this = hub.now(), alarms.c.id == alarm
    with hub.database.writing() as connection:
        cleared = _clear(connection, [alarm], now, "dismissed")
        row = connection.execute(select(alarms).where(this)).one_or_none()
        if row is None:
            raise NotThere(f"alarm {alarm}: not on this hub; list them with GET /v1/alarms")
        if not cleared:
            raise Standing(f"alarm {alarm}: was {row.why_cleared} already; nothing is left to do")
        subject = f"{row.line}: {row.product}, camera {row.camera}"
        detail = {"alarm": alarm, "cause": row.cause, "bundle_id": row.bundle_id, "why": comment}
        note(connection, now, who, "alarm dismiss", subject, **detail)
    hub.news.ring()
    return _alarm(row, now)


def monitors(hub: Hub, line: str) -> tuple[Monitored, ...]:
    """Say how each monitor of a line stands."""
    with hub.database.reading() as connection:
        watches = watch_line(connection, line, hub.now(), _dismissals(connection, line))
        standing = {
            (_place(row), Cause(row.cause)): row.id for row in _standing_rows(connection, line)
        }
    return tuple(
        _monitored(watch, cause, standing.get((watch.place, cause)))
        for watch in watches
        for cause in Cause
        if cause in watch.causes
    )


def _look_at(hub: Hub, line: str, now: datetime) -> tuple[Alarm, ...]:
    with hub.database.reading() as connection:
        dismissed = _dismissals(connection, line)
        watches = watch_line(connection, line, now, dismissed)
        standing = _standing_rows(connection, line)
    fresh = [one for one in watches if one.reference is not None and not one.kept]
    found = _find(watches, standing)
    settled, replaced = _over(standing, found)
    new = list(_new(found, standing, now))
    if not (fresh or settled or replaced or new):
        return ()
    with hub.database.writing() as connection:
        if _dismissals(connection, line) != dismissed:
            return ()
        insert_new(connection, drift_references, [reference_row(one) for one in fresh], "begin")
        _clear(connection, settled, now, "settled")
        _clear(connection, replaced, now, "replaced")
        raised = insert_new(connection, alarms, new, "id")
        rows = connection.execute(select(alarms).where(alarms.c.id.in_(raised))).all()
    if settled or replaced or raised:
        hub.news.ring()
    return tuple(_alarm(row, now) for row in rows)


def _find(watches: Sequence[Watch], standing: Sequence[Row[Any]]) -> dict[Place, _Found]:
    """Read every place, with the causes that stand there already."""
    at: defaultdict[Place, list[Watch]] = defaultdict(list)
    for watch in watches:
        at[watch.place].append(watch)
    found: dict[Place, _Found] = {}
    for place, own in at.items():
        readings: dict[Cause, Reading] = {}
        for watch in own:
            if watch.reference is not None:
                read = read_causes(watch.reference.blocks, watch.recent.blocks, len(at))
                readings |= {cause: one for cause, one in read.items() if cause in watch.causes}
        known = {Cause(row.cause) for row in standing if _place(row) == place}
        by_cause = {cause: watch for watch in own for cause in watch.causes}
        found[place] = _Found(readings, name_causes(readings, known), by_cause)
    return found


def _over(
    standing: Sequence[Row[Any]], found: Mapping[Place, _Found]
) -> tuple[list[int], list[int]]:
    """Give the ids of alarms that have settled, and of those that something else replaces."""
    live = {(place.product, place.camera) for place in found}
    settled, replaced = [], []
    for row in standing:
        place, cause = _place(row), Cause(row.cause)
        if place not in found:
            if (place.product, place.camera) in live:  # by another bundle
                replaced.append(row.id)
            continue
        here = found[place]
        reading = here.readings.get(cause)
        if reading is not None and reading.settled:
            settled.append(row.id)
        elif any(explains(one.cause, cause) for one in here.findings):
            replaced.append(row.id)
    return settled, replaced


def _new(
    found: Mapping[Place, _Found], standing: Iterable[Row[Any]], now: datetime
) -> Iterator[dict[str, object]]:
    """Give the rows of alarms to raise."""
    known = {(_place(row), row.cause) for row in standing}
    for place, here in found.items():
        for one in here.findings:
            if (place, one.cause) in known:
                continue
            watch = here.watches[one.cause]
            yield place._asdict() | {
                "cause": one.cause.value,
                "raised_at": now,
                "since": watch.recent.begins[one.reading.since],
                "effect": one.reading.effect,
                "p_value": one.p_value,
                "words": f"{one.words} {ALL_JUDGED}" if watch.all_judged else one.words,
            }


def _clear(connection: Connection, ids: Sequence[int], now: datetime, why: str) -> int:
    """Clear those that still stand; give how many did."""
    this = alarms.c.id.in_(ids) & alarms.c.cleared_at.is_(None)
    values = {"cleared_at": now, "why_cleared": why}
    return connection.execute(update(alarms).where(this).values(values)).rowcount if ids else 0


def _dismissals(connection: Connection, line: str) -> dict[Place, dict[Cause, datetime]]:
    """Give when each cause was dismissed last, by place."""
    found: defaultdict[Place, dict[Cause, datetime]] = defaultdict(dict)
    rows = connection.execute(
        select(alarms)
        .where(alarms.c.line == line, alarms.c.why_cleared == "dismissed")
        .order_by(alarms.c.cleared_at)
    )
    for row in rows:
        found[_place(row)][Cause(row.cause)] = row.cleared_at
    return dict(found)


def _standing_rows(connection: Connection, line: str) -> Sequence[Row[Any]]:
    found = select(alarms).where(alarms.c.line == line, alarms.c.cleared_at.is_(None))
    return connection.execute(found).all()


def _place(row: Row[Any]) -> Place:
    return Place(row.line, row.product, row.camera, row.bundle_id)


def _alarm(row: Row[Any], now: datetime) -> Alarm:
    stood = (row.cleared_at or now) - row.raised_at
    return Alarm(**row._mapping, advice=advise(Cause(row.cause), stood))


def _monitored(watch: Watch, cause: Cause, standing: int | None) -> Monitored:
    at = watch.place._asdict() | {"cause": cause, "standing": standing}
    if watch.reference is None:
        said = f"Its reference is still gathered: {watch.gathered} of {REFERENCE_PARTS} parts."
        return Monitored(**at, reference=0, blocks=(), note=said)
    reference, recent = watch.reference.blocks, watch.recent.blocks
    reading = read_causes(reference, recent).get(cause)
    lying = [standardised(reference, blocks) for blocks in (reference, recent)]
    column = reading.column if reading else column_of(cause, lying[0].mean(axis=0))
    ends = (*watch.reference.ends, *watch.recent.ends)
    heights = [float(value) for rows in lying for value in rows[:, column]]
    shown = [(end, value) for end, value in zip(ends, heights, strict=True) if value == value]
    return Monitored(
        **at,
        reference=watch.gathered,
        blocks=tuple(shown),
        limit=float(block_limits(reference)[column]) if shown else None,
        note=_note(watch, reading, measured=bool(shown)),
    )


def _note(watch: Watch, reading: Reading | None, *, measured: bool) -> str:
    if not measured:
        return "Not measured on these parts: their station or bundle is of an older version."
    if reading is None:
        return "Too few parts came after its reference so far."
    said = f"The last parts lie {reading.effect:+.2f} deviations from where they lay."
    return f"{said} {ALL_JUDGED}" if watch.all_judged else said

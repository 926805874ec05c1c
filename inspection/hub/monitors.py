"""Keeps the alarms of drift: raised once, standing until settled, replaced or accepted.

A change is accepted by a person who dismisses its alarm, by a re-fit that was made for it, and by
another bundle; nothing else makes the present the reference. Looking again changes nothing, and two
hubs may look at once: an index lets one alarm of a cause stand at a place, and a look that an
acceptance overtook is thrown away.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import Connection, Row, select, update

from inspection.hub.audit import note
from inspection.hub.blocks import HOUR
from inspection.hub.database import insert_new
from inspection.hub.hub import Hub
from inspection.hub.loop_tables import alarms, drift_looks, drift_references
from inspection.hub.references import (
    ACCEPTED,
    DISMISSED,
    REFITTED,
    REPLACED,
    SETTLED,
    Place,
)
from inspection.hub.refusals import NotThere, Standing
from inspection.hub.tables import hours
from inspection.hub.watches import LATELY, Watch, reference_row, watch_line
from inspection.hub.wire.retraining import Alarm
from inspection.metrics.causes import IMAGE, Advice, Cause, advise, explains
from inspection.metrics.drift import Reading, read_causes
from inspection.metrics.naming import Finding, name_causes

LISTED = 500
EXPLAINED = "explained"  # why an alarm was cleared: by what it follows from
FOLLOWING = tuple(one for one in Cause if one not in IMAGE)
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
    raised = tuple(alarm for line in lines for alarm in _look_at(hub, line, now))
    with hub.database.writing() as connection:
        connection.execute(update(drift_looks).values(at=now))
        insert_new(connection, drift_looks, [{"line": one, "at": now} for one in lines], "line")
    return raised


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
        cleared = _clear(connection, [alarm], now, DISMISSED)
        row = connection.execute(select(alarms).where(this)).one_or_none()
        if row is None:
            raise NotThere(f"alarm {alarm}: not on this hub; list them with GET /v1/alarms")
        if not cleared:
            raise Standing(f"alarm {alarm}: was {row.why_cleared} already; nothing is left to do")
        _note(connection, row, now, who, "alarm dismiss", comment)
    hub.news.ring()
    return _alarm(row, now)


def accept_refit(hub: Hub, line: str, product: str, bundle_id: str, who: str) -> int:
    """Clear the alarms that advised the re-fit that was made: the parts after it are the reference.

    Those with another advice stand, as new thresholds clean no lens. Doing it again does nothing.

    Args:
        hub: open.
        line: whose thresholds were fitted.
        product: of the bundle.
        bundle_id: whose thresholds.
        who: asked for the re-fit.

    Returns:
        How many alarms were cleared.
    """
    now = hub.now()
    with hub.database.writing() as connection:
        advised = [
            row
            for row in _standing_rows(connection, line)
            if (row.product, row.bundle_id) == (product, bundle_id)
            and _advice(row, now) is Advice.REFIT
        ]
        _clear(connection, [row.id for row in advised], now, REFITTED)
        for row in advised:
            _note(connection, row, now, who, "alarm refitted", "thresholds were fitted for it")
    if advised:
        hub.news.ring()
    return len(advised)


def read_accepted(connection: Connection, line: str) -> dict[Place, dict[Cause, datetime]]:
    """Give since when each cause has another reference, by place: when it was accepted last.

    Features and score follow from the others, so theirs begins anew with any change that was
    accepted; not while they have an alarm of their own, for nobody has accepted that.
    """
    accepted, own = alarms.c.why_cleared.in_(ACCEPTED), alarms.c.cause.in_(FOLLOWING)
    listed = connection.execute(
        select(alarms).where(alarms.c.line == line, accepted | own).order_by(alarms.c.cleared_at)
    ).all()
    stood = [
        (_place(row), row.cause, row.raised_at, row.cleared_at)
        for row in listed
        if row.cause in FOLLOWING
    ]
    found: defaultdict[Place, dict[Cause, datetime]] = defaultdict(dict)
    for row in listed:
        if row.why_cleared not in ACCEPTED:
            continue
        place, at = _place(row), row.cleared_at
        found[place][Cause(row.cause)] = at
        others = {
            cause
            for there, cause, begin, end in stood
            if there == place and begin <= at and (end is None or at < end)
        }
        found[place] |= {one: at for one in FOLLOWING if one not in others}
    return dict(found)


def read_standing(connection: Connection, line: str) -> dict[tuple[Place, Cause], int]:
    """Give the ids of the alarms that stand on a line."""
    return {(_place(row), Cause(row.cause)): row.id for row in _standing_rows(connection, line)}


def _look_at(hub: Hub, line: str, now: datetime) -> tuple[Alarm, ...]:
    with hub.database.reading() as connection:
        accepted = read_accepted(connection, line)
        watches = watch_line(connection, line, now, accepted)
        standing = _standing_rows(connection, line)
    fresh = [one for one in watches if one.reference is not None and not one.kept]
    found = _find(watches, standing)
    over = _over(standing, found)
    new = list(_new(found, standing, now))
    turned = _turned(standing, found)
    if not (fresh or any(over.values()) or new or turned):
        return ()
    with hub.database.writing() as connection:
        if read_accepted(connection, line) != accepted:
            return ()
        insert_new(connection, drift_references, [reference_row(one) for one in fresh], "begin")
        for why, ids in over.items():
            _clear(connection, ids, now, why)
        for number, guarded in turned.items():
            this = alarms.c.id == number
            connection.execute(update(alarms).where(this).values(guarded=guarded))
        raised = insert_new(connection, alarms, new, "id")
        rows = connection.execute(select(alarms).where(alarms.c.id.in_(raised))).all()
    if any(over.values()) or raised:
        hub.news.ring()
    return tuple(_alarm(row, now) for row in rows)


def _find(watches: Sequence[Watch], standing: Sequence[Row[Any]]) -> dict[Place, _Found]:
    """Read every place, with the causes that stand there already."""
    at: defaultdict[Place, list[Watch]] = defaultdict(list)
    for watch in watches:
        at[watch.place].append(watch)
    found: dict[Place, _Found] = {}
    for place, own in at.items():
        known = {
            Cause(row.cause): row.since or row.raised_at for row in standing if _place(row) == place
        }
        readings: dict[Cause, Reading] = {}
        for watch in own:
            if watch.reference is not None:
                begins = watch.recent.begins
                stood = {
                    cause: sum(begin < since for begin in begins) for cause, since in known.items()
                }
                read = read_causes(watch.reference.blocks, watch.recent.blocks, len(at), stood)
                readings |= {cause: one for cause, one in read.items() if cause in watch.causes}
        by_cause = {cause: watch for watch in own for cause in watch.causes}
        found[place] = _Found(readings, name_causes(readings, known), by_cause)
    return found


def _over(standing: Sequence[Row[Any]], found: Mapping[Place, _Found]) -> dict[str, list[int]]:
    """Give the ids of alarms that are over, by why."""
    live = {(place.product, at, place.camera) for place in found for at in (place.station, "")}
    known = {(_place(row), Cause(row.cause)) for row in standing}
    over: dict[str, list[int]] = {SETTLED: [], REPLACED: [], EXPLAINED: []}
    for row in standing:
        place, cause = _place(row), Cause(row.cause)
        if place not in found:
            if (place.product, place.station, place.camera) in live:  # by another bundle
                over[REPLACED].append(row.id)
            continue
        here = found[place]
        new = [one.cause for one in here.findings if (place, one.cause) not in known]
        if _has_settled(here, cause, row.raised_at):
            over[SETTLED].append(row.id)
        elif any(explains(one, cause) for one in new):
            over[EXPLAINED].append(row.id)
    return over


def _has_settled(here: _Found, cause: Cause, raised_at: datetime) -> bool:
    """Say whether what came after an alarm lies where it lay before.

    Of a bundle whose parts another has taken over, the last that passed may be of before it.
    """
    reading = here.readings.get(cause)
    return (
        reading is not None and reading.settled and here.watches[cause].recent.ends[-1] > raised_at
    )


def _turned(standing: Sequence[Row[Any]], found: Mapping[Place, _Found]) -> dict[int, bool]:
    """Say of which alarms guards have begun, or ceased, to hold the frames; by id."""
    return {
        row.id: watch.guarded
        for row in standing
        if (here := found.get(_place(row))) is not None
        and (watch := here.watches[Cause(row.cause)]).reference is not None
        and watch.guarded != row.guarded
    }


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
                "guarded": watch.guarded,
            }


def _clear(connection: Connection, ids: Sequence[int], now: datetime, why: str) -> int:
    """Clear those that still stand; give how many did."""
    this = alarms.c.id.in_(ids) & alarms.c.cleared_at.is_(None)
    values = {"cleared_at": now, "why_cleared": why}
    return connection.execute(update(alarms).where(this).values(values)).rowcount if ids else 0


def _standing_rows(connection: Connection, line: str) -> Sequence[Row[Any]]:
    found = select(alarms).where(alarms.c.line == line, alarms.c.cleared_at.is_(None))
    return connection.execute(found).all()


def _place(row: Row[Any]) -> Place:
    return Place(row.line, row.product, row.station, row.camera, row.bundle_id)


def _note(
    connection: Connection, row: Row[Any], now: datetime, who: str, action: str, why: str
) -> None:
    subject = f"{row.line}: {row.product}, station {row.station}, camera {row.camera}"
    detail = {"alarm": row.id, "cause": row.cause, "bundle_id": row.bundle_id, "why": why}
    note(connection, now, who, action, subject, **detail)


def _advice(row: Row[Any], now: datetime) -> Advice:
    stood = (row.cleared_at or now) - row.raised_at
    return advise(Cause(row.cause), stood, guarded=row.guarded)


def _alarm(row: Row[Any], now: datetime) -> Alarm:
    return Alarm(**row._mapping, advice=_advice(row, now))

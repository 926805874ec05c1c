"""Keeps what second stages named on parts, beside their events, to filter and count by it."""

import hashlib
from collections import defaultdict
from collections.abc import Collection, Sequence
from typing import Any

from sqlalchemy import Connection, Select, insert, select

from inspection.core.decision import Verdict
from inspection.core.known import LONGEST_NAME, Recognised, Status, count_types
from inspection.core.records import Event
from inspection.hub.tables import recognised_types, recognitions

WORST: tuple[Status, ...] = ("failed", "late", "done", "skipped")


def keep_known(connection: Connection, events: Sequence[Event]) -> None:
    """Keep what was named on new events, in ingest's own transaction."""
    rows: list[dict[str, Any]] = []
    typed: list[dict[str, Any]] = []
    for event in events:
        seen = [one.recognised for one in event.frames if one.recognised is not None]
        if not seen:
            continue
        place = {
            "event_id": event.event_id,
            "line": event.line,
            "product": event.product,
            "captured_at": event.captured_at,
        }
        rows.append(place | _summed(seen) | {"held": _is_held(event)})
        counts = count_types(seen)
        typed += [place | {"type": type_, "objects": count} for type_, count in counts.items()]
    if rows:
        connection.execute(insert(recognitions), rows)
    if typed:
        connection.execute(insert(recognised_types), typed)


def held_among(connection: Connection, event_ids: Collection[str]) -> frozenset[str]:
    """Give those of some events that known defects, or nobody's look for them, held."""
    wanted = select(recognitions.c.event_id).where(
        recognitions.c.event_id.in_(event_ids), recognitions.c.held.is_(True)
    )
    return frozenset(connection.execute(wanted).scalars())


def types_of(connection: Connection, event_ids: Collection[str]) -> dict[str, dict[str, int]]:
    """Give the objects of each type on events that have any, the most first."""
    found: defaultdict[str, dict[str, int]] = defaultdict(dict)
    columns = recognised_types.c
    wanted = (
        select(columns.event_id, columns.type, columns.objects)
        .where(columns.event_id.in_(event_ids))
        .order_by(columns.objects.desc(), columns.type)
    )
    for event_id, type_, objects in connection.execute(wanted):
        found[event_id][type_] = objects
    return found


def events_with(type_: str) -> Select[tuple[str]]:
    """Ask for the ids of events on which a type was named."""
    return select(recognised_types.c.event_id).where(recognised_types.c.type == type_)


def _summed(seen: Sequence[Recognised]) -> dict[str, Any]:
    """Say of a part what its frames say: the worst end, the surest object, who looked at it.

    Several detectors of one part count together, as one of their own: none of them is to be held
    against types it does not know.
    """
    first = [one for one in seen if one.found]
    surest = max(first, key=lambda one: one.found[0].score, default=None)
    looked = sorted({(one.detector, one.detector_id) for one in seen})
    ids = ", ".join(detector_id for _, detector_id in looked)
    return {
        "status": min((one.status for one in seen), key=WORST.index),
        "detector": " + ".join(name for name, _ in looked)[:LONGEST_NAME],
        "detector_id": ids if len(looked) == 1 else hashlib.sha256(ids.encode()).hexdigest(),
        "surest": surest.found[0].type if surest else None,
    }


def _is_held(event: Event) -> bool:
    """Say whether nothing but its second stage makes a part what it is."""
    if event.fusion and event.fusion.lacking and event.verdict is Verdict.REVIEW:
        return False
    held = [
        one.recognised is not None and one.recognised.held
        for one in event.frames
        if one.verdict is event.verdict
    ]
    return bool(held) and all(held)

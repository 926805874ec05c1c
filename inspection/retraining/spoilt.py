"""Says which parts were seen while something was wrong that somebody has mended since.

A smeared lens, a dying lamp, a shifted fixture: their pictures look like no part to come, so they
teach nothing, and what became of them says nothing of bundle or thresholds.
"""

from datetime import datetime

from sqlalchemy import ColumnElement, Connection, func, or_, select

from inspection.hub.loop_tables import alarms
from inspection.hub.monitors import SETTLED
from inspection.hub.tables import events, reviews
from inspection.metrics.causes import BY_HAND


def is_spoilt(as_of: datetime | None = None) -> ColumnElement[bool]:
    """Say of an event whether an alarm of its time, place and product has settled since.

    Args:
        as_of: alarms that settled later do not count; none counts all.
    """
    found = select(alarms.c.id).where(
        alarms.c.line == events.c.line,
        alarms.c.product == events.c.product,
        alarms.c.camera == events.c.camera,
        or_(alarms.c.station == "", alarms.c.station == events.c.station),
        alarms.c.cause.in_(BY_HAND),
        alarms.c.why_cleared == SETTLED,
        events.c.captured_at >= func.coalesce(alarms.c.since, alarms.c.raised_at),
        events.c.captured_at <= alarms.c.cleared_at,
    )
    if as_of is not None:
        found = found.where(alarms.c.cleared_at <= as_of)
    return found.exists()


def spoilt_events(
    connection: Connection, line: str, product: str, as_of: datetime
) -> frozenset[str]:
    """Give the ids of the reviewed events that were spoilt, as was known at a time."""
    reviewed = select(reviews.c.event_id).where(reviews.c.line == line)
    found = select(events.c.event_id).where(
        events.c.line == line,
        events.c.product == product,
        events.c.event_id.in_(reviewed),
        is_spoilt(as_of),
    )
    return frozenset(connection.execute(found).scalars())

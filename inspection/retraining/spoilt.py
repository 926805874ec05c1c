"""Says which parts were seen while something was wrong that somebody has mended since.

A smeared lens, a dying lamp, a shifted fixture: their pictures look like no part to come, so they
teach nothing, and what became of them says nothing of bundle or thresholds.
"""

from collections.abc import Collection
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, Connection, func, or_, select

from inspection.hub.challengers import POLICY
from inspection.hub.hub import Hub
from inspection.hub.loop_tables import alarms
from inspection.hub.references import SETTLED
from inspection.hub.refits import fitted_in_force
from inspection.hub.tables import bundles, events, reviews
from inspection.hub.threshold_rows import read_kept
from inspection.hub.thresholds import revert_thresholds
from inspection.hub.wire.thresholds import Revert
from inspection.metrics.causes import BY_HAND, Advice, Cause, advise

LATELY = timedelta(days=7)  # what settled before is not looked at again


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


def unmended(
    connection: Connection, line: str, name: str, heard: Collection[str], now: datetime
) -> tuple[Cause, ...]:
    """Give the causes that stand where bundles of a name judge and that somebody has to mend.

    Meanwhile nothing new is let onto the line: its own reference would be of what has moved.

    Args:
        connection: to the hub's database.
        line: of the stations.
        name: of the bundles.
        heard: stations that count; another's lens keeps none of these waiting.
        now: the hub's time.
    """
    named = select(bundles.c.bundle_id).where(bundles.c.name == name)
    rows = connection.execute(
        select(alarms.c.cause, alarms.c.raised_at, alarms.c.guarded)
        .where(alarms.c.line == line, alarms.c.bundle_id.in_(named))
        .where(alarms.c.cleared_at.is_(None), alarms.c.cause.in_(BY_HAND))
        .where(alarms.c.station.in_({"", *heard}))
        .order_by(alarms.c.id)
    )
    stood = [(Cause(cause), now - raised, guarded) for cause, raised, guarded in rows]
    return tuple(
        cause
        for cause, long, guarded in stood
        if advise(cause, long, guarded=guarded) in {Advice.CLEAN, Advice.ADJUST}
    )


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


def take_back_spoilt(hub: Hub, line: str, product: str) -> int:
    """Take back the policy's re-fits that were fitted while something was wrong that is mended.

    Such thresholds are those of a smeared lens. What was before them comes back; gives how many.
    """
    with hub.database.reading() as connection:
        begins = func.coalesce(alarms.c.since, alarms.c.raised_at)
        mended = connection.execute(
            select(alarms.c.cause, begins, alarms.c.cleared_at).where(
                alarms.c.line == line,
                alarms.c.product == product,
                alarms.c.cause.in_(BY_HAND),
                alarms.c.why_cleared == SETTLED,
                alarms.c.cleared_at >= hub.now() - LATELY,
            )
        ).all()
        records = fitted_in_force(read_kept(connection, line)) if mended else ()
        found = {
            one.sha256: cause
            for one in records
            if one.product == product
            for cause, begin, end in mended
            if begin <= one.fitted_at <= end
        }
    for sha256, cause in found.items():
        words = f"fitted while the {cause} was off, which is mended"
        revert_thresholds(hub, line, Revert(sha256=sha256, comment=words), POLICY)
    return len(found)

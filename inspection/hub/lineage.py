"""Says which bundles judged one after another at a place, for what has nothing to do with a bundle.

Light, focus, position and texture are measured on the picture. Where a bundle is followed by its
next version, and not because one of these had moved, they go on being held against what they were.
"""

from datetime import datetime
from typing import NamedTuple

from sqlalchemy import Connection, func, select

from inspection.hub.loop_tables import alarms
from inspection.hub.places import Place
from inspection.hub.tables import bundles, hours
from inspection.metrics.causes import IMAGE

REPLACED = "replaced"  # why an alarm was cleared: another bundle took over


class Lineage(NamedTuple):
    """Bundles of one name at one place, and since when their pictures are of one kind."""

    places: tuple[Place, ...]
    """The oldest bundle's first."""
    begin: datetime


def lineage_of(connection: Connection, place: Place) -> Lineage | None:
    """Give the versions of a place's bundle that decided there; none where it never decided."""
    named = select(bundles.c.name).where(bundles.c.bundle_id == place.bundle_id)
    versions = select(bundles.c.bundle_id).where(bundles.c.name == named.scalar_subquery())
    here = (
        hours.c.line == place.line,
        hours.c.product == place.product,
        hours.c.station == place.station,
    )
    first = func.min(hours.c.hour)
    found = connection.execute(
        select(hours.c.bundle_id, first)
        .where(*here, hours.c.bundle_id.in_(versions))
        .group_by(hours.c.bundle_id)
        .order_by(first)
    ).all()
    ids = [bundle_id for bundle_id, _ in found]
    if place.bundle_id not in ids:
        return None
    answered = connection.execute(
        select(alarms.c.bundle_id, alarms.c.raised_at)
        .where(
            alarms.c.line == place.line,
            alarms.c.product == place.product,
            alarms.c.station == place.station,
            alarms.c.camera == place.camera,
            alarms.c.bundle_id.in_(ids),
            alarms.c.cause.in_(IMAGE),
            # one of another version that still stands is being replaced right now
            (alarms.c.why_cleared == REPLACED)
            | alarms.c.cleared_at.is_(None) & (alarms.c.bundle_id != place.bundle_id),
        )
        .order_by(alarms.c.raised_at.desc())
        .limit(1)
    ).one_or_none()
    begin: datetime = found[0][1]
    if answered is not None:
        raised_h = answered.raised_at.replace(minute=0, second=0, microsecond=0)
        others = [one for one in ids if one != answered.bundle_id]
        taken_over = connection.execute(
            select(first).where(*here, hours.c.bundle_id.in_(others), hours.c.hour >= raised_h)
        ).scalar()
        begin = max(begin, taken_over or begin)
    return Lineage(tuple(place._replace(bundle_id=one) for one in ids), begin)

"""Keeps what each place is held against when it is watched for drift, and lends it on.

Light, focus, position and texture are measured on the picture, whichever bundle judges it. So a
bundle's next version is held against its forerunner's reference of these until it has its own.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import AwareDatetime
from sqlalchemy import ColumnElement, Connection, Select, func, select
from sqlalchemy.sql.base import ReadOnlyColumnCollection

from inspection.hub.blocks import HOUR
from inspection.hub.loop_tables import alarms, drift_references
from inspection.hub.tables import bundles
from inspection.hub.thresholds import read_card
from inspection.hub.wire.message import Answer
from inspection.metrics.blocks import Blocks
from inspection.metrics.causes import IMAGE, Cause

REPLACED, SETTLED = "replaced", "settled"  # why an alarm was cleared: another bundle; by itself
DISMISSED, REFITTED = "dismissed", "refitted"
ACCEPTED = DISMISSED, REFITTED
Columns = ReadOnlyColumnCollection[str, Any]


class Place(NamedTuple):
    """One bundle on one camera's frames of a product at a station: a lens is one station's."""

    line: str
    product: str
    station: str
    camera: str
    bundle_id: str


Accepted = Mapping[Place, Mapping[Cause, datetime]]
"""Since when a cause has another reference, by place."""


class _Kept(Answer):
    """A reference as the table keeps it; none where nothing was measured."""

    begins: tuple[AwareDatetime, ...]
    ends: tuple[AwareDatetime, ...]
    counts: tuple[float, ...]
    means: tuple[tuple[float | None, ...], ...]
    variances: tuple[tuple[float | None, ...], ...]


@dataclass(frozen=True)
class Summed:
    """Blocks with their times: of the first part, and the end of the last hour."""

    blocks: Blocks
    begins: tuple[datetime, ...]
    ends: tuple[datetime, ...]

    def until(self, size: int) -> "Summed":
        """Give the first blocks."""
        return Summed(self.blocks[:size], self.begins[:size], self.ends[:size])


def accepted_at(accepted: Accepted, place: Place) -> dict[Cause, datetime]:
    """Give since when each cause was accepted, at a place or as a hub of before did for all."""
    return {**accepted.get(place._replace(station=""), {}), **accepted.get(place, {})}


def row_of(place: Place, begin: datetime, reference: Summed) -> dict[str, object]:
    """Give the row that keeps a complete reference."""
    blocks = reference.blocks
    kept = _Kept(
        begins=reference.begins,
        ends=reference.ends,
        counts=tuple(blocks.counts.tolist()),
        means=_written(blocks.means),
        variances=_written(blocks.variances),
    )
    return place._asdict() | {"begin": begin, "blocks": kept.model_dump_json()}


def read_reference(connection: Connection, place: Place, begin: datetime) -> Summed | None:
    """Give the reference of a place that began then; none while it is not complete."""
    table = drift_references.c
    text = connection.execute(
        select(table.blocks).where(*_own(table, place), table.begin == begin)
    ).scalar_one_or_none()
    if text is None:
        return None
    kept = _Kept.model_validate_json(text)
    read = (np.array(rows, np.float64) for rows in (kept.counts, kept.means, kept.variances))
    return Summed(Blocks(*read), kept.begins, kept.ends)


def first_kept(connection: Connection, place: Place) -> datetime | None:
    """Give when the first complete reference of a place began."""
    table = drift_references.c
    query = select(func.min(table.begin)).where(*_own(table, place))
    found: datetime | None = connection.execute(query).scalar()
    return found


def is_alarmed(connection: Connection, place: Place) -> bool:
    """Say whether an alarm of what is seen in the picture stands at a place."""
    here = *_own(alarms.c, place), alarms.c.cause.in_(IMAGE)
    standing = select(alarms.c.id).where(*here, alarms.c.cleared_at.is_(None)).limit(1)
    return connection.execute(standing).scalar() is not None


def last_gone(connection: Connection, place: Place, why: str) -> datetime | None:
    """Say when the last alarm of what is seen in the picture was cleared so at a place."""
    here = *_own(alarms.c, place), alarms.c.cause.in_(IMAGE), alarms.c.why_cleared == why
    query = select(func.max(alarms.c.cleared_at)).where(*here)
    found: datetime | None = connection.execute(query).scalar()
    return found


def lent_references(
    connection: Connection, place: Place, began: datetime, accepted: Accepted
) -> list[tuple[Summed, frozenset[Cause]]]:
    """Give what a version is held against until it has a reference of its own.

    Nothing is lent where the version may be the answer to a change, nor where the forerunner saw
    its pictures in another geometry.

    Args:
        connection: to read by.
        place: of the version.
        began: the hour in which it first judged there.
        accepted: of the line.

    Returns:
        The newest references of its forerunner, with those causes of `IMAGE` each is for.
    """
    lender, first = _forerunner(connection, place, began)
    if lender is None or _answers(connection, place, lender, (first, began + HOUR)):
        return []
    geometry, other = (read_card(connection, one.bundle_id).geometry for one in (place, lender))
    if geometry != other:
        return []
    since = accepted_at(accepted, lender)
    begins = {cause: max(first, since.get(cause, first)) for cause in IMAGE}
    found = {begin: read_reference(connection, lender, begin) for begin in {*begins.values()}}
    return [
        (reference, frozenset(cause for cause in IMAGE if begins[cause] == begin))
        for begin, reference in found.items()
        if reference is not None
    ]


def _forerunner(
    connection: Connection, place: Place, began: datetime
) -> tuple[Place | None, datetime]:
    """Give the version before at the same camera that has a reference, and when that began."""
    table, first = drift_references.c, func.min(drift_references.c.begin)
    found = connection.execute(
        select(table.bundle_id, first)
        .where(*_camera(table, place), table.bundle_id != place.bundle_id)
        .where(table.bundle_id.in_(_versions(place)))
        .group_by(table.bundle_id)
        .having(first < began)
        .order_by(first.desc())
        .limit(1)
    ).one_or_none()
    return (None, began) if found is None else (place._replace(bundle_id=found[0]), found[1])


def _answers(
    connection: Connection, place: Place, lender: Place, span: tuple[datetime, datetime]
) -> bool:
    """Say whether a change was alarmed in a span that no reference of the lender knows."""
    later = alarms.c.why_cleared.in_(ACCEPTED) & (alarms.c.bundle_id != lender.bundle_id)
    found = connection.execute(
        select(alarms.c.id)
        .where(*_camera(alarms.c, place), alarms.c.cause.in_(IMAGE))
        .where(alarms.c.bundle_id != place.bundle_id, alarms.c.bundle_id.in_(_versions(place)))
        .where(alarms.c.raised_at.between(*span))
        .where(alarms.c.cleared_at.is_(None) | (alarms.c.why_cleared == REPLACED) | later)
        .limit(1)
    ).scalar()
    return found is not None


def _camera(table: Columns, place: Place) -> list[ColumnElement[bool]]:
    return [table[name] == getattr(place, name) for name in Place._fields if name != "bundle_id"]


def _own(table: Columns, place: Place) -> list[ColumnElement[bool]]:
    return [*_camera(table, place), table.bundle_id == place.bundle_id]


def _versions(place: Place) -> Select[tuple[str]]:
    """Give the bundles of the same name."""
    name = select(bundles.c.name).where(bundles.c.bundle_id == place.bundle_id).scalar_subquery()
    return select(bundles.c.bundle_id).where(bundles.c.name == name)


def _written(rows: NDArray[np.float64]) -> tuple[tuple[float | None, ...], ...]:
    return tuple(
        tuple(None if math.isnan(value) else value for value in row) for row in rows.tolist()
    )

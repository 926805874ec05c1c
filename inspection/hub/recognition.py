"""Counts what second stages named, and holds it against what people said of the same parts."""

from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    FromClause,
    and_,
    case,
    func,
    select,
    type_coerce,
)

from inspection.core.known import BLIND
from inspection.hub.hub import Hub
from inspection.hub.rates import rate_of
from inspection.hub.reviews import undisputed_decisions
from inspection.hub.tables import EPOCH, HOUR_US, MICROSECOND, recognised_types, recognitions
from inspection.hub.wire.recognition import (
    GOOD,
    UNNAMED,
    Confusion,
    ConfusionCell,
    ConfusionWanted,
    DetectorSeen,
    RecognitionWanted,
    TypeAgreement,
    TypeCount,
    TypeCounts,
    TypeTime,
)
from inspection.hub.wire.review import Decision

HOURLY_H = 48  # a longer time is counted by days


def count_known(hub: Hub, wanted: RecognitionWanted) -> TypeCounts:
    """Count what was named in the last hours, by line, product and type, and over time."""
    now, columns = hub.now(), recognised_types.c
    hourly = wanted.hours <= HOURLY_H
    where = _of(recognised_types, wanted, now)
    parts, objects = func.count().label("parts"), func.sum(columns.objects).label("objects")
    place = columns.line, columns.product, columns.type
    counted = select(*place, parts, objects).where(*where).group_by(*place)
    bucket_us = HOUR_US if hourly else 24 * HOUR_US
    number = (type_coerce(columns.captured_at, BigInteger) // bucket_us).label("number")
    over_time = (
        select(number, columns.type, parts)
        .where(*where)
        .group_by(number, columns.type)
        .order_by(number, columns.type)
    )
    looked = recognitions.c
    named = looked.surest.is_not(None)
    ended = (
        select(looked.status, looked.held, named, func.count())
        .where(*_of(recognitions, wanted, now))
        .group_by(looked.status, looked.held, named)
    )
    with hub.database.reading() as connection:
        looks = connection.execute(ended).all()
        rows = connection.execute(counted.order_by(parts.desc(), *place)).all()
        times = connection.execute(over_time).all()
    statuses: dict[Any, int] = {}
    for status, _, _, count in looks:
        statuses[status] = statuses.get(status, 0) + count
    return TypeCounts(
        at=now,
        span_h=wanted.hours,
        looks=statuses,
        named=sum(count for _, _, any_, count in looks if any_),
        held=sum(count for _, held, _, count in looks if held),
        types=tuple(TypeCount(**row._mapping) for row in rows),
        per="hour" if hourly else "day",
        times=tuple(
            TypeTime(begin=EPOCH + int(n) * bucket_us * MICROSECOND, type=type_, parts=count)
            for n, type_, count in times
        ),
    )


def confuse(hub: Hub, wanted: ConfusionWanted) -> Confusion:
    """Hold the detector's types against those of reviewers, on parts it did not look at too late.

    A part on which several types were named counts for that of the person, where it is among them.
    """
    now = hub.now()
    said, found, joined = _said_and_found()
    looked = [*_of(recognitions, wanted, now), recognitions.c.status.not_in(BLIND)]
    parts = func.count().label("parts")
    one = [recognitions.c.detector_id == wanted.detector_id] if wanted.detector_id else []
    cells = (
        select(found, said, parts)
        .select_from(joined)
        .where(*looked, *one)
        .group_by(found, said)
        .order_by(parts.desc(), said, found)
    )
    named = recognitions.c.detector, recognitions.c.detector_id
    detectors = (
        select(*named, parts)
        .select_from(joined)
        .where(*looked)
        .group_by(*named)
        .order_by(parts.desc(), *named)
    )
    with hub.database.reading() as connection:
        counted = tuple(ConfusionCell(**row._mapping) for row in connection.execute(cells))
        seen = tuple(DetectorSeen(**row._mapping) for row in connection.execute(detectors))
    return Confusion(
        at=now,
        span_h=wanted.hours,
        cells=counted,
        agreement=tuple(_agreements(counted)),
        detectors=seen,
    )


def _agreements(cells: Sequence[ConfusionCell]) -> Iterator[TypeAgreement]:
    said, found, both = Counter[str](), Counter[str](), Counter[str]()
    for one in cells:
        said[one.said] += one.parts
        if one.found is not None and one.said != UNNAMED:
            found[one.found] += one.parts
        if one.found == one.said:
            both[one.said] += one.parts
    named = {one.found for one in cells if one.found is not None}
    for type_ in sorted((said.keys() | named) - {GOOD, UNNAMED}):
        count = both[type_]
        yield TypeAgreement(
            type=type_, found=rate_of(count, said[type_]), right=rate_of(count, found[type_])
        )


def _said_and_found() -> tuple[ColumnElement[Any], ColumnElement[Any], FromClause]:
    """Give what person and detector said of a part, and the tables it stands in."""
    decisions = undisputed_decisions()
    said = case(
        (decisions.c.decision == Decision.GOOD, GOOD),
        else_=func.coalesce(decisions.c.defect, UNNAMED),
    )
    same = and_(
        recognised_types.c.event_id == recognitions.c.event_id,
        recognised_types.c.type == decisions.c.defect,
    )
    sure = and_(
        decisions.c.event_id == recognitions.c.event_id,
        decisions.c.decision != Decision.UNSURE,
    )
    joined = recognitions.join(decisions, sure).outerjoin(recognised_types, same)
    found = func.coalesce(recognised_types.c.type, recognitions.c.surest)
    return said.label("said"), found.label("found"), joined


def _of(table: FromClause, wanted: RecognitionWanted, now: datetime) -> list[ColumnElement[bool]]:
    """Say which rows are asked for."""
    begin = now - timedelta(hours=wanted.hours)
    where: list[ColumnElement[bool]] = [table.c.captured_at.between(begin, now)]
    if wanted.line is not None:
        where.append(table.c.line == wanted.line)
    if wanted.product is not None:
        where.append(table.c.product == wanted.product)
    return where

"""What is in the sets of reviewed parts, which of their pictures are too alike, and each frame."""

from collections import Counter
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Connection, Row, Select, and_, case, func, or_, select

from inspection.core.geometry import Roi
from inspection.core.imaging import decode_image
from inspection.data.duplicates import Signature, image_signature, near_duplicates
from inspection.hub.artefacts import Artefacts, picture_name
from inspection.hub.hub import Hub
from inspection.hub.ingest import parse_event
from inspection.hub.reviews import count_defects, decisions_in_force, is_disputed
from inspection.hub.tables import corrections, events, hours, pictures
from inspection.hub.wire.models import DataSet, NearDuplicates
from inspection.hub.wire.review import Decision

DISPUTED = "another person says otherwise"
COMPARED = 500  # pictures; each is decoded once, some 10 ms per megapixel
PAIRS = 100
SIGNATURES = 2 * COMPARED  # kept in memory, 16 kB each


@dataclass(frozen=True)
class ReviewedFrame:
    """A picture of a part that was decided good or defective, without its pixels."""

    event_id: str
    decision: Decision
    defect: str | None
    by: str
    """Who drew the mask; else who decided."""
    at: datetime
    sha256: str | None
    """Of the picture; none when it is not here."""
    kind: str
    """Media type of the picture."""
    mask_sha256: str | None
    """Of the mask a person drew; none when nobody did."""
    part_id: str
    captured_at: datetime
    bundle_id: str
    """That judged the frame; empty when none did."""
    score: float | None
    """Raw; none for FAULT."""
    roi: Roi | None
    """What of the picture was judged; none is all of it."""
    disputed: bool
    """Another person said otherwise, and nobody settled it yet."""


@dataclass(frozen=True)
class AsOf:
    """What was known at one time, so that the same is found later."""

    review: int
    """Id of the last review row that counts."""
    correction: int
    """Id of the last mask drawn that counts."""


class _Judged(NamedTuple):
    """How one frame was judged; see `ReviewedFrame`."""

    image: str | None
    bundle_id: str
    score: float | None
    roi: Roi | None


def list_sets(hub: Hub) -> tuple[DataSet, ...]:
    """Count what is in the set of each line and product."""
    place, counted = (events.c.line, events.c.product), (hours.c.line, hours.c.product)
    all_parts = select(*counted, func.sum(hours.c.parts).label("parts")).group_by(*counted)
    decided = decisions_in_force()
    has_picture = select(pictures.c.event_id).where(pictures.c.event_id == events.c.event_id)
    has_mask = select(corrections.c.id).where(corrections.c.event_id == events.c.event_id)
    reviewed = (
        select(
            *place,
            decided.c.decision,
            decided.c.defect,
            func.count().label("parts"),
            _sum_of(has_picture.exists()).label("with_picture"),
            _sum_of(has_mask.exists()).label("masks"),
        )
        .join(decided, decided.c.event_id == events.c.event_id)
        .group_by(*place, decided.c.decision, decided.c.defect)
    )
    with hub.database.reading() as connection:
        counts = connection.execute(all_parts.order_by(*counted)).all()
        rows = connection.execute(reviewed).all()
    return tuple(
        _set(one, [row for row in rows if (row.line, row.product) == (one.line, one.product)])
        for one in counts
    )


def reviewed_frames(
    connection: Connection, line: str, product: str, as_of: AsOf | None = None
) -> list[ReviewedFrame]:
    """Give the frames of a product's parts that were decided good or defective, newest first.

    Disputed parts are among them, and say so. Of each part these are the frames with a mask, or
    else the one that decided.

    Args:
        connection: of the hub's database.
        line: of the parts.
        product: of the parts.
        as_of: what counts; none counts all there is.
    """
    decided = decisions_in_force(None if as_of is None else as_of.review)
    kept = (
        select(pictures)
        .join(events, events.c.event_id == pictures.c.event_id)
        .join(decided, decided.c.event_id == events.c.event_id)
        .where(events.c.line == line, events.c.product == product)
    )
    here = {(row.event_id, row.name): row for row in connection.execute(kept)}
    frames = []
    for row in connection.execute(_decided_frames(line, product, as_of)):
        judged = _judged(row)
        picture = here.get((row.event_id, judged.image))
        frames.append(
            ReviewedFrame(
                event_id=row.event_id,
                decision=Decision(row.decision),
                defect=row.drawn_defect or row.defect,
                by=row.drawn_by or row.reviewer,
                at=row.at,
                sha256=picture.sha256 if picture else None,
                kind=picture.kind if picture else "",
                mask_sha256=row.mask_sha256,
                part_id=row.part_id,
                captured_at=row.captured_at,
                bundle_id=judged.bundle_id,
                score=judged.score,
                roi=judged.roi,
                disputed=row.disputed,
            )
        )
    return frames


def find_duplicates(hub: Hub, line: str, product: str) -> NearDuplicates:
    """Find pictures of different reviewed parts that are too alike, the most alike first."""
    with hub.database.reading() as connection:
        frames = [one for one in reviewed_frames(connection, line, product) if one.sha256]
    compared, signatures = [], []
    for frame in frames[:COMPARED]:
        try:
            signatures.append(_signature(hub.artefacts, str(frame.sha256)))
        except KeyError:
            continue  # retention took it meanwhile; `compared` says how many there were
        compared.append(frame.event_id)
    pairs = near_duplicates(signatures, compared)
    pairs.sort(key=lambda pair: -pair.correlation)
    note = f"the newest {len(compared)} of {len(frames)} reviewed pictures were compared"
    if len(pairs) > PAIRS:
        note += f"; {len(pairs)} pairs are alike, the first {PAIRS} are shown"
    return NearDuplicates(
        compared=len(compared),
        pairs=tuple(
            (compared[one.first], compared[one.second], one.correlation) for one in pairs[:PAIRS]
        ),
        note=note,
    )


def _sum_of(condition: ColumnElement[bool]) -> ColumnElement[int]:
    return func.sum(case((condition, 1), else_=0))


def _set(one: Row[Any, Any, Any], rows: list[Row[Any]]) -> DataSet:
    by_decision: Counter[str] = Counter()
    for row in rows:
        by_decision[row.decision] += row.parts
    return DataSet(
        line=one.line,
        product=one.product,
        parts=int(one.parts),  # PostgreSQL sums to a Decimal
        with_picture=sum(row.with_picture for row in rows),
        reviewed=by_decision.total(),
        goods=by_decision[Decision.GOOD],
        defects=count_defects(rows),
        unsure=by_decision[Decision.UNSURE],
        masks=sum(row.masks for row in rows if row.decision == Decision.DEFECT),
    )


def _decided_frames(line: str, product: str, as_of: AsOf | None) -> Select[Any]:
    """Ask for each decided part once for each of its frames with a mask, or else once."""
    until = None if as_of is None else as_of.review
    decided = decisions_in_force(until)
    newer = corrections.alias("newer")
    later = select(newer.c.id).where(
        newer.c.event_id == corrections.c.event_id,
        newer.c.camera == corrections.c.camera,
        newer.c.revision == corrections.c.revision + 1,
    )
    in_force = corrections.c.event_id == events.c.event_id
    if as_of is not None:
        later = later.where(newer.c.id <= as_of.correction)
        in_force = and_(in_force, corrections.c.id <= as_of.correction)
    # the record, which is long, only where another frame than the deciding one has a mask, or
    # where something was cut out
    more = or_(corrections.c.camera != events.c.camera, events.c.record.contains('"roi":{'))
    return (
        select(
            *(events.c.event_id, events.c.image, events.c.camera),
            case((more, events.c.record)).label("record"),
            *(events.c.part_id, events.c.captured_at, events.c.bundle_id, events.c.score),
            *(decided.c.decision, decided.c.defect, decided.c.reviewer, decided.c.at),
            is_disputed(decided, until).label("disputed"),
            corrections.c.camera.label("drawn_on"),
            corrections.c.defect.label("drawn_defect"),
            corrections.c.reviewer.label("drawn_by"),
            corrections.c.sha256.label("mask_sha256"),
        )
        .join(decided, decided.c.event_id == events.c.event_id)
        .outerjoin(corrections, and_(in_force, ~later.exists()))
        .where(
            events.c.line == line,
            events.c.product == product,
            decided.c.decision.in_([Decision.GOOD, Decision.DEFECT]),
        )
        .order_by(decided.c.at.desc(), events.c.id.desc())
    )


def _judged(row: Row[Any]) -> _Judged:
    """Say how the frame that a row is about was judged."""
    if row.record is None:
        return _Judged(row.image, row.bundle_id, row.score, None)
    event = parse_event(row.record)
    on = row.drawn_on or event.deciding.view
    found = next((frame for frame in event.frames if frame.view == on), None)
    if found is None:
        return _Judged(None, "", None, None)
    return _Judged(found.image, found.bundle_id, found.score, found.roi)


@lru_cache(SIGNATURES)
def _signature(artefacts: Artefacts, sha256: str) -> Signature:
    return image_signature(decode_image(artefacts.get(picture_name(sha256)), sha256))

"""Holds what is known of every place that is watched for drift: its reference, and its last parts.

A place is one bundle on one camera of one station: a lens is one station's, and so is its dirt.
The reference is kept when it is complete, since retention takes the events it is of.
"""

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import zip_longest
from typing import NamedTuple

import numpy as np
from sqlalchemy import Connection, func, select

from inspection.core.decision import Verdict
from inspection.core.image_statistics import EMBEDDING_MOST
from inspection.hub.blocks import (
    BLOCK_READ,
    DAY,
    HOUR,
    JUDGED,
    PASSED,
    Drawn,
    Hour,
    Reader,
    SeenFrame,
    Span,
    form_blocks,
)
from inspection.hub.references import (
    REPLACED,
    SETTLED,
    Accepted,
    Place,
    Summed,
    accepted_at,
    first_kept,
    is_alarmed,
    last_gone,
    lent_references,
    read_reference,
    row_of,
)
from inspection.hub.tables import hours
from inspection.metrics.blocks import gather, reference_blocks
from inspection.metrics.causes import Cause
from inspection.metrics.drift import EMBEDDING, LONG_PARTS, SCORE, SHORT_PARTS

LATELY = timedelta(days=7)  # a place that judged nothing for so long is watched no more
PLACE_LEAST = 4  # parts of one camera and bundle, where others share the block
READ_MOST = 250  # blocks of one reference, and of what came after it
LAST_BLOCKS = 8  # that show which cameras and bundles judge now
FEW_PASS = 0.5  # of the last parts; fewer, and those that pass are none like the rest
HELD = 0.5  # of the last parts that do not pass


class Day(NamedTuple):
    """What became of the parts of the last 24 hours of a product at a station."""

    passed: int
    judged: int
    faults: int
    said: str
    """What the station says of the last part that did not pass; empty: nothing."""


@dataclass(frozen=True)
class Watch:
    """What is known of some causes at one place, whose reference began at the same time."""

    place: Place
    begin: datetime
    causes: frozenset[Cause]
    gathered: int
    """Parts towards the reference."""
    reference: Summed | None
    recent: Summed
    day: Day
    all_judged: bool = False
    """Whether parts that did not pass count, too, because hardly any passes."""
    guarded: bool = False
    """Whether the station's guards hold most of the last parts back."""
    kept: bool = False
    """Whether the table has its reference."""
    alarmed: bool = False
    """Whether none is made, for something in the picture has moved."""


def watch_line(
    connection: Connection, line: str, now: datetime, accepted: Accepted
) -> tuple[Watch, ...]:
    """Read what is known of every place of a line that judged lately.

    Args:
        connection: to read by.
        line: whose parts.
        now: hours that are over by then count.
        accepted: since when a cause has another reference, by place.
    """
    lately = select(hours.c.product, hours.c.station).where(
        hours.c.line == line, hours.c.hour.between(now - LATELY, now - HOUR)
    )
    found: list[Watch] = []
    for product, station in sorted(map(tuple, connection.execute(lately.distinct()))):
        reader = Reader(connection, line, product, station)
        day = _day(reader, now)
        for place in _places(reader, now):
            found += _watches(reader, place, now, day, accepted)
    return tuple(found)


def reference_row(watch: Watch) -> dict[str, object]:
    """Give the row that keeps a watch's reference, which is complete."""
    if watch.reference is None:
        raise ValueError(f"{watch.place}: its reference is still being gathered")
    return row_of(watch.place, watch.begin, watch.reference)


def _day(reader: Reader, now: datetime) -> Day:
    counted = reader.hours(now - DAY, now)
    passed, judged, faults = (
        sum(getattr(one, name) for one in counted) for name in ("passed", "judged", "faults")
    )
    return Day(passed, judged, faults, reader.last_reason(now - DAY, now))


def _places(reader: Reader, now: datetime) -> list[Place]:
    """Give the cameras and bundles of the last blocks, whichever frame decided."""
    spans = form_blocks((one.hour, one.judged) for one in reader.hours(now - LATELY, now))
    seen = [one for span in spans[-LAST_BLOCKS:] for one in reader.draw(span, JUDGED).all]
    found = {(frame.camera, frame.bundle_id) for one in seen for frame in one.frames}
    at = reader.line, reader.product, reader.station
    return [Place(*at, *one) for one in sorted(found) if one[1]]


def _watches(
    reader: Reader, place: Place, now: datetime, day: Day, accepted: Accepted
) -> Iterator[Watch]:
    """Read what is known of one place, each time of what shares a reference."""
    since, kept = accepted_at(accepted, place), first_kept(reader.connection, place)
    if kept is not None:
        for begun in _begins(kept, since):
            yield _watch(reader, place, begun, now, day)
        return
    decided = _first_decided(reader, place)
    began = decided or _last_blocks(reader, now)
    back = max(began, last_gone(reader.connection, place, REPLACED) or began)  # since it came back
    first = max(back, last_gone(reader.connection, place, SETTLED) or back)
    alarmed = is_alarmed(reader.connection, place)
    lent = lent_references(reader.connection, place, began, accepted) if decided else []
    for begin, causes in _begins(first, since):
        own = _watch(reader, place, (begin, causes), now, day, alarmed=alarmed)
        held = frozenset[Cause]()
        for reference, of in lent if own.reference is None else ():
            borrowed = of & causes - since.keys()
            if borrowed:
                there = replace(own, begin=back)
                yield _held(there, reference, borrowed, reader, now, kept=True)
                held |= borrowed
        yield replace(own, causes=causes - held)


def _first_decided(reader: Reader, place: Place) -> datetime | None:
    """Give the hour in which a frame of a place's bundle first decided."""
    found: datetime | None = reader.connection.execute(
        select(func.min(hours.c.hour)).where(
            hours.c.line == place.line,
            hours.c.station == place.station,
            hours.c.product == place.product,
            hours.c.bundle_id == place.bundle_id,
        )
    ).scalar()
    return found


def _last_blocks(reader: Reader, now: datetime) -> datetime:
    """Give where a bundle begins whose frames never decide, beside another camera's."""
    counted = reader.hours(reader.oldest(now), now)
    spans = form_blocks((one.hour, one.passed) for one in counted)[-READ_MOST:]
    return spans[0].begin if spans else now


def _begins(
    first: datetime, accepted: Mapping[Cause, datetime]
) -> list[tuple[datetime, frozenset[Cause]]]:
    """Give when each reference begins, and which causes it is for."""
    causes: defaultdict[datetime, set[Cause]] = defaultdict(set)
    for cause in Cause:
        causes[max(first, accepted.get(cause, first))].add(cause)
    return [(begin, frozenset(of)) for begin, of in sorted(causes.items())]


def _watch(
    reader: Reader,
    place: Place,
    begun: tuple[datetime, frozenset[Cause]],
    now: datetime,
    day: Day,
    *,
    alarmed: bool = False,
) -> Watch:
    """Read what is known of causes that share a reference; of what is alarmed none is made."""
    begin, causes = begun
    reference, gathered = read_reference(reader.connection, place, begin), 0
    kept = reference is not None
    if reference is None and not alarmed:
        there = max(begin, reader.oldest(now))
        spans = form_blocks((one.hour, one.passed) for one in reader.hours(there, now))
        first = _sum(reader, place, spans[:READ_MOST], PASSED)
        size, gathered = reference_blocks(first.blocks.counts), first.blocks.parts
        reference = None if size is None else first.until(size)
    nothing = _sum(reader, place, (), PASSED)
    own = Watch(place, begin, causes, gathered, None, nothing, day, alarmed=alarmed)
    return own if reference is None else _held(own, reference, causes, reader, now, kept=kept)


def _held(
    own: Watch,
    reference: Summed,
    causes: frozenset[Cause],
    reader: Reader,
    now: datetime,
    *,
    kept: bool,
) -> Watch:
    """Hold what came later at a place against a reference."""
    later = reader.hours(max(own.begin, reference.ends[-1]), now)
    all_judged = _few_pass(later)
    spans = form_blocks((one.hour, one.judged if all_judged else one.passed) for one in later)
    return replace(
        own,
        causes=causes,
        gathered=reference.blocks.parts,
        reference=reference,
        recent=_sum(reader, own.place, _last(spans), JUDGED if all_judged else PASSED),
        all_judged=all_judged,
        guarded=all_judged and _are_held(reader, own.place, spans[-LAST_BLOCKS:]),
        kept=kept,
    )


def _are_held(reader: Reader, place: Place, spans: Sequence[Span]) -> bool:
    """Say whether guards hold most of the place's last frames that did not pass."""
    seen = [one for span in spans[::-1] for one in reader.draw(span, JUDGED).all[::-1]]
    frames = [frame for one in seen[:SHORT_PARTS] for frame in _own(one.frames, place)]
    others = [frame for frame in frames if frame.verdict is not Verdict.PASS]
    return bool(others) and sum(frame.is_held for frame in others) > HELD * len(others)


def _few_pass(counted: Sequence[Hour]) -> bool:
    """Say whether hardly any of the last parts passed, as many as a short window holds."""
    passed = judged = 0
    for one in reversed(counted):
        passed, judged = passed + one.passed, judged + one.judged
        if judged >= SHORT_PARTS:
            break
    return passed < FEW_PASS * judged


def _last(spans: Sequence[Span]) -> Sequence[Span]:
    """Give the last blocks, as many as a long window holds."""
    parts = 0
    for number, span in enumerate(reversed(spans), 1):
        parts += min(span.parts, BLOCK_READ)
        if parts >= LONG_PARTS:
            return spans[-min(number, READ_MOST) :]
    return spans[-READ_MOST:]


def _sum(
    reader: Reader, place: Place, spans: Sequence[Span], verdicts: Sequence[Verdict]
) -> Summed:
    """Read blocks and sum up the place's parts; a block with hardly any of them is left out."""
    rows: list[list[float]] = []
    numbers: list[int] = []
    begins: list[datetime] = []
    ends: list[datetime] = []
    for span in spans:
        drawn = reader.draw(span, verdicts)
        own = [(one.captured_at, frame) for one in drawn.all for frame in _own(one.frames, place)]
        if len(own) < PLACE_LEAST:
            continue
        found = _values(drawn, place)
        rows += found
        numbers += [len(begins)] * len(found)
        begins.append(own[0][0])
        ends.append(span.end)
    values = np.array(rows, np.float64).reshape(len(rows), EMBEDDING + EMBEDDING_MOST)
    return Summed(gather(values, np.array(numbers, np.intp)), tuple(begins), tuple(ends))


def _own(frames: Sequence[SeenFrame], place: Place) -> list[SeenFrame]:
    return [one for one in frames if (one.camera, one.bundle_id) == (place.camera, place.bundle_id)]


def _values(drawn: Drawn, place: Place) -> list[list[float]]:
    """Give the columns of a block's parts, see `Blocks.means`: scores of all, pictures of some."""
    scores = [
        math.nan if frame.score is None else frame.score
        for one in drawn.all
        for frame in _own(one.frames, place)
    ]
    pictures = [
        frame.statistics
        for one in drawn.measured
        for frame in _own(one.frames, place)
        if frame.statistics is not None
    ]
    rows = []
    for score, seen in zip_longest(scores, pictures):
        row = [math.nan] * (EMBEDDING + EMBEDDING_MOST)
        row[SCORE] = math.nan if score is None else score
        if seen is not None:
            row[:SCORE] = seen.light, seen.focus, seen.across, seen.down, seen.texture
            row[EMBEDDING : EMBEDDING + len(seen.embedding or ())] = seen.embedding or ()
        rows.append(row)
    return rows

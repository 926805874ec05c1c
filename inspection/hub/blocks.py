"""Reads how the parts of a line looked, block by block, for the monitors of drift.

A block is an hour of a product, or as many hours as hold eight parts; of each the first 25 are
read, so that a look costs the same on a line of a million parts. Only hours that are over count:
the same look again sees the same blocks. The reference is kept when it is complete, since
retention takes the events it is of.
"""

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import AwareDatetime
from pydantic_core import from_json
from sqlalchemy import Connection, case, func, select

from inspection.core.decision import Verdict
from inspection.core.image_statistics import EMBEDDING_MOST, ImageStatistics
from inspection.hub.loop_tables import drift_references
from inspection.hub.tables import events, hours
from inspection.hub.wire.message import Answer
from inspection.metrics.blocks import Blocks, gather, reference_blocks
from inspection.metrics.causes import IMAGE, Cause
from inspection.metrics.drift import EMBEDDING, LONG_PARTS, SCORE, SHORT_PARTS

HOUR = timedelta(hours=1)
LATELY = timedelta(days=7)  # a place that judged nothing for so long is watched no more
BLOCK_LEAST = 8  # parts, or its mean says little
BLOCK_READ = 25
PLACE_LEAST = 4  # parts of one camera and bundle, where others share the block
READ_MOST = 250  # blocks of one reference, and of what came after it
LAST_BLOCKS = 8  # that show which cameras and bundles judge now
FEW_PASS = 0.5  # of the last parts; fewer, and those that pass are none like the rest
PASSED = (Verdict.PASS,)
JUDGED = (Verdict.PASS, Verdict.REVIEW, Verdict.REJECT)


class Place(NamedTuple):
    """Where parts are watched: one bundle on one camera's frames of a product."""

    line: str
    product: str
    camera: str
    bundle_id: str


class Span(NamedTuple):
    """The hours of one block."""

    begin: datetime
    end: datetime
    parts: int


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
    all_judged: bool
    """Whether parts that did not pass count, too, because hardly any passes."""
    kept: bool
    """Whether the table has its reference."""


class _Frame(Answer):
    camera: str
    bundle_id: str
    score: float | None
    statistics: ImageStatistics | None = None


class _Judged(Answer):
    frames: tuple[_Frame, ...]


class _Seen(NamedTuple):
    captured_at: datetime
    frames: tuple[_Frame, ...]


class _Hour(NamedTuple):
    hour: datetime
    passed: int
    judged: int


@dataclass
class _Product:
    """One product of a line; each block is read once."""

    connection: Connection
    line: str
    product: str
    read: dict[tuple[datetime, datetime, bool], list[_Seen]] = field(default_factory=dict)

    def oldest(self) -> datetime:
        """Give when the first part that is still here was captured."""
        found: datetime = self.connection.execute(
            select(func.min(events.c.captured_at)).where(events.c.line == self.line)
        ).scalar_one()
        return found.replace(minute=0, second=0, microsecond=0)

    def hours(self, begin: datetime, now: datetime) -> list[_Hour]:
        """Count the parts of each hour that is over."""
        passed = func.sum(case((hours.c.verdict == Verdict.PASS, hours.c.parts), else_=0))
        found = self.connection.execute(
            select(hours.c.hour, passed, func.sum(hours.c.parts))
            .where(
                hours.c.line == self.line,
                hours.c.product == self.product,
                hours.c.verdict.in_(JUDGED),
                hours.c.hour.between(begin, now - HOUR),
            )
            .group_by(hours.c.hour)
            .order_by(hours.c.hour)
        )
        return [_Hour(hour, int(good), int(all_)) for hour, good, all_ in found]

    def seen(self, span: Span, verdicts: Sequence[Verdict]) -> list[_Seen]:
        """Read the first parts of a block."""
        key = span.begin, span.end, len(verdicts) == 1
        if key not in self.read:
            found = self.connection.execute(
                select(events.c.captured_at, events.c.record)
                .where(
                    events.c.line == self.line,
                    events.c.verdict.in_(verdicts),
                    events.c.captured_at >= span.begin,
                    events.c.captured_at < span.end,
                    events.c.product == self.product,
                )
                .order_by(events.c.captured_at, events.c.id)
                .limit(BLOCK_READ)
            )
            self.read[key] = [_Seen(at, _frames(record)) for at, record in found]
        return self.read[key]


def watch_line(
    connection: Connection,
    line: str,
    now: datetime,
    dismissed: Mapping[Place, Mapping[Cause, datetime]],
) -> tuple[Watch, ...]:
    """Read what is known of every place of a line that judged lately.

    Args:
        connection: to read by.
        line: whose parts.
        now: hours that are over by then count.
        dismissed: since when a cause has another reference, by place.
    """
    lately = select(hours.c.product).where(
        hours.c.line == line, hours.c.hour.between(now - LATELY, now - HOUR)
    )
    found: list[Watch] = []
    for product in sorted(connection.execute(lately.distinct()).scalars()):
        reader = _Product(connection, line, product)
        for place in _places(reader, now):
            first = _first_hour(connection, place, now)
            begins = _begins(first, dismissed.get(place, {}))
            found += [_watch(reader, place, begin, causes, now) for begin, causes in begins]
    return tuple(found)


def reference_row(watch: Watch) -> dict[str, object]:
    """Give the row that keeps a watch's reference, which is complete."""
    if watch.reference is None:
        raise ValueError(f"{watch.place}: its reference is still being gathered")
    blocks = watch.reference.blocks
    kept = _Kept(
        begins=watch.reference.begins,
        ends=watch.reference.ends,
        counts=tuple(blocks.counts.tolist()),
        means=_written(blocks.means),
        variances=_written(blocks.variances),
    )
    return watch.place._asdict() | {"begin": watch.begin, "blocks": kept.model_dump_json()}


def _frames(record: str) -> tuple[_Frame, ...]:
    return _Judged.model_validate(from_json(record), extra="ignore").frames


def _places(reader: _Product, now: datetime) -> list[Place]:
    """Give the cameras and bundles of the last blocks."""
    spans = form_blocks((one.hour, one.judged) for one in reader.hours(now - LATELY, now))
    seen = [one for span in spans[-LAST_BLOCKS:] for one in reader.seen(span, JUDGED)]
    found = {(frame.camera, frame.bundle_id) for one in seen for frame in one.frames}
    return [Place(reader.line, reader.product, *one) for one in sorted(found) if one[1]]


def _first_hour(connection: Connection, place: Place, now: datetime) -> datetime:
    """Give the hour of the first part the bundle decided on the line; now before it did."""
    found: datetime | None = connection.execute(
        select(func.min(hours.c.hour)).where(
            hours.c.line == place.line, hours.c.bundle_id == place.bundle_id
        )
    ).scalar()
    return found or now


def _begins(
    first: datetime, dismissed: Mapping[Cause, datetime]
) -> list[tuple[datetime, frozenset[Cause]]]:
    """Give when each reference begins, and which causes it is for.

    Features and score follow from the others, so theirs begins anew with any dismissal.
    """
    newest = max(dismissed.values(), default=first)
    causes: defaultdict[datetime, set[Cause]] = defaultdict(set)
    for cause in Cause:
        since = dismissed.get(cause, first) if cause in IMAGE else newest
        causes[max(first, since)].add(cause)
    return [(begin, frozenset(of)) for begin, of in sorted(causes.items())]


def form_blocks(counted: Iterable[tuple[datetime, int]]) -> list[Span]:
    """Join hours, the oldest first, until each block has enough parts; a rest is left out."""
    found: list[Span] = []
    begin, parts = None, 0
    for hour, count in counted:
        begin, parts = begin or hour, parts + count
        if parts >= BLOCK_LEAST:
            found.append(Span(begin, hour + HOUR, parts))
            begin, parts = None, 0
    return found


def _watch(
    reader: _Product, place: Place, begin: datetime, causes: frozenset[Cause], now: datetime
) -> Watch:
    reference = _kept(reader.connection, place, begin)
    kept, gathered = reference is not None, 0
    if reference is None:
        there = max(begin, reader.oldest())
        spans = form_blocks((one.hour, one.passed) for one in reader.hours(there, now))
        first = _sum(reader, place, spans[:READ_MOST], PASSED)
        gathered, size = first.blocks.parts, reference_blocks(first.blocks.counts)
        if size is None:
            nothing = _sum(reader, place, (), PASSED)
            return Watch(
                place, begin, causes, gathered, None, nothing, all_judged=False, kept=False
            )
        reference = first.until(size)
    later = reader.hours(reference.ends[-1], now)
    all_judged = _few_pass(later)
    spans = form_blocks((one.hour, one.judged if all_judged else one.passed) for one in later)
    recent = _sum(reader, place, _last(spans), JUDGED if all_judged else PASSED)
    gathered = reference.blocks.parts
    return Watch(place, begin, causes, gathered, reference, recent, all_judged, kept)


def _few_pass(counted: Sequence[_Hour]) -> bool:
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
    reader: _Product, place: Place, spans: Sequence[Span], verdicts: Sequence[Verdict]
) -> Summed:
    """Read blocks and sum up the place's parts; a block with hardly any of them is left out."""
    rows: list[list[float]] = []
    numbers: list[int] = []
    begins: list[datetime] = []
    ends: list[datetime] = []
    for span in spans:
        own = [
            (one.captured_at, frame)
            for one in reader.seen(span, verdicts)
            for frame in one.frames
            if (frame.camera, frame.bundle_id) == (place.camera, place.bundle_id)
        ]
        if len(own) < PLACE_LEAST:
            continue
        rows += [_values(frame) for _, frame in own]
        numbers += [len(begins)] * len(own)
        begins.append(own[0][0])
        ends.append(span.end)
    values = np.array(rows, np.float64).reshape(len(rows), EMBEDDING + EMBEDDING_MOST)
    return Summed(gather(values, np.array(numbers, np.intp)), tuple(begins), tuple(ends))


def _values(frame: _Frame) -> list[float]:
    """Give a frame's columns, see `Blocks.means`."""
    seen = frame.statistics
    score = math.nan if frame.score is None else frame.score
    if seen is None:
        return [math.nan] * SCORE + [score] + [math.nan] * EMBEDDING_MOST
    embedding = seen.embedding or ()
    return [
        *(seen.light, seen.focus, seen.across, seen.down, seen.texture, score),
        *embedding,
        *[math.nan] * (EMBEDDING_MOST - len(embedding)),
    ]


def _kept(connection: Connection, place: Place, begin: datetime) -> Summed | None:
    table = drift_references.c
    text = connection.execute(
        select(table.blocks).where(
            table.line == place.line,
            table.product == place.product,
            table.camera == place.camera,
            table.bundle_id == place.bundle_id,
            table.begin == begin,
        )
    ).scalar_one_or_none()
    if text is None:
        return None
    kept = _Kept.model_validate_json(text)
    read = (np.array(rows, np.float64) for rows in (kept.counts, kept.means, kept.variances))
    return Summed(Blocks(*read), kept.begins, kept.ends)


def _written(rows: NDArray[np.float64]) -> tuple[tuple[float | None, ...], ...]:
    return tuple(
        tuple(None if math.isnan(value) else value for value in row) for row in rows.tolist()
    )

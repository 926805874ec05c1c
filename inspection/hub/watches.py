"""Holds what is known of every place that is watched for drift: its reference, and its last parts.

The reference is kept when it is complete, since retention takes the events it is of.
"""

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import zip_longest
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import AwareDatetime
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
from inspection.hub.lineage import lineage_of
from inspection.hub.loop_tables import drift_references
from inspection.hub.places import Place
from inspection.hub.tables import hours
from inspection.hub.wire.message import Answer
from inspection.metrics.blocks import Blocks, gather, reference_blocks
from inspection.metrics.causes import IMAGE, Cause
from inspection.metrics.drift import EMBEDDING, LONG_PARTS, SCORE, SHORT_PARTS

LATELY = timedelta(days=7)  # a place that judged nothing for so long is watched no more
PLACE_LEAST = 4  # parts of one camera and bundle, where others share the block
READ_MOST = 250  # blocks of one reference, and of what came after it
LAST_BLOCKS = 8  # that show which cameras and bundles judge now
FEW_PASS = 0.5  # of the last parts; fewer, and those that pass are none like the rest
HELD = 0.5  # of the last parts that do not pass


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


class Begun(NamedTuple):
    """A reference that some causes share."""

    begin: datetime
    places: tuple[Place, ...]
    """Whose frames count, the oldest bundle's first."""


class Day(NamedTuple):
    """What became of the parts of the last 24 hours of a product at a station."""

    passed: int
    judged: int
    faults: int
    said: str
    """What the station says of the last part that did not pass; empty: nothing."""


@dataclass(frozen=True)
class Watch:
    """What is known of some causes at one place that share a reference."""

    place: Place
    begun: Begun
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


def watch_line(
    connection: Connection,
    line: str,
    now: datetime,
    accepted: Mapping[Place, Mapping[Cause, datetime]],
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
            begins = _begins(reader, place, now, accepted)
            found += [_watch(reader, place, *begun, now, day) for begun in begins.items()]
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
    place, begin = watch.begun.places[0], watch.begun.begin
    return place._asdict() | {"begin": begin, "blocks": kept.model_dump_json()}


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


def _first_hour(reader: Reader, place: Place, now: datetime) -> datetime:
    """Give where a place's first reference begins: where it is kept, or its bundle first decided.

    A bundle whose frames never decide, beside another camera's, begins with the last blocks.
    """
    table = drift_references.c
    kept: datetime | None = reader.connection.execute(
        select(func.min(table.begin)).where(
            *(table[name] == value for name, value in place._asdict().items())
        )
    ).scalar()
    if kept is not None:
        return kept
    found: datetime | None = reader.connection.execute(
        select(func.min(hours.c.hour)).where(
            hours.c.line == place.line,
            hours.c.station == place.station,
            hours.c.product == place.product,
            hours.c.bundle_id == place.bundle_id,
        )
    ).scalar()
    if found is not None:
        return found
    counted = reader.hours(reader.oldest(now), now)
    spans = form_blocks((one.hour, one.passed) for one in counted)[-READ_MOST:]
    return spans[0].begin if spans else now


def _begins(
    reader: Reader,
    place: Place,
    now: datetime,
    accepted: Mapping[Place, Mapping[Cause, datetime]],
) -> dict[Begun, frozenset[Cause]]:
    """Give when each reference begins and of which frames it is, and which causes it is for."""
    first, lineage = _first_hour(reader, place, now), lineage_of(reader.connection, place)
    causes: defaultdict[Begun, set[Cause]] = defaultdict(set)
    for cause in Cause:
        begun = Begun(_since(first, cause, (place,), accepted), (place,))
        if lineage is not None and cause in IMAGE:
            since = _since(lineage.begin, cause, lineage.places, accepted)
            begun = min(begun, Begun(since, lineage.places))
        causes[begun].add(cause)
    return {begun: frozenset(of) for begun, of in sorted(causes.items())}


def _since(
    first: datetime,
    cause: Cause,
    places: Sequence[Place],
    accepted: Mapping[Place, Mapping[Cause, datetime]],
) -> datetime:
    """Give when a cause was accepted last at some places, or else `first`."""
    everywhere = [one._replace(station="") for one in places]  # as a hub of before kept them
    found = [accepted.get(one, {}).get(cause, first) for one in (*places, *everywhere)]
    return max(first, *found)


def _watch(
    reader: Reader,
    place: Place,
    begun: Begun,
    causes: frozenset[Cause],
    now: datetime,
    day: Day,
) -> Watch:
    reference = _kept(reader.connection, begun)
    kept = reference is not None
    if reference is None:
        there = max(begun.begin, reader.oldest(now))
        spans = form_blocks((one.hour, one.passed) for one in reader.hours(there, now))
        first = _sum(reader, begun.places, spans[:READ_MOST], PASSED)
        size = reference_blocks(first.blocks.counts)
        if size is None:
            nothing = _sum(reader, begun.places, (), PASSED)
            gathered = first.blocks.parts
            return Watch(place, begun, causes, gathered, None, nothing, day)
        reference = first.until(size)
    later = reader.hours(reference.ends[-1], now)
    all_judged = _few_pass(later)
    spans = form_blocks((one.hour, one.judged if all_judged else one.passed) for one in later)
    verdicts = JUDGED if all_judged else PASSED
    return Watch(
        place,
        begun,
        causes,
        reference.blocks.parts,
        reference,
        _sum(reader, begun.places, _last(spans), verdicts),
        day,
        all_judged=all_judged,
        guarded=all_judged and _are_held(reader, place, spans[-LAST_BLOCKS:]),
        kept=kept,
    )


def _are_held(reader: Reader, place: Place, spans: Sequence[Span]) -> bool:
    """Say whether guards hold most of the place's last frames that did not pass."""
    seen = [one for span in spans[::-1] for one in reader.draw(span, JUDGED).all[::-1]]
    frames = [frame for one in seen[:SHORT_PARTS] for frame in _own(one.frames, (place,))]
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
    reader: Reader, places: Sequence[Place], spans: Sequence[Span], verdicts: Sequence[Verdict]
) -> Summed:
    """Read blocks and sum up the parts of places; a block with hardly any of them is left out."""
    rows: list[list[float]] = []
    numbers: list[int] = []
    begins: list[datetime] = []
    ends: list[datetime] = []
    for span in spans:
        drawn = reader.draw(span, verdicts)
        own = [(one.captured_at, frame) for one in drawn.all for frame in _own(one.frames, places)]
        if len(own) < PLACE_LEAST:
            continue
        found = _values(drawn, places)
        rows += found
        numbers += [len(begins)] * len(found)
        begins.append(own[0][0])
        ends.append(span.end)
    values = np.array(rows, np.float64).reshape(len(rows), EMBEDDING + EMBEDDING_MOST)
    return Summed(gather(values, np.array(numbers, np.intp)), tuple(begins), tuple(ends))


def _own(frames: Sequence[SeenFrame], places: Sequence[Place]) -> list[SeenFrame]:
    own = {(place.camera, place.bundle_id) for place in places}
    return [one for one in frames if (one.camera, one.bundle_id) in own]


def _values(drawn: Drawn, places: Sequence[Place]) -> list[list[float]]:
    """Give the columns of a block's parts, see `Blocks.means`: scores of all, pictures of some."""
    scores = [
        math.nan if frame.score is None else frame.score
        for one in drawn.all
        for frame in _own(one.frames, places)
    ]
    pictures = [
        frame.statistics
        for one in drawn.measured
        for frame in _own(one.frames, places)
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


def _kept(connection: Connection, begun: Begun) -> Summed | None:
    table, place = drift_references.c, begun.places[0]
    here = [table[name] == value for name, value in place._asdict().items()]
    text = connection.execute(
        select(table.blocks).where(*here, table.begin == begun.begin)
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

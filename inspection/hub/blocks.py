"""Draws the parts of one product at one station, block by block, for the monitors of drift.

A block is an hour, or as many hours as hold eight parts. Of each 25 are drawn, spread evenly over
its parts, so that a look costs the same on a line of a million parts and a block stands for its
whole time. A station measures pictures now and then only, so what pictures look like is drawn by
itself, among the parts that say it. Only hours that are over count: the same look again sees the
same blocks.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from pydantic_core import from_json
from sqlalchemy import Connection, Row, Select, case, func, select, union_all

from inspection.core.decision import Band, Verdict
from inspection.core.image_statistics import ImageStatistics
from inspection.hub.tables import events, hours
from inspection.hub.wire.message import Answer

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
BLOCK_LEAST = 8  # parts, or its mean says little
BLOCK_READ = 25
READ_ALL = 100  # parts of a block that are read as they are; of more, some of each 25th
SEARCHED = 50  # parts of a 25th of a block: a station that judges so many a second measures one
PASSED = (Verdict.PASS,)
JUDGED = (Verdict.PASS, Verdict.REVIEW, Verdict.REJECT)
MEASURED = '%"statistics":{%'  # in a record, which is compact JSON
Query = Select[tuple[int, datetime, str]]


class Span(NamedTuple):
    """The hours of one block."""

    begin: datetime
    end: datetime
    parts: int
    hours: tuple[tuple[datetime, int], ...]
    """Those with parts, and how many."""


class SeenNames(Answer):
    """What the monitors read of a second stage."""

    held: bool = False


class SeenFrame(Answer):
    """What the monitors read of one frame."""

    camera: str
    bundle_id: str
    verdict: Verdict
    score: float | None
    band: Band | None = None
    reason: str = ""
    statistics: ImageStatistics | None = None
    recognised: SeenNames | None = None

    @property
    def is_held(self) -> bool:
        """Whether a guard made it REVIEW, and not its score, an accept rule or a known defect."""
        rejected = self.band is not None and (self.score or 0.0) > self.band.reject_above
        named = self.recognised is not None and self.recognised.held
        return self.verdict is Verdict.REVIEW and bool(self.reason) and not (rejected or named)


class Seen(NamedTuple):
    """One part."""

    captured_at: datetime
    frames: tuple[SeenFrame, ...]


class Drawn(NamedTuple):
    """The parts drawn of one block, each in order of time."""

    all: Sequence[Seen]
    measured: Sequence[Seen]
    """Of those in which a frame was measured."""


class Hour(NamedTuple):
    """What became of the parts of one hour."""

    hour: datetime
    passed: int
    judged: int
    faults: int


class _Judged(Answer):
    frames: tuple[SeenFrame, ...]


@dataclass
class Reader:
    """One product at one station; each block is read once."""

    connection: Connection
    line: str
    product: str
    station: str
    read: dict[tuple[datetime, datetime, bool], Drawn] = field(default_factory=dict)

    def oldest(self, now: datetime) -> datetime:
        """Give the hour of the first part that is still here; now where none is."""
        found: datetime | None = self.connection.execute(
            select(func.min(events.c.captured_at)).where(
                events.c.station == self.station, events.c.line == self.line
            )
        ).scalar_one()
        return (found or now).replace(minute=0, second=0, microsecond=0)

    def hours(self, begin: datetime, now: datetime) -> list[Hour]:
        """Count the parts of each hour that is over."""

        def count(*verdicts: Verdict) -> Any:
            return func.sum(case((hours.c.verdict.in_(verdicts), hours.c.parts), else_=0))

        found = self.connection.execute(
            select(hours.c.hour, count(*PASSED), count(*JUDGED), count(Verdict.FAULT))
            .where(
                hours.c.line == self.line,
                hours.c.station == self.station,
                hours.c.product == self.product,
                hours.c.hour.between(begin, now - HOUR),
            )
            .group_by(hours.c.hour)
            .order_by(hours.c.hour)
        )
        return [Hour(hour, *map(int, counts)) for hour, *counts in found]

    def draw(self, span: Span, verdicts: Sequence[Verdict]) -> Drawn:
        """Draw the parts of a block."""
        key = span.begin, span.end, len(verdicts) == 1
        if key not in self.read:
            few = span.parts <= READ_ALL
            self.read[key] = self._few(span, verdicts) if few else self._many(span, verdicts)
        return self.read[key]

    def last_reason(self, since: datetime, now: datetime) -> str:
        """Give what the station said of the last part that did not pass; empty: nothing."""
        found = self.connection.execute(
            self._query((Verdict.REVIEW, Verdict.REJECT, Verdict.FAULT), since, now)
            .order_by(None)
            .order_by(events.c.captured_at.desc(), events.c.id.desc())
            .limit(1)
        ).one_or_none()
        if found is None:
            return ""
        return next((one.reason for one in _seen(found).frames if one.reason), "")

    def _query(self, verdicts: Sequence[Verdict], begin: datetime, end: datetime) -> Query:
        return (
            select(events.c.id, events.c.captured_at, events.c.record)
            .where(
                events.c.line == self.line,
                events.c.station == self.station,
                events.c.product == self.product,
                events.c.verdict.in_(verdicts),
                events.c.captured_at >= begin,
                events.c.captured_at < end,
            )
            .order_by(events.c.captured_at, events.c.id)
        )

    def _few(self, span: Span, verdicts: Sequence[Verdict]) -> Drawn:
        rows = self.connection.execute(self._query(verdicts, span.begin, span.end)).all()
        found = [_seen(row) for row in rows]
        return Drawn(_spread(found), _spread([one for one in found if _is_measured(one)]))

    def _many(self, span: Span, verdicts: Sequence[Verdict]) -> Drawn:
        """Take the first part of each 25th of a block, and the first one measured."""
        edges = _edges(span)
        each = [self._query(verdicts, *ends) for ends in pairwise(edges)]
        found = self._one_of_each([one.limit(1) for one in each])
        if all(_is_measured(one) for one in found):
            return Drawn(found, found)
        searched = (one.limit(SEARCHED).subquery() for one in each)
        firsts = [select(one).where(one.c.record.like(MEASURED)).limit(1) for one in searched]
        return Drawn(found, self._one_of_each(firsts))

    def _one_of_each(self, queries: Iterable[Query]) -> list[Seen]:
        # SQLite takes a limit within a union only one select deeper
        rows = self.connection.execute(union_all(*(select(one.subquery()) for one in queries)))
        return sorted((_seen(row) for row in rows), key=lambda one: one.captured_at)


def form_blocks(counted: Iterable[tuple[datetime, int]]) -> list[Span]:
    """Join hours, the oldest first, until each block has enough parts; a rest is left out."""
    found: list[Span] = []
    joined: list[tuple[datetime, int]] = []
    for hour, count in counted:
        joined += [(hour, count)] if count else []
        parts = sum(number for _, number in joined)
        if parts >= BLOCK_LEAST:
            found.append(Span(joined[0][0], hour + HOUR, parts, tuple(joined)))
            joined = []
    return found


def _edges(span: Span) -> list[datetime]:
    """Give the times that divide a block's parts into 25 alike, its end included."""
    counts = np.array([count for _, count in span.hours])
    reached = np.concatenate([[0], np.cumsum(counts)])
    wanted = np.arange(BLOCK_READ) / BLOCK_READ * reached[-1]
    within = np.searchsorted(reached, wanted, side="right") - 1
    shares = (wanted - reached[within]) / counts[within]
    return [
        *(
            span.hours[of][0] + float(share) * HOUR
            for of, share in zip(within, shares, strict=True)
        ),
        span.end,
    ]


def _spread(found: Sequence[Seen]) -> list[Seen]:
    """Take as many as a block has, at even distances."""
    if len(found) <= BLOCK_READ:
        return list(found)
    return [found[int((place + 0.5) / BLOCK_READ * len(found))] for place in range(BLOCK_READ)]


def _seen(row: Row[Any]) -> Seen:
    judged = _Judged.model_validate(from_json(row.record), extra="ignore")
    return Seen(row.captured_at, judged.frames)


def _is_measured(one: Seen) -> bool:
    return any(frame.statistics is not None for frame in one.frames)

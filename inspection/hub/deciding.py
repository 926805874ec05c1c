"""Decides recorded parts again by their stored scores, under another band, and counts what changes.

Guards and accept rules are not asked again: what they made of a frame stays while its score's
verdict does. What a second stage made of it stays whatever the score.
"""

import heapq
import math
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from sqlalchemy import Connection, Executable, select

from inspection.core.decision import Band, Verdict, decide, severity
from inspection.core.fusion import view_of
from inspection.core.known import BLIND, Status
from inspection.hub.events import LISTED, event_rows
from inspection.hub.tables import events
from inspection.hub.wire.message import Answer
from inspection.hub.wire.thresholds import Change

MOST_CHANGES = 60
AT_ONCE = 500  # rows in memory


class SecondStage(Answer):
    """What of a second stage's word deciding needs."""

    status: Status
    held: bool
    alone: Verdict = Verdict.PASS

    @property
    def least(self) -> Verdict:
        """What it makes of its frame; nobody knows what a late or failed one would have named."""
        unsure = self.held or self.status in BLIND
        return max(self.alone, Verdict.REVIEW if unsure else Verdict.PASS, key=severity)


class JudgedFrame(Answer):
    """What of a frame's record deciding needs."""

    camera: str
    frame: int | None = None
    bundle_id: str
    band: Band | None
    verdict: Verdict
    score: float | None
    image: str | None = None
    recognised: SecondStage | None = None

    @property
    def view(self) -> str:
        """Names it within its event."""
        return view_of(self.camera, self.frame)


class JudgedPart(Answer):
    """What of an event deciding needs."""

    verdict: Verdict
    frames: tuple[JudgedFrame, ...]


class Past(NamedTuple):
    """One recorded part, and what a reviewer said of it where one was asked for."""

    row: int
    """Of the event, its id in the table."""
    event_id: str
    part: JudgedPart
    decision: str | None


class Again(NamedTuple):
    """What a part would be."""

    verdict: Verdict
    distance: float
    """Of the score to the nearest threshold, old or new; of several changed frames the largest.

    A score of another bundle is held against the new band only: the old one is in other units."""


def read_past(connection: Connection, wanted: Executable) -> Iterator[Past]:
    """Give parts one by one, never more than some hundred in memory.

    Args:
        connection: a reading one.
        wanted: of each its row, event id, record and decision, in order.
    """
    with connection.execute(wanted, execution_options={"yield_per": AT_ONCE}) as found:
        for row, event_id, record, decision in found:
            yield Past(
                row, event_id, JudgedPart.model_validate_json(record, extra="ignore"), decision
            )


def decide_again(
    part: JudgedPart, band: Band, scores: dict[str, float | None], bundle_id: str
) -> Again:
    """Decide a part under another band.

    A part that is FAULT for another reason than its frames, a missed deadline, stays FAULT.

    Args:
        part: as recorded.
        band: for the frames of the bundle; the others keep their verdicts.
        scores: by camera and number, of the bundle's frames; none stays what it was.
        bundle_id: whose frames are decided again.
    """
    verdicts, distance = [], 0.0
    for frame in part.frames:
        score = scores.get(frame.view)
        if frame.bundle_id != bundle_id or score is None:
            verdicts.append(frame.verdict)
            continue
        verdicts.append(_frame_again(frame, score, band))
        if verdicts[-1] is not frame.verdict and math.isfinite(score):
            distance = max(
                distance, _away(score, band, frame.band if score == frame.score else None)
            )
    if part.verdict is not max((frame.verdict for frame in part.frames), key=severity):
        return Again(part.verdict, 0.0)
    return Again(max(verdicts, key=severity), distance)


def _frame_again(frame: JudgedFrame, score: float, band: Band) -> Verdict:
    after = decide(score, band)
    if frame.recognised is not None:
        after = max(after, frame.recognised.least, key=severity)
    if frame.band is None or frame.score is None:
        return after
    before = decide(frame.score, frame.band)
    if decide(score, band) is before:
        return frame.verdict
    raised = severity(frame.verdict) > severity(before)  # by a guard, which would do so again
    return max(frame.verdict, after, key=severity) if raised else after


def _away(score: float, *bands: Band | None) -> float:
    edges = [edge for band in bands if band for edge in (band.review_above, band.reject_above)]
    return min(abs(score - edge) for edge in edges)


@dataclass
class Tally:
    """Counts verdicts before and after, and keeps the clearest changes; its size is bounded."""

    now: Counter[Verdict] = field(default_factory=Counter)
    then: Counter[Verdict] = field(default_factory=Counter)
    reviewed: dict[str, Counter[Verdict]] = field(default_factory=dict)
    """Of reviewed parts by decision, the verdicts they would have."""
    _clearest: list[tuple[float, int, Verdict]] = field(default_factory=list)

    @property
    def parts(self) -> int:
        """Parts decided again."""
        return self.now.total()

    def take(self, past: Past, again: Again) -> None:
        """Count one part."""
        self.now[past.part.verdict] += 1
        self.then[again.verdict] += 1
        if past.decision is not None:
            self.reviewed.setdefault(past.decision, Counter())[again.verdict] += 1
        if again.verdict is past.part.verdict:
            return
        entry = (again.distance, past.row, again.verdict)
        if len(self._clearest) < MOST_CHANGES:
            heapq.heappush(self._clearest, entry)
        else:
            heapq.heappushpop(self._clearest, entry)

    def changes(self, connection: Connection) -> tuple[Change, ...]:
        """Give the clearest changes, those farthest from both bands first."""
        clearest = sorted(self._clearest, reverse=True)
        found = connection.execute(
            select(*LISTED).where(events.c.id.in_([row for _, row, _ in clearest]))
        ).all()
        would_be = {row: verdict for _, row, verdict in clearest}
        order = {row: place for place, (_, row, _) in enumerate(clearest)}
        ordered = sorted(found, key=lambda one: order[one.id])
        return tuple(
            Change(row=row, would_be=would_be[one.id])
            for one, row in zip(ordered, event_rows(connection, ordered), strict=True)
        )


def all_verdicts(counts: Counter[Verdict]) -> dict[Verdict, int]:
    """Give the count of every verdict, zeros too."""
    return {verdict: counts[verdict] for verdict in Verdict}


def judged_by(part: JudgedPart, bundle_id: str) -> list[JudgedFrame]:
    """Give the frames of a part that a bundle judged."""
    return [frame for frame in part.frames if frame.bundle_id == bundle_id]


def stored_scores(frames: Iterable[JudgedFrame]) -> dict[str, float | None]:
    """Give the stored score of each frame."""
    return {frame.view: frame.score for frame in frames}

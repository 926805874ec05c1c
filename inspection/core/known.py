"""Known defects of a frame: what a second stage named on it, and when that holds a part.

The station and its bench hold parts here and nowhere else.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from math import inf
from typing import Literal, Self

from pydantic import Field, StrictBool, StrictFloat, model_validator

from inspection.core.config import Settings
from inspection.core.decision import Verdict, severity
from inspection.core.limits import (
    MAX_NAME,
    Count,
    DurationMs,
    Px,
    Reason,
    Sha256,
    Share,
    Short,
    Some,
)

Status = Literal["done", "late", "failed", "skipped"]
BLIND: tuple[Status, ...] = ("late", "failed")  # nobody knows which known defects there are
MAX_MASK = 20_000_000  # characters, of a picture of 15 MB
MAX_TYPES = 10_000  # of a detector
MAX_FOUND = 10_000  # objects with their masks, of which a frame's room takes far fewer
LONGEST_NAME = MAX_NAME  # of a detector or a type, as the hub keeps them


class HoldFrom(Settings):
    """From which score of a named object a part is held; scores are the detector's, 0 to 1."""

    review_from: StrictFloat | None = Field(
        0.5, ge=0, le=1, description="score from which the part is at least REVIEW; none never is"
    )
    reject_from: StrictFloat | None = Field(
        None, ge=0, le=1, description="score from which the part is REJECT; none never is"
    )

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        review, reject = self.review_from, self.reject_from
        if review is not None and reject is not None and review > reject:
            raise ValueError("review_from must not lie above reject_from")
        return self

    def verdict(self, score: float) -> Verdict:
        """Say what an object of this score makes of a part that would pass."""
        if self.reject_from is not None and score >= self.reject_from:
            return Verdict.REJECT
        if self.review_from is not None and score >= self.review_from:
            return Verdict.REVIEW
        return Verdict.PASS


class Holds(HoldFrom):
    """Which named objects hold a part whatever its anomaly score says."""

    types: dict[Short, HoldFrom] = Field(
        default_factory=dict,
        max_length=MAX_TYPES,
        description="the same of one type, in place of the two above",
    )

    def of(self, type_: str) -> HoldFrom:
        """Give the scores of a type."""
        return self.types.get(type_, self)


class Named(Settings):
    """One object the second stage named on a frame."""

    type: Short
    score: Share
    box: tuple[Px, Px, Px, Px] = Field(
        description="x0, y0, x1, y1, px of what was judged, ends excluded"
    )
    area_px: Some = Field(description="of its mask; of its box where none is drawn")
    mask: str | None = Field(
        None,
        max_length=MAX_MASK,
        description="base64 PNG, grey 8 bit, as large as the box, 255 where it lies; none where "
        "the detector draws none, and where those of surer objects took the frame's room",
    )


class Recognised(Settings):
    """What the second stage said of a frame."""

    detector: Short = Field(description="name in its card")
    detector_id: Sha256 = Field(description="of its sealed folder, as a bundle's")
    status: Status = Field(description="skipped: the frame is as usual as most normals")
    reason: Reason = Field("", description="why it came late or failed, or is not all")
    latency_ms: DurationMs = Field(description="of the second stage alone")
    counts: dict[Short, Count] = Field(
        default_factory=dict,
        max_length=MAX_TYPES,
        description="type → objects, of all that was found, most first",
    )
    found: tuple[Named, ...] = Field(
        (), max_length=MAX_FOUND, description="the surest of them, surest first"
    )
    held: StrictBool = Field(
        default=False, description="it made the frame worse than score and guards did"
    )
    alone: Verdict = Field(
        Verdict.PASS,
        description="what it makes of the frame whatever its score, after accept rules; PASS where "
        "it holds nothing",
    )


def hold(verdict: Verdict, found: Iterable[tuple[str, float]], holds: Holds) -> tuple[Verdict, str]:
    """Hold a part for known defects: the worse of its anomaly verdict and what was named.

    One object more never makes a part better, and a FAULT stays one.

    Args:
        verdict: by the anomaly score, and by guards.
        found: type and score of every object that was named.
        holds: which of them hold.

    Returns:
        The verdict and what led to it; the same verdict and no words when nothing was named that
        makes it worse.
    """
    if verdict is Verdict.FAULT:
        return verdict, ""
    led = [(holds.of(type_).verdict(score), type_, score) for type_, score in found]
    worst = max((one for one, _, _ in led), key=severity, default=Verdict.PASS)
    if severity(worst) <= severity(verdict):
        return verdict, ""
    return worst, f"known defects: {_words([(t, s) for one, t, s in led if one is worst])}"


def hold_unseen(verdict: Verdict, why: str) -> tuple[Verdict, str]:
    """Hold a part on which known defects were to be looked for, but were not: never a PASS.

    Args:
        verdict: by the anomaly score, and by guards; anything but PASS stays.
        why: the second stage came late or failed.
    """
    if verdict is not Verdict.PASS:
        return verdict, ""
    return Verdict.REVIEW, f"nobody looked for known defects: {why}"


def look_from(normals: Sequence[float], share: float, review_above: float = inf) -> float:
    """Give the anomaly score from which a frame that passes is looked at.

    Args:
        normals: scores of normals, ascending.
        share: of these, which a frame's score must reach.
        review_above: no frame that passes scores higher.

    Returns:
        The least of their scores that so many do not exceed; minus infinity, which is every frame,
        where no frame that passes scores higher, and without normals.
    """
    count = len(normals)
    reached = (score for place, score in enumerate(normals, 1) if place / count >= share)
    level = next(reached, -inf) if share > 0 else -inf
    return level if level < review_above else -inf


def count_types(recognised: Iterable[Recognised | None]) -> dict[str, int]:
    """Count the objects of each type over the frames of a part, the most first."""
    counts: Counter[str] = Counter()
    for one in recognised:
        counts.update(one.counts if one else {})
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def words_of_types(recognised: Iterable[Recognised | None]) -> str:
    """Say how many objects of each type are on a part: 'pore: 3, crack: 1'; empty for none."""
    return ", ".join(f"{type_}: {count}" for type_, count in count_types(recognised).items())


def unknown_types(wanted: Iterable[str], known: Sequence[str], where: str, detector: str) -> str:
    """Say which types a detector does not know; nothing when it knows all."""
    strange = sorted(set(wanted) - set(known))
    if not strange:
        return ""
    return (
        f"{where}: names {', '.join(repr(one) for one in strange)}, which detector '{detector}' "
        f"does not know; wanted some of {', '.join(known)}; mend the name, or take another detector"
    )


def _words(found: Sequence[tuple[str, float]]) -> str:
    """Say types and scores, the surest first: 'crack 0.91, 2 pore up to 0.64'."""
    scores: dict[str, list[float]] = {}
    for type_, score in sorted(found, key=lambda one: -one[1]):
        scores.setdefault(type_, []).append(score)
    return ", ".join(
        f"{type_} {of[0]:.2f}" if len(of) == 1 else f"{len(of)} {type_} up to {of[0]:.2f}"
        for type_, of in scores.items()
    )

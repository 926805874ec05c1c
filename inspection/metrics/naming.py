"""Says which of the causes that have moved stand on their own, and what moved, in words."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from inspection.metrics.blocks import Blocks
from inspection.metrics.causes import IMAGE, TO_DO, Cause, explains
from inspection.metrics.drift import (
    ACROSS,
    DOWN,
    FOCUS,
    LIGHT,
    NOTHING,
    SCORE,
    TEXTURE,
    Reading,
    read_causes,
)

OWN_SHARE = 0.5  # of the largest excess, below which another cause is taken for its consequence
SIGNS = {-1: "fell", 1: "rose"}


@dataclass(frozen=True)
class Finding:
    """A cause to raise an alarm for."""

    reading: Reading
    p_value: float
    """The reading's, or of the consequence by which the change was found."""

    @property
    def cause(self) -> Cause:
        """What has moved."""
        return self.reading.cause

    @property
    def words(self) -> str:
        """What moved, how far, and what to do."""
        return f"{_said(self.reading)} {TO_DO[self.cause]}"


def detect(
    reference: Blocks, recent: Blocks, standing: Mapping[Cause, int] = NOTHING, places: int = 1
) -> tuple[Finding, ...]:
    """Give the causes that have moved and stand on their own; those that stand already, too.

    Args:
        reference: of `reference_blocks`.
        recent: what came after it, the newest last; more than a long window changes nothing.
        standing: causes whose alarms stand, as for `read_causes`.
        places: watched on the line, which share its budget.
    """
    return name_causes(read_causes(reference, recent, places, standing), standing)


def name_causes(
    readings: Mapping[Cause, Reading], standing: Collection[Cause] = ()
) -> tuple[Finding, ...]:
    """Say which causes stand on their own and which only follow from others.

    The picture comes first: where light, focus, position or texture has moved, features and score
    only follow. Of the causes in the picture those count that lie at least half as far beyond the
    tolerance as the farthest. Features and score wait until the whole short window is of the time
    after the change, so that the picture has had its chance to show it. What has moved since
    others stand is named among its like, as if those did not stand.
    """
    named = _name(readings, standing)
    known = {one.cause for one in named}
    apart = {cause: one for cause, one in readings.items() if one.apart}
    return named + tuple(one for one in _name(apart, ()) if one.cause not in known)


def _name(readings: Mapping[Cause, Reading], standing: Collection[Cause]) -> tuple[Finding, ...]:
    certain = [one for one in readings.values() if one.moved and (one.cause in IMAGE or one.ripe)]
    if not certain:
        return ()
    surest = min(one.p_value for one in certain)
    pictured = _own(one for one in map(readings.get, IMAGE) if one and _seen(one, standing))
    if pictured:
        named = [one for one in pictured if one.moved] or pictured[:1]
        return tuple(Finding(one, min(one.p_value, surest)) for one in named)
    rest = (one for one in certain if not _follows(one.cause, standing))
    return tuple(Finding(one, one.p_value) for one in rest)[:1]  # features stand before score


def _seen(one: Reading, standing: Collection[Cause]) -> bool:
    return one.likely or one.moved or one.cause in standing


def _follows(cause: Cause, standing: Collection[Cause]) -> bool:
    return any(explains(one, cause) for one in standing)


def _own(pictured: Iterable[Reading]) -> list[Reading]:
    """Leave out what follows from another cause; the farthest first."""
    seen = list(pictured)
    lens = any(one.cause is Cause.FOCUS for one in seen)
    rest = [  # a smear takes detail of every size, and only the lens takes the finest first
        one
        for one in seen
        if not (lens and one.cause is Cause.TEXTURE and one.column == TEXTURE and one.effect < 0)
    ]
    rest.sort(key=lambda one: -one.excess)
    return [one for one in rest if one.excess >= OWN_SHARE * rest[0].excess]


def _said(one: Reading) -> str:
    """Say what moved and how far, in the unit of its column."""
    went = SIGNS[1 if one.effect > 0 else -1]
    if one.column == LIGHT:
        by = f"The light {went} by {abs(one.change) / max(one.level, 1):.0%}"
    elif one.column in {FOCUS, TEXTURE}:
        what = "Fine detail" if one.column == FOCUS else "The strength of the texture"
        by = f"{what} {went} by {abs(2**one.change - 1):.0%}"
    elif one.column in {ACROSS, DOWN}:
        ways = ("left", "right") if one.column == ACROSS else ("up", "down")
        by = f"Parts lie {abs(one.change):.1%} of the frame farther {ways[one.effect > 0]}"
    elif one.column == SCORE:
        by = f"Scores {went}"
    else:
        by = "Parts look different to the backbone, and light, focus, position and texture do not"
    return f"{by} ({one.effect:+.1f} deviations)."

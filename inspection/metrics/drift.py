"""Finds what has moved on a line, and since when, from means over blocks of parts that passed.

Parts of one hour are alike and days differ a little, so nothing here counts parts as independent:

- The unit is the block, an hour or more of parts. How far block means scatter, and how much one
  resembles the next, is taken from the reference, the first blocks of the bundle on its line.
- A window of blocks is held against the reference by a t-test of a *least effect* (Murphy and
  Myors 1999): its null is not "no shift" but "no shift beyond half a deviation of the parts",
  which leaves room for days that differ. The variance of both means is that of an AR(1) process,
  (1 + r) / (1 - r) times that of independent blocks (Bartlett 1946).
- A short window finds what is sudden, a long one what is slow; the long one counts only while the
  short one shows the same now.
- All tests of a month share one budget, spent evenly over the looks (Bonferroni over causes,
  columns, windows, places and looks; the uniform spending of Lan and DeMets 1983). Expectations
  add up whatever depends on what, so the false alarms expected are BUDGET at most.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy import special

from inspection.metrics.blocks import Blocks, Floats, trailing_blocks
from inspection.metrics.causes import IMAGE, TO_DO, Cause

LIGHT, FOCUS, ACROSS, DOWN, TEXTURE, SCORE = range(6)
EMBEDDING = 6  # the first of its columns
LEAST_DEVIATION = (
    1.0,
    0.02,
    0.002,
    0.002,
    0.01,
    1e-9,
)  # a line as still as a test pattern has none
LEAST_DIRECTION = 0.1  # of the embedding, whose deviation is 1 over the calibrate normals

SHORT_PARTS, SHORT_BLOCKS = 100, 4
LONG_PARTS = 1000
TOLERANCE = 0.5  # deviations of the parts, a "medium" effect (Cohen 1988, §2.2)
BUDGET = 0.1  # false alarms expected per month and line
LOOKS = 31 * 24  # a month's: a block is an hour at least, and without a new one no test is new
WINDOWS = 2
LIKELY = 0.01  # chance at which one cause among those of a change that is certain is believed
OWN_SHARE = 0.5  # of the largest excess, below which another cause is taken for its consequence
# Correlation of neighbouring blocks: a day's 24 can show neither that there is none, which raises
# false alarms, nor that hours hardly change, which hides what is plain.
ALIKE = 0.3, 0.7
SIGNS = {-1: "fell", 1: "rose"}


class _Column(NamedTuple):
    """What is watched for a cause; sign 0 both ways, else rising or falling only."""

    number: int
    sign: int


IMAGE_COLUMNS = {
    Cause.LIGHT: (_Column(LIGHT, 0),),
    Cause.FOCUS: (_Column(FOCUS, -1),),
    Cause.POSITION: (_Column(ACROSS, 0), _Column(DOWN, 0)),
    # No dirt makes a picture sharper: more fine detail is another material.
    Cause.TEXTURE: (_Column(TEXTURE, 0), _Column(FOCUS, 1)),
}


@dataclass(frozen=True)
class Reading:
    """How one cause stands against its reference.

    Attributes:
        cause: what is watched.
        column: number of the column that lies farthest out.
        effect: of the short window, in deviations of the reference's parts.
        p_value: expected number of such findings per month and line if nothing had moved, at
            most 1: the chance corrected for all tests made.
        likely: believable where it is certain that something has moved.
        settled: the short window lies within the tolerance, in each column.
        since: number of the recent block at which the change most likely began.
        ripe: the short window lies wholly after it.
        change: of the column, in its own unit.
        level: mean of the column over the reference.
    """

    cause: Cause
    column: int
    effect: float
    p_value: float
    likely: bool
    settled: bool
    since: int
    ripe: bool
    change: float
    level: float

    @property
    def moved(self) -> bool:
        """Whether it has moved beyond what the budget lets chance do."""
        return self.p_value <= BUDGET

    @property
    def excess(self) -> float:
        """Deviations beyond the tolerance."""
        return max(0.0, abs(self.effect) - TOLERANCE)


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


class _Scale(NamedTuple):
    """The reference in numbers, each (columns,)."""

    level: Floats
    deviation: Floats
    between: Floats
    """Variance of block means, in squared deviations."""
    inflation: Floats
    """How many times larger the variance of their mean is, because neighbours are alike."""
    freedom: Floats
    """Of the estimate of `between`."""


class _Tested(NamedTuple):
    """What the windows show, each (columns,); NaN where nothing was measured."""

    effects: Floats
    """Of the short window."""
    chances: Floats
    """The smaller of both windows'."""


def detect(
    reference: Blocks, recent: Blocks, standing: Collection[Cause] = (), places: int = 1
) -> tuple[Finding, ...]:
    """Give the causes that have moved and stand on their own; those that stand already, too.

    Args:
        reference: of `reference_blocks`.
        recent: what came after it, the newest last; more than a long window changes nothing.
        standing: causes whose alarms stand.
        places: watched on the line, which share its budget.
    """
    return name_causes(read_causes(reference, recent, places), standing)


def read_causes(reference: Blocks, recent: Blocks, places: int = 1) -> dict[Cause, Reading]:
    """Hold the recent blocks against the reference, cause by cause.

    Args:
        reference: as for `detect`.
        recent: as for `detect`; with less than a short window nothing is read.
        places: as for `detect`.

    Returns:
        A reading of each cause that was measured in every block of the reference and of late.
    """
    short = trailing_blocks(recent.counts, SHORT_PARTS, SHORT_BLOCKS)
    if short is None or len(reference) < 2:
        return {}
    scale, lying = _scale(reference), standardised(reference, recent)
    long = trailing_blocks(recent.counts, LONG_PARTS, SHORT_BLOCKS) or len(recent)
    tested = _test(scale, len(reference), lying[-short:], lying[-long:])
    spent = len(Cause) * WINDOWS * LOOKS * places
    found: dict[Cause, Reading] = {}
    for cause, columns in _columns(lying.shape[1]).items():
        watched = [one for one in columns if np.isfinite(tested.chances[one.number])]
        if not watched:
            continue
        out = {one: _outward(tested.effects[one.number], one.sign) for one in watched}
        chances = {one: tested.chances[one.number] if out[one] > 0 else 1.0 for one in watched}
        worst = min(watched, key=lambda one: (chances[one], -out[one]))
        chance = float(min(1.0, chances[worst] * len(watched)))
        since = _began(lying[:, worst.number])
        found[cause] = Reading(
            cause=cause,
            column=worst.number,
            effect=float(tested.effects[worst.number]),
            p_value=min(1.0, chance * spent),
            likely=chance <= LIKELY,
            settled=max(out.values()) <= TOLERANCE,
            since=since,
            ripe=since <= len(lying) - short,
            change=float(tested.effects[worst.number] * scale.deviation[worst.number]),
            level=float(scale.level[worst.number]),
        )
    return found


def _test(scale: _Scale, reference: int, short: Floats, long: Floats) -> _Tested:
    """Test two windows of standardised blocks against a reference of so many blocks."""
    effects = np.stack([short.mean(axis=0), long.mean(axis=0)])  # (windows, columns)
    lengths = np.array([[len(short)], [len(long)]])
    error = np.sqrt(scale.between * scale.inflation * (1 / reference + 1 / lengths))
    beyond = (np.abs(effects) - TOLERANCE) / error
    chances = 2 * special.stdtr(scale.freedom, -beyond)  # Student's
    chances[:, np.abs(effects[0]) <= TOLERANCE] = 1
    chances[1, np.sign(effects[1]) != np.sign(effects[0])] = 1
    return _Tested(effects[0], chances.min(axis=0))


def name_causes(
    readings: Mapping[Cause, Reading], standing: Collection[Cause] = ()
) -> tuple[Finding, ...]:
    """Say which causes stand on their own and which only follow from others.

    The picture comes first: where light, focus, position or texture has moved, features and score
    only follow. Of the causes in the picture those count that lie at least half as far beyond the
    tolerance as the farthest. Features and score wait until the whole short window is of the time
    after the change, so that the picture has had its chance to show it.
    """
    certain = [one for one in readings.values() if one.moved and (one.cause in IMAGE or one.ripe)]
    if not certain:
        return ()
    surest = min(one.p_value for one in certain)
    pictured = _own([one for one in map(readings.get, IMAGE) if one and _seen(one, standing)])
    if pictured:
        named = [one for one in pictured if one.moved] or pictured[:1]
        return tuple(Finding(one, min(one.p_value, surest)) for one in named)
    rest = (one for one in certain if not _follows(one.cause, standing))
    return tuple(Finding(one, one.p_value) for one in rest)[:1]  # features stand before score


def explains(one: Cause, other: Cause) -> bool:
    """Say whether the other only follows where this one has moved."""
    if other is Cause.SCORE:
        return one is not Cause.SCORE
    return other is Cause.FEATURES and one in IMAGE


def standardised(reference: Blocks, blocks: Blocks) -> Floats:
    """Give block means in deviations of the reference's parts; float64 (blocks, columns)."""
    scale = _scale(reference)
    return np.asarray((blocks.means - scale.level) / scale.deviation)


def block_limits(reference: Blocks) -> Floats:
    """Give how far out the mean of one block may lie, in deviations; float64 (columns,).

    The tolerance and three deviations of block means (Shewhart 1931).
    """
    return np.asarray(TOLERANCE + 3 * np.sqrt(_scale(reference).between))


def column_of(cause: Cause, effects: Floats) -> int:
    """Number the cause's column that lies farthest out.

    Args:
        cause: any; of features only where there is an embedding.
        effects: float64 (columns,), in deviations.
    """
    columns = _columns(len(effects))[cause]
    return max(columns, key=lambda one: _outward(effects[one.number], one.sign)).number


def _seen(one: Reading, standing: Collection[Cause]) -> bool:
    return one.likely or one.moved or one.cause in standing


def _follows(cause: Cause, standing: Collection[Cause]) -> bool:
    return any(one in standing for one in Cause if explains(one, cause))


def _own(pictured: list[Reading]) -> list[Reading]:
    """Leave out what follows from another cause; the farthest first."""
    lens = any(one.cause is Cause.FOCUS for one in pictured)
    rest = [  # a smear takes detail of every size, and only the lens takes the finest first
        one
        for one in pictured
        if not (lens and one.cause is Cause.TEXTURE and one.column == TEXTURE and one.effect < 0)
    ]
    rest.sort(key=lambda one: -one.excess)
    return [one for one in rest if one.excess >= OWN_SHARE * rest[0].excess]


def _columns(columns: int) -> dict[Cause, tuple[_Column, ...]]:
    directions = tuple(_Column(number, 0) for number in range(EMBEDDING, columns))
    return IMAGE_COLUMNS | {Cause.FEATURES: directions, Cause.SCORE: (_Column(SCORE, 0),)}


def _outward(effect: float, sign: int) -> float:
    return float(abs(effect) if sign == 0 else sign * effect)


def _scale(reference: Blocks) -> _Scale:
    counts, blocks = reference.counts[:, None], len(reference)
    level = reference.means.mean(axis=0)
    away = reference.means - level
    total = (counts * (reference.variances + away**2)).sum(axis=0) / counts.sum()
    least = np.full(level.size, LEAST_DIRECTION)
    least[:EMBEDDING] = LEAST_DEVIATION
    deviation = np.maximum(np.sqrt(total), least)
    between = away.var(axis=0, ddof=1) / deviation**2
    # A day's blocks may happen to lie closer together than so many parts of any process do.
    between = np.maximum(between, 1 / counts.mean())
    alike = _resemblance(away)
    inflation = (1 + alike) / (1 - alike)
    # A variance is known from so many of the blocks of such a process (Bartlett 1946).
    freedom = np.maximum(2.0, blocks * (1 - alike**2) / (1 + alike**2) - 1)
    return _Scale(level, deviation, between, inflation, freedom)


def _resemblance(away: Floats) -> Floats:
    """Give the correlation of each block with the next, ALIKE, (columns,).

    Its estimate from n blocks is too low by (1 + 3 r) / n (Kendall 1954).
    """
    squares = (away**2).sum(axis=0)
    products = (away[1:] * away[:-1]).sum(axis=0)
    found = np.divide(products, squares, out=np.zeros_like(squares), where=squares > 0)
    return np.asarray(np.clip(found + (1 + 3 * found) / len(away), *ALIKE))


def _began(lying: Floats) -> int:
    """Number the block from which on the mean most likely left 0 (Hinkley 1970, one change)."""
    sums = np.cumsum(lying[::-1])[::-1]
    return int(np.argmax(sums**2 / np.arange(len(lying), 0, -1)))


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

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
- While the alarm of one cause stands, another that moves later is held against how it lay since
  then, too: what the first has brought along came with it, a further change did not.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
from scipy import special

from inspection.metrics.blocks import Blocks, Floats, trailing_blocks
from inspection.metrics.causes import Cause, may_bring

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
# Correlation of neighbouring blocks: a day's 24 can show neither that there is none, which raises
# false alarms, nor that hours hardly change, which hides what is plain.
ALIKE = 0.3, 0.7
NOTHING: Mapping[Cause, int] = MappingProxyType({})


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
        apart: it has moved since others stand, farther than they have moved it.
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
    apart: bool = False

    @property
    def moved(self) -> bool:
        """Whether it has moved beyond what the budget lets chance do."""
        return self.p_value <= BUDGET

    @property
    def excess(self) -> float:
        """Deviations beyond the tolerance."""
        return max(0.0, abs(self.effect) - TOLERANCE)


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


class _View(NamedTuple):
    """Recent blocks beside their reference."""

    scale: _Scale
    lying: Floats
    """Recent block means in deviations, (blocks, columns)."""
    short: int
    """Blocks of the short window."""
    tested: _Tested
    spent: int
    """Tests that share the budget, but for those of one cause's columns."""


def read_causes(
    reference: Blocks, recent: Blocks, places: int = 1, standing: Mapping[Cause, int] = NOTHING
) -> dict[Cause, Reading]:
    """Hold the recent blocks against the reference, cause by cause.

    Args:
        reference: of `reference_blocks`.
        recent: what came after it, the newest last; with less than a short window nothing is read.
        places: watched on the line, which share its budget.
        standing: causes whose alarms stand, with the number of the recent block with which each
            began, 0 for those of before.

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
    view = _View(scale, lying, short, tested, spent)
    found: dict[Cause, Reading] = {}
    for cause, columns in _columns(lying.shape[1]).items():
        watched = [one for one in columns if np.isfinite(tested.chances[one.number])]
        if not watched:
            continue
        reading = _read(view, cause, watched)
        begins = [at for other, at in standing.items() if may_bring(other, cause)]
        found[cause] = _set_apart(view, reading, watched, max(begins)) if begins else reading
    return found


def _read(view: _View, cause: Cause, watched: Sequence[_Column]) -> Reading:
    effects, lying = view.tested.effects, view.lying
    out = {one: _outward(effects[one.number], one.sign) for one in watched}
    chances = {one: view.tested.chances[one.number] if out[one] > 0 else 1.0 for one in watched}
    worst = min(watched, key=lambda one: (chances[one], -out[one]))
    chance = float(min(1.0, chances[worst] * len(watched)))
    since = _began(lying[:, worst.number])
    return Reading(
        cause=cause,
        column=worst.number,
        effect=float(effects[worst.number]),
        p_value=min(1.0, chance * view.spent),
        likely=chance <= LIKELY,
        settled=max(out.values()) <= TOLERANCE,
        since=since,
        ripe=since <= len(lying) - view.short,
        change=float(effects[worst.number] * view.scale.deviation[worst.number]),
        level=float(view.scale.level[worst.number]),
    )


def _set_apart(view: _View, reading: Reading, watched: Sequence[_Column], begin: int) -> Reading:
    """Mark a cause that has moved since others stand, by the test of two windows since then.

    Where it moved within a short window of them nothing tells it from their consequence.
    """
    later = view.lying[begin:]
    if not reading.moved or len(later) < SHORT_BLOCKS + view.short:
        return reading
    scale, effects = view.scale, view.tested.effects
    for one in watched:
        rows, number = later[:, one.number], one.number
        turn = min(max(_turned(rows), SHORT_BLOCKS), len(later) - view.short)
        jump = float(rows[-view.short :].mean() - rows[:turn].mean())
        spread = scale.between[number] * scale.inflation[number] * (1 / turn + 1 / view.short)
        beyond = (_outward(jump, one.sign) - TOLERANCE) / np.sqrt(spread)
        chance = 2 * special.stdtr(scale.freedom[number], -beyond) * len(watched) * view.spent
        outward = _outward(effects[number], one.sign) > TOLERANCE and effects[number] * jump > 0
        if chance <= BUDGET and outward:
            return replace(
                reading,
                column=number,
                effect=float(effects[number]),
                change=float(effects[number] * scale.deviation[number]),
                level=float(scale.level[number]),
                since=begin + turn,
                ripe=True,
                apart=True,
            )
    return reading


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


def _turned(lying: Floats) -> int:
    """Number the block from which on the mean most likely is another (one change within)."""
    before = np.arange(1, len(lying))
    away = np.cumsum(lying - lying.mean())[:-1]
    return int(np.argmax(away**2 / (before * (len(lying) - before)))) + 1


def _began(lying: Floats) -> int:
    """Number the block from which on the mean most likely left 0 (Hinkley 1970, one change)."""
    sums = np.cumsum(lying[::-1])[::-1]
    return int(np.argmax(sums**2 / np.arange(len(lying), 0, -1)))

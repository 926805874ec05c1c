"""What it brings to hold a part for its score or for a known defect on it, at one rate."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from inspection.core.errors import InspectionError
from inspection.core.records import Interval

Numbers = NDArray[np.float64]
SHARE = 2  # the detector may hold one good part in so many of those that may be held


@dataclass(frozen=True)
class Parts:
    """What was seen on parts of one kind."""

    scores: Numbers
    """Anomaly score of each, raw."""
    known: Numbers
    """Score of the surest known defect on each, 0 to 1; 0 where none was found."""

    def at(self, places: NDArray[np.intp]) -> "Parts":
        """Give some of them."""
        return Parts(self.scores[places], self.known[places])


@dataclass(frozen=True)
class Gain:
    """Recall at one false-reject rate."""

    rate: float
    alone: float
    """By the anomaly score."""
    either: float
    """By the score or a known defect."""
    level: float
    """Score from which a known defect counts."""
    gain: Interval
    """Of one over the other, by paired bootstrap."""


def recall_gain(
    good: Parts, defect: Parts, rate: float, least: float, seed: int, draws: int = 1000
) -> Gain:
    """Compare both rules where each is to hold the same share of further good parts.

    Thresholds are set on the good parts given, in each draw anew. One that k of n parts exceed is
    exceeded by a further one with a chance of (k + 1) / (n + 1), as all are equally likely to be
    the largest; so the rule of two thresholds holds one part less of those given than the rule of
    one. Of these the detector takes at most half.

    Args:
        good: parts without a defect.
        defect: parts with one.
        rate: share of good parts that may be held.
        least: score from which a known defect may count.
        seed: of the draws.
        draws: of parts, with replacement.

    Raises:
        InspectionError: so few good parts that the rate is none of them.
    """
    if int(rate * len(good.scores)) < 1:
        raise InspectionError(
            f"rate {rate:g} of {len(good.scores)} good parts is none; wanted at least one: two "
            "thresholds hold one part less than one does; take more good parts, or a larger rate"
        )
    rng = np.random.default_rng(seed)
    alone, either, counts_from = _recalls(good, defect, rate, least)
    drawn = []
    for _ in range(draws):
        ours, theirs = (rng.integers(0, len(one.scores), len(one.scores)) for one in (good, defect))
        first, second, _ = _recalls(good.at(ours), defect.at(theirs), rate, least)
        drawn.append(second - first)
    low, high = (float(value) for value in np.percentile(drawn, (2.5, 97.5)))
    return Gain(
        rate, alone, either, counts_from, Interval(value=either - alone, low=low, high=high)
    )


def _recalls(good: Parts, defect: Parts, rate: float, least: float) -> tuple[float, float, float]:
    may = int(rate * len(good.scores))
    alone = defect.scores > _above(good.scores, may)
    both = may - 1  # a second threshold costs a part
    level = max(least, np.nextafter(_above(good.known, both // SHARE), np.inf))
    free = good.known < level
    above = _above(good.scores[free], both - int((~free).sum()))
    either = (defect.known >= level) | (defect.scores > above)
    return float(alone.mean()), float(either.mean()), float(level)


def _above(scores: Numbers, may: int) -> float:
    """Give the value above which at most so many lie."""
    return float(np.sort(scores)[::-1][may]) if may < len(scores) else -np.inf

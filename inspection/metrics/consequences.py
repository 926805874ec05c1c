"""Says what a band leads to in a future shift: false rejects, looks, escapes, cost.

Known good and known defective parts give rates with their uncertainty; a shift adds the noise of
its own count. Needs no distribution of the scores: only on which side of the band each known part
lies counts.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from inspection.core.decision import Band
from inspection.core.errors import InspectionError

TAIL = 0.025  # on either side of a 95 % interval
# Of a rate under a predicted count. With 0.025, too, a band chosen for least cost on the very parts
# it is judged by kept 95 % of its shifts after 92 % of the calibrations; so after 97 %.
RATE_TAIL = 0.01
Z95 = 1.959963984540054  # of the standard normal, for the same tail
HALVINGS = 45  # a rate to 3e-14
REACH, SLACK = 12.0, 60.0  # a binomial's values: so many deviations around its mean, and a few more


@dataclass(frozen=True)
class Economy:
    """What a line makes in a shift and what mistakes cost there, any one unit."""

    parts: int
    prevalence: float
    """Share of defects among parts, 0 to 1."""
    escape: float
    overkill: float
    review: float


@dataclass(frozen=True)
class Seen:
    """How many of the known parts of one kind lie where the question is."""

    hits: int
    known: int

    @property
    def rate(self) -> float:
        """The middle of what the known parts allow; one half when there are none.

        The rate of the next part lies between k / (n + 1) and (k + 1) / (n + 1), for the band lies
        between two known scores.
        """
        return (self.hits + 0.5) / (self.known + 1)

    def below(self, tail: float = TAIL) -> float:
        """Give the rate that the true one exceeds with probability `tail` at most.

        Clopper and Pearson (1934): the quantile of Beta(k + 1, n - k), which is also that of a
        conformal threshold with k known scores above it.
        """
        if self.hits >= self.known:
            return 1.0
        low, high = 0.0, 1.0
        for _ in range(HALVINGS):
            middle = (low + high) / 2
            if _at_most(self.hits, self.known, middle) > tail:
                low = middle
            else:
                high = middle
        return high

    def above(self, tail: float = TAIL) -> float:
        """Give the rate that the true one undercuts with probability `tail` at most."""
        return 1.0 - Seen(self.known - self.hits, self.known).below(tail)


@dataclass(frozen=True)
class Prediction:
    """The expected count of a future shift and the interval it lies in."""

    expected: float
    low: float
    high: float


@dataclass(frozen=True)
class Outlook:
    """What a band leads to."""

    false_rejects: Prediction
    """Good parts rejected per shift."""
    review_load: Prediction
    """Parts for review per shift, good and defective."""
    escapes: Prediction
    """Defects that pass per shift."""
    escaped: Seen
    """Known defects that would pass."""
    cost_per_1000: float
    """Parts, in the unit of the costs."""


def predict(parts: int, kinds: Sequence[tuple[float, Seen]]) -> Prediction:
    """Predict how many parts of a future shift lie where the known ones were counted.

    The interval is made for a band that stays for many shifts, even one chosen on the known parts:
    the 98 % limits of the rate, and around each the 95 % of a shift's own noise. So after 95 % of
    all calibrations and more, 95 % of the shifts lie in it (`inspection bench thresholds`). The
    beta-binomial interval of Thatcher (1964) is for one shift after each calibration; it is a
    third narrower, and after one calibration in five it holds too few shifts.

    Args:
        parts: of a shift.
        kinds: of each kind of part its share of the parts, 0 to 1, and what is known of it.

    Raises:
        InspectionError: more hits than known parts, or a share or number out of range.
    """
    for share, seen in kinds:
        if not (0 <= share <= 1 and 0 <= seen.hits <= seen.known and parts >= 1):
            raise InspectionError(
                f"{seen.hits} of {seen.known} known parts, share {share} of {parts}; wanted counts "
                "that fit, a share from 0 to 1 and a part at least"
            )
    low = min(1.0, sum(share * seen.above(RATE_TAIL) for share, seen in kinds))
    high = min(1.0, sum(share * seen.below(RATE_TAIL) for share, seen in kinds))
    return Prediction(
        expected=parts * sum(share * seen.rate for share, seen in kinds),
        low=_quantile(TAIL, parts, low),
        high=_quantile(1 - TAIL, parts, high),
    )


def foresee(normals: ArrayLike, defects: ArrayLike, band: Band, economy: Economy) -> Outlook:
    """Say what a band leads to.

    Cost of one part (design §4): C_escape·prevalence·FNR + C_overkill·(1 - prevalence)·FRR +
    C_review·(share in the band). Defects in the band count as found, by the person who looks.

    Args:
        normals: raw scores of known good parts that are a fair sample, (n,); may be empty.
        defects: raw scores of known defects, (m,); may be empty.
        band: the two thresholds, raw score units.
        economy: of the line.
    """
    good, bad = np.asarray(normals, np.float64), np.asarray(defects, np.float64)
    goods, defective = 1 - economy.prevalence, economy.prevalence
    rejected = Seen(_above(good, band.reject_above), good.size)
    held = Seen(_above(good, band.review_above) - rejected.hits, good.size)
    escaped = Seen(bad.size - _above(bad, band.review_above), bad.size)
    found = Seen(bad.size - escaped.hits - _above(bad, band.reject_above), bad.size)
    looked_at = goods * held.rate + defective * found.rate
    return Outlook(
        false_rejects=predict(economy.parts, [(goods, rejected)]),
        review_load=predict(economy.parts, [(goods, held), (defective, found)]),
        escapes=predict(economy.parts, [(defective, escaped)]),
        escaped=escaped,
        cost_per_1000=1000
        * (
            economy.escape * defective * escaped.rate
            + economy.overkill * goods * rejected.rate
            + economy.review * looked_at
        ),
    )


def promise(normals: ArrayLike, threshold: float) -> tuple[int, float, float]:
    """Say what known good parts promise of a threshold (split conformal, as on the card).

    Returns:
        Its rank k among them (so many do not lie above it), the expected share of good parts above
        it, at most (n + 1 - k) / (n + 1), and the 95 % upper bound of it, from Beta(n + 1 - k, k).
    """
    good = np.asarray(normals, np.float64)
    seen = Seen(_above(good, threshold), good.size)
    return good.size - seen.hits, (seen.hits + 1) / (good.size + 1), seen.below(0.05)


def wilson(count: int, of: int) -> tuple[float, float]:
    """Give the 95 % interval of a share (Wilson 1927); 0 to 1 when nothing was counted."""
    if of == 0:
        return 0.0, 1.0
    rate, spread = count / of, Z95**2 / of
    middle = (rate + spread / 2) / (1 + spread)
    reach = Z95 / (1 + spread) * math.sqrt(rate * (1 - rate) / of + spread / (4 * of))
    low = 0.0 if count == 0 else max(0.0, middle - reach)
    high = 1.0 if count == of else min(1.0, middle + reach)
    return low, high


def _above(scores: NDArray[np.float64], threshold: float) -> int:
    return int(np.count_nonzero(scores > threshold))


def _binomial(count: int, rate: float) -> tuple[int, NDArray[np.float64]]:
    """Give the first value of a binomial that matters and the distribution function from it on."""
    mean = count * rate
    reach = REACH * math.sqrt(mean * (1 - rate)) + SLACK
    first, last = max(0, math.floor(mean - reach)), min(count, math.ceil(mean + reach))
    if rate in {0.0, 1.0}:
        return round(mean), np.ones(1)
    values = np.arange(first, last, dtype=np.float64)
    steps = np.log((count - values) / (values + 1)) + math.log(rate / (1 - rate))
    weights = np.concatenate([[0.0], np.cumsum(steps)])
    weights = np.exp(weights - weights.max())
    return first, np.cumsum(weights) / weights.sum()


def _at_most(hits: int, count: int, rate: float) -> float:
    first, shares = _binomial(count, rate)
    if hits < first:
        return 0.0
    return float(shares[min(hits - first, shares.size - 1)])


def _quantile(level: float, count: int, rate: float) -> int:
    first, shares = _binomial(count, rate)
    return first + min(int(np.searchsorted(shares, level)), shares.size - 1)

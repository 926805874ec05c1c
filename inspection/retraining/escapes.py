"""Says whether new thresholds surely let more known defects pass; pure."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from inspection.metrics.paired import RISK

Floats = NDArray[np.float64]


class Escapes(NamedTuple):
    """Known defects that a threshold lets pass, beside those they were held against."""

    defects: int
    passing: int
    lost: int
    """Of those passing, the ones that were held."""
    gained: int
    """Held, though they passed."""

    @property
    def surely_more(self) -> bool:
        """Exact one-sided sign test of those on which both differ (McNemar 1947).

        It is so that a challenger is compared. Fewer than five never are surely more.
        """
        apart = self.lost + self.gained
        if not apart:
            return False
        return bool(stats.binomtest(self.lost, apart, alternative="greater").pvalue < RISK)


def count_escapes(scores: Floats, held_above: Floats, review_above: float) -> Escapes:
    """Count what a threshold lets pass.

    Args:
        scores: of known defects, raw, (n,).
        held_above: threshold that each was held against, (n,).
        review_above: the new threshold.
    """
    was, will = scores > held_above, scores > review_above
    lost, gained = (int(np.count_nonzero(mark)) for mark in (was & ~will, will & ~was))
    return Escapes(scores.size, scores.size - int(np.count_nonzero(will)), lost, gained)

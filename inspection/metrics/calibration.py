"""Fits a threshold on scores of held-out good parts and says what it promises (design §4).

Split conformal: for parts like the calibrate split, independent of what was fitted, the promise
holds without any assumption on the distribution of scores.
"""

import math

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from inspection.core.errors import CalibrationMissing
from inspection.core.promise import exact_rate, rank_of
from inspection.core.records import Certificate


def conformal_threshold(scores: ArrayLike, rate: float) -> tuple[float, Certificate]:
    """Choose the threshold above which a share `rate` of good parts is expected to lie.

    The threshold is the k-th smallest score, k = ceil((n + 1)(1 - rate)); only scores strictly
    above it count as false rejects, so ties at the threshold make the promise conservative.

    Args:
        scores: raw scores of the calibrate split, (n,), any order, of the graph that ships.
        rate: promised false-reject rate, in (0, 1).

    Returns:
        the threshold in raw score units, and what n normals can promise of it.

    Raises:
        CalibrationMissing: too few normals for the rate, or a score that is not finite.
        ConfigError: the rate lies outside (0, 1).
    """
    needed = normals_needed(rate)
    values = np.asarray(scores, np.float64)
    if values.ndim != 1:
        raise CalibrationMissing(f"calibrate scores have shape {values.shape}; wanted (n,)")
    broken = int((~np.isfinite(values)).sum())
    if broken:
        raise CalibrationMissing(
            f"{broken} of {values.size} calibrate scores are not finite; wanted numbers; "
            "look at those images and the graph"
        )
    if values.size < needed:
        raise CalibrationMissing(
            f"calibrate has {values.size} normals; a false-reject rate of {rate:g} needs at least "
            f"{needed}; add good parts or promise no less than {promisable(values.size):g}"
        )
    rank = rank_of(values.size, exact_rate(rate))
    threshold = float(np.partition(values, rank - 1)[rank - 1])
    return threshold, certify(values.size, rank, rate)


def normals_needed(rate: float) -> int:
    """Give the least number of calibrate normals with which this rate can be promised, 1/a - 1."""
    return math.ceil(1 / exact_rate(rate)) - 1


def assured_rate(normals: int, rate: float, sure: float) -> float:
    """Give the share to expect above a threshold that is to keep a rate more often than on average.

    Over the draw of n good parts, what lies above the a-th highest follows Beta(a, n + 1 - a) (Vovk
    2012); a is the largest with which at most `rate` lies there in `sure` of all draws.

    Args:
        normals: n, on which the threshold is fitted.
        rate: to be kept, in (0, 1).
        sure: in how many draws, in (0, 1).

    Returns:
        a / (n + 1), where a is at least 1: with so few that is the highest of them.
    """
    above = np.arange(1, math.ceil((normals + 1) * rate) + 1)
    kept = stats.beta.cdf(rate, above, normals + 1 - above) >= sure
    return float(max(1, kept.sum()) / (normals + 1))


def promisable(normals: int) -> float:
    """Give the smallest false-reject rate that n calibrate normals can promise, in 1/1000 up."""
    return math.ceil(1000 / (normals + 1)) / 1000


def certify(normals: int, rank: int, target: float) -> Certificate:
    """Say what the rank-th smallest of n calibrate scores promises as a threshold.

    The false-reject rate of such a threshold, over the draw of the calibrate parts, follows
    Beta(n + 1 - k, k) for continuous scores and lies below that with ties.

    Raises:
        CalibrationMissing: rank lies outside 1…n.
    """
    if not 1 <= rank <= normals:
        raise CalibrationMissing(
            f"rank is {rank} of {normals} calibrate scores; wanted 1 to {normals}; add good parts"
        )
    above = normals + 1 - rank
    return Certificate(
        normals=normals,
        rank=rank,
        target=target,
        mean=above / (normals + 1),
        bound95=float(stats.beta.ppf(0.95, above, rank)),
    )

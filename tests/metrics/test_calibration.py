import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from inspection.core.errors import CalibrationMissing, ConfigError
from inspection.metrics.calibration import (
    assured_rate,
    certify,
    conformal_threshold,
    normals_needed,
)

pytestmark = pytest.mark.fast


@pytest.mark.parametrize(
    ("n", "rate", "rank"),
    [(99, 0.01, 99), (100, 0.01, 100), (199, 0.01, 198), (9, 0.1, 9), (19, 0.1, 18), (2, 1 / 3, 2)],
)
def test_threshold_is_the_rank_th_smallest(n, rate, rank):
    """The threshold is the k-th smallest score, k = ceil((n + 1)(1 - a)) without rounding noise."""
    scores = np.random.default_rng(0).permutation(np.arange(1.0, n + 1))
    threshold, certificate = conformal_threshold(scores, rate)
    assert threshold == rank
    assert (certificate.normals, certificate.rank, certificate.target) == (n, rank, rate)
    assert certificate.mean == pytest.approx((n + 1 - rank) / (n + 1))


@pytest.mark.parametrize(
    ("normals", "rate", "sure", "above"),
    [(99, 0.01, 0.8, 1), (400, 0.01, 0.8, 2), (100, 0.05, 0.8, 3), (1_000, 0.05, 0.8, 44)],
)
def test_an_assured_rate_is_kept_in_so_many_draws_and_one_more_above_is_not(
    normals, rate, sure, above
):
    assert assured_rate(normals, rate, sure) == above / (normals + 1)
    assert stats.binom.cdf(above, normals, rate) >= 1 - sure
    if above > 1:
        assert stats.binom.sf(above - 1, normals, rate) >= sure


@given(rate=st.integers(1, 500).map(lambda part: part / 1000))
def test_needed_normals_are_enough_and_one_less_is_not(rate):
    """A rate is promised from ceil(1/a) - 1 normals on, and refused below, for every rate."""
    needed = normals_needed(rate)
    assert conformal_threshold(np.arange(needed), rate)[1].mean <= rate + 1e-12
    with pytest.raises(CalibrationMissing, match=f"needs at least {needed}"):
        conformal_threshold(np.arange(needed - 1), rate)


def test_refusal_names_the_normals_needed():
    """An impossible target is refused with the normals it needs and the rate that is possible."""
    with pytest.raises(
        CalibrationMissing,
        match=r"calibrate has 98 normals; a false-reject rate of 0\.01 needs at least 99; add good "
        r"parts or promise no less than 0\.01",
    ):
        conformal_threshold(np.arange(98), 0.01)


def test_no_normals_at_all_are_refused():
    """An empty calibrate split is refused with the number it would need."""
    with pytest.raises(CalibrationMissing, match="calibrate has 0 normals"):
        conformal_threshold([], 0.05)


@pytest.mark.parametrize("broken", [math.nan, math.inf, -math.inf])
def test_scores_that_are_no_numbers_are_refused(broken):
    """A NaN or infinite calibrate score is refused, never sorted to one end."""
    with pytest.raises(CalibrationMissing, match="1 of 100 calibrate scores are not finite"):
        conformal_threshold([*range(99), broken], 0.05)


def test_scores_of_two_axes_are_refused():
    """Calibrate scores are one number per part."""
    with pytest.raises(CalibrationMissing, match=r"shape \(2, 50\); wanted \(n,\)"):
        conformal_threshold(np.zeros((2, 50)), 0.1)


@pytest.mark.parametrize("rate", [0.0, 1.0, -0.1, math.nan, 1e-12])
def test_impossible_rates_are_refused(rate):
    """A rate outside (0, 1), or too small to be meant, is refused."""
    with pytest.raises(ConfigError, match="false-reject rate is"):
        conformal_threshold(np.arange(1000), rate)


def test_rank_outside_the_scores_is_refused():
    """A certificate for a rank beyond the scores is refused."""
    with pytest.raises(CalibrationMissing, match="rank is 11 of 10 calibrate scores"):
        certify(10, 11, 0.05)


def test_bound_of_99_normals():
    """With 99 normals and rank 99 the bound solves 1 - (1 - b)^99 = 0.95, the largest of 99."""
    assert certify(99, 99, 0.01).bound95 == pytest.approx(1 - 0.05 ** (1 / 99), abs=1e-12)


def test_realised_rates_agree_with_the_certificate():
    """Over many draws the true false-reject rate has the mean and the 95 % bound promised."""
    rng = np.random.default_rng(5)
    realised = []
    for _ in range(4000):
        threshold, certificate = conformal_threshold(rng.exponential(1, 150), 0.05)
        realised.append(math.exp(-threshold))
    assert np.mean(realised) == pytest.approx(certificate.mean, rel=0.02)
    assert np.mean(np.asarray(realised) <= certificate.bound95) == pytest.approx(0.95, abs=0.012)


def test_ties_make_the_promise_conservative():
    """With coarse scores, where many tie at the threshold, fewer good parts are rejected."""
    rng = np.random.default_rng(6)
    realised = []
    for _ in range(2000):
        threshold, certificate = conformal_threshold(rng.integers(0, 8, 100), 0.1)
        realised.append((7 - threshold) / 8)
    assert np.mean(realised) < certificate.mean


def test_the_caller_keeps_its_scores():
    """Choosing a threshold leaves the order of the caller's scores as it was."""
    scores = np.array([5.0, 1.0, 4.0, 2.0, 3.0])
    conformal_threshold(scores, 0.4)
    assert scores.tolist() == [5.0, 1.0, 4.0, 2.0, 3.0]

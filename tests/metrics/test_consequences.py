import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from inspection.core.decision import Band
from inspection.core.errors import InspectionError
from inspection.metrics.calibration import certify
from inspection.metrics.consequences import Economy, Seen, foresee, predict, promise, wilson

pytestmark = pytest.mark.fast

LINE = Economy(parts=5_000, prevalence=0.01, escape=100, overkill=2, review=0.5)
BAND = Band(review_above=7, reject_above=9)


@given(known=st.integers(1, 3_000), share=st.floats(0, 1), tail=st.sampled_from([0.01, 0.025]))
def test_limits_of_a_rate_are_those_of_clopper_and_pearson(known, share, tail):
    """Without scipy, which no hub has, the limits are the quantiles of the beta distribution."""
    hits = round(share * known)
    above = stats.beta.ppf(tail, hits, known - hits + 1) if hits else 0
    below = stats.beta.ppf(1 - tail, hits + 1, known - hits) if hits < known else 1
    assert Seen(hits, known).above(tail) == pytest.approx(above, abs=1e-9)
    assert Seen(hits, known).below(tail) == pytest.approx(below, abs=1e-9)


@given(parts=st.integers(1, 10_000_000), hits=st.integers(0, 40), known=st.integers(40, 400))
def test_a_shift_adds_binomial_noise_to_both_limits(parts, hits, known):
    """The interval ends at binomial quantiles, up to ten million parts."""
    seen = Seen(hits, known)
    found = predict(parts, [(0.99, seen)])
    assert found.low == stats.binom.ppf(0.025, parts, 0.99 * seen.above(0.01))
    assert found.high == stats.binom.ppf(0.975, parts, 0.99 * seen.below(0.01))
    assert found.expected == pytest.approx(parts * 0.99 * (hits + 0.5) / (known + 1))


@pytest.mark.parametrize("known", [30, 300, 2_000])
@pytest.mark.parametrize("rate", [0.05, 0.01, 0.001])
def test_shifts_after_one_calibration_lie_in_the_interval(known, rate):
    """Of 200 shifts after each of 100 calibrations 95 % lie in it, nearly whatever was drawn."""
    rng = np.random.default_rng(known)
    kept = 0
    for hits in rng.binomial(known, rate, 100):
        found = predict(5_000, [(1.0, Seen(int(hits), known))])
        counts = rng.binomial(5_000, rate, 200)
        kept += int(np.mean((counts >= found.low) & (counts <= found.high)) >= 0.95)
    assert kept >= 95


def test_a_band_on_the_largest_of_the_known_parts_holds_its_promise():
    """Selection: a band put on the largest calibrate part sees no false reject there, yet some."""
    rng = np.random.default_rng(1)
    within = 0
    for _ in range(200):
        goods = rng.lognormal(0, 1, 100)
        band = Band(review_above=float(goods.max()), reject_above=float(goods.max()))
        found = foresee(goods, [], band, LINE).false_rejects
        shift = rng.lognormal(0, 1, 4_950)
        within += found.low <= np.count_nonzero(shift > band.reject_above) <= found.high
    assert within >= 190


def test_the_cost_follows_the_formula():
    """C_escape·prevalence·FNR + C_overkill·(1 - prevalence)·FRR + C_review·(share in the band)."""
    outlook = foresee(range(10), [5, 8, 20], BAND, LINE)  # 0 above 9; 8 and 9 in; 5 escapes
    good, bad = 0.99 / 11, 0.01 / 4
    cost = 100 * bad * 1.5 + 2 * good * 0.5 + 0.5 * (good * 2.5 + bad * 1.5)
    assert outlook.cost_per_1000 == pytest.approx(1000 * cost)
    assert outlook.escaped == Seen(1, 3)
    assert outlook.review_load.expected == pytest.approx(5_000 * (good * 2.5 + bad * 1.5))


def test_a_part_on_the_threshold_is_not_above_it():
    """Counting ties as the decision does: only what lies above is held or rejected."""
    outlook = foresee([9.0] * 10, [7.0], BAND, LINE)
    assert outlook.false_rejects.low == 0
    assert outlook.escaped == Seen(1, 1)


@given(st.lists(st.integers(0, 20), max_size=60), st.integers(7, 19))
def test_a_higher_band_never_rejects_more(goods, reject_above):
    """False rejects fall, or stay, as the threshold rises."""
    lower = foresee(goods, [], Band(review_above=7, reject_above=reject_above), LINE)
    higher = foresee(goods, [], Band(review_above=7, reject_above=reject_above + 1), LINE)
    for name in ("expected", "low", "high"):
        assert getattr(higher.false_rejects, name) <= getattr(lower.false_rejects, name)


def test_without_known_parts_nothing_is_known():
    """No calibrate parts and no defects leave the whole shift open, and the middle is one half."""
    outlook = foresee([], [], BAND, LINE)
    assert (outlook.false_rejects.low, outlook.false_rejects.high) == (0, 4_963)  # of 5,000 · 0.99
    assert outlook.escapes.expected == pytest.approx(25)


def test_more_known_parts_narrow_the_interval():
    """The same share of more calibrate parts says more."""
    few, many = (predict(5_000, [(1.0, Seen(n // 100, n))]) for n in (100, 10_000))
    assert many.high - many.low < (few.high - few.low) / 3


def test_a_band_promises_what_the_certificate_of_the_same_rank_does():
    """Words on the page and on the card agree."""
    normals = np.arange(1.0, 201)
    rank, mean, bound95 = promise(normals, 197.5)
    card = certify(200, 197, 0.02)
    assert (rank, mean) == (card.rank, card.mean)
    assert bound95 == pytest.approx(card.bound95, abs=1e-9)


@pytest.mark.parametrize(("count", "of"), [(0, 10), (3, 10), (10, 10), (1, 4_000)])
def test_wilson_is_wilson(count, of):
    """The interval of a share is scipy's."""
    expected = stats.binomtest(count, of).proportion_ci(method="wilson")
    assert wilson(count, of) == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_nothing_counted_leaves_a_share_open():
    """Zero of zero is between 0 and 1."""
    assert wilson(0, 0) == (0, 1)


@pytest.mark.parametrize(
    ("parts", "share", "seen"),
    [(0, 1.0, Seen(0, 1)), (10, 1.1, Seen(0, 1)), (10, 1.0, Seen(2, 1)), (10, 1.0, Seen(-1, 1))],
    ids=["no parts", "share above 1", "more hits than parts", "negative hits"],
)
def test_counts_that_do_not_fit_are_refused(parts, share, seen):
    """A mistake in counting is said, not turned into an interval."""
    with pytest.raises(InspectionError, match="wanted counts that fit"):
        predict(parts, [(share, seen)])

"""Limits of thresholds: what one person may set for a bundle, as its card's scores tell."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inspection.core.decision import Band, threshold_limits

pytestmark = pytest.mark.fast

BAND = Band(review_above=12, reject_above=16)
SCORES = (8.0, 9.0, 10.0, 11.0, 15.0)


def test_limits_follow_the_spread_of_the_calibrate_scores():
    """15 is 1.5 times the median 10: up to 22.5 for REVIEW, 15 · 1.5³ for REJECT."""
    limits = threshold_limits(BAND, SCORES, ())
    assert (limits.low, limits.high, limits.high_reject) == (8, 22.5, 15 * 1.5**3)


def test_one_odd_normal_does_not_widen_them_without_end():
    """A calibrate score of a hundred medians doubles itself, no more."""
    limits = threshold_limits(BAND, (9.0, 10.0, 1000.0), ())
    assert (limits.high, limits.high_reject) == (2000, 8000)


def test_no_threshold_lets_a_golden_defect_pass():
    """A part that scores like the weakest golden defect is still above the largest threshold."""
    limits = threshold_limits(BAND, SCORES, (40.0, 17.0))
    assert limits.high == limits.high_reject == math.nextafter(17, 0)


def test_scores_around_zero_are_taken_by_differences():
    """A ratio of scores below zero says nothing."""
    limits = threshold_limits(Band(review_above=1, reject_above=2), (-1.0, 0.0, 1.0), ())
    assert (limits.low, limits.high, limits.high_reject) == (-1, 2, 4)


def test_without_scores_only_the_band_of_the_card_is_allowed():
    """A bundle that promises nothing has no room, either."""
    limits = threshold_limits(BAND, (), ())
    assert limits.exceeded_by(BAND) == ""
    assert limits.exceeded_by(Band(review_above=12.1, reject_above=16))


@pytest.mark.parametrize(
    ("review", "reject", "said"),
    [
        (12, 16, ""),
        (8, 8, ""),
        (22.5, 50, ""),
        (7.9, 16, "review_above 7.9 lies beyond 8 to 22.5"),
        (22.6, 23, "review_above 22.6 lies beyond 8 to 22.5"),
        (1e6, 1e6, "review_above 1e[+]06 lies beyond 8 to 22.5"),
        (12, 1e6, "reject_above 1e[+]06 lies above 50.625"),
    ],
    ids=["own", "least", "largest", "too low", "too high", "disarmed", "never rejects"],
)
def test_what_lies_beyond_is_said(review: float, reject: float, said: str):
    """The error names the threshold and its limits."""
    found = threshold_limits(BAND, SCORES, ()).exceeded_by(
        Band(review_above=review, reject_above=reject)
    )
    assert found.startswith(said.replace("[+]", "+"))
    assert bool(found) is bool(said)


@given(
    st.lists(st.floats(0, 1e6), max_size=50),
    st.lists(st.floats(0, 1e6), max_size=4),
    st.floats(0, 1e6),
)
def test_the_cards_own_band_always_lies_within(scores, defects, review):
    """Whatever the scores are, nobody is asked twice for what the bundle itself promises."""
    band = Band(review_above=review, reject_above=2 * review)
    assert threshold_limits(band, scores, defects).exceeded_by(band) == ""

"""The band: the conformal threshold, and a REJECT margin from the normals' own spread."""

import numpy as np
import pytest

from inspection.core.errors import CalibrationMissing
from inspection.core.settings import ExportConfig
from inspection.export.calibrate import fit_band

pytestmark = pytest.mark.fast

NINE = [9.0, 1.0, 5.0, 3.0, 7.0, 2.0, 8.0, 4.0, 6.0]


def config(**changes: float) -> ExportConfig:
    """Promise a false-reject rate of a tenth, which nine normals can."""
    return ExportConfig(**{"false_reject_rate": 0.1, **changes})


def test_review_begins_at_the_conformal_threshold():
    """With nine normals and a tenth promised, the threshold is the largest of them."""
    calibration = fit_band(NINE, config())
    assert calibration.band.review_above == 9.0
    assert (calibration.certificate.normals, calibration.certificate.rank) == (9, 9)
    assert calibration.certificate.mean == pytest.approx(0.1)


@pytest.mark.parametrize(("margin", "reject_above"), [(0.0, 9.0), (0.5, 11.0), (2.0, 17.0)])
def test_reject_begins_a_share_of_the_spread_above(margin: float, reject_above: float):
    """The spread is the distance from the median normal, 5, to the threshold, 9."""
    assert fit_band(NINE, config(reject_margin=margin)).band.reject_above == reject_above


def test_scores_are_kept_in_order():
    """The card carries them, ascending, for later changes of the threshold."""
    assert fit_band(NINE, config()).scores == tuple(sorted(NINE))


def test_equal_scores_give_a_band_without_width():
    """Normals without spread say nothing of a margin."""
    band = fit_band([2.5] * 9, config()).band
    assert (band.review_above, band.reject_above) == (2.5, 2.5)


def test_negative_scores_keep_the_order_of_the_band():
    """A log-likelihood may be negative; REJECT still lies above REVIEW."""
    band = fit_band([-score for score in NINE], config()).band
    assert (band.review_above, band.reject_above) == (-1.0, 1.0)


@pytest.mark.parametrize(("rate", "needed"), [(0.1, 9), (0.05, 19), (0.01, 99)])
def test_too_few_normals_are_refused_with_the_number_needed(rate: float, needed: int):
    """One normal less than 1/a - 1 cannot promise a; the error says how many can."""
    scores = list(np.linspace(1, 2, needed))
    assert fit_band(scores, config(false_reject_rate=rate)).certificate.target == rate
    wanted = rf"has {needed - 1} normals; a false-reject rate of {rate:g} needs at least {needed};"
    with pytest.raises(CalibrationMissing, match=wanted):
        fit_band(scores[1:], config(false_reject_rate=rate))


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_score_that_is_no_number_is_refused(bad: float):
    """A broken calibrate score never becomes part of a threshold."""
    with pytest.raises(CalibrationMissing, match="1 of 9 calibrate scores are not finite"):
        fit_band([*NINE[1:], bad], config())

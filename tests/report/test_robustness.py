import math

import numpy as np
import pytest

from inspection.core.decision import Band
from inspection.core.errors import InspectionError
from inspection.core.records import Interval, Label
from inspection.report.perturb import AS_TAKEN, PERTURBATIONS, Perturbation
from inspection.report.robustness import LabelledFrame, is_worse, measure_robustness

pytestmark = pytest.mark.fast

BAND = Band(review_above=50.0, reject_above=60.0)


def level(pixels):
    """A stand-in for a score: the mean level."""
    return float(pixels.mean())


def frames(good=(10, 20, 30), defect=(80, 90)):
    """Flat parts of these levels."""
    for label, levels in ((Label.GOOD, good), (Label.DEFECT, defect)):
        for each in levels:
            yield LabelledFrame(np.full((8, 12, 3), each, np.uint8), label)


def test_thresholds_stay_where_they_are():
    """Doubling the light moves scores across the band; AUROC does not see it, false rejects do."""
    brighter = Perturbation("twice the light", lambda pixels, _: np.minimum(pixels * 2, 255))
    measured = measure_robustness(level, BAND, frames(), [AS_TAKEN, brighter])
    assert (measured.good, measured.defect) == (3, 2)
    assert [row.perturbation for row in measured.rows] == ["as taken", "twice the light"]
    assert [row.auroc.value for row in measured.rows] == [1.0, 1.0]
    assert [row.false_reject_rate.value for row in measured.rows] == [0.0, 1 / 3]
    assert [row.recall.value for row in measured.rows] == [1.0, 1.0]


def test_defaults_give_a_row_for_every_disturbance():
    """By default all disturbances are measured, in their order."""
    rows = measure_robustness(level, BAND, frames()).rows
    assert [row.perturbation for row in rows] == [each.name for each in PERTURBATIONS]


def test_a_class_that_was_not_tested_has_no_number():
    """Without defects there is no AUROC and no recall, rather than 0 or 1."""
    row = measure_robustness(level, BAND, frames(defect=()), [AS_TAKEN]).rows[0]
    assert (row.auroc, row.recall) == (None, None)
    assert row.false_reject_rate.value == 0.0


def test_no_frames_and_broken_scores_are_refused():
    """Nothing to score, or a score that is no number, is refused."""
    with pytest.raises(InspectionError, match="robustness: no test frames"):
        measure_robustness(level, BAND, [])
    with pytest.raises(InspectionError, match="3 of 3 scores of good parts are not finite"):
        measure_robustness(lambda _: math.nan, BAND, frames(), [AS_TAKEN])


@pytest.mark.parametrize(
    ("low", "high", "larger_is_better", "worse"),
    [
        (0.2, 0.4, True, True),
        (0.2, 0.6, True, False),
        (0.6, 0.8, True, False),
        (0.6, 0.8, False, True),
        (0.4, 0.8, False, False),
    ],
)
def test_worse_means_the_whole_interval(low, high, larger_is_better, worse):
    """A row is marked only when its whole interval lies on the worse side of the value as taken."""
    taken = Interval(value=0.5, low=0.1, high=0.9)
    now = Interval(value=(low + high) / 2, low=low, high=high)
    assert is_worse(taken, now, larger_is_better=larger_is_better) is worse


def test_what_was_not_tested_is_not_worse():
    """A missing number is never marked."""
    assert is_worse(None, None, larger_is_better=True) is False

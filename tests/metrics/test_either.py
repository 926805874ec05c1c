"""Score or known defect: recall where both rules hold the same share of good parts."""

import numpy as np
import pytest

from inspection.core.errors import InspectionError
from inspection.metrics.either import Parts, recall_gain


def parts(scores, known) -> Parts:
    return Parts(np.array(scores, float), np.array(known, float))


GOOD = parts(np.arange(100), np.zeros(100))


def test_known_defects_that_score_low_are_gained():
    """Of four defects the score finds one; the detector knows two more and holds no good part."""
    defect = parts([200, 50, 60, 70], [0, 0.9, 0.8, 0])
    found = recall_gain(GOOD, defect, 0.01, 0.5, seed=0)
    assert (found.alone, found.either) == (0.25, 0.75)
    assert found.gain.value == pytest.approx(0.5)
    assert found.gain.low <= 0.5 <= found.gain.high


def test_good_parts_that_the_detector_holds_are_taken_from_the_score():
    """Ten may be held, nine by two thresholds: four by the detector, five above the score."""
    known = np.zeros(100)
    known[:4] = 0.9
    defect = parts([92, 97, 10], [0, 0, 0.95])
    found = recall_gain(parts(np.arange(100), known), defect, 0.1, 0.5, seed=0)
    assert found.alone == pytest.approx(2 / 3)
    assert found.either == pytest.approx(2 / 3)  # 92 is lost, the known one is gained


def test_a_detector_that_holds_too_many_good_parts_is_made_stricter():
    known = np.linspace(0, 0.99, 100)
    defect = parts([10, 10], [0.7, 0.999])
    found = recall_gain(parts(np.arange(100), known), defect, 0.1, 0.5, seed=0)
    assert found.either == 0.5


def test_both_rules_hold_the_same_share_of_further_good_parts():
    """A detector of noise gains nothing on average: its threshold costs one part more."""
    rng = np.random.default_rng(0)
    held = []
    for _ in range(400):
        good = parts(rng.random(60), rng.random(60))
        further = parts(rng.random(200), rng.random(200))
        found = recall_gain(good, further, 0.1, 0.0, seed=0, draws=1)
        held.append((found.alone, found.either))
    alone, either = np.mean(held, axis=0)
    assert alone == pytest.approx(7 / 61, abs=0.005)
    assert either == pytest.approx(alone, abs=0.006)


def test_a_rate_of_no_good_part_is_refused():
    """Two thresholds cannot hold one part less than none."""
    with pytest.raises(InspectionError, match=r"rate 0\.01 of 99 good parts is none"):
        recall_gain(GOOD.at(np.arange(99)), GOOD, 0.01, 0.5, seed=0)


def test_where_nothing_is_known_both_rules_are_one():
    defect = parts([200, 50], [0, 0.4])
    found = recall_gain(GOOD, defect, 0.05, 0.5, seed=0)
    assert found.gain.value == found.gain.low == found.gain.high == 0

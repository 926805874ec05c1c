"""Measures of masks against the true one."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from inspection.metrics.masks import area_error, boundary_f1, dice, iou

pytestmark = pytest.mark.fast


def box(x0, y0, x1, y1):
    mask = np.zeros((40, 60), np.bool_)
    mask[y0:y1, x0:x1] = True
    return mask


def test_half_an_overlap_is_a_third_of_the_union():
    assert iou(box(0, 0, 20, 10), box(10, 0, 30, 10)) == pytest.approx(1 / 3)
    assert dice(box(0, 0, 20, 10), box(10, 0, 30, 10)) == pytest.approx(1 / 2)


def test_two_empty_masks_agree_and_one_does_not():
    nothing, something = box(0, 0, 0, 0), box(1, 1, 5, 5)
    for measure in (iou, dice, boundary_f1):
        assert measure(nothing, nothing) == 1
        assert measure(nothing, something) == 0
        assert measure(something, nothing) == 0


@given(st.integers(1, 39), st.integers(1, 59))
def test_the_same_mask_fits_perfectly(y, x):
    mask = box(0, 0, x, y)
    assert iou(mask, mask) == dice(mask, mask) == boundary_f1(mask, mask) == 1
    assert area_error(mask, mask) == 0


def test_a_boundary_within_the_tolerance_counts_and_one_beyond_does_not():
    truth = box(10, 10, 40, 30)
    assert boundary_f1(box(11, 10, 41, 30), truth) == 1
    assert boundary_f1(box(16, 16, 34, 24), truth) == 0


def test_the_area_error_counts_both_ways():
    truth = box(10, 10, 20, 20)
    assert area_error(box(10, 10, 20, 30), truth) == 1
    assert area_error(box(10, 10, 20, 15), truth) == 0.5

"""Sizes of masks whose measures are known."""

import cv2
import numpy as np
import pytest

from inspection.masks.measure import measure, walk_px

pytestmark = pytest.mark.fast


def drawn(draw, size=(200, 200)):
    canvas = np.zeros(size, np.uint8)
    draw(canvas)
    return canvas > 0


def test_a_rectangle_has_its_sides_and_its_place():
    mask = np.zeros((40, 60), np.bool_)
    mask[10:15, 20:50] = True
    size = measure(mask, (100, 200))
    assert (size.area_px, size.length_px, size.width_px) == (150, 30, 5)
    assert (size.x_px, size.y_px) == (135, 212.5)


@pytest.mark.parametrize("side", [1, 2, 24])
def test_a_square_is_as_long_as_its_side_not_as_its_diagonal(side):
    size = measure(np.ones((side, side), np.bool_))
    assert size.length_px == pytest.approx(side, abs=0.01)
    assert size.width_px == pytest.approx(side, abs=0.01)


@pytest.mark.parametrize("angle", [0, 17, 30, 45, 71, 90])
def test_a_turned_scratch_keeps_its_length(angle):
    turned = cv2.boxPoints(((100, 100), (120, 6), angle)).round().astype(np.int32)
    size = measure(drawn(lambda c: cv2.fillPoly(c, [turned], 1)))
    assert size.length_px == pytest.approx(121, abs=3)
    assert size.width_px == pytest.approx(6.5, abs=1.5)


def test_a_bent_scratch_is_measured_along_its_bend():
    """A rectangle around half a circle is as long as its diameter; the scratch is longer."""
    size = measure(drawn(lambda c: cv2.ellipse(c, (100, 100), (80, 80), 0, 0, 180, 1, 3)))
    assert 0.87 * np.pi * 80 < size.length_px < 1.05 * np.pi * 80


def test_a_long_mask_is_walked_on_a_smaller_one():
    mask = np.zeros((9, 3000), np.bool_)
    mask[3:6] = True
    assert walk_px(mask) == pytest.approx(3000, rel=0.01)


def test_the_walk_stays_within_the_largest_piece():
    mask = np.zeros((20, 100), np.bool_)
    mask[5:8, :30] = True
    mask[5:8, 60:] = True
    assert walk_px(mask) == pytest.approx(40, abs=3)

"""Where a map's cells lie on a frame."""

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from inspection.core.geometry import Geometry, Roi
from inspection.core.heat import Heat, heat_of_frame, tight_box

pytestmark = pytest.mark.fast

sides = st.integers(1, 40)


def random_map(height, width, seed=0):
    return np.random.default_rng(seed).random((height, width), np.float32)


@given(height=sides, width=sides, tall=st.integers(1, 90), wide=st.integers(1, 90))
def test_an_enlarged_map_is_the_bilinear_one(height, width, tall, wide):
    cells = random_map(height, width)
    found = Heat(cells, (0, 0, wide, tall)).enlarged()
    assert found.dtype == np.float32
    wanted = cv2.resize(cells, (wide, tall), interpolation=cv2.INTER_LINEAR)
    assert np.abs(found - wanted).max() < 1e-3


@given(x=st.integers(0, 60), y=st.integers(0, 40), shift=st.floats(-2, 2))
def test_a_window_reads_what_the_whole_map_reads_there(x, y, shift):
    heat = Heat(random_map(8, 10), (5, 7, 85, 71), (shift, -shift))
    whole = heat.enlarged()
    window = heat.of((5 + x, 7 + y, 85, 71))
    assert np.abs(window - whole[y:, x:]).max() < 1e-6


def test_a_shifted_map_is_read_where_it_answers():
    """One hot cell, one down and two right of what it shows, is read up and left of itself."""
    cells = np.zeros((8, 8), np.float32)
    cells[4, 5] = 1
    heat = Heat(cells, (0, 0, 80, 80), (1.0, 2.0))
    y, x = np.unravel_index(heat.enlarged().argmax(), (80, 80))
    assert (y // 10, x // 10) == (3, 3)
    assert heat.px((5, 4, 6, 5)) == (30, 30, 40, 40)


def test_the_outermost_cells_reach_to_the_ends_of_the_frame():
    heat = Heat(random_map(8, 8), (0, 0, 80, 80), (1.5, 1.5))
    assert heat.px((7, 7, 8, 8))[2:] == (80, 80)
    assert heat.px((0, 0, 8, 8)) == (0, 0, 80, 80)


def test_every_cell_speaks_of_a_pixel_at_least():
    heat = Heat(random_map(4, 4), (0, 0, 8, 8), (3.0, 3.0))
    x0, y0, x1, y1 = heat.px((0, 0, 1, 1))
    assert x0 < x1
    assert y0 < y1


def test_a_map_lies_on_the_roi_of_its_geometry():
    geometry = Geometry(roi=Roi(top=0.5, left=0.25), map_shift=(0.5, 0.5))
    heat = heat_of_frame(random_map(4, 4), geometry, (40, 80))
    assert heat.rectangle == (20, 20, 80, 40)
    assert heat.shift == (0.5, 0.5)
    assert heat.cell_px == 15


def test_the_tight_box_holds_all_that_is_true_and_no_row_more():
    mask = np.zeros((9, 12), np.bool_)
    assert tight_box(mask) == (0, 0, 0, 0)
    mask[2, 5] = mask[6, 3] = True
    assert tight_box(mask) == (3, 2, 6, 7)

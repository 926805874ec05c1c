"""Prompts of drawn maps: what the refiner would ask about a mark, and what its answer should be."""

import numpy as np
import pytest

from inspection.pretraining.maps import ask_by_map

pytestmark = pytest.mark.fast
SIDE_PX = 128


def marked(*boxes: tuple[int, int, int, int]) -> np.ndarray:
    """Fill boxes x0, y0, x1, y1."""
    mask = np.zeros((SIDE_PX, SIDE_PX), np.bool_)
    for x0, y0, x1, y1 in boxes:
        mask[y0:y1, x0:x1] = True
    return mask


def test_a_map_points_at_the_mark_and_is_coarser():
    """Its guess lies over the mark, and is several times as large as a small one."""
    mark, larger = marked((60, 60, 70, 68)), []
    for seed in range(30):
        asked = ask_by_map(mark, marked(), np.random.default_rng(seed))
        assert asked is not None
        asked.prompt.require_fitting(SIDE_PX, SIDE_PX)
        np.testing.assert_array_equal(asked.mask, mark)
        assert asked.prompt.mask[mark].max() > 0
        larger.append(np.count_nonzero(asked.prompt.mask > 0) / np.count_nonzero(mark))
    assert np.median(larger) > 3


def test_marks_that_a_map_joins_are_answered_together():
    """Those near by are sometimes; one at the other end never is."""
    mark, near, far = (
        marked((40, 40, 50, 50)),
        marked((54, 40, 64, 50)),
        marked((110, 110, 120, 120)),
    )
    wanted = [
        asked.mask
        for seed in range(30)
        if (asked := ask_by_map(mark, near | far, np.random.default_rng(seed)))
    ]
    assert all(one[mark].all() for one in wanted)
    assert {bool(one[near].any()) for one in wanted} == {True, False}
    assert not any(one[far].any() for one in wanted)


def test_a_seed_decides_a_map():
    mark = marked((60, 60, 70, 68))
    one, same, other = (
        ask_by_map(mark, marked(), np.random.default_rng(seed)) for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(one.prompt.mask, same.prompt.mask)
    assert one.prompt.box == same.prompt.box
    assert (one.prompt.mask != other.prompt.mask).any()

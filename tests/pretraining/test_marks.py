"""Marks on procedural pictures: what a segmenter is to outline is there to be seen."""

import numpy as np
import pytest

from inspection.pretraining import marks
from inspection.pretraining.marks import KINDS, LEAST_PX, MOST_SHARE, draw_marked

pytestmark = pytest.mark.fast
SIDE_PX = 96


@pytest.mark.parametrize("kind", dict.fromkeys(KINDS))
def test_a_cover_is_between_nothing_and_all(kind):
    covers = [kind(SIDE_PX, np.random.default_rng(seed)) for seed in range(20)]
    for cover in covers:
        assert (cover.shape, cover.dtype) == ((SIDE_PX, SIDE_PX), np.float32)
        assert (cover.min() >= 0, cover.max() <= 1 + 1e-6) == (True, True)
    assert np.mean([cover.max() > 0.9 for cover in covers]) > 0.5  # others fell beside it


def test_a_seed_decides_a_marked_picture():
    one, same, other = (draw_marked(SIDE_PX, np.random.default_rng(seed)) for seed in (5, 5, 6))
    np.testing.assert_array_equal(one.pixels, same.pixels)
    np.testing.assert_array_equal(one.masks, same.masks)
    assert (one.pixels != other.pixels).any()


def test_masks_are_of_a_size_that_can_be_outlined():
    masks = [draw_marked(SIDE_PX, np.random.default_rng(seed)).masks[0] for seed in range(20)]
    areas = [np.count_nonzero(mask) for mask in masks]
    assert min(areas) >= LEAST_PX
    assert max(areas) <= MOST_SHARE * SIDE_PX**2
    assert max(areas) > 10 * min(areas)


def test_several_marks_keep_apart():
    drawn = [draw_marked(SIDE_PX, np.random.default_rng(seed), most=5) for seed in range(10)]
    counts = {len(one.masks) for one in drawn}
    assert (min(counts), max(counts) <= 5, len(counts) > 1) == (1, True, True)
    for one in drawn:
        assert np.sum(one.masks, axis=0).max() == 1


def test_some_marks_hardly_show_and_some_masks_are_wide():
    """Of a faint mark the picture tells nothing, of a wide mask it tells less than half."""
    rng = np.random.default_rng(0)
    bare, drawn = np.zeros((SIDE_PX, SIDE_PX), np.bool_), []
    bare[40:50, 40:44] = True
    for _ in range(50):
        wide = marks._widened(bare, rng)
        assert wide[bare].all()
        drawn.append(np.count_nonzero(wide))
    assert min(drawn) > np.count_nonzero(bare)
    assert max(drawn) < 8 * np.count_nonzero(bare)

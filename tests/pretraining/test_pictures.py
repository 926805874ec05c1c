"""Procedural pictures: what every one of them is, and that a seed decides all of it."""

import numpy as np
import pytest

from inspection.pretraining.fractals import contours, fractal, radial_outline
from inspection.pretraining.pictures import draw_picture
from inspection.pretraining.pool import CHUNK, draw_pool
from inspection.pretraining.textures import TEXTURES, draw_texture, standardised

pytestmark = pytest.mark.fast
FORMULAS = (*dict.fromkeys(TEXTURES), draw_texture, fractal, contours)


@pytest.mark.parametrize("formula", FORMULAS)
def test_a_formula_gives_a_plane_of_mean_0_and_deviation_1(formula):
    for seed in range(10):
        plane = formula(64, np.random.default_rng(seed))
        assert (plane.shape, plane.dtype) == ((64, 64), np.float32)
        assert plane.mean() == pytest.approx(0, abs=1e-3)
        assert plane.std() == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize("formula", FORMULAS)
def test_each_seed_gives_another_plane(formula):
    first, second = (formula(64, np.random.default_rng(seed)) for seed in (1, 2))
    assert abs(np.corrcoef(first.ravel(), second.ravel())[0, 1]) < 0.9


def test_a_flat_plane_stays_flat():
    assert not standardised(np.full((8, 8), 3.0)).any()


def test_an_outline_closes_around_its_centre():
    for seed in range(20):
        outline = radial_outline(np.random.default_rng(seed))
        turned = np.unwrap(np.arctan2(outline[:, 1], outline[:, 0]))
        assert abs(turned[-1] - turned[0]) == pytest.approx(2 * np.pi, abs=0.3)


def test_a_seed_decides_a_picture():
    one, same, other = (draw_picture(64, np.random.default_rng(seed)) for seed in (5, 5, 6))
    assert (one.shape, one.dtype) == ((64, 64, 3), np.uint8)
    np.testing.assert_array_equal(one, same)
    assert (one != other).any()


def test_pictures_differ_in_brightness_contrast_and_colour():
    pictures = np.stack([draw_picture(64, np.random.default_rng(seed)) for seed in range(40)])
    levels = pictures.mean((1, 2, 3))
    assert (levels.min() < 80, levels.max() > 175) == (True, True)
    colour = np.ptp(pictures.mean((1, 2)), axis=1)
    assert (np.mean(colour < 15) > 0.2, np.mean(colour > 40) > 0.2) == (True, True)


def _drawn(side_px, rngs):
    return np.stack([draw_picture(side_px, rng) for rng in rngs])


def test_a_picture_of_a_pool_is_the_same_however_many_follow():
    [alone] = draw_pool(_drawn, CHUNK, 64, seed=3)
    longer = list(draw_pool(_drawn, CHUNK + 1, 64, seed=3))
    assert len(longer) == 2
    np.testing.assert_array_equal(alone, longer[0])
    assert (longer[1] != alone).any()

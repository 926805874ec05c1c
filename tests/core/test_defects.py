"""Generated defects: exact masks, graded difficulty, repeatable, on any part."""

import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inspection.core.defects import (
    AREA_LEAST_PX,
    VISIBLE_LEVELS,
    GeneratedDefect,
    add_defect,
    generate_defects,
    perlin_noise,
)
from inspection.core.errors import ImageError

pytestmark = pytest.mark.fast

EVERY_KIND = pytest.mark.parametrize("kind", GeneratedDefect)


def _part(height=96, width=128, *, seed=0, grey=False):
    rng = np.random.default_rng(seed)
    channels = 1 if grey else 3
    drawn = rng.normal(120, 25, (height, width, channels)).clip(0, 255).astype(np.uint8)
    return np.repeat(drawn, 3, axis=2) if grey else drawn


def _steps(before, after):
    return np.abs(before.astype(int) - after).max(axis=2)


@EVERY_KIND
@given(
    height=st.integers(8, 90),
    width=st.integers(8, 90),
    seed=st.integers(0, 2**32),
    level=st.sampled_from([None, 0, 1, 128, 255]),
)
@settings(max_examples=40, deadline=None)
def test_mask_is_what_changed_visibly(kind, height, width, seed, level):
    """On any part every masked pixel changes by 4 levels or more and no other pixel changes."""
    part = _part(height, width, seed=seed)
    if level is not None:
        part[:] = level
    defective, mask = add_defect(part, np.random.default_rng(seed), kind)
    steps = _steps(part, defective)
    assert (defective.dtype, defective.shape) == (np.uint8, part.shape)
    assert (mask.dtype, mask.shape) == (np.bool_, part.shape[:2])
    assert np.count_nonzero(mask) >= AREA_LEAST_PX
    assert steps[mask].min() >= VISIBLE_LEVELS
    assert not steps[~mask].any()


@EVERY_KIND
def test_same_generator_state_same_defect(kind):
    """A defect depends on the part and on the generator's state only."""
    part = _part()
    first, first_mask = add_defect(part, np.random.default_rng(7), kind)
    again, again_mask = add_defect(part, np.random.default_rng(7), kind)
    other, _ = add_defect(part, np.random.default_rng(8), kind)
    assert np.array_equal(first, again)
    assert np.array_equal(first_mask, again_mask)
    assert not np.array_equal(first, other)


@EVERY_KIND
def test_the_normal_part_stays_as_it_was(kind):
    """The caller's array is not written to."""
    part = _part()
    kept = part.copy()
    part.setflags(write=False)
    add_defect(part, np.random.default_rng(0), kind)
    assert np.array_equal(part, kept)


@EVERY_KIND
def test_grey_part_gets_a_grey_defect(kind):
    """A grey camera sees no colour, so neither does a generated defect."""
    part = _part(grey=True)
    for seed in range(20):
        defective, _ = add_defect(part, np.random.default_rng(seed), kind)
        assert (defective[:, :, :1] == defective[:, :, 1:]).all()


@EVERY_KIND
def test_difficulty_runs_from_faint_and_small_to_obvious_and_large(kind):
    """Over many draws contrast and area span at least a decade and stay within their limits."""
    part = _part(160, 224, grey=True)
    areas, contrasts = [], []
    for seed in range(150):
        defective, mask = add_defect(part, np.random.default_rng(seed), kind)
        areas.append(mask.mean())
        contrasts.append(_steps(part, defective)[mask].mean())
    assert min(areas) < 0.0025
    assert 0.03 < max(areas) < 0.12
    assert 5 < min(contrasts) < 12
    assert max(contrasts) > 70


def test_nth_defect_does_not_depend_on_the_others():
    """Adding normals at the end, or reading lazily, leaves earlier defects as they were."""
    normals = [_part(40, 56, seed=index) for index in range(4)]
    few = list(generate_defects(normals[:2], seed=3))
    many = list(generate_defects(iter(normals), seed=3))
    assert [part.kind for part in many] == ["perlin", "cut_paste"] * 2
    for short, long in zip(few, many[:2], strict=True):
        assert np.array_equal(short.pixels, long.pixels)
        assert np.array_equal(short.mask, long.mask)


def test_no_normals_no_defects():
    """An empty set of normals gives an empty stream."""
    assert list(generate_defects([], seed=0)) == []


@pytest.mark.parametrize(
    ("part", "message"),
    [
        pytest.param(np.zeros((32, 40), np.uint8), "image is uint8 (32, 40)", id="grey array"),
        pytest.param(np.zeros((32, 40, 3), np.float32), "image is float32 (32, 40, 3)", id="float"),
        pytest.param(np.zeros((7, 40, 3), np.uint8), "wanted sides from 8 px", id="too small"),
    ],
)
def test_anything_but_a_part_is_refused(part, message):
    """Only uint8 H×W×3 from 8 px gets a defect."""
    with pytest.raises(ImageError, match=re.escape(message)):
        add_defect(part, np.random.default_rng(0), GeneratedDefect.PERLIN)


def test_perlin_noise_is_smooth_centred_and_of_the_asked_size():
    """Noise has (height, width), a mean near 0, and changes little from pixel to pixel."""
    noise = perlin_noise((96, 160), (4, 5), np.random.default_rng(0))
    assert (noise.dtype, noise.shape) == (np.float32, (96, 160))
    assert abs(noise.mean()) < 0.15
    assert noise.std() > 0.15
    assert np.abs(noise).max() <= 1.0 + 1e-6
    assert max(np.abs(np.diff(noise, axis=axis)).max() for axis in (0, 1)) < 0.15

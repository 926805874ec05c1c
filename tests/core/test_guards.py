"""Guards: what they complain of, what they leave alone, and how often, on generated products."""

import json
import math
import re
from functools import cache

import cv2
import numpy as np
import pytest

from inspection.core.errors import ImageError
from inspection.core.geometry import Geometry, prepare
from inspection.core.guards import (
    COLOUR_SPREAD,
    Guard,
    GuardLimits,
    GuardMeasure,
    complaints,
    is_of_light,
    learn,
    measure,
)
from inspection.core.imaging import Rgb
from inspection.synthetic.dataset import Product, make_defective, make_good
from inspection.synthetic.flaws import Flaw
from inspection.synthetic.scene import SIZE_HW
from tests.synthetic import make_part

GEOMETRY = Geometry(height_px=192, width_px=256)
NORMALS, HELD_OUT, DEFECTS = 20, 15, 3


def tiles_of(pixels: Rgb) -> Rgb:
    """Prepare a generated part."""
    return prepare(pixels, GEOMETRY)


@cache
def normals(product: Product) -> tuple[Rgb, ...]:
    """Model inputs of the parts that the limits are learnt from."""
    return tuple(tiles_of(make_good(product, f"{product}/fit/{i}")) for i in range(NORMALS))


@cache
def held_out(product: Product) -> tuple[Rgb, ...]:
    """Model inputs of good parts that no limit has seen."""
    return tuple(tiles_of(make_good(product, f"{product}/new/{i}")) for i in range(HELD_OUT))


@cache
def limits_of(product: Product) -> GuardLimits:
    """Limits of a generated product."""
    return learn([measure(tiles) for tiles in normals(product)], [SIZE_HW] * NORMALS)


def said(tiles: Rgb, product: Product) -> set[Guard]:
    """The guards that complain of a frame of the right size."""
    return set(complaints(tiles, SIZE_HW, limits_of(product)))


def gain(factor: float):
    """Change the light."""
    return lambda tiles: np.clip(np.rint(tiles * factor), 0, 255).astype(np.uint8)


def blur(sigma_px: float):
    """Lose the focus."""
    return lambda tiles: np.stack([cv2.GaussianBlur(tile, (0, 0), sigma_px) for tile in tiles])


def flat(level: int):
    """Take the part away, before a background of one grey level."""
    return lambda tiles: np.full_like(tiles, level)


def noise(tiles: Rgb) -> Rgb:
    """Show nothing but noise."""
    return np.random.default_rng(3).integers(0, 256, tiles.shape).astype(np.uint8)


def noisy_ground(tiles: Rgb) -> Rgb:
    """Take the part away, before a background as bright as the part, with a sensor's noise."""
    levels = np.random.default_rng(4).normal(tiles.mean(), 3, tiles.shape)
    return np.clip(levels, 0, 255).astype(np.uint8)


DISTURBED = {
    "half the light": (gain(0.5), {Guard.EXPOSURE}),
    "1.6 times the light": (gain(1.6), {Guard.EXPOSURE}),
    "blurred by 2 px": (blur(2), {Guard.FOCUS}),
    "blurred by 4 px": (blur(4), {Guard.FOCUS}),
    "black": (flat(0), {Guard.EXPOSURE, Guard.FOCUS, Guard.MISSING}),
    "white": (flat(255), {Guard.EXPOSURE, Guard.FOCUS, Guard.MISSING}),
    "grey": (flat(110), {Guard.FOCUS, Guard.MISSING}),
    "noise": (noise, {Guard.MISSING}),
    "noisy background": (noisy_ground, {Guard.MISSING}),
}


@pytest.mark.parametrize("product", Product)
@pytest.mark.parametrize(("disturb", "wanted"), DISTURBED.values(), ids=DISTURBED)
def test_a_disturbed_frame_is_caught(disturb, wanted: set[Guard], product: Product):
    """Each of the disturbances the guards are there for, on every held-out good part."""
    assert all(wanted <= said(disturb(tiles), product) for tiles in held_out(product))


@pytest.mark.parametrize("product", Product)
def test_held_out_good_parts_are_left_alone(product: Product):
    """No false alarm: 0 of 900 in the log of 2026-11-21, so 1 of these 45 would be a change."""
    alarms = [said(tiles, product) for tiles in (*normals(product), *held_out(product))]
    assert alarms == [set()] * len(alarms)


@pytest.mark.parametrize("product", Product)
def test_another_product_is_a_missing_part(product: Product):
    """The wrong recipe, or another part on the line, is no anomaly of this one."""
    others = [tiles for other in Product if other is not product for tiles in held_out(other)]
    assert all(Guard.MISSING in said(tiles, product) for tiles in others)


@pytest.mark.parametrize("product", Product)
def test_a_shifted_or_turned_part_is_not_missing(product: Product):
    """Where the part lies in the frame does not count; half a turn and 5 % are left alone."""
    for tiles in held_out(product):
        rows, columns = tiles.shape[1] // 20, tiles.shape[2] // 20
        padded = np.pad(tiles, ((0, 0), (rows, 0), (columns, 0), (0, 0)), mode="reflect")
        shifted = np.ascontiguousarray(padded[:, :-rows, :-columns])
        turned = np.ascontiguousarray(tiles[:, ::-1, ::-1])
        assert said(shifted, product) == said(turned, product) == set()


@pytest.mark.parametrize("product", Product)
def test_a_defect_is_for_the_score_not_for_the_guards(product: Product):
    """Scratch, stain, missing component …: the frame can be judged, so no guard complains."""
    defects = [
        tiles_of(make_defective(product, f"{product}/{flaw}/{index}", flaw)[0])
        for flaw in Flaw
        for index in range(DEFECTS)
    ]
    assert [said(tiles, product) for tiles in defects] == [set()] * len(defects)


# What follows needs no generated product, only arithmetic.

PART = prepare(make_part(np.random.default_rng(1)), Geometry(height_px=64, width_px=80))


def plain_limits(**changes: object) -> GuardLimits:
    """Limits learnt from one part of 64×80 px, changed by hand."""
    return learn([measure(PART)], [(64, 80)]).model_copy(update=changes)


@pytest.mark.fast
def test_one_normal_is_enough_and_is_left_alone():
    """Its limits are the least spreads around it."""
    limits = plain_limits()
    assert limits.normals == 1
    assert complaints(PART, (64, 80), limits) == {}
    found = measure(PART)
    assert limits.level.least == pytest.approx((found.level + 1) * 2**-0.15 - 1)
    assert limits.level.most == pytest.approx((found.level + 1) * 2**0.15 - 1)
    assert limits.sharpness == pytest.approx((found.sharpness + 0.001) * 2**-0.3 - 0.001)
    assert (limits.black_share, limits.white_share, limits.unlikeness) == (0.03, 0.03, 1)


def measured(level: float, sharpness: float = 0.5) -> GuardMeasure:
    """A measure of a frame that looks like every other."""
    return GuardMeasure(level, 0, 0, sharpness, np.zeros(32))


@pytest.mark.fast
def test_limits_are_the_extremes_widened_by_three_robust_spreads():
    """Levels of 15, 31, 63, 127: octaves 4 to 7, whose quartiles are 4.75 and 6.25."""
    limits = learn([measured(level) for level in (15, 127, 31, 63)], [(64, 80)] * 4)
    margin = 3 * 1.5 / 1.349
    assert limits.level.least == pytest.approx(2 ** (4 - margin) - 1)
    assert limits.level.most == 255  # no frame is brighter, whatever the spread


@pytest.mark.fast
def test_a_single_odd_normal_does_not_blind_the_look():
    """Median and robust spread: one frame of nothing among the normals moves neither."""
    looks = [GuardMeasure(100, 0, 0, 0.5, np.full(32, value)) for value in (0, 0, 0, 0, 9)]
    limits = learn(looks, [(64, 80)] * 5)
    assert set(limits.look) == {0.0}
    assert min(limits.look_spread) == COLOUR_SPREAD


SIZES = {
    "all alike": ([(64, 80)] * 3, (64, 64), (80, 80)),
    "all different": ([(60, 80), (70, 100)], (54, 77), (72, 110)),
    "line scan": ([(100, 80), (200, 80)], (90, 220), (80, 80)),
}


@pytest.mark.fast
@pytest.mark.parametrize(("sizes_hw", "height", "width"), SIZES.values(), ids=SIZES)
def test_size_is_exact_where_normals_are_alike(sizes_hw, height, width):
    """A side in which normals differ may go a tenth further; another one may not differ at all."""
    limits = learn([measured(100)] * len(sizes_hw), sizes_hw)
    assert (limits.height_px.least, limits.height_px.most) == height
    assert (limits.width_px.least, limits.width_px.most) == width


MESSAGES = {
    "size": (
        (80, 64),
        {},
        "frame is 80 × 64 px; wanted 64 × 80 as the good parts have; check the camera's region and "
        "the recipe's ROI",
    ),
    "exposure": (
        (64, 80),
        {"level": {"least": 200, "most": 220}, "black_share": -1.0, "white_share": -1.0},
        r"mean grey level 11\d\.\d; wanted 200 to 220; black pixels \d\.\d%; wanted at most "
        r"-100\.0%; white pixels 0\.0%; wanted at most -100\.0% as the good parts have; check the "
        "light and the exposure time",
    ),
    "focus": (
        (64, 80),
        {"sharpness": 34.0},
        r"focus 0\.\d+; wanted at least 34 as the good parts have; check the lens and the distance",
    ),
    "missing": (
        (64, 80),
        {"look": (9.0,) * 32, "unlikeness": 2.5},
        r"frame is unlike the good parts by \d+; wanted at most 2\.5; see that the part lies "
        "before the camera and that the recipe is its own",
    ),
}


@pytest.mark.fast
@pytest.mark.parametrize("guard", MESSAGES)
def test_a_complaint_says_found_wanted_and_remedy(guard: str):
    """Each guard complains for itself, and only it."""
    part_hw, changes, message = MESSAGES[guard]
    values = plain_limits().model_dump() | changes
    found = complaints(PART, part_hw, GuardLimits.model_validate(values))
    assert list(found) == [Guard(guard)]
    assert re.fullmatch(message, found[Guard(guard)])
    assert is_of_light(found[Guard(guard)]) is (guard == "exposure")


@pytest.mark.fast
@pytest.mark.parametrize("other", ["size", "focus", "missing"])
def test_beside_another_complaint_a_reason_is_not_of_the_light_alone(other: str):
    """As stations join them, in whichever order they come."""
    part_hw, changes, _ = MESSAGES[other]
    values = plain_limits().model_dump() | changes | {"white_share": -1.0}
    found = complaints(PART, part_hw, GuardLimits.model_validate(values))
    assert set(found) == {Guard.EXPOSURE, Guard(other)}
    assert is_of_light(found[Guard.EXPOSURE])
    assert not is_of_light("; ".join(found.values()))


@pytest.mark.fast
def test_light_changes_the_level_only():
    """Half the light halves the level; focus and look stay, up to rounding."""
    full, half = measure(PART), measure(gain(0.5)(PART))
    assert half.level == pytest.approx(full.level / 2, rel=0.01)
    assert half.sharpness == pytest.approx(full.sharpness, rel=0.05)
    moved = np.abs(half.look - full.look)
    assert moved[:24].max() < 0.01  # colours
    assert moved[24:].max() < 0.5  # octaves of texture: faint ones drown in whole grey levels


@pytest.mark.fast
def test_clipped_pixels_are_counted():
    """A third of black and a third of white pixels."""
    tiles = np.full((1, 30, 48, 3), 128, np.uint8)
    tiles[:, :10], tiles[:, 10:20] = 0, 255
    found = measure(tiles)
    assert (found.black_share, found.white_share) == pytest.approx((1 / 3, 1 / 3))


@pytest.mark.fast
def test_tiles_are_measured_as_one_part():
    """The same tile several times gives what it gives once: no edge where tiles meet."""
    once, thrice = measure(PART), measure(np.repeat(PART, 3, axis=0))
    for name in ("level", "black_share", "white_share", "sharpness"):
        assert getattr(thrice, name) == pytest.approx(getattr(once, name)), name
    np.testing.assert_allclose(thrice.look, once.look, atol=1e-6)


@pytest.mark.fast
def test_a_defect_in_few_cells_moves_no_band_far():
    """A black or white patch over 8 of the 256 cells is no missing part."""
    drawn = [make_part(np.random.default_rng(seed)) for seed in range(20)]
    limits = learn([measure(part[None]) for part in drawn], [(64, 80)] * len(drawn))
    for level in (0, 255):
        patched = PART.copy()
        patched[:, 16:24, 20:40] = level
        assert Guard.MISSING not in complaints(patched, (64, 80), limits)


@pytest.mark.fast
def test_limits_stand_in_json_and_in_one_line():
    """What the card holds reads back as it was, and people see the numbers."""
    limits = plain_limits()
    assert GuardLimits.model_validate_json(limits.model_dump_json()) == limits
    assert json.loads(limits.model_dump_json())["height_px"] == {"least": 64, "most": 64}
    assert re.fullmatch(
        r"64 × 80 px, grey level [\d.]+ to [\d.]+, focus from 0\.\d+, unlike the 1 normals by at "
        "most 1",
        str(limits),
    )


@pytest.mark.fast
def test_no_limit_is_ever_infinite_or_nan():
    """Black normals have no focus and no texture; their limits are numbers all the same."""
    tiles = np.zeros((1, 32, 40, 3), np.uint8)
    limits = learn([measure(tiles)] * 3, [(32, 40)] * 3)
    values = (limits.level.least, limits.sharpness, limits.unlikeness, *limits.look_spread)
    assert all(map(math.isfinite, values))
    assert complaints(tiles, (32, 40), limits) == {}


@pytest.mark.fast
@pytest.mark.parametrize(
    "tiles",
    [PART[0], PART.astype(np.float32), PART[..., :1]],
    ids=["one tile without its axis", "float", "grey"],
)
def test_anything_but_prepared_tiles_is_refused(tiles):
    """The message names dtype and shape."""
    with pytest.raises(ImageError, match=re.escape(f"{tiles.dtype} {tiles.shape}; wanted uint8")):
        measure(tiles)

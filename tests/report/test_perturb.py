import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from inspection.core.errors import ImageError, InspectionError
from inspection.report import perturb

pytestmark = pytest.mark.fast


def part(height=24, width=40, seed=0):
    """A non-square textured part."""
    return np.random.default_rng(seed).integers(20, 200, (height, width, 3)).astype(np.uint8)


@pytest.mark.parametrize("each", perturb.PERTURBATIONS, ids=lambda each: each.name)
def test_every_disturbance_keeps_form_and_input(each):
    """A disturbance keeps form and input, repeats exactly, and does something."""
    pixels = part()
    before = pixels.copy()
    disturbed = each.apply(pixels, 3)
    assert (disturbed.dtype, disturbed.shape) == (np.uint8, pixels.shape)
    assert np.array_equal(pixels, before)
    assert np.array_equal(disturbed, each.apply(pixels, 3))
    assert np.array_equal(disturbed, pixels) == (each is perturb.AS_TAKEN)


def test_names_are_unique_and_the_first_is_as_taken():
    """The table starts with the frame as taken; no two rows have one name."""
    names = [each.name for each in perturb.PERTURBATIONS]
    assert names[0] == "as taken"
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("gain", [0.7, 1.3])
def test_exposure_multiplies_and_saturates(gain):
    """Levels are multiplied, rounded, and clipped at 255 without wrapping round."""
    pixels = np.full((8, 9, 3), 0, np.uint8)
    pixels[0, 0] = (100, 200, 255)
    expected = [round(100 * gain), min(255, round(200 * gain)), min(255, round(255 * gain))]
    assert perturb.expose(pixels, gain)[0, 0].tolist() == expected


def test_blur_keeps_a_flat_part_and_spreads_a_point():
    """A Gaussian leaves a flat part as it is and lowers a single bright pixel."""
    flat = np.full((12, 20, 3), 90, np.uint8)
    assert np.array_equal(perturb.blur(flat, 2), flat)
    flat[6, 10] = 250
    blurred = perturb.blur(flat, 1)
    assert blurred[6, 10, 0] < 130
    assert blurred[6, 11, 0] > 90


def test_noise_has_its_deviation_and_is_grey():
    """Noise has the deviation asked for, mean 0, and is the same on all three channels."""
    pixels = np.full((200, 300, 3), 128, np.uint8)
    difference = perturb.add_noise(pixels, 10, 0).astype(int) - 128
    assert difference.std() == pytest.approx(10, rel=0.02)
    assert difference.mean() == pytest.approx(0, abs=0.15)
    assert np.array_equal(difference[:, :, 0], difference[:, :, 2])


def test_each_frame_has_its_own_noise():
    """Frames of different numbers do not share one noise picture."""
    assert not np.array_equal(perturb.add_noise(part(), 4, 0), perturb.add_noise(part(), 4, 1))


def test_jpeg_keeps_the_order_of_channels():
    """A red part stays red through the JPEG coder."""
    red = np.zeros((16, 24, 3), np.uint8)
    red[:, :, 0] = 220
    assert perturb.recompress(red, 90)[8, 12].tolist() == pytest.approx([220, 0, 0], abs=6)


def test_lower_quality_changes_more():
    """JPEG of quality 40 differs more than that of quality 80."""
    pixels = part(64, 96)
    error = {
        quality: np.abs(perturb.recompress(pixels, quality).astype(int) - pixels).mean()
        for quality in (40, 80)
    }
    assert error[40] > error[80] > 0


@given(rows=st.integers(-10, 10))
def test_shift_moves_every_pixel(rows):
    """Inside the part, a shift by whole pixels moves each pixel there exactly."""
    pixels = part(20, 40)
    moved = perturb.shift(pixels, rows / 20)
    inner = slice(max(0, rows), 20 + min(0, rows)), slice(max(0, 2 * rows), 40 + min(0, 2 * rows))
    back = slice(max(0, -rows), 20 - max(0, rows)), slice(max(0, -2 * rows), 40 - max(0, 2 * rows))
    assert np.array_equal(moved[inner], pixels[back])


def test_half_a_turn_twice_is_the_part_again():
    """A rotation is about the centre: half a turn reverses both axes."""
    pixels = part()
    assert np.array_equal(perturb.rotate(pixels, 180), pixels[::-1, ::-1])


def test_positive_rotation_is_counter_clockwise():
    """A mark right of the centre moves up when turned by a positive angle."""
    pixels = np.zeros((41, 61, 3), np.uint8)
    pixels[18:23, 48:53] = 255
    rows = np.nonzero(perturb.rotate(pixels, 30)[:, :, 0] > 128)[0]
    assert rows.mean() < 14


@pytest.mark.parametrize(
    ("disturb", "message"),
    [
        (lambda p: perturb.expose(p, 0), "exposure gain is 0; wanted above 0"),
        (lambda p: perturb.blur(p, -1), "blur sigma is -1 px; wanted above 0"),
        (lambda p: perturb.add_noise(p, 0, 1), "noise sigma is 0 levels; wanted above 0"),
        (lambda p: perturb.recompress(p, 0), "JPEG quality is 0; wanted 1 to 100"),
        (lambda p: perturb.shift(p, 0.7), r"shift is 0\.7 of the side; wanted -0\.5 to 0\.5"),
    ],
)
def test_senseless_strengths_are_refused(disturb, message):
    """A strength that means nothing is refused with what was wanted."""
    with pytest.raises(InspectionError, match=message):
        disturb(part())


@pytest.mark.parametrize("each", perturb.PERTURBATIONS[1:], ids=lambda each: each.name)
def test_float_parts_are_refused(each):
    """A float part is refused by every disturbance, never rescaled."""
    with pytest.raises(ImageError, match=r"float64 \(24, 40, 3\); wanted uint8"):
        each.apply(part().astype(float), 0)

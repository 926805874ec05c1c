import cv2
import numpy as np
import pytest

from inspection.core.registration import register

pytestmark = pytest.mark.fast


def surface(seed: int = 0) -> np.ndarray:
    """Make a mottled surface, uint8 600×800×3."""
    rng = np.random.default_rng(seed)
    return cv2.GaussianBlur(rng.integers(0, 255, (600, 800, 3)).astype(np.uint8), (0, 0), 2)


def frame(right: int, down: int, seed: int = 0, noise: int = 1) -> np.ndarray:
    """Look at the surface from a place, 240×320 px, with the camera's noise."""
    rng = np.random.default_rng([seed, right + 1000, down + 1000, noise])
    seen = surface(seed)[180 + down : 420 + down, 240 + right : 560 + right]
    return np.clip(seen + rng.normal(0, 6, seen.shape), 0, 255).astype(np.uint8)


@pytest.mark.parametrize("moved", [(0, 40), (17, -30), (140, 0), (-120, 5), (0, 100), (0, 0)])
def test_shift_is_found_to_less_than_a_pixel_or_two(moved: tuple[int, int]):
    """Right and down of the frame before, with noise on both."""
    found = register(frame(0, 0), frame(*moved, noise=2))
    assert found == pytest.approx(moved, abs=1.5)


@pytest.mark.parametrize(
    "now",
    [
        frame(0, 0, seed=5),  # another surface
        frame(0, 175),  # beyond half a frame
        np.full((240, 320, 3), 90, np.uint8),  # no structure
        frame(0, 0)[:200],  # another size
    ],
)
def test_what_does_not_agree_is_not_registered(now: np.ndarray):
    """No shift is made up."""
    assert register(frame(0, 0), now) is None

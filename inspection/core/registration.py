"""Estimates how far a surface moved between two frames, by phase correlation."""

import math

import cv2
import numpy as np
from numpy.typing import NDArray

from inspection.core.imaging import Rgb, resize

SIDE_PX = 256  # of what is compared: a cell of a map is larger than the px of it
LEAST_ALIKE = 0.3  # correlation of what both frames show; other frames of a surface lie near 0


def register(before: Rgb, now: Rgb) -> tuple[float, float] | None:
    """Say where a frame lies on the surface the one before shows.

    By the peak of the phase correlation (Kuglin & Hines 1975, with a Hann window), held against the
    pictures: what both show must correlate. A surface that repeats itself may move by any number of
    its periods; nothing here can tell, so its step is to be declared.

    Args:
        before: uint8 H×W×3 RGB.
        now: the same size.

    Returns:
        px right and down of the frame before; none where the two do not agree: another surface, no
        structure, or a shift of half a frame and more.
    """
    if before.shape != now.shape:
        return None
    height, width = before.shape[:2]
    scale = min(1.0, SIDE_PX / max(height, width))
    size_hw = max(8, round(height * scale)), max(8, round(width * scale))
    small = [_grey(one, size_hw) for one in (before, now)]
    window = cv2.createHanningWindow(size_hw[::-1], cv2.CV_64F)
    # copies, for OpenCV lays the window on its arguments themselves
    (right, down), _ = cv2.phaseCorrelate(small[0].copy(), small[1].copy(), window)
    alike = _alike(small[0], small[1], -round(right), -round(down))
    return (
        (-right * width / size_hw[1], -down * height / size_hw[0]) if alike > LEAST_ALIKE else None
    )


def _alike(before: NDArray[np.float64], now: NDArray[np.float64], x: int, y: int) -> float:
    """Correlate what both show if the second lies (x, y) px right and down; 0 without structure."""
    height, width = before.shape
    one = before[max(0, y) : height + min(0, y), max(0, x) : width + min(0, x)]
    other = now[max(0, -y) : height - max(0, y), max(0, -x) : width - max(0, x)]
    one, other = one - one.mean(), other - other.mean()
    size = math.sqrt(float((one**2).sum() * (other**2).sum()))
    return float((one * other).sum()) / size if size > 0 else 0.0


def _grey(pixels: Rgb, size_hw: tuple[int, int]) -> NDArray[np.float64]:
    return np.asarray(cv2.cvtColor(resize(pixels, *size_hw), cv2.COLOR_RGB2GRAY), np.float64)

"""What changes on a line with time: an ageing lamp, another batch of material, a smeared lens."""

import math

import cv2
import numpy as np

from inspection.core.imaging import Rgb
from inspection.synthetic.scene import Scene, Seeds, everywhere, smooth_noise

GRAIN_CELLS = 64, 90  # down and across: cells of 5 px, coarser than any product's own grain
SMEAR_SPREAD = 0.35  # of the frame's height: deviation of the smear's edge
SMEAR_BLUR_PX = 3.0
SMEAR_VEIL = 0.08  # share of white a greasy lens adds


def dimmed(pixels: Rgb, share: float) -> Rgb:
    """Take a share of the light away; uint8 H×W×3 in and out, a negative share adds light."""
    return np.asarray(np.clip(np.rint(pixels * (1.0 - share)), 0, 255), np.uint8)


def smeared(pixels: Rgb, strength: float, place: tuple[float, float] = (0.3, 0.7)) -> Rgb:
    """Smear the lens over a part of the frame.

    Args:
        pixels: uint8 H×W×3.
        strength: 0 none to 1, where its middle shows blurred pixels only.
        place: of its middle, shares of height and width.
    """
    height, width = pixels.shape[:2]
    down, across = np.ogrid[:height, :width]
    away = np.hypot(down - place[0] * height, across - place[1] * width)
    reach = np.exp(-0.5 * (away / (SMEAR_SPREAD * height)) ** 2)[:, :, None] * strength
    soft = cv2.GaussianBlur(pixels, (0, 0), SMEAR_BLUR_PX).astype(np.float64)
    veiled = soft + SMEAR_VEIL * (255 - soft)
    return np.asarray(np.clip(np.rint(pixels + reach * (veiled - pixels)), 0, 255), np.uint8)


def roughen(scene: Scene, amplitude: float, seeds: Seeds) -> None:
    """Make a part of another batch: coarse grain of this amplitude over its colour, in place."""
    if math.isclose(amplitude, 0):
        return
    grain = amplitude * smooth_noise(seeds.of("batch"), GRAIN_CELLS)
    scene.shade(everywhere(grain), 1.0)

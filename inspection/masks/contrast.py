"""Says how far an outline lies on an edge of the picture."""

import cv2
import numpy as np

from inspection.core.imaging import Mask, Rgb

BAND_PX = 3  # on each side of the outline
NOISE = 2.0  # grey levels, added to the deviation: rounding and a camera's noise are no edge


def contrast(pixels: Rgb, mask: Mask) -> float:
    """Give the difference across an outline, over the deviation of the pixels beside it.

    It is Cohen's d (Statistical Power Analysis for the Behavioral Sciences, 1988), its deviation
    made 2 grey levels larger, between the band of 3 px within the outline and the band of 3 px
    around it, of the colour that shows it best. Both bands are taken whole: an outline that is
    brighter than its surroundings on one side and darker on the other has little contrast, and so
    has one across a step of the background.

    Args:
        pixels: uint8 (H, W, 3).
        mask: bool (H, W).

    Returns:
        At least 0: about 0 for an outline drawn anywhere, some 2 and more for one on an edge, 0
        where a band has no pixel.
    """
    shaped = mask.astype(np.uint8)
    x, y, width, height = cv2.boundingRect(shaped)
    top, left = max(0, y - BAND_PX), max(0, x - BAND_PX)
    here = np.s_[top : y + height + BAND_PX, left : x + width + BAND_PX]
    mask, shaped, pixels = mask[here], shaped[here], pixels[here]
    reach = np.ones((2 * BAND_PX + 1, 2 * BAND_PX + 1), np.uint8)
    within = pixels[mask & (cv2.erode(shaped, reach) == 0)].astype(np.float64)
    around = pixels[~mask & (cv2.dilate(shaped, reach) > 0)].astype(np.float64)
    if not len(within) or not len(around):
        return 0.0
    deviation = np.sqrt((within.var(axis=0) + around.var(axis=0)) / 2)
    difference = np.abs(within.mean(axis=0) - around.mean(axis=0))
    return float((difference / (deviation + NOISE)).max())

"""Outlines by GrabCut, the segmenter that needs no weights: colours inside against those around.

Rother, Kolmogorov, Blake: "GrabCut", SIGGRAPH 2004, as in OpenCV. It knows nothing of objects, so
the map must say what is defect; the refiner holds its outlines against the map again.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from inspection.core.imaging import Mask, Rgb, require_rgb8
from inspection.masks.segmenter import Box, Candidates, Floats, Prompt

ITERATIONS = 3
CONTEXT = 0.5  # of the box's side, on each side of it: the colours of what is sound
CONTEXT_LEAST_PX = 16
LONGEST_PX = 192  # larger crops are reduced to this; a third of the time of 256, the same fit
CLICK_PX = 64  # half the side of the box around clicks without one
POINT_PX = 2  # radius of what a point makes certain


class GrabCut:
    """Finds what differs in colour, by no weights; for several threads at once."""

    name = "GrabCut (OpenCV, no weights)"
    side_px = None

    def set_image(self, pixels: Rgb) -> "GrabCutImage":
        """Keep the image, uint8 H×W×3 RGB; the work is in each prompt.

        Raises:
            ImageError: the pixels are anything else.
        """
        require_rgb8(pixels, "image to segment")
        return GrabCutImage(pixels)


@dataclass(frozen=True)
class GrabCutImage:
    """An image to be asked about, uint8 H×W×3 RGB."""

    pixels: Rgb

    def predict(self, prompts: Sequence[Prompt]) -> list[Candidates]:
        """Answer each prompt with one mask.

        Raises:
            ConfigError: a prompt does not fit the image.
        """
        for prompt in prompts:
            prompt.require_fitting(*self.pixels.shape[:2])
        return [self._answer(prompt) for prompt in prompts]

    def _answer(self, prompt: Prompt) -> Candidates:
        height, width = self.pixels.shape[:2]
        box = _clipped(prompt.box or _around(prompt), width, height)
        x0, y0, x1, y1 = box
        beside_x = max(CONTEXT_LEAST_PX, int((x1 - x0) * CONTEXT))
        beside_y = max(CONTEXT_LEAST_PX, int((y1 - y0) * CONTEXT))
        crop = _clipped((x0 - beside_x, y0 - beside_y, x1 + beside_x, y1 + beside_y), width, height)
        labels = _first_labels(prompt, box, crop)
        found = _cut(np.ascontiguousarray(_window(self.pixels, crop)), labels)
        mask = np.zeros((1, height, width), np.bool_)
        _window(mask[0], crop)[:] = found
        return Candidates(mask, np.ones(1, np.float32))


def _around(prompt: Prompt) -> Box:
    """Give a box for a prompt without one: around its mask, or around its points."""
    if prompt.mask is not None and (prompt.mask > 0).any():
        y, x = np.nonzero(prompt.mask > 0)
        return float(x.min()), float(y.min()), float(x.max() + 1), float(y.max() + 1)
    low, high = prompt.positive.min(axis=0) - CLICK_PX, prompt.positive.max(axis=0) + CLICK_PX
    return float(low[0]), float(low[1]), float(high[0]), float(high[1])


def _clipped(box: Box, width: int, height: int) -> tuple[int, int, int, int]:
    x0, y0, x1, y1 = box
    left, top = min(max(0, int(x0)), width - 1), min(max(0, int(y0)), height - 1)
    right, bottom = min(width, int(np.ceil(x1))), min(height, int(np.ceil(y1)))
    return left, top, max(right, left + 1), max(bottom, top + 1)


def _window(array: NDArray[Any], box: tuple[int, int, int, int]) -> NDArray[Any]:
    x0, y0, x1, y1 = box
    return array[y0:y1, x0:x1]


def _first_labels(
    prompt: Prompt, box: tuple[int, int, int, int], crop: tuple[int, int, int, int]
) -> NDArray[np.uint8]:
    """Say what each pixel of the crop is before the cut: surely sound outside the box."""
    left, top, right, bottom = crop
    labels = np.full((bottom - top, right - left), cv2.GC_BGD, np.uint8)
    x0, y0, x1, y1 = box[0] - left, box[1] - top, box[2] - left, box[3] - top
    inside = labels[y0:y1, x0:x1]
    inside[:] = cv2.GC_PR_FGD if prompt.mask is None else cv2.GC_PR_BGD
    if prompt.mask is not None:
        inside[_window(prompt.mask, box) > 0] = cv2.GC_PR_FGD
    for points, label in ((prompt.negative, cv2.GC_BGD), (prompt.positive, cv2.GC_FGD)):
        for x, y in np.floor(points - (left, top)).astype(int).tolist():
            # a point within the first guess tells nothing new, and a map's peak is no sure pixel
            known = label == cv2.GC_FGD and _holds(prompt.mask, x + left, y + top)
            if not known:
                cv2.circle(labels, (x, y), POINT_PX, label, cv2.FILLED)
    return labels


def _holds(mask: Floats | None, x: int, y: int) -> bool:
    if mask is None or not (0 <= y < mask.shape[0] and 0 <= x < mask.shape[1]):
        return False
    return bool(mask[y, x] > 0)


def _cut(crop: Rgb, labels: NDArray[np.uint8]) -> Mask:
    """Cut a crop; where one of the two sides has no pixel, the labels stand as they are."""
    defect = (labels == cv2.GC_PR_FGD) | (labels == cv2.GC_FGD)
    if defect.all() or not defect.any():
        return np.asarray(defect)
    height, width = labels.shape
    scale = min(1.0, LONGEST_PX / max(height, width))
    if scale < 1:
        size = max(1, round(width * scale)), max(1, round(height * scale))
        crop = np.asarray(cv2.resize(crop, size, interpolation=cv2.INTER_AREA), np.uint8)
        labels = np.asarray(cv2.resize(labels, size, interpolation=cv2.INTER_NEAREST), np.uint8)
        if not ((kept := labels % 2) != 0).any() or kept.all():
            return np.asarray(defect)
    cv2.setRNGSeed(0)  # its first clusters are drawn at random
    models = np.zeros((1, 65)), np.zeros((1, 65))
    cv2.grabCut(crop, labels, None, *models, ITERATIONS, cv2.GC_INIT_WITH_MASK)
    found = (labels % 2).astype(np.uint8)  # FGD and PR_FGD are the odd ones
    if scale < 1:
        found = np.asarray(cv2.resize(found, (width, height), interpolation=cv2.INTER_LINEAR))
    return np.asarray(found > 0)

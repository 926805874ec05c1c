"""Finds images that show the same shot or the same part: identical bytes and near duplicates.

A 64-bit perceptual hash cannot do it for parts: measured on generated boards, distinct parts lie 0
bits apart while a JPEG copy lies up to 6. A signature of 4,096 numbers keeps the fine detail.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from inspection.core.imaging import Rgb, require_rgb8

Signature = NDArray[np.float32]  # (4096,), mean 0, length 1; zeros for a flat image

SIDE_PX = 64
# Correlation of signatures, measured on the good images of magnetic_tile (952) and of the three
# generated products (160 each, seed 0). Copies (JPEG 95, brighter; also JPEG 60, half size and
# noise where detail is strong) 0.984-1.0; the most alike distinct parts: plate 0.963, fabric 0.713,
# board 0.986. So at 0.994 and above it is the same shot, and a problem.
SAME_SHOT = 0.994
# 1 - correlation over the set's median distance to the nearest other image: distinct generated
# parts 0.26 and above; magnetic_tile has 28 pairs below 0.25, the closest at 0.01-0.08, that show
# one tile under other exposures. Below this it may be the same part, and a note.
SAME_PART_RATIO = 0.2
LEAST_IMAGES = 20  # with fewer the median says little
ROWS = 512  # signatures compared at once


@dataclass(frozen=True)
class NearPair:
    """Two images, by their places in the list, that are too alike."""

    first: int
    second: int
    correlation: float
    same_shot: bool


def image_signature(pixels: Rgb) -> Signature:
    """Give the fine detail of an image, free of its brightness and contrast.

    Args:
        pixels: uint8 H×W×3 RGB.

    Returns:
        float32 (4096,): the 64×64 grey image less its Gaussian of σ = 1, mean 0, length 1.
    """
    require_rgb8(pixels, "image")
    grey = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)
    small = cv2.resize(grey, (SIDE_PX, SIDE_PX), interpolation=cv2.INTER_AREA).astype(np.float32)
    detail = (small - cv2.GaussianBlur(small, (0, 0), 1.0)).ravel()
    detail -= detail.mean()
    length = float(np.linalg.norm(detail))
    # below one grey level over the whole image there is no detail, only rounding
    return np.asarray(detail / length if length > 1 else np.zeros_like(detail), np.float32)


def near_duplicates(signatures: Sequence[Signature], classes: Sequence[str]) -> list[NearPair]:
    """Find pairs of different classes (splits) that are too alike, sorted by place.

    Args:
        signatures: one per image.
        classes: the class of each image; pairs within one class do not count.
    """
    if len(signatures) < 2:
        return []
    stacked = np.stack(signatures)  # images × 4096
    nearest = np.concatenate([_others(block).max(axis=1) for block in _blocks(stacked)])
    same_part = SAME_SHOT
    if len(signatures) >= LEAST_IMAGES:
        same_part = min(same_part, 1 - SAME_PART_RATIO * float(np.median(1 - nearest)))
    names = np.asarray(classes)
    pairs = []
    for block in _blocks(stacked):
        start, correlation = block
        for row, second in np.argwhere(correlation >= same_part).tolist():
            first, value = start + row, float(correlation[row, second])
            if first < second and names[first] != names[second]:
                pairs.append(NearPair(first, second, value, value >= SAME_SHOT))
    return pairs


def _blocks(stacked: NDArray[np.float32]) -> Iterator[tuple[int, NDArray[np.float32]]]:
    """Give the correlations of some rows with all: the first row's place, and rows × images."""
    for start in range(0, len(stacked), ROWS):
        yield start, stacked[start : start + ROWS] @ stacked.T


def _others(block: tuple[int, NDArray[np.float32]]) -> NDArray[np.float32]:
    """Take each image's correlation with itself out of its row."""
    start, correlation = block
    rows = np.arange(len(correlation))
    correlation[rows, start + rows] = -1
    return correlation

"""Pastes labelled defects onto good parts, so that each is seen in many places.

Copy-paste as in Ghiasi et al., CVPR 2021, with two changes for parts: the piece's light is brought
to that of its new place, and its rim is blended over a few px.
"""

from dataclasses import dataclass

import cv2
import numpy as np

from inspection.core.heat import tight_box
from inspection.core.imaging import Mask, Rgb

RIM_PX = 2.0  # sigma of the blend over a mask's edge
CONTEXT_PX = 6  # so far around a mask the light is compared


@dataclass(frozen=True)
class Piece:
    """A defect with what surrounds it."""

    type: str
    pixels: Rgb
    """uint8 h×w×3."""
    mask: Mask
    """bool h×w; true on the defect."""


def cut_piece(pixels: Rgb, mask: Mask, kind: str) -> Piece:
    """Cut a defect out of a picture, with so much around it that its light can be compared."""
    left, top, right, bottom = tight_box(mask)
    around = (
        slice(max(0, top - CONTEXT_PX), bottom + CONTEXT_PX),
        slice(max(0, left - CONTEXT_PX), right + CONTEXT_PX),
    )
    return Piece(kind, pixels[around].copy(), mask[around].copy())


def turned(piece: Piece, rng: np.random.Generator) -> Piece:
    """Mirror a piece, each way or not."""
    pixels, mask = piece.pixels, piece.mask
    for axis in np.flatnonzero(rng.random(2) < 0.5).tolist():
        pixels, mask = np.flip(pixels, axis), np.flip(mask, axis)
    return Piece(piece.type, pixels, mask)


def paste(picture: Rgb, piece: Piece, rng: np.random.Generator) -> tuple[Rgb, Mask] | None:
    """Paste a piece at a place drawn at random.

    Args:
        picture: uint8 H×W×3, a good part; unchanged.
        piece: the defect.
        rng: draws the place.

    Returns:
        The picture with the defect, and the defect's mask, bool H×W; none where the piece is larger
        than the picture.
    """
    height, width = piece.mask.shape
    free_y, free_x = picture.shape[0] - height, picture.shape[1] - width
    if free_y < 0 or free_x < 0:
        return None
    y, x = int(rng.integers(free_y + 1)), int(rng.integers(free_x + 1))
    there = picture[y : y + height, x : x + width].astype(np.float32)
    around = ~cv2.dilate(piece.mask.astype(np.uint8), np.ones((3, 3), np.uint8)).astype(np.bool_)
    shown = piece.pixels.astype(np.float32)
    if around.any():
        shown = shown + (there[around].mean(axis=0) - shown[around].mean(axis=0))
    weight = cv2.GaussianBlur(piece.mask.astype(np.float32), (0, 0), RIM_PX)
    weight = np.maximum(weight, piece.mask)[..., None]
    laid = picture.copy()
    laid[y : y + height, x : x + width] = np.clip(
        np.round(there * (1 - weight) + shown * weight), 0, 255
    )
    mask = np.zeros(picture.shape[:2], np.bool_)
    mask[y : y + height, x : x + width] = piece.mask
    return laid, mask

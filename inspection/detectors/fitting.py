"""Lays a picture into a detector's input, and what is found there back onto the picture."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from inspection.core.geometry import content_size
from inspection.core.imaging import Rgb, resize
from inspection.detectors.layout import Picture


@dataclass(frozen=True)
class Fit:
    """How a picture lies in an input."""

    picture: Picture
    input_hw: tuple[int, int]
    image_hw: tuple[int, int]

    @property
    def seen_hw(self) -> tuple[int, int]:
        """Height and width of the picture within the input."""
        if self.picture.fit == "stretch":
            return self.input_hw
        return content_size(*self.image_hw, *self.input_hw)

    @property
    def corner_xy(self) -> tuple[int, int]:
        """Where its upper left corner lies."""
        if self.picture.fit != "centre":
            return 0, 0
        (height, width), (rows, columns) = self.input_hw, self.seen_hw
        return (width - columns) // 2, (height - rows) // 2

    def lay(self, image: Rgb) -> Rgb:
        """Give the input's pixels, uint8 H×W×3 RGB."""
        height, width = self.input_hw
        (rows, columns), (left, top) = self.seen_hw, self.corner_xy
        laid = np.full((height, width, 3), self.picture.pad, np.uint8)
        laid[top : top + rows, left : left + columns] = resize(image, rows, columns)
        return laid

    def back(self, boxes: NDArray[np.float32]) -> NDArray[np.float32]:
        """Place boxes (n, 4), x0 y0 x1 y1 in px of the input, on the image or beyond it."""
        (height, width), (rows, columns) = self.image_hw, self.seen_hw
        scale = np.array([width / columns, height / rows] * 2, np.float32)
        corner = np.array([*self.corner_xy] * 2, np.float32)
        return np.asarray((boxes - corner) * scale, np.float32)

    def cut(self, boxes: NDArray[np.float32]) -> NDArray[np.float32]:
        """Cut boxes (n, 4) at the sides of the image."""
        height, width = self.image_hw
        return np.asarray(np.clip(boxes, 0, (width, height, width, height)), np.float32)

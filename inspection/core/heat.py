"""Reads a score map at the pixels it speaks of: the one enlargement, and where its cells lie."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from inspection.core.geometry import Geometry, roi_px
from inspection.core.imaging import Map, Mask

PxBox = tuple[int, int, int, int]  # x0, y0, x1, y1 px, ends excluded


@dataclass(frozen=True)
class Heat:
    """A map of a rectangle of a frame, to be read between its cells."""

    cells: Map
    """float32 (h, w), raw or smoothed."""
    rectangle: PxBox
    """What it covers, px of the frame."""
    shift: tuple[float, float] = (0.0, 0.0)
    """How far down and right of what it shows the map lies, cells; see `Geometry.map_shift`."""

    def of(self, box: PxBox) -> Map:
        """Read the map at each px of a box, bilinearly; beyond the outermost cells as at these.

        Returns:
            float32 (h, w) of the box.
        """
        x0, y0, x1, y1 = self.rectangle
        rows = _weights(box[1] - y0, box[3] - y0, y1 - y0, self.cells.shape[0], self.shift[0])
        columns = _weights(box[0] - x0, box[2] - x0, x1 - x0, self.cells.shape[1], self.shift[1])
        return np.asarray(rows @ self.cells @ columns.T)

    @property
    def cell_px(self) -> float:
        """The longer side of a cell, px."""
        left, top, right, bottom = self.rectangle
        height, width = self.cells.shape
        return float(max((right - left) / width, (bottom - top) / height))

    def enlarged(self) -> Map:
        """Read the map at each px of what it covers."""
        return self.of(self.rectangle)

    def px(self, cells: tuple[float, float, float, float]) -> PxBox:
        """Give the px that cells x0, y0 to x1, y1 speak of, at least one of each side."""
        left, top, right, bottom = self.rectangle
        x0, x1 = _cover(cells[0], cells[2], self.cells.shape[1], self.shift[1], (left, right))
        y0, y1 = _cover(cells[1], cells[3], self.cells.shape[0], self.shift[0], (top, bottom))
        return x0, y0, x1, y1


def tight_box(mask: Mask) -> PxBox:
    """Give the smallest box around what is true in a bool mask (H, W); of none 0, 0, 0, 0."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not len(rows):
        return 0, 0, 0, 0
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def heat_of_frame(cells: Map, geometry: Geometry, frame_hw: tuple[int, int]) -> Heat:
    """Lay a map of a geometry's ROI on a frame of this height and width, px."""
    top, left, bottom, right = roi_px(geometry.roi, *frame_hw)
    return Heat(cells, (left, top, right, bottom), geometry.map_shift)


def _cover(
    first: float, last: float, cells: int, shift: float, ends: tuple[int, int]
) -> tuple[int, int]:
    """Give the px of cells; the outermost ones reach to the ends, as `Heat.of` reads them."""
    begin, end = ends
    scale = (end - begin) / cells
    low = begin if first <= 0 else begin + math.floor((first - shift) * scale)
    high = end if last >= cells else begin + math.ceil((last - shift) * scale)
    low = min(max(begin, low), end - 1)
    return low, max(min(end, high), low + 1)


def _weights(first: int, last: int, length: int, cells: int, shift: float) -> NDArray[np.float32]:
    """Give how much of each cell stands in each px, float32 (px, cells), rows that sum to 1."""
    place = (np.arange(first, last) + 0.5) * cells / length - 0.5 + shift
    place = np.clip(place, 0, cells - 1)
    below = np.minimum(place.astype(np.intp), max(0, cells - 2))
    weights = np.zeros((last - first, cells), np.float32)
    rows = np.arange(last - first)
    weights[rows, below] = 1 - (place - below)
    if cells > 1:
        weights[rows, below + 1] = place - below
    return weights

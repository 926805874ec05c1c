"""How a part becomes model inputs and how their maps become one map of the part.

Training, calibration, gate and station all prepare parts here, so a part is cut one way only.
"""

import math
from collections.abc import Callable
from itertools import product
from typing import Annotated, Literal

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import Field, StrictFloat, StrictInt, model_validator

from inspection.core.config import Settings
from inspection.core.imaging import Map, Mask, Rgb, require_rgb8, resize
from inspection.core.limits import Finite

Resize = Callable[[Rgb, int, int], Rgb]  # to a height and a width, px
Polygon = Annotated[tuple[tuple[Finite, Finite], ...], Field(max_length=1_000)]
# (x, y) as fractions of the part's width and height


class Roi(Settings):
    """The rectangle of the part to inspect, as fractions of height and width."""

    top: StrictFloat = Field(0.0, ge=0, lt=1, description="upper edge, fraction of the height")
    left: StrictFloat = Field(0.0, ge=0, lt=1, description="left edge, fraction of the width")
    bottom: StrictFloat = Field(1.0, gt=0, le=1, description="lower edge, fraction of the height")
    right: StrictFloat = Field(1.0, gt=0, le=1, description="right edge, fraction of the width")

    @model_validator(mode="after")
    def _has_area(self) -> "Roi":
        if self.top >= self.bottom or self.left >= self.right:
            raise ValueError("top must lie above bottom and left before right")
        return self


class Geometry(Settings):
    """How a part becomes model inputs: ROI, tiles, aspect policy, one resize."""

    height_px: StrictInt = Field(256, ge=32, le=2048, description="model input height, px")
    width_px: StrictInt = Field(256, ge=32, le=2048, description="model input width, px")
    aspect: Literal["stretch", "pad"] = Field(
        "stretch",
        description="stretch each tile to the input, or keep its aspect and pad by mirror",
    )
    tile_rows: StrictInt = Field(1, ge=1, le=16, description="tiles down the part")
    tile_columns: StrictInt = Field(1, ge=1, le=16, description="tiles across the part")
    tile_overlap: StrictFloat = Field(0.125, ge=0, le=0.5, description="overlap, share of a tile")
    roi: Roi = Field(default_factory=Roi, description="rectangle cut out before tiling")
    include: tuple[Polygon, ...] = Field(
        (), max_length=1_000, description="judged area within the part; () is all"
    )
    exclude: tuple[Polygon, ...] = Field(
        (), max_length=1_000, description="areas of the part that are never judged"
    )
    map_shift: tuple[Finite, Finite] = Field(
        (0.0, 0.0),
        description="how far below and right of what it shows the map lies, cells; export "
        "measures it",
    )

    @model_validator(mode="after")
    def _polygons_have_area(self) -> "Geometry":
        for polygon in (*self.include, *self.exclude):
            if len(polygon) < 3:
                raise ValueError("a polygon needs three points (x, y), fractions of the part")
            if any(not 0 <= value <= 1 for point in polygon for value in point):
                raise ValueError("polygon points are fractions of width and height, 0 to 1")
        return self

    @property
    def is_whole(self) -> bool:
        """Whether all of the part is judged."""
        return self.roi == Roi() and not self.include and not self.exclude

    @property
    def tiles(self) -> int:
        """Number of model inputs per part."""
        return self.tile_rows * self.tile_columns


def prepare(pixels: Rgb, geometry: Geometry, resized: Resize = resize) -> Rgb:
    """Cut the ROI into tiles and resize each to the model's input.

    Args:
        pixels: uint8 H×W×3 RGB.
        geometry: ROI, tiles and aspect policy.
        resized: does what `imaging.resize` does, to the bit.

    Returns:
        uint8 (tiles, height_px, width_px, 3), tiles row by row.
    """
    require_rgb8(pixels, "part")
    top, left, bottom, right = roi_px(geometry.roi, pixels.shape[0], pixels.shape[1])
    part = pixels[top:bottom, left:right]
    return np.stack(
        [_fit(part[rows, columns], geometry, resized) for rows, columns in _windows(part, geometry)]
    )


def roi_px(roi: Roi, height_px: int, width_px: int) -> tuple[int, int, int, int]:
    """Give the ROI as (top, left, bottom, right) px of a part of this size, at least one px."""
    top, left = int(roi.top * height_px), int(roi.left * width_px)
    bottom, right = math.ceil(roi.bottom * height_px), math.ceil(roi.right * width_px)
    return top, left, max(bottom, top + 1), max(right, left + 1)


def _windows(part: Rgb, geometry: Geometry) -> list[tuple[slice, slice]]:
    rows = _spans(part.shape[0], geometry.tile_rows, geometry.tile_overlap)
    columns = _spans(part.shape[1], geometry.tile_columns, geometry.tile_overlap)
    return [(slice(*row), slice(*column)) for row in rows for column in columns]


def _spans(length: int, count: int, overlap: float) -> list[tuple[int, int]]:
    """Cut `length` into `count` equal spans, each overlapping the next by a fraction of itself."""
    span = min(length, max(1, math.ceil(length / (count - (count - 1) * overlap))))
    starts = [round(i * (length - span) / max(1, count - 1)) for i in range(count)]
    return [(start, start + span) for start in starts]


def _fit(tile: Rgb, geometry: Geometry, resized: Resize) -> Rgb:
    height, width = geometry.height_px, geometry.width_px
    if geometry.aspect == "pad":
        rows, columns = content_size(tile.shape[0], tile.shape[1], height, width)
        small = resized(tile, rows, columns)
        border = (0, height - rows, 0, width - columns)
        return np.asarray(cv2.copyMakeBorder(small, *border, cv2.BORDER_REFLECT_101), np.uint8)
    return resized(tile, height, width)


def content_size(rows: int, columns: int, height: int, width: int) -> tuple[int, int]:
    """Largest (height, width) of the same aspect as rows×columns that fits height×width."""
    scale = min(height / rows, width / columns)
    return min(height, max(1, round(rows * scale))), min(width, max(1, round(columns * scale)))


def assemble(tile_maps: Map, geometry: Geometry, height_px: int, width_px: int) -> Map:
    """Join the maps of the tiles of one part into one map of its ROI; overlaps take the larger.

    Args:
        tile_maps: float32 (tiles, h, w), in the order of `prepare`.
        geometry: the geometry that prepared the tiles.
        height_px: height of the whole part.
        width_px: width of the whole part.

    Returns:
        float32 (h', w'); where the part is excluded 0, or the lowest judged value if that is below.
    """
    top, left, bottom, right = roi_px(geometry.roi, height_px, width_px)
    maps = _content(tile_maps, geometry, bottom - top, right - left)
    joined = _join(maps, geometry) if geometry.tiles > 1 else maps[0]
    judged = judged_area(joined.shape, geometry)
    return np.where(judged, joined, joined.min(where=judged, initial=0))


def _content(maps: Map, geometry: Geometry, roi_height: int, roi_width: int) -> Map:
    """Cut the padding off the maps of padded tiles."""
    if geometry.aspect == "stretch":
        return maps
    first, last = _spans(roi_height, geometry.tile_rows, geometry.tile_overlap)[0]
    rows = last - first
    first, last = _spans(roi_width, geometry.tile_columns, geometry.tile_overlap)[0]
    columns = last - first
    height, width = content_size(rows, columns, geometry.height_px, geometry.width_px)
    kept_rows = max(1, round(maps.shape[1] * height / geometry.height_px))
    kept_columns = max(1, round(maps.shape[2] * width / geometry.width_px))
    return maps[:, :kept_rows, :kept_columns]


def _join(maps: Map, geometry: Geometry) -> Map:
    _, height, width = maps.shape
    rows, columns, overlap = geometry.tile_rows, geometry.tile_columns, geometry.tile_overlap
    tops = [round(i * height * (1 - overlap)) for i in range(rows)]
    lefts = [round(i * width * (1 - overlap)) for i in range(columns)]
    joined = np.full((tops[-1] + height, lefts[-1] + width), -np.inf, np.float32)
    for index, tile in enumerate(maps):
        y, x = tops[index // columns], lefts[index % columns]
        window = joined[y : y + height, x : x + width]
        np.maximum(window, tile, out=window)
    return joined


def judged_area(size_hw: tuple[int, ...], geometry: Geometry) -> Mask:
    """Say which cells of a map of the ROI are judged: inside `include`, outside `exclude`.

    Args:
        size_hw: the map's height and width, in cells.
        geometry: polygons in fractions of the whole part.

    Returns:
        bool (h, w); a cell counts when its centre does.
    """
    height, width = size_hw[:2]
    roi = geometry.roi
    y = roi.top + (np.arange(height) + 0.5) / height * (roi.bottom - roi.top)
    x = roi.left + (np.arange(width) + 0.5) / width * (roi.right - roi.left)
    return _judged(geometry, y, x)


def judged_tile_cells(
    geometry: Geometry, rows: int, columns: int, part_hw: tuple[int, int]
) -> Mask:
    """Say which cells of each tile's rows×columns map are judged; padding never is.

    Returns:
        bool (tiles, rows, columns), tiles in the order of `prepare`.
    """
    top, left, bottom, right = roi_px(geometry.roi, *part_hw)
    row_spans = _spans(bottom - top, geometry.tile_rows, geometry.tile_overlap)
    column_spans = _spans(right - left, geometry.tile_columns, geometry.tile_overlap)
    content = (geometry.height_px, geometry.width_px)
    if geometry.aspect == "pad":
        tile_hw = row_spans[0][1] - row_spans[0][0], column_spans[0][1] - column_spans[0][0]
        content = content_size(*tile_hw, *content)
    down = (np.arange(rows) + 0.5) / rows * geometry.height_px / content[0]  # fraction of the tile
    across = (np.arange(columns) + 0.5) / columns * geometry.width_px / content[1]
    judged = []
    for (first, last), (start, stop) in product(row_spans, column_spans):
        y = (top + first + down * (last - first)) / part_hw[0]
        x = (left + start + across * (stop - start)) / part_hw[1]
        padding = (down > 1)[:, None] | (across > 1)[None, :]
        judged.append(_judged(geometry, y, x) & ~padding)
    return np.stack(judged)


def _judged(geometry: Geometry, y: NDArray[np.float64], x: NDArray[np.float64]) -> Mask:
    """Judge cell centres; y (h,) and x (w,) as fractions of the part."""
    judged = np.full((len(y), len(x)), not geometry.include)
    for polygon in geometry.include:
        judged |= _inside(polygon, x, y)
    for polygon in geometry.exclude:
        judged &= ~_inside(polygon, x, y)
    return judged


def _inside(polygon: Polygon, x: NDArray[np.float64], y: NDArray[np.float64]) -> Mask:
    """Even-odd rule on cell centres; x (w,), y (h,) as fractions of the part."""
    inside = np.zeros((len(y), len(x)), np.bool_)
    for (x0, y0), (x1, y1) in zip(polygon, (*polygon[1:], polygon[0]), strict=True):
        if y0 == y1:
            continue
        crossing = x0 + (y - y0) * (x1 - x0) / (y1 - y0)
        between = (y0 > y) != (y1 > y)
        inside ^= between[:, None] & (x[None, :] < crossing[:, None])
    return inside

"""The border of the pixels: reads files into uint8 H×W×3 RGB and prepares model inputs.

Training, calibration, gate and station all use these functions, so a part is resized one way only.
"""

import io
import math
import struct
from dataclasses import dataclass
from datetime import datetime
from itertools import product
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError
from pydantic import Field, StrictFloat, StrictInt, model_validator

from inspection.core.config import Settings
from inspection.core.errors import ImageError

Rgb = NDArray[np.uint8]  # H×W×3, RGB, [0, 255]
Map = NDArray[np.float32]  # h×w, raw distance to normal, larger is worse
Mask = NDArray[np.bool_]  # H×W

MAX_PIXELS = 80_000_000  # above any area camera on a line
Image.MAX_IMAGE_PIXELS = None  # ours is stricter, and asked before any pixel is decoded
FORMATS = ("PNG", "JPEG", "BMP", "TIFF")  # Pillow knows more; EPS would start Ghostscript
# What Pillow raises on damaged bytes, found by feeding it some:
DAMAGED = (OSError, SyntaxError, ValueError, TypeError, LookupError, ArithmeticError, struct.error)
SIDE_MIN_PX = 8  # below this a part shows nothing to judge
Polygon = tuple[tuple[float, float], ...]  # (x, y) as fractions of the part's width and height


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
    include: tuple[Polygon, ...] = Field((), description="judged area within the part; () is all")
    exclude: tuple[Polygon, ...] = Field((), description="areas of the part that are never judged")

    @model_validator(mode="after")
    def _polygons_have_area(self) -> "Geometry":
        for polygon in (*self.include, *self.exclude):
            if len(polygon) < 3:
                raise ValueError("a polygon needs three points (x, y), fractions of the part")
            if any(not 0 <= value <= 1 for point in polygon for value in point):
                raise ValueError("polygon points are fractions of width and height, 0 to 1")
        return self

    @property
    def tiles(self) -> int:
        """Number of model inputs per part."""
        return self.tile_rows * self.tile_columns


@dataclass(frozen=True)
class Frame:
    """One image of one part: uint8 H×W×3 RGB pixels, a part id, an aware UTC capture time."""

    pixels: Rgb
    part_id: str
    captured_at: datetime

    def __post_init__(self) -> None:
        require_rgb8(self.pixels, f"part {self.part_id}")
        if self.captured_at.tzinfo is None:
            raise ValueError("captured_at must be an aware UTC time")


@dataclass(frozen=True)
class Header:
    """What an image file says of itself before its pixels are read."""

    height_px: int
    width_px: int
    mode: str  # Pillow's name: L, RGB, RGBA, I;16, CMYK …


CONVERSIONS = {  # what is done with each mode Pillow reports; absent modes are refused
    "RGB": "",
    "L": "grey repeated to three channels",
    "1": "black and white repeated to three channels",
    "P": "palette expanded",
    "LA": "alpha dropped, grey repeated to three channels",
    "RGBA": "alpha dropped",
    "RGBX": "padding dropped",
    "CMYK": "CMYK converted to RGB",
    "YCbCr": "YCbCr converted to RGB",
    "I;16": "16-bit grey reduced to its high byte",
    "I;16B": "16-bit grey reduced to its high byte",
    "I;16L": "16-bit grey reduced to its high byte",
}


def require_rgb8(pixels: NDArray[np.generic], name: str) -> None:
    """Refuse anything but a uint8 H×W×3 array with sides from 8 px and at most 80 Mpx.

    Raises:
        ImageError: naming the dtype and the shape received.
    """
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3:
        raise ImageError(
            f"{name}: image is {pixels.dtype} {pixels.shape}; wanted uint8 H×W×3 RGB; "
            "convert it where it is captured"
        )
    _require_size(pixels.shape[0], pixels.shape[1], name)


def read_header(encoded: bytes, name: str) -> Header:
    """Read size and mode of an encoded image without decoding its pixels.

    Raises:
        ImageError: empty, not an image, a side below 8 px, over 80 Mpx, or an unknown mode.
    """
    with _open(encoded, name) as image:
        return Header(image.height, image.width, image.mode)


def load_image(path: Path) -> Rgb:
    """Read one image file as uint8 H×W×3 RGB by the rules of `decode_image`."""
    return decode_image(read_bytes(path), str(path))


def load_mask(path: Path) -> Mask:
    """Read one mask file as bool H×W; any value above 0 is defect.

    Raises:
        ImageError: as for `decode_image`.
    """
    with _open(read_bytes(path), str(path)) as image:
        return np.asarray(_decoded(image, str(path)).max(axis=2) > 0)


def read_bytes(path: Path) -> bytes:
    """Read a file whole.

    Raises:
        ImageError: it cannot be read.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise ImageError(f"{path}: cannot be read ({error.strerror}); check the file") from error


def decode_image(encoded: bytes, name: str) -> Rgb:
    """Decode an image file's bytes to uint8 H×W×3 RGB by the declared rule of its mode.

    The rules stand in `CONVERSIONS`: 16-bit keeps its high byte and is never stretched. Orientation
    tags are ignored, because a camera on a line sets none.

    Raises:
        ImageError: empty, truncated, not an image, unknown mode, a side below 8 px, over 80 Mpx.
    """
    with _open(encoded, name) as image:
        return _pixels(image, name)


def _open(encoded: bytes, name: str) -> Image.Image:
    if not encoded:
        raise ImageError(f"{name}: file is empty; wanted an image; capture it again")
    try:
        image = Image.open(io.BytesIO(encoded), formats=FORMATS)
    except UnidentifiedImageError as error:
        raise ImageError(f"{name}: not an image file; wanted PNG, JPEG, BMP or TIFF") from error
    except DAMAGED as error:
        raise ImageError(f"{name}: damaged header ({error}); save it again") from error
    _require_size(image.height, image.width, name)
    if image.mode not in CONVERSIONS:
        raise ImageError(
            f"{name}: pixel mode is {image.mode}; wanted one of {', '.join(CONVERSIONS)}; "
            "convert it where it is captured"
        )
    return image


def _pixels(image: Image.Image, name: str) -> Rgb:
    decoded = _decoded(image, name)
    if decoded.dtype == np.uint8:
        return decoded.astype(np.uint8, copy=False)
    return np.repeat((decoded >> 8).astype(np.uint8), 3, axis=2)


def _decoded(image: Image.Image, name: str) -> NDArray[np.uint8 | np.uint16]:
    """Give uint8 H×W×3 RGB, or uint16 H×W×1 of a 16-bit grey file."""
    try:
        if image.mode.startswith("I;16"):
            return np.asarray(image).astype(np.uint16)[:, :, None]
        image.info.pop("transparency", None)  # dropped like alpha; Pillow would warn
        raw = bytearray(image.convert("RGB").tobytes())  # half the time of np.array(image)
        return np.frombuffer(raw, np.uint8).reshape(image.height, image.width, 3)
    except DAMAGED as error:
        raise ImageError(f"{name}: cannot be decoded ({error}); save it again") from error


def _require_size(height_px: int, width_px: int, name: str) -> None:
    if min(height_px, width_px) < SIDE_MIN_PX or height_px * width_px > MAX_PIXELS:
        raise ImageError(
            f"{name}: image is {height_px}×{width_px} px; wanted sides from {SIDE_MIN_PX} px "
            f"and at most {MAX_PIXELS:,} pixels; check the camera's region"
        )


def prepare(pixels: Rgb, geometry: Geometry) -> Rgb:
    """Cut the ROI into tiles and resize each to the model's input.

    Args:
        pixels: uint8 H×W×3 RGB.
        geometry: ROI, tiles and aspect policy.

    Returns:
        uint8 (tiles, height_px, width_px, 3), tiles row by row.
    """
    require_rgb8(pixels, "part")
    top, left, bottom, right = roi_px(geometry.roi, pixels.shape[0], pixels.shape[1])
    part = pixels[top:bottom, left:right]
    return np.stack(
        [_fit(part[rows, columns], geometry) for rows, columns in _windows(part, geometry)]
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


def _fit(tile: Rgb, geometry: Geometry) -> Rgb:
    height, width = geometry.height_px, geometry.width_px
    if geometry.aspect == "pad":
        rows, columns = content_size(tile.shape[0], tile.shape[1], height, width)
        small = resize(tile, rows, columns)
        border = (0, height - rows, 0, width - columns)
        return np.asarray(cv2.copyMakeBorder(small, *border, cv2.BORDER_REFLECT_101), np.uint8)
    return resize(tile, height, width)


def content_size(rows: int, columns: int, height: int, width: int) -> tuple[int, int]:
    """Largest (height, width) of the same aspect as rows×columns that fits height×width."""
    scale = min(height / rows, width / columns)
    return min(height, max(1, round(rows * scale))), min(width, max(1, round(columns * scale)))


def resize(pixels: Rgb, height_px: int, width_px: int) -> Rgb:
    """Resize by area interpolation (OpenCV), the only resize of pixels in the project."""
    if pixels.shape[:2] == (height_px, width_px):
        return np.ascontiguousarray(pixels)
    scaled = cv2.resize(
        np.ascontiguousarray(pixels), (width_px, height_px), interpolation=cv2.INTER_AREA
    )
    return np.asarray(scaled, np.uint8)


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

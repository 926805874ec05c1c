"""The border of the pixels: reads files into uint8 H×W×3 RGB by declared rules; the one resize."""

import functools
import io
import struct
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile

from inspection.core.containers import pixels_only
from inspection.core.errors import ImageError, ImageTooLarge
from inspection.core.limits import MAX_PICTURE_BYTES, read_file

Rgb = NDArray[np.uint8]  # H×W×3, RGB, [0, 255]
Map = NDArray[np.float32]  # h×w, raw distance to normal, larger is worse
Mask = NDArray[np.bool_]  # H×W

MAX_PIXELS = 80_000_000  # above any area camera on a line
Image.MAX_IMAGE_PIXELS = None  # ours is stricter, and asked before any pixel is decoded
# How the pixels of a TIFF may be packed; LZMA, WebP and JPEG are decoders of their own:
PACKINGS = (
    *("raw", "packbits", "tiff_lzw", "tiff_adobe_deflate", "tiff_deflate"),
    *("tiff_ccitt", "group3", "group4"),
)
# What Pillow raises on damaged bytes (TypeError on a TIFF tag of another type):
DAMAGED = (OSError, SyntaxError, ValueError, TypeError, LookupError, ArithmeticError, struct.error)
STRIP_PIXELS = 2_000_000  # taken over from Pillow at once, while no other thread runs
SIDE_MIN_PX = 8  # below this a part shows nothing to judge


@dataclass(frozen=True)
class Header:
    """What an image file says of itself before its pixels are read."""

    height_px: int
    width_px: int
    mode: str  # Pillow's name: L, RGB, RGBA, I;16, CMYK …; with ;16 where it hides the depth
    kind: str  # media type, by content


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
    "RGB;16": "16-bit colour reduced to its high byte",
    "RGBA;16": "16-bit colour reduced to its high byte, alpha dropped",
    "LA;16": "16-bit grey reduced to its high byte, alpha dropped, repeated to three channels",
    "I;16": "16-bit grey reduced to its high byte",
    "I;16B": "16-bit grey reduced to its high byte",
    "I;16L": "16-bit grey reduced to its high byte",
}


DEEP_COLOURS = {"LA;16", "RGB;16", "RGBA;16"}


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


def require_tiles(tiles: NDArray[np.generic]) -> None:
    """Refuse anything but a uint8 (tiles, height, width, 3) array of model inputs.

    Raises:
        ImageError: naming the dtype and the shape received.
    """
    if tiles.dtype != np.uint8 or tiles.ndim != 4 or tiles.shape[3] != 3:
        raise ImageError(
            f"model inputs are {tiles.dtype} {tiles.shape}; wanted uint8 (tiles, height, width, 3);"
            " prepare the part first"
        )


def read_header(encoded: bytes, name: str) -> Header:
    """Read size and mode of an encoded image without decoding its pixels.

    Raises:
        ImageError: empty, not an image, a side below 8 px, over 80 Mpx, or an unknown mode.
    """
    with _open(encoded, name) as image:
        kind = f"image/{str(image.format).lower()}"
        return Header(image.height, image.width, _mode(image), kind)


def load_image(path: Path) -> Rgb:
    """Read one image file as uint8 H×W×3 RGB by the rules of `decode_image`."""
    return decode_image(read_bytes(path), str(path))


def load_mask(path: Path) -> Mask:
    """Read one mask file as bool H×W; any value above 0 is defect.

    Raises:
        ImageError: as for `decode_image`, or 16-bit colour, whose small values would be lost.
    """
    with _open(read_bytes(path), str(path)) as image:
        if (mode := _mode(image)) in DEEP_COLOURS:
            raise ImageError(f"{path}: pixel mode of the mask is {mode}; wanted grey; save it so")
        decoded = _decoded(image, str(path))
        channels = (decoded[:, :, number] for number in range(decoded.shape[2]))
        return np.asarray(functools.reduce(np.bitwise_or, channels) > 0)  # a max takes 8× as long


def read_bytes(path: Path) -> bytes:
    """Read a file whole.

    Raises:
        ImageError: it cannot be read.
    """
    try:
        return read_file(path, MAX_PICTURE_BYTES, follow=True)
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


def _open(encoded: bytes, name: str) -> ImageFile.ImageFile:
    if not encoded:
        raise ImageError(f"{name}: file is empty; wanted an image; capture it again")
    try:
        kind, pixels = pixels_only(encoded)
    except ValueError as error:
        raise ImageError(f"{name}: {error}; save it as one plain picture") from error
    except struct.error as error:
        raise ImageError(f"{name}: damaged header ({error}); save it again") from error
    if not kind:
        raise ImageError(f"{name}: not an image file; wanted PNG, JPEG, BMP or TIFF")
    try:
        image = Image.open(io.BytesIO(pixels), formats=(kind,))
    except DAMAGED as error:
        raise ImageError(f"{name}: damaged header ({error}); save it again") from error
    _require_size(image.height, image.width, name)
    _require_packing(image, name)
    mode = _mode(image)
    if mode not in CONVERSIONS:
        raise ImageError(
            f"{name}: pixel mode is {mode}; wanted one of {', '.join(CONVERSIONS)}; "
            "convert it where it is captured"
        )
    return image


def _require_packing(image: ImageFile.ImageFile, name: str) -> None:
    """Refuse what is decoded by Python, or by a decoder within the decoder."""
    packing = image.info.get("compression", "raw") if image.format == "TIFF" else "raw"
    if image.tile and image.tile[0][0] == "bmp_rle":
        packing = "run lengths"
    if packing not in PACKINGS:
        raise ImageError(
            f"{name}: pixels are packed as {packing}; wanted a BMP without, or a TIFF with one of "
            f"{', '.join(PACKINGS)}; save it so"
        )


def _mode(image: ImageFile.ImageFile) -> str:
    """Name the mode with its depth; Pillow halves 16-bit colour and only its decoder's name tells.

    The high byte is what it keeps.
    """
    layout = image.tile[0][3] if image.tile else None
    packing = str(layout[0] if isinstance(layout, tuple) and layout else layout)
    kind, _, depth = packing.partition(";")
    deep = f"{kind};16" in DEEP_COLOURS and depth.startswith("16")
    return f"{kind};16" if deep else image.mode


def _pixels(image: Image.Image, name: str) -> Rgb:
    decoded = _decoded(image, name)
    if decoded.dtype == np.uint8:
        return decoded.astype(np.uint8, copy=False)
    pixels = np.empty((*decoded.shape[:2], 3), np.uint8)
    pixels[:] = decoded >> 8
    return pixels


def _decoded(image: Image.Image, name: str) -> NDArray[np.uint8 | np.uint16]:
    """Give uint8 H×W×3 RGB, or uint16 H×W×1 of a 16-bit grey file.

    A large picture is taken over by strips: each holds up all other threads of the process.
    """
    try:
        image.load()
        image.info.pop("transparency", None)  # dropped like alpha; Pillow would warn
        width, height = image.size
        rows = max(1, STRIP_PIXELS // width)
        if rows >= height:
            return _taken(image)
        first = _taken(image.crop((0, 0, width, 1)))
        decoded = np.empty((height, width, first.shape[2]), first.dtype)
        for top in range(0, height, rows):
            below = min(top + rows, height)
            decoded[top:below] = _taken(image.crop((0, top, width, below)))
        return decoded
    except DAMAGED as error:
        raise ImageError(f"{name}: cannot be decoded ({error}); save it again") from error


def _taken(image: Image.Image) -> NDArray[np.uint8 | np.uint16]:
    """Take decoded pixels over from Pillow; `_decoded` says as what."""
    if image.mode.startswith("I;16"):
        return np.asarray(image).astype(np.uint16)[:, :, None]
    rgb = image if image.mode == "RGB" else image.convert("RGB")
    raw = bytearray(rgb.tobytes())  # half the time of np.array(image)
    return np.frombuffer(raw, np.uint8).reshape(image.height, image.width, 3)


def _require_size(height_px: int, width_px: int, name: str) -> None:
    many = height_px * width_px > MAX_PIXELS
    if min(height_px, width_px) < SIDE_MIN_PX or many:
        raise (ImageTooLarge if many else ImageError)(
            f"{name}: image is {height_px}×{width_px} px; wanted sides from {SIDE_MIN_PX} px "
            f"and at most {MAX_PIXELS:,} pixels; check the camera's region"
        )


def resize(pixels: Rgb, height_px: int, width_px: int) -> Rgb:
    """Resize by area interpolation (OpenCV), the only resize of pixels in the project.

    A part that shrinks one way and grows the other is resized in two passes, because OpenCV would
    sample it bilinearly and lose thin defects.

    Args:
        pixels: uint8 H×W×3 RGB.
        height_px: wanted height.
        width_px: wanted width.
    """
    rows, columns = min(pixels.shape[0], height_px), min(pixels.shape[1], width_px)
    return _area(_area(pixels, rows, columns), height_px, width_px)


def _area(pixels: Rgb, rows: int, columns: int) -> Rgb:
    if pixels.shape[:2] == (rows, columns):
        return np.ascontiguousarray(pixels)
    whole = np.ascontiguousarray(pixels)
    return np.asarray(cv2.resize(whole, (columns, rows), interpolation=cv2.INTER_AREA), np.uint8)

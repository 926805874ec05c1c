"""The border of the pixels: one declared rule per mode, everything else refused by name."""

import io
import re
import struct
import zlib
from contextlib import suppress
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from inspection.core import imaging
from inspection.core.errors import ImageError
from inspection.core.geometry import Geometry, prepare
from inspection.core.imaging import (
    CONVERSIONS,
    decode_image,
    load_image,
    load_mask,
    read_header,
    require_rgb8,
    resize,
)

pytestmark = pytest.mark.fast

HW = (12, 20)


def _encoded(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def _ramp(channels: int) -> np.ndarray:
    """Non-square uint8 ramp, another one in each channel."""
    grey = np.arange(HW[0] * HW[1], dtype=np.uint8).reshape(HW)
    return np.stack([grey + 40 * channel for channel in range(channels)], axis=2)


def _grey_16(byte_order: str = "<") -> np.ndarray:
    return (np.arange(HW[0] * HW[1]).reshape(HW) * 271).astype(f"{byte_order}u2")


def _palette() -> tuple[Image.Image, np.ndarray]:
    image = Image.fromarray(_ramp(1)[:, :, 0]).convert("P")
    colours = np.random.default_rng(0).integers(0, 256, (256, 3)).astype(np.uint8)
    image.putpalette(colours.tobytes())
    return image, colours[_ramp(1)[:, :, 0]]


def _repeated(grey: np.ndarray) -> np.ndarray:
    return np.repeat(grey[:, :, None], 3, axis=2)


def _exact_cases() -> dict[str, tuple[bytes, str, np.ndarray]]:
    """Encoded bytes, Pillow's mode and the exact pixels of every mode without loss."""
    rgb, rgba, grey = _ramp(3), _ramp(4), _ramp(1)[:, :, 0]
    palette, shown = _palette()
    black = grey > 100
    high = _repeated((_grey_16() >> 8).astype(np.uint8))
    la = _la()
    return {
        "RGB": (_encoded(Image.fromarray(rgb)), "RGB", rgb),
        "RGB as BMP": (_encoded(Image.fromarray(rgb), "BMP"), "RGB", rgb),
        "RGB as TIFF": (_encoded(Image.fromarray(rgb), "TIFF"), "RGB", rgb),
        "grey": (_encoded(Image.fromarray(grey)), "L", _repeated(grey)),
        "grey and alpha": (_encoded(la), "LA", _repeated(grey)),
        "alpha": (_encoded(Image.fromarray(rgba)), "RGBA", rgba[:, :, :3]),
        "black and white": (
            _encoded(Image.fromarray(black)),
            "1",
            _repeated(black.astype(np.uint8) * 255),
        ),
        "palette": (_encoded(palette), "P", shown),
        "palette with transparency": (
            _encoded(palette, transparency=bytes(range(256))),
            "P",
            shown,
        ),
        "16-bit RGB": (_rgb_16(".png"), "RGB;16", (_ramp_16(3) >> 8).astype(np.uint8)),
        "16-bit RGB as TIFF": (_rgb_16(".tif"), "RGB;16", (_ramp_16(3) >> 8).astype(np.uint8)),
        "16-bit grey and alpha": (_grey_alpha_16(), "LA;16", _repeated(grey)),
        "BMP of 5, 6 and 5 bits": (_bmp_565(), "RGB", _white()),
        "16-bit grey": (_encoded(Image.fromarray(_grey_16())), "I;16", high),
        "16-bit grey as TIFF": (_encoded(Image.fromarray(_grey_16()), "TIFF"), "I;16", high),
        "16-bit big-endian": (_big_endian_tiff(), "I;16B", high),
    }


def _ramp_16(channels: int) -> np.ndarray:
    """Values of 16 bits whose low bytes are not their high ones."""
    return _ramp(channels).astype(np.uint16) * 251 + 7


def _rgb_16(suffix: str) -> bytes:
    done, encoded = cv2.imencode(suffix, _ramp_16(3)[:, :, ::-1])
    assert done
    return encoded.tobytes()


def _grey_alpha_16() -> bytes:
    """A PNG of 16-bit grey and alpha, written by hand: Pillow and OpenCV write none."""
    samples = np.repeat((_ramp(1)[:, :, 0].astype(">u2") << 8)[:, :, None], 2, axis=2)
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in samples)
    header = struct.pack(">IIBBBBB", HW[1], HW[0], 16, 4, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        for kind, body in chunks
    )


def _white() -> np.ndarray:
    return np.full((*HW, 3), 255, np.uint8)


def _bmp_565() -> bytes:
    """A white BMP whose pixels take 16 bits together, not each channel."""
    stride = (2 * HW[1] + 3) // 4 * 4
    pixels = b"\xff" * (stride * HW[0])
    header = struct.pack("<IiiHHIIiiII", 40, HW[1], HW[0], 1, 16, 3, len(pixels), 0, 0, 0, 0)
    masks = struct.pack("<III", 0xF800, 0x07E0, 0x001F)
    start = 14 + len(header) + len(masks)
    return struct.pack("<2sIHHI", b"BM", start + len(pixels), 0, 0, start) + header + masks + pixels


def _la() -> Image.Image:
    grey, alpha = (Image.fromarray(_ramp(2)[:, :, channel]) for channel in (0, 1))
    return Image.merge("LA", (grey, alpha))


def _big_endian_tiff(kinds: dict[int, int] | None = None) -> bytes:
    """One uncompressed strip of 16-bit grey in a big-endian TIFF, written by hand."""
    pixels = _grey_16(">").tobytes()
    tags = [(256, HW[1]), (257, HW[0]), (258, 16), (259, 1), (262, 1), (273, 8), (277, 1)]
    tags += [(278, HW[0]), (279, len(pixels))]
    entries = b"".join(
        struct.pack(">HHII", tag, (kinds or {}).get(tag, 4), 1, value) for tag, value in tags
    )
    offset = 8 + len(pixels)
    return (
        struct.pack(">2sHI", b"MM", 42, offset)
        + pixels
        + struct.pack(">H", len(tags))
        + entries
        + struct.pack(">I", 0)
    )


EXACT = _exact_cases()


@pytest.mark.parametrize(("encoded", "mode", "pixels"), EXACT.values(), ids=EXACT)
def test_every_mode_becomes_rgb_by_its_declared_rule(encoded, mode, pixels):
    """A file of each mode has that mode in its header and exactly the pixels its rule gives."""
    header = read_header(encoded, "part")
    assert (header.height_px, header.width_px, header.mode) == (*HW, mode)
    decoded = decode_image(encoded, "part")
    assert (decoded.dtype, decoded.shape) == (np.uint8, (*HW, 3))
    assert np.array_equal(decoded, pixels)
    assert mode in CONVERSIONS


@pytest.mark.parametrize(
    ("encoded", "pixels"), [(one[0], one[2]) for one in EXACT.values()], ids=EXACT
)
def test_large_picture_is_taken_over_by_strips(encoded, pixels, monkeypatch: pytest.MonkeyPatch):
    """Strips of five rows, the last of two, give the same pixels as the whole in every mode."""
    monkeypatch.setattr(imaging, "STRIP_PIXELS", 5 * HW[1])
    assert np.array_equal(decode_image(encoded, "part"), pixels)


LOSSY = {
    "CMYK": ("CMYK", "JPEG", (200, 30, 30)),
    "CMYK as TIFF": ("CMYK", "TIFF", (200, 30, 30)),
    "YCbCr": ("YCbCr", "TIFF", (200, 30, 30)),
    "RGB as JPEG": ("RGB", "JPEG", (200, 30, 30)),
    "grey as JPEG": ("L", "JPEG", (90, 90, 90)),
}


@pytest.mark.parametrize(("mode", "kind", "colour"), LOSSY.values(), ids=LOSSY)
def test_colour_survives_a_lossy_mode(mode, kind, colour):
    """A red part stays red (not its negative) through CMYK, YCbCr and JPEG."""
    image = Image.new("RGB", HW[::-1], colour).convert(mode)
    decoded = decode_image(_encoded(image, kind), "part").astype(int)
    assert decoded.shape == (*HW, 3)
    assert np.abs(decoded - colour).max() <= 4


def test_sixteen_bits_keep_their_high_byte_and_are_never_stretched():
    """A dark 16-bit part stays dark: 0x01ff becomes 1 everywhere, whatever the maximum is."""
    dark = np.full(HW, 0x01FF, np.uint16)
    assert np.array_equal(
        decode_image(_encoded(Image.fromarray(dark)), "part"), np.ones((*HW, 3), np.uint8)
    )


def test_dark_frame_keeps_its_scale():
    """A uint8 frame of ones is read and prepared as ones; nothing guesses its range."""
    ones = np.ones((40, 64, 3), np.uint8)
    assert np.array_equal(decode_image(_encoded(Image.fromarray(ones)), "part"), ones)
    tiles = prepare(ones, Geometry(height_px=32, width_px=48))
    assert np.array_equal(tiles, np.ones((1, 32, 48, 3), np.uint8))


def _png_header(width: int, height: int) -> bytes:
    """Write the first chunk of a PNG; no pixel follows."""
    chunk = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    length, crc = struct.pack(">I", len(chunk) - 4), struct.pack(">I", zlib.crc32(chunk))
    return b"\x89PNG\r\n\x1a\n" + length + chunk + crc + b"\0\0\0\0IDAT\x35\xaf\x06\x1e"


def _noise(kind: str, **options: object) -> bytes:
    pixels = np.random.default_rng(0).integers(0, 256, (60, 90, 3)).astype(np.uint8)
    return _encoded(Image.fromarray(pixels), kind, **options)


BAD = {
    "empty": (b"", "part.png: file is empty; wanted an image; capture it again"),
    "text": (b"no image at all\n" * 9, "part.png: not an image file; wanted PNG, JPEG, BMP or"),
    "half a PNG header": (_noise("PNG")[:20], "part.png: damaged header"),
    "PNG header only": (_png_header(20, 12), "part.png: cannot be decoded"),
    "truncated PNG": (_noise("PNG")[:4000], "part.png: cannot be decoded"),
    "truncated JPEG": (_noise("JPEG")[:1500], "part.png: cannot be decoded (image file is trunc"),
    "truncated BMP": (_noise("BMP")[:1500], "part.png: cannot be decoded"),
    "truncated TIFF": (_noise("TIFF")[:1500], "part.png: cannot be decoded"),
    "TIFF of two pages": (
        _encoded(
            Image.new("RGB", (20, 12)),
            "TIFF",
            save_all=True,
            append_images=[Image.new("RGB", (20, 12))],
        ),
        "part.png: holds several pages; expected one picture; save it as one plain picture",
    ),
    "TIFF whose width is a fraction": (
        _big_endian_tiff({256: 5}),
        "part.png: damaged header",
    ),
    "TIFF whose pixels lie at a text": (
        _big_endian_tiff({273: 2}),
        "part.png: cannot be decoded",
    ),
    "1×1": (_encoded(Image.new("RGB", (1, 1))), "part.png: image is 1×1 px; wanted sides from 8"),
    "7 px high": (_encoded(Image.new("L", (99, 7))), "part.png: image is 7×99 px; wanted sides"),
    "20,000×20,000": (_png_header(20_000, 20_000), "part.png: image is 20000×20000 px; wanted si"),
    "2,000,000,000 px wide": (_png_header(2**31 - 1, 9), "part.png: image is 9×2147483647 px"),
    "32-bit integers": (
        _encoded(Image.fromarray(np.zeros(HW, np.int32)), "TIFF"),
        "part.png: pixel mode is I; wanted one of RGB, L, 1, P,",
    ),
    "floats": (
        _encoded(Image.fromarray(np.zeros(HW, np.float32)), "TIFF"),
        "part.png: pixel mode is F; wanted one of RGB, L, 1, P,",
    ),
    "GIF": (_encoded(Image.new("L", HW[::-1]), "GIF"), "part.png: not an image file; wanted PNG"),
    "EPS": (_encoded(Image.new("RGB", HW[::-1]), "EPS"), "part.png: not an image file; wanted"),
}


@pytest.mark.parametrize(("encoded", "message"), BAD.values(), ids=BAD)
def test_what_is_no_part_is_refused_by_name(tmp_path: Path, encoded, message):
    """Empty, truncated, foreign, tiny and huge files are refused with the reason and the file."""
    with pytest.raises(ImageError, match=f"^{re.escape(message)}"):
        decode_image(encoded, "part.png")
    path = tmp_path / "part.png"
    path.write_bytes(encoded)
    with pytest.raises(ImageError, match=rf"^{re.escape(str(tmp_path))}.*part\.png: "):
        load_image(path)


@pytest.mark.parametrize("at", range(1, 10))
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "BMP"])
def test_truncated_anywhere_is_never_half_a_part(kind, at):
    """Cut at any tenth of its length a file is refused; no grey rest is judged."""
    whole = _noise(kind)
    with pytest.raises(ImageError, match=r"^part: "):
        decode_image(whole[: len(whole) * at // 10], "part")


@given(st.data())
@settings(max_examples=150, deadline=None)
@pytest.mark.filterwarnings("ignore::UserWarning")  # Pillow's notes on broken TIFF tags
def test_damaged_bytes_are_an_image_error_or_a_picture(data):
    """Whatever bytes are damaged, decoding gives uint8 H×W×3 or an ImageError, nothing else."""
    kind = data.draw(st.sampled_from(["PNG", "JPEG", "BMP", "TIFF"]))
    encoded = bytearray(_encoded(Image.fromarray(_ramp(3)), kind))
    for _ in range(data.draw(st.integers(1, 6))):
        place = data.draw(st.integers(0, len(encoded) - 1))
        encoded[place] = data.draw(st.integers(0, 255))
    with suppress(ImageError):
        require_rgb8(decode_image(bytes(encoded), "part"), "part")


def test_missing_file_is_named(tmp_path: Path):
    """A file that is gone is refused with its path and the system's reason."""
    with pytest.raises(ImageError, match=r"gone\.png: cannot be read \(No such file or directory"):
        load_image(tmp_path / "gone.png")


NOT_PIXELS = {
    "float": (np.zeros((*HW, 3), np.float32), r"image is float32 \(12, 20, 3\); wanted uint8"),
    "grey": (np.zeros(HW, np.uint8), r"image is uint8 \(12, 20\); wanted uint8 H×W×3 RGB"),
    "one channel": (np.zeros((*HW, 1), np.uint8), r"image is uint8 \(12, 20, 1\); wanted"),
    "BGRA": (np.zeros((*HW, 4), np.uint8), r"image is uint8 \(12, 20, 4\); wanted"),
    "16-bit": (np.zeros((*HW, 3), np.uint16), r"image is uint16 \(12, 20, 3\); wanted"),
    "bool": (np.zeros((*HW, 3), np.bool_), r"image is bool \(12, 20, 3\); wanted"),
    "planes first": (np.zeros((3, *HW), np.uint8), r"image is uint8 \(3, 12, 20\); wanted"),
    "a batch": (np.zeros((1, *HW, 3), np.uint8), r"image is uint8 \(1, 12, 20, 3\); wanted"),
    "too small": (np.zeros((7, 20, 3), np.uint8), r"image is 7×20 px; wanted sides from 8 px"),
    "too large": (
        np.broadcast_to(np.uint8(0), (9_000, 9_000, 3)),
        "image is 9000×9000 px; wanted sides from 8 px and at most 80,000,000 pixels",
    ),
}


@pytest.mark.parametrize(("pixels", "message"), NOT_PIXELS.values(), ids=NOT_PIXELS)
def test_array_that_is_no_picture_is_refused_with_dtype_and_shape(pixels, message):
    """Anything but uint8 H×W×3 of a sound size is refused in every function that takes pixels."""
    with pytest.raises(ImageError, match=f"^part 7: {message}"):
        require_rgb8(pixels, "part 7")
    with pytest.raises(ImageError, match=f"^part: {message}"):
        prepare(pixels, Geometry())


@pytest.mark.parametrize("aspect", ["stretch", "pad"])
def test_the_callers_array_is_never_changed(aspect):
    """Preparing writes nothing into the caller's array, not even where the size fits already."""
    part = np.random.default_rng(0).integers(0, 256, (40, 56, 3)).astype(np.uint8)
    kept = part.copy()
    part.setflags(write=False)
    tiles = prepare(part, Geometry(height_px=40, width_px=56, aspect=aspect))
    tiles[:] = 0
    assert np.array_equal(part, kept)


def test_resize_is_the_mean_over_the_area():
    """Halving the size gives the mean of each 2×2 block, on views of any stride alike."""
    part = np.random.default_rng(0).integers(0, 128, (24, 40, 3)).astype(np.uint8) * 2
    part = (part // 8) * 8
    means = part.reshape(12, 2, 20, 2, 3).mean(axis=(1, 3))
    small = resize(part, 12, 20)
    assert np.abs(small - means).max() <= 0.5
    assert np.array_equal(resize(part[:, :, ::-1], 12, 20), small[:, :, ::-1])
    assert np.array_equal(resize(np.asfortranarray(part), 12, 20), small)
    assert np.array_equal(resize(part, 12, 20), small)


MASKS = {
    "0 and 255": (Image.fromarray(np.array([[0] * 10, [255] * 10] * 5, np.uint8)), "PNG"),
    "0 and 1": (Image.fromarray(np.array([[0] * 10, [1] * 10] * 5, np.uint8)), "PNG"),
    "16-bit 0 and 1": (Image.fromarray(np.array([[0] * 10, [1] * 10] * 5, np.uint16)), "PNG"),
    "black and white": (Image.fromarray(np.array([[0] * 10, [1] * 10] * 5, np.bool_)), "PNG"),
    "one colour of three": (
        Image.fromarray(np.array([[(0, 0, 0)] * 10, [(0, 0, 3)] * 10] * 5, np.uint8)),
        "BMP",
    ),
}


@pytest.mark.parametrize(("image", "kind"), MASKS.values(), ids=MASKS)
def test_any_value_above_zero_is_a_defect(tmp_path: Path, image, kind):
    """A mask is what is not 0, whether its defects are written as 1, 255, 16-bit or a colour."""
    path = tmp_path / "mask.png"
    path.write_bytes(_encoded(image, kind))
    assert np.array_equal(load_mask(path), np.array([[False] * 10, [True] * 10] * 5))


def test_damaged_mask_is_named(tmp_path: Path):
    """A truncated mask is refused, not read as a smaller defect."""
    path = tmp_path / "mask.png"
    path.write_bytes(_noise("PNG")[:3000])
    with pytest.raises(ImageError, match=r"mask\.png: cannot be decoded"):
        load_mask(path)


def test_mask_in_deep_colour_is_refused(tmp_path: Path):
    """Its small values would be lost with the low byte, and a defect with them."""
    (tmp_path / "mask.png").write_bytes(_rgb_16(".png"))
    with pytest.raises(ImageError, match=r"mask is RGB;16; wanted grey; save it so"):
        load_mask(tmp_path / "mask.png")

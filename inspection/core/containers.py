"""Takes a picture's file apart before a decoder does: what is no pixel never reaches it.

Decoders follow chains of pages and unpack notes a file names, however long they are; its size says
nothing of what that costs. After this look the work of a decoder is bounded by the bytes of the
file and the pixels of one picture.
"""

import re
import struct
from collections.abc import Iterator

PNG, JPEG, BMP, TIFF = "PNG", "JPEG", "BMP", "TIFF"
BEGINS = {
    b"\x89PNG\r\n\x1a\n": PNG,
    b"\xff\xd8\xff": JPEG,
    b"BM": BMP,
    b"II*\0": TIFF,
    b"MM\0*": TIFF,
}

MAX_CHUNKS = 1_000  # of a PNG, plus one per kilobyte: writers split pixels every 8 kB
PNG_CHUNK = struct.Struct(">I4s")
PNG_PIXELS = {b"IHDR", b"PLTE", b"IDAT", b"IEND"}

MAX_SEGMENTS = 1_000  # of a JPEG before its first scan; a large ICC profile has 50
MAX_SCANS = 100  # of a progressive JPEG, each as costly as a picture; writers make 10
JPEG_SEGMENT = re.compile(rb"\xff{1,64}([\xc0-\xcf\xda-\xfe])(..)", re.DOTALL)
JPEG_NOTES = frozenset({*range(0xE1, 0xEE), 0xEF, 0xFE})  # EXIF, ICC, thumbnails, comments
JPEG_SCAN = 0xDA
PIECE_BYTES = 8_000_000  # of a file that is searched at once

MAX_TAGS = 1_000  # of a TIFF's page
MAX_TAG_BYTES = 16_000_000  # of all values together; the largest are notes of cameras
MAX_STRIPS = 100_000  # pieces the pixels lie in: one per row of a very high picture
TIFF_STRIPS = {273, 279, 324, 325}  # offsets and lengths of strips and tiles
TIFF_UNITS = {
    **dict.fromkeys((1, 2, 6, 7), 1),
    **dict.fromkeys((3, 8), 2),
    **dict.fromkeys((4, 9, 11, 13), 4),
    **dict.fromkeys((5, 10, 12, 16, 17, 18), 8),
}  # bytes of one value, by the number of its type


def pixels_only(encoded: bytes) -> tuple[str, bytes]:
    """Give the kind of a picture by its first bytes, and the file without its notes.

    Args:
        encoded: a whole file.

    Returns:
        The kind, empty for what is none of PNG, JPEG, BMP and TIFF, and the bytes to decode.

    Raises:
        ValueError: it holds more than one picture, or more pieces or tags than a picture needs.
        struct.error: it ends too early.
    """
    kind = next((kind for head, kind in BEGINS.items() if encoded.startswith(head)), "")
    if kind == PNG:
        return kind, b"".join(_png_pieces(encoded))
    if kind == JPEG:
        return kind, b"".join(_jpeg_pieces(encoded))
    if kind == TIFF:
        _check_tiff(encoded)
    return kind, encoded


def _png_pieces(encoded: bytes) -> Iterator[memoryview]:
    """Give the signature and the chunks that make pixels; what ends early ends early here, too."""
    whole, at = memoryview(encoded), 8
    yield whole[:at]
    for _ in range(MAX_CHUNKS + len(encoded) // 1_000):
        if len(encoded) < at + PNG_CHUNK.size:
            return
        length, name = PNG_CHUNK.unpack_from(encoded, at)
        if name == b"acTL":
            raise ValueError("holds an animation; expected one picture")
        end = at + PNG_CHUNK.size + length + 4
        if name in PNG_PIXELS:
            yield whole[at:end]
        if name == b"IEND":
            return
        at = end
    raise ValueError("is cut into more chunks than a picture needs")


def _jpeg_pieces(encoded: bytes) -> Iterator[memoryview]:
    """Give the segments that make pixels, and from its first scan on the rest."""
    whole, at = memoryview(encoded), 2
    yield whole[:at]
    for _ in range(MAX_SEGMENTS):
        if (found := JPEG_SEGMENT.match(encoded, at)) is None:
            raise ValueError(f"no segment of a JPEG at byte {at:,}")
        marker, end = found[1][0], found.end(1) + int.from_bytes(found[2])
        if marker == JPEG_SCAN:
            break
        if marker not in JPEG_NOTES:
            yield whole[at:end]
        at = max(end, found.end())
    else:
        raise ValueError(f"has more than {MAX_SEGMENTS:,} segments before its pixels")
    if (scans := _count(encoded, b"\xff\xda", at)) > MAX_SCANS:
        raise ValueError(f"has {scans:,} scans; expected at most {MAX_SCANS}")
    yield whole[at:]


def _count(encoded: bytes, marker: bytes, at: int) -> int:
    """Count a marker from a byte on, by pieces, between which other threads may run."""
    last = len(marker) - 1  # one that lies on a border is of the piece it begins in
    starts = range(at, len(encoded), PIECE_BYTES)
    return sum(encoded.count(marker, start, start + PIECE_BYTES + last) for start in starts)


def _check_tiff(encoded: bytes) -> None:
    """Look at the first page's tags and whether another page follows, which nobody counts."""
    order = "<" if encoded.startswith(b"II") else ">"
    (at,) = struct.unpack_from(f"{order}I", encoded, 4)
    (count,) = struct.unpack_from(f"{order}H", encoded, at)
    if count > MAX_TAGS:
        raise ValueError(f"has {count:,} tags; expected at most {MAX_TAGS:,}")
    seen: set[int] = set()
    size = 0
    for number in range(count):
        tag, kind, values = struct.unpack_from(f"{order}HHI", encoded, at + 2 + 12 * number)
        if tag in seen:
            raise ValueError(f"has tag {tag} twice")
        if tag in TIFF_STRIPS and values > MAX_STRIPS:
            raise ValueError(f"is cut into {values:,} strips; expected at most {MAX_STRIPS:,}")
        seen.add(tag)
        size += values * TIFF_UNITS.get(kind, 0)
    if size > MAX_TAG_BYTES:
        raise ValueError(f"has tags of {size:,} bytes; expected at most {MAX_TAG_BYTES:,}")
    (following,) = struct.unpack_from(f"{order}I", encoded, at + 2 + 12 * count)
    if following:
        raise ValueError("holds several pages; expected one picture")

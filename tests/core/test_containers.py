"""What a picture costs is bounded by its pixels and its bytes, however its file is built."""

import io
import re
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from inspection.core.errors import ImageError
from inspection.core.imaging import decode_image, read_header

pytestmark = pytest.mark.fast

PLAIN = Image.fromarray(np.arange(64 * 48 * 3, dtype=np.uint8).reshape(48, 64, 3))
GREY_TAGS = [  # of a TIFF of 64×64 px, whose pixels begin at byte 8
    *((256, 4, 1, 64), (257, 4, 1, 64), (258, 3, 1, 8), (259, 3, 1, 1), (262, 3, 1, 1)),
    *((273, 4, 1, 8), (277, 3, 1, 1), (278, 4, 1, 64), (279, 4, 1, 4096)),
]
Chunk = tuple[bytes, bytes]


def encoded(kind: str, image: Image.Image = PLAIN, **options: object) -> bytes:
    """Give a picture as Pillow writes it."""
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def png(*notes: Chunk, pieces: int = 1) -> bytes:
    """Give the plain picture as a PNG with chunks before its pixels, which lie in so many pieces.

    All pieces but the last are empty.
    """
    rows = b"".join(b"\0" + row.tobytes() for row in np.asarray(PLAIN))
    chunks = [
        (b"IHDR", struct.pack(">IIBBBBB", 64, 48, 8, 2, 0, 0, 0)),
        *notes,
        *[(b"IDAT", b"")] * (pieces - 1),
        (b"IDAT", zlib.compress(rows)),
        (b"IEND", b""),
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
        for name, body in chunks
    )


def tiff(tags: list[tuple[int, int, int, int]], pages: int = 1, size: int = 4096) -> bytes:
    """Give a little-endian TIFF whose pages all have the same tags, and `size` bytes of pixels."""
    place, length = 8 + size, 2 + 12 * len(tags) + 4
    table = struct.pack("<H", len(tags)) + b"".join(struct.pack("<HHII", *tag) for tag in tags)
    following = [place + length * number for number in range(1, pages)]
    chain = b"".join(table + struct.pack("<I", after) for after in (*following, 0))
    return b"II*\0" + struct.pack("<I", place) + b"\0" * size + chain


def jpeg(*segments: tuple[int, bytes]) -> bytes:
    """Give the plain picture as a JPEG with segments before its others."""
    whole = encoded("JPEG", quality=95)
    notes = [
        bytes((0xFF, marker)) + struct.pack(">H", len(body) + 2) + body for marker, body in segments
    ]
    return whole[:2] + b"".join(notes) + whole[2:]


def scans(number: int) -> bytes:
    """Give a progressive JPEG whose last scan comes so often again."""
    whole = encoded("JPEG", progressive=True)
    last = whole[whole.rfind(b"\xff\xda") : -2]
    return whole[:-2] + last * number + b"\xff\xd9"


def run_lengths() -> bytes:
    """Give a BMP of 8944×8944 px in 36 kB, each row of which is one pixel and an end."""
    rows = b"\x01\x00\x00\x00" * 8944
    start = 14 + 40 + 1024
    head = struct.pack("<2sIHHI", b"BM", start + len(rows), 0, 0, start)
    info = struct.pack("<IiiHHIIiiII", 40, 8944, 8944, 1, 8, 1, len(rows), 0, 0, 256, 0)
    return head + info + b"\0" * 1024 + rows


def without(*numbers: int) -> list[tuple[int, int, int, int]]:
    """Give the tags of a plain TIFF but for these."""
    return [tag for tag in GREY_TAGS if tag[0] not in numbers]


COSTLY = {
    "chain of 30,000 pages": (tiff(GREY_TAGS, 30_000), "holds several pages; expected one picture"),
    "60,000 tags of all bytes": (
        tiff(GREY_TAGS + [(1_000 + number, 7, 4_000, 8) for number in range(60_000)]),
        "has 60,009 tags; expected at most 1,000",
    ),
    "a tag of 4 GB": (
        tiff([*GREY_TAGS, (1_000, 7, 2**32 - 1, 8)]),
        "has tags of 4,294,967,323 bytes; expected at most 16,000,000",
    ),
    "a million strips": (
        tiff(
            [*without(257, 273, 278), (257, 4, 1, 10**6), (273, 4, 10**6, 8), (278, 4, 1, 1)],
            size=4_100_000,
        ),
        "is cut into 1,000,000 strips; expected at most 100,000",
    ),
    "a tag twice": (tiff([*GREY_TAGS, GREY_TAGS[0]]), "has tag 256 twice"),
    "TIFF of JPEGs": (encoded("TIFF", compression="jpeg"), "pixels are packed as jpeg; wanted"),
    "TIFF by LZMA": (
        encoded("TIFF", compression="lzma"),
        "pixels are packed as lzma; wanted",
    ),
    "PNG of 200,000 empty notes": (
        png(*[(b"aaAa", b"")] * 200_000),
        "is cut into more chunks than a picture needs",
    ),
    "PNG of 200,000 empty pieces": (
        png(pieces=200_000),
        "is cut into more chunks than a picture needs",
    ),
    "animated PNG": (
        encoded("PNG", save_all=True, append_images=[Image.new("RGB", (64, 48))]),
        "holds an animation; expected one picture",
    ),
    "JPEG of 20,000 segments": (
        jpeg(*[(0xE1, b"xx")] * 20_000),
        "has more than 1,000 segments before its pixels",
    ),
    "JPEG of 5,000 scans": (scans(5_000), r"has 5,0\d\d scans; expected at most 100"),
    "junk between segments": (jpeg()[:20] + b"x" + jpeg()[20:], "no segment of a JPEG at byte 20"),
    "BMP by run lengths": (run_lengths(), "pixels are packed as run lengths; wanted a BMP without"),
}


@pytest.mark.parametrize("read", [read_header, decode_image])
@pytest.mark.parametrize(("content", "message"), COSTLY.values(), ids=COSTLY)
def test_file_that_costs_more_than_its_picture_is_refused(read, content, message):
    """A header or a picture is refused by how its file is built, before a decoder walks it."""
    with pytest.raises(ImageError, match=f"^part: {message}"):
        read(content, "part")


PROFILE = b"x\0\0" + zlib.compress(b"\0" * 1_000_000, 9)
TEXT = b"x\0\0" + zlib.compress(b"\0" * 50_000_000, 9)
EXIF = b"Exif\0\0II*\0\x08\0\0\0\xff\xff" + struct.pack("<HHII", 1, 7, 60_000, 8) * 5_400
PAGES = (  # the index of a Multi-Picture file: two pictures
    b"MPF\0II*\0\x08\0\0\0\x01\0" + struct.pack("<HHII", 45_057, 4, 1, 2) + b"\0" * 4
)
NOTES = {
    "colour profiles": (png(*[(b"iCCP", PROFILE)] * 500), png()),
    "packed texts": (png(*[(b"zTXt", TEXT)] * 10), png()),
    "EXIF whose tags all name the whole": (jpeg((0xE1, EXIF)), jpeg()),
    "index of two pictures": (jpeg((0xE2, PAGES)), jpeg()),
    "comments": (jpeg(*[(0xFE, b"x" * 60_000)] * 900), jpeg()),
}


@pytest.mark.parametrize(("noted", "plain"), NOTES.values(), ids=NOTES)
def test_notes_of_a_picture_are_never_unpacked(noted, plain):
    """A picture with notes of any size is the same picture as without, for any Pillow."""
    assert read_header(noted, "part") == read_header(plain, "part")
    assert np.array_equal(decode_image(noted, "part"), decode_image(plain, "part"))


def test_usual_ways_to_pack_are_read():
    """TIFFs as cameras and tools write them, and PNGs cut into pieces of 8 kB, stay readable."""
    rgb = np.asarray(PLAIN)
    for packing in ("raw", "packbits", "tiff_lzw", "tiff_adobe_deflate", "tiff_deflate"):
        content = encoded("TIFF", compression=packing)
        assert np.array_equal(decode_image(content, packing), rgb)
    black = Image.fromarray(rgb[:, :, 0] > 100)
    for packing in ("tiff_ccitt", "group3", "group4"):
        content = encoded("TIFF", black, compression=packing)
        assert np.array_equal(decode_image(content, packing)[:, :, 0] > 0, rgb[:, :, 0] > 100)
    assert np.array_equal(decode_image(png(pieces=900), "part"), rgb)


def test_tiff_of_eight_byte_offsets_is_refused_by_name():
    """A BigTIFF is no file of a camera; nobody walks its tables."""
    big = b"II+\0\x08\0\0\0" + struct.pack("<Q", 16) + b"\0" * 64
    with pytest.raises(ImageError, match=re.escape("part: not an image file; wanted PNG, JPEG")):
        decode_image(big, "part")

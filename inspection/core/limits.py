"""Limits of what comes from outside: bytes of files and bodies, pixels, counts and number ranges.

Every border of station, hub and dashboard takes its limits from here or from its configuration;
nothing else states one.
"""

import errno
import os
import stat
import time
from collections import Counter
from datetime import UTC, datetime
from io import BufferedReader
from itertools import islice
from pathlib import Path
from threading import Lock
from typing import Annotated

from pydantic import AfterValidator, AwareDatetime, BeforeValidator, Field

MB = 1_000_000
MAX_RECORD_BYTES = 64 * MB  # one JSON record: a model card with its scores is below 5 MB
MAX_SUMS_BYTES = 4 * MB  # SHA256SUMS of 10,000 files
MAX_SIGNATURE_BYTES = 10_000
MAX_THRESHOLDS_BYTES = 50_000  # one threshold record with its signature
MAX_GATE_BYTES = 2 * MB  # the gate's record of 10,000 test frames
MAX_PICTURE_BYTES = 500 * MB  # 80 Mpx of 16-bit colour, not compressed
MAX_BROKEN_BYTES = 64 * MB  # of a file that is no picture and is kept for people all the same
MAX_GRAPH_BYTES = 2_000 * MB  # the weights of one graph: WideResNet50 with a large bank is 400 MB
MAX_COCO_BYTES = 500 * MB  # the outlines of a data set

MAX_ENTRIES = 100_000  # of a folder of records or pictures
MAX_TEXT_BYTES = MB  # a configuration, a secret
NOT_A_FILE = {errno.EINVAL, errno.EFBIG, errno.ELOOP}  # what `read_file` itself refuses

MAX_CONNECTIONS = 256  # of an HTTP border; well below the 1,024 files a process may open
HEAD_S = 10  # within which a client asks something, or ends what it was answered before its end
WRITE_S, WRITE_BYTES = 10, 32_000  # a waiting answer moves on by so much in that time
BODY_S = 30  # within which a body of POST /frames is whole
MAX_FIELDS = 64  # of a form; a part has one picture per camera
MAX_FIELD_HEAD_BYTES = 16_384  # before a field's content
MIN_TOKEN = 16  # characters of a token somebody makes up
MAX_HELD_PIXELS = 320_000_000  # decoded for all requests together: four of the largest pictures

MAX_PAGES = 128  # of one dashboard, open in browsers at once
MAX_PAGES_OF_ONE = 32  # of one address: people behind one proxy or NAT share it
MAX_BROWSER_CONNECTIONS = 1_024  # of one dashboard; a browser opens up to seven for a page
MAX_CLIENT_BYTES = MB  # of one message of a page: what a person has typed, chosen and drawn

MAX_NAME = 128  # characters of a name
MAX_WORDS = 1_000  # characters of a comment
MAX_REASON = 10_000  # characters of a reason; beside the paths and errors it names
MAX_PART_ID = 512  # characters
MAX_PX = 1_000_000  # of a place on a picture, either way; a box may reach beyond the picture
MAX_SCORE = 1e9  # either way; distances of features are below 1e4
MAX_FRAMES = 4_096  # of one part: 256 of each of 16 cameras
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
END = datetime(9999, 1, 1, tzinfo=UTC)  # every zone has a year for it, and sums of days fit


def _one_line(text: str) -> str:
    """Refuse what is no line: control characters, and separators some programs end lines at."""
    if not all(letter.isprintable() for letter in text):
        raise ValueError("holds a control character or a line separator; expected one line")
    return text


Line = Annotated[str, AfterValidator(_one_line)]
"""Free text that is signed, logged or shown: printable characters only."""

Count = Annotated[int, Field(strict=True, ge=0, le=2**53)]  # what JSON holds exactly (RFC 8259)
Some = Annotated[int, Field(strict=True, ge=1, le=2**53)]  # a count of at least one
Total = Annotated[int, Field(ge=0, lt=2**63)]  # what a program or a database counted
Px = Annotated[int, Field(strict=True, ge=-MAX_PX, le=MAX_PX)]
FinePx = Annotated[float, Field(ge=-MAX_PX, le=MAX_PX, allow_inf_nan=False)]
DurationMs = Annotated[float, Field(ge=0, le=366 * 864e5, allow_inf_nan=False)]  # a year, as a
# part waits for a full disk; a million times a million of them are still a number
Finite = Annotated[float, Field(ge=-MAX_SCORE, le=MAX_SCORE, allow_inf_nan=False)]  # scores, levels
Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Figure = Annotated[float, Field(ge=-1e100, le=1e100, allow_inf_nan=False)]
"""What a program computed of bounded numbers; sums and squares of such are still numbers."""
Moment = Annotated[
    AwareDatetime,
    Field(
        ge=EPOCH,
        lt=END,
        json_schema_extra={
            "formatMinimum": EPOCH.isoformat(),
            "formatExclusiveMaximum": END.isoformat(),
        },
    ),
]

Short = Annotated[str, Field(max_length=MAX_NAME)]  # a name, a version
Sha256 = Annotated[str, Field(max_length=64)]  # in hexadecimal; some are empty, or shortened
PathText = Annotated[str, Field(max_length=4_096)]  # PATH_MAX


def cut(text: str, most: int) -> str:
    """Shorten a text that is for people to at most so many characters; its end says so."""
    return text if len(text) <= most else text[: most - 1] + "…"


def _cut_reason(text: object) -> object:
    return cut(text, MAX_REASON) if isinstance(text, str) else text


Reason = Annotated[str, BeforeValidator(_cut_reason), Field(max_length=MAX_REASON)]
"""Why something is as it is, for people; a longer one is cut and never costs its record."""


def open_file(path: Path, *, follow: bool = False) -> BufferedReader:
    """Open a regular file for reading, without waiting and, unless told, without following a link.

    The way to open a file somebody else may have put there: a FIFO, a device and a link are refused
    before anything is read.

    Raises:
        OSError: the file is missing, not regular, a link, or unreadable.
    """
    link = 0 if follow else os.O_NOFOLLOW
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | link)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "is no regular file; expected one", str(path))
    return os.fdopen(descriptor, "rb")


def read_file(path: Path, max_bytes: int, *, follow: bool = False) -> bytes:
    """Read a regular file of at most `max_bytes`, opened as `open_file` does.

    Raises:
        OSError: it cannot be opened, or is larger than allowed; then nothing of it is read.
    """
    with open_file(path, follow=follow) as stream:
        size = os.fstat(stream.fileno()).st_size
        # Python takes memory for as much as is asked for; a file that grows is asked again
        content = b"" if size > max_bytes else stream.read(size + 1)
        if size < len(content) <= max_bytes:
            content += stream.read(max_bytes + 1 - len(content))
    if max(size, len(content)) > max_bytes:
        raise OSError(
            errno.EFBIG, f"has more than {max_bytes:,} bytes; expected at most that", str(path)
        )
    return content


def list_folder(folder: Path) -> list[Path]:
    """Give what lies in a folder, sorted by name.

    Raises:
        OSError: it cannot be read, or holds more entries than anybody looks through.
    """
    paths = list(islice(folder.iterdir(), MAX_ENTRIES + 1))
    if len(paths) > MAX_ENTRIES:
        raise OSError(
            errno.EFBIG, f"holds more than {MAX_ENTRIES:,} entries; expected fewer", str(folder)
        )
    return sorted(paths)


def walk_folder(folder: Path) -> list[Path]:
    """Give what lies in a folder and below; links are given and not followed.

    Raises:
        OSError: a folder cannot be read, or there are more entries than anybody looks through.
    """
    found: list[Path] = []
    folders = [folder]
    while folders:
        found += (here := list_folder(folders.pop()))
        if len(found) > MAX_ENTRIES:
            raise OSError(
                errno.EFBIG, f"holds more than {MAX_ENTRIES:,} entries; expected fewer", str(folder)
            )
        folders += (path for path in here if path.is_dir() and not path.is_symlink())
    return found


class Budget:
    """An amount that several holders share, such as the bytes of all bodies; for any thread.

    Args:
        limit: how much may be held at once.
        of_one: how much one holder may hold; none is all of it.
    """

    def __init__(self, limit: int, of_one: int | None = None) -> None:
        self._limit, self._of_one = limit, limit if of_one is None else of_one
        self._all, self._held, self._lock = 0, Counter[str | None](), Lock()

    def take(self, amount: int, holder: str | None = None) -> bool:
        """Hold an amount; False when it does not fit beside what is held, and nothing is taken."""
        with self._lock:
            if self._all + amount > self._limit or self._held[holder] + amount > self._of_one:
                return False
            self._all += amount
            self._held[holder] += amount
            return True

    def release(self, amount: int, holder: str | None = None) -> None:
        """Give an amount back."""
        with self._lock:
            self._all -= amount
            self._held[holder] -= amount
            if not self._held[holder]:
                del self._held[holder]


class Rate:
    """So many a minute, such as lines of the log that others cause; for any thread.

    Args:
        limit: how many are let through in one minute.
    """

    def __init__(self, limit: int) -> None:
        self.refused = 0
        """How many were not let through so far."""
        self._limit, self._taken, self._until_s, self._lock = limit, 0, 0.0, Lock()

    def take(self) -> bool:
        """Let one through, or count it as refused."""
        with self._lock:
            now = time.monotonic()
            if now >= self._until_s:
                self._taken, self._until_s = 0, now + 60
            self._taken += 1
            self.refused += self._taken > self._limit
            return self._taken <= self._limit

"""Limits of what comes from outside: bytes of files and bodies, pixels, counts and number ranges.

Every border of station, hub and dashboard takes its limits from here or from its configuration;
nothing else states one.
"""

import errno
import os
import stat
from io import BufferedReader
from itertools import islice
from pathlib import Path
from threading import Lock
from typing import Annotated

from pydantic import AfterValidator, Field

MB = 1_000_000
MAX_RECORD_BYTES = 64 * MB  # one JSON record: a model card with its scores is below 5 MB
MAX_SUMS_BYTES = 4 * MB  # SHA256SUMS of 10,000 files
MAX_SIGNATURE_BYTES = 10_000
MAX_PICTURE_BYTES = 500 * MB  # 80 Mpx of 16-bit colour, not compressed
MAX_GRAPH_BYTES = 2_000 * MB  # the weights of one graph: WideResNet50 with a large bank is 400 MB

MAX_BROKEN_BYTES = 64 * MB  # of a file that is no picture and is kept for people all the same
MAX_ENTRIES = 100_000  # of a folder of records or pictures
MAX_TEXT_BYTES = MB  # a configuration, a secret
NOT_A_FILE = {errno.EINVAL, errno.EFBIG, errno.ELOOP}  # what `read_file` itself refuses

MAX_NAME = 128  # characters of a name
MAX_WORDS = 1_000  # characters of a reason or a comment


def _one_line(text: str) -> str:
    """Refuse what is no line: control characters, and separators some programs end lines at."""
    if not all(letter.isprintable() for letter in text):
        raise ValueError("holds a control character or a line separator; expected one line")
    return text


Line = Annotated[str, AfterValidator(_one_line)]
"""Free text that is signed, logged or shown: printable characters only."""

Count = Annotated[int, Field(ge=0, le=2**53)]  # what JSON numbers hold exactly (RFC 8259)
DurationMs = Annotated[float, Field(ge=0, le=864e5, allow_inf_nan=False)]  # at most a day
Finite = Annotated[float, Field(ge=-1e9, le=1e9, allow_inf_nan=False)]  # scores, levels, sizes


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
        content = b"" if size > max_bytes else stream.read(max_bytes + 1)
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


class Budget:
    """An amount that several holders share, such as the bytes of all bodies; for any thread.

    Args:
        limit: how much may be held at once.
    """

    def __init__(self, limit: int) -> None:
        self._limit, self._held, self._lock = limit, 0, Lock()

    def take(self, amount: int) -> bool:
        """Hold an amount; False when it does not fit beside what is held, and nothing is taken."""
        with self._lock:
            if self._held + amount > self._limit:
                return False
            self._held += amount
            return True

    def release(self, amount: int) -> None:
        """Give an amount back."""
        with self._lock:
            self._held -= amount

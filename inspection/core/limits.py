"""Limits of what comes from outside: bytes of files and bodies, pixels, counts and number ranges.

Every border of station, hub and dashboard takes its limits from here or from its configuration;
nothing else states one.
"""

import os
import stat
from pathlib import Path
from threading import Lock
from typing import Annotated

from pydantic import Field

MB = 1_000_000
MAX_RECORD_BYTES = 64 * MB  # one JSON record: a model card with its scores is below 5 MB
MAX_GRAPH_BYTES = 2_000 * MB  # the weights of one graph: WideResNet50 with a large bank is 400 MB

Count = Annotated[int, Field(ge=0, le=2**53)]  # what JSON numbers hold exactly (RFC 8259)
DurationMs = Annotated[float, Field(ge=0, le=864e5, allow_inf_nan=False)]  # at most a day
Finite = Annotated[float, Field(ge=-1e9, le=1e9, allow_inf_nan=False)]  # scores, levels, sizes


def read_file(path: Path, max_bytes: int) -> bytes:
    """Read a regular file of at most `max_bytes`, without following a link and without waiting.

    The way to open a file somebody else may have put there: a FIFO, a device, a link and a sparse
    file of many gigabytes are refused before anything is read.

    Raises:
        OSError: the file is missing, not regular, a link, larger than allowed, or unreadable.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as stream:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise OSError(
                f"{path}: is no regular file; expected one of at most {max_bytes:,} bytes"
            )
        content = b"" if found.st_size > max_bytes else stream.read(max_bytes + 1)
        if max(found.st_size, len(content)) > max_bytes:
            raise OSError(f"{path}: has more than {max_bytes:,} bytes; expected at most that many")
        return content


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

"""Looks into a folder: which files are whole and not handed in yet, and the bytes of each."""

import logging
import os
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from inspection.core.errors import FrameRejected, StationError
from inspection.core.imaging import MAX_PIXELS
from inspection.station.clock import Clock
from inspection.station.part import Stamp

logger = logging.getLogger(__name__)

MAX_BYTES = 6 * MAX_PIXELS  # the largest part uncompressed, 16 bits a channel
UNFINISHED = (".partial", ".tmp")
LAST_SECOND = 253_402_300_799  # of the year 9999


class FolderLost(StationError):
    """The folder cannot be read now; it may come back, as a mount does."""


class Found(NamedTuple):
    """One file of the folder as the scan saw it."""

    source: str  # POSIX path relative to the folder, bytes that are no UTF-8 escaped
    path: str  # as the operating system takes it
    stamp: Stamp
    arrived_s: float | None = None  # monotonic, when first seen; none lay there before the start


class _Watched(NamedTuple):
    stamp: Stamp
    still_since_s: float
    arrived_s: float | None


class FolderScan:
    """The files of a folder and its sub-folders that are parts; links to folders are not followed.

    `look` costs one stat per file in the folder; only files that are new or changed are read.
    """

    def __init__(
        self, folder: Path, suffixes: tuple[str, ...], settle_s: float, clock: Clock
    ) -> None:
        if not folder.is_dir():
            raise StationError(f"source '{folder}' is no folder; make it or correct `source`")
        self._folder = folder
        self._suffixes = suffixes
        self._settle_s = settle_s
        self._clock = clock
        self._done: dict[str, Stamp] = {}
        self._watched: dict[str, _Watched] = {}
        self._looked = False
        self.unsettled: tuple[str, ...] = ()
        """Sources that the last look saw but that may still grow."""
        self.vanished = 0
        """Files that were seen but removed before they could be handed in."""
        self.ignored = 0
        """Files of other suffixes in the last look."""

    @property
    def waiting(self) -> int:
        """Number of files seen and not handed in yet."""
        return len(self._watched)

    def look(self, recorded: Callable[[str], Stamp | None]) -> list[Found]:
        """Give the files that are whole and not handed in, oldest modification first, then by name.

        Args:
            recorded: the stamp under which a source was judged earlier, or none.

        Raises:
            FolderLost: the folder cannot be read.
        """
        now_s = self._clock.monotonic()
        present = self._present()
        self._forget_gone(present)
        fresh = [found for found in present.values() if not self._is_done(found, recorded)]
        seen = [found._replace(arrived_s=self._watch(found, now_s)) for found in fresh]
        self._looked = True
        ready = [found for found in seen if self._has_settled(found, now_s)]
        self.unsettled = tuple({found.source for found in seen} - {found.source for found in ready})
        return sorted(ready, key=lambda found: (found.stamp.mtime_ns, found.source))

    def take(self, found: Found) -> bytes | None:
        """Read a file's bytes; none when it is gone or changed since the look; for any thread.

        Raises:
            FrameRejected: the file is larger than any part.
            OSError: the file cannot be read.
        """
        try:
            with Path(found.path).open("rb") as stream:
                before = _stamp(os.fstat(stream.fileno()))
                if before.size > MAX_BYTES:
                    raise FrameRejected(
                        f"{found.source}: file has {before.size:,} bytes; wanted at most "
                        f"{MAX_BYTES:,}; check what writes into the folder"
                    )
                encoded = stream.read()
                after = _stamp(os.fstat(stream.fileno()))
        except (FileNotFoundError, NotADirectoryError):
            return None
        return encoded if before == after == found.stamp else None

    def done(self, found: Found) -> None:
        """Remember for this process that a file, as found, was handed in."""
        self._done[found.source] = found.stamp
        self._watched.pop(found.source, None)

    def _present(self) -> dict[str, Found]:
        present = {}
        self.ignored = 0
        for entry in self._entries():
            if entry.name.lower().endswith(self._suffixes):
                try:
                    stamp = _stamp(entry.stat())
                except FileNotFoundError:  # gone since the folder was listed
                    continue
                source = _readable(entry.path.removeprefix(str(self._folder)).lstrip(os.sep))
                present[source] = Found(source, entry.path, stamp)
            else:
                self.ignored += 1
        return present

    def _entries(self) -> Iterator[os.DirEntry[str]]:
        """Walk all finished files; hidden files and folders and unfinished files are left out."""
        folders = [str(self._folder)]
        while folders:
            for entry in self._listing(folders.pop()):
                if entry.name.startswith("."):
                    continue
                if entry.is_dir(follow_symlinks=False):
                    folders.append(entry.path)
                elif entry.is_file() and not entry.name.lower().endswith(UNFINISHED):
                    yield entry

    def _listing(self, folder: str) -> list[os.DirEntry[str]]:
        try:
            with os.scandir(folder) as entries:
                return list(entries)
        except OSError as error:
            if isinstance(error, FileNotFoundError) and folder != str(self._folder):
                return []  # a sub-folder removed since its parent was listed
            raise FolderLost(
                f"source '{_readable(folder)}' cannot be read ({error.strerror}); mount it or give "
                "this user the right to read it"
            ) from error

    def _forget_gone(self, present: dict[str, Found]) -> None:
        for source in self._watched.keys() - present.keys():
            del self._watched[source]
            self.vanished += 1
            logger.warning("file removed before it was judged", extra={"source": source})
        for source in self._done.keys() - present.keys():
            del self._done[source]

    def _is_done(self, found: Found, recorded: Callable[[str], Stamp | None]) -> bool:
        source = found.source
        if source not in self._done and source not in self._watched:
            stamp = recorded(source)
            if stamp is not None:
                self._done[source] = stamp
        return self._done.get(source) == found.stamp

    def _watch(self, found: Found, now_s: float) -> float | None:
        """Note what is seen of a file, and give when it was seen first."""
        known = self._watched.get(found.source)
        if known is None:
            known = _Watched(found.stamp, now_s, now_s if self._looked else None)
        elif known.stamp != found.stamp:
            known = _Watched(found.stamp, now_s, known.arrived_s)
        self._watched[found.source] = known
        return known.arrived_s

    def _has_settled(self, found: Found, now_s: float) -> bool:
        return now_s - self._watched[found.source].still_since_s >= self._settle_s


def file_time(mtime_ns: int) -> datetime:
    """Give a file's modification time as aware UTC, within the years 1970 to 9999."""
    return datetime.fromtimestamp(min(max(mtime_ns / 1e9, 0), LAST_SECOND), UTC)


def _stamp(status: os.stat_result) -> Stamp:
    return Stamp(status.st_size, status.st_mtime_ns, status.st_ctime_ns)


def _readable(path: str) -> str:
    """Give a path as valid text: POSIX separators, bytes that are no UTF-8 are escaped."""
    return os.fsencode(path).replace(os.sep.encode(), b"/").decode("utf-8", "backslashreplace")

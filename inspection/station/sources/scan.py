"""Looks into a folder: which files are whole and not handed in yet, and the bytes of each."""

import errno
import logging
import os
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from inspection.core.errors import FrameRejected, StationError
from inspection.core.limits import MAX_PICTURE_BYTES, NOT_A_FILE, open_file
from inspection.station.clock import Clock
from inspection.station.part import Stamp

logger = logging.getLogger(__name__)

UNFINISHED = (".partial", ".tmp")
LAST_SECOND = 253_402_300_799  # of the year 9999
FORBIDDEN = frozenset({errno.EACCES, errno.EPERM, errno.ELOOP})
GONE_KNOWN = 10_000  # files that are gone whose modification time is remembered


class FolderLost(StationError):
    """The folder cannot be read now; it may come back, as a mount does."""


class Found(NamedTuple):
    """One file of the folder as the scan saw it."""

    source: str  # POSIX path relative to the folder, bytes that are no UTF-8 escaped
    path: str  # as the operating system takes it
    stamp: Stamp
    arrived_s: float | None = None  # monotonic, when first seen; none lay there before the start
    rewritten: bool = False  # written anew since this process first knew it as handed in


class _Watched(NamedTuple):
    stamp: Stamp
    still_since_s: float
    arrived_s: float | None


class FolderScan:
    """The files of a folder and its sub-folders that are parts; no link is one, nor is followed.

    `look` costs one stat per file in the folder; only files that are new or changed are read.
    """

    def __init__(
        self, folder: Path, suffixes: tuple[str, ...], settle_s: float, clock: Clock
    ) -> None:
        self._folder = folder
        self._suffixes = suffixes
        self._settle_s = settle_s
        self._clock = clock
        self._done: dict[str, Stamp] = {}
        self._watched: dict[str, _Watched] = {}
        self._first_mtime_ns: dict[str, int] = {}
        self._skipped: set[str] = set()
        self._skipped_before: set[str] = set()
        self._looked = False
        self.present: frozenset[str] = frozenset()
        """Sources that the last look saw."""
        self.unsettled: tuple[str, ...] = ()
        """Sources that the last look saw but that may still grow."""
        self.vanished = 0
        """Files that were seen but removed before they could be handed in."""
        self.ignored = 0
        """Files of other suffixes, links and what this user may not read, in the last look."""

    @property
    def waiting(self) -> int:
        """Number of files seen and not handed in yet."""
        return len(self._watched)

    def look(self, recorded: Callable[[str], Stamp | None]) -> list[Found]:
        """Give the files that are whole and not handed in, oldest modification first, then by name.

        Args:
            recorded: the stamp under which a source was judged earlier, or none.

        Raises:
            FolderLost: the folder is not there or cannot be read.
        """
        now_s = self._clock.monotonic()
        present = self._present()
        self.present = frozenset(present)
        self._forget_gone(present)
        fresh = [found for found in present.values() if not self._is_done(found, recorded)]
        seen = [
            found._replace(arrived_s=self._watch(found, now_s), rewritten=self._is_rewritten(found))
            for found in fresh
        ]
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
            with open_file(Path(found.path)) as stream:
                before = _stamp(os.fstat(stream.fileno()))
                if before.size > MAX_PICTURE_BYTES:
                    raise FrameRejected(
                        f"{found.source}: file has {before.size:,} bytes; wanted at most "
                        f"{MAX_PICTURE_BYTES:,}; check what writes into the folder"
                    )
                encoded = stream.read(before.size)
                after = _stamp(os.fstat(stream.fileno()))
        except OSError as error:
            if error.errno in {errno.ENOENT, errno.ENOTDIR, *NOT_A_FILE}:
                return None
            raise
        return encoded if before == after == found.stamp else None

    def done(self, found: Found) -> None:
        """Remember for this process that a file, as found, was handed in."""
        self._done[found.source] = found.stamp
        self._first_mtime_ns.setdefault(found.source, found.stamp.mtime_ns)
        self._watched.pop(found.source, None)

    def _present(self) -> dict[str, Found]:
        """Walk all finished files; hidden files and folders and unfinished files are left out."""
        present = {}
        self.ignored = 0
        self._skipped_before, self._skipped = self._skipped, set()
        folders = [str(self._folder)]
        while folders:
            for entry in self._listing(folders.pop()):
                try:
                    found = self._found(entry, folders)
                except OSError as error:
                    self._pass_over(entry.path, error)
                else:
                    if found is not None:
                        present[found.source] = found
        return present

    def _found(self, entry: os.DirEntry[str], folders: list[str]) -> Found | None:
        """Give the part an entry is, or none; a sub-folder joins `folders`."""
        name = entry.name.lower()
        if name.startswith("."):
            return None
        if entry.is_symlink():  # it may lead to anything this user may read
            self._skip(entry.path, "it is a link; wanted a file; copy or move the file itself")
        elif entry.is_dir(follow_symlinks=False):
            folders.append(entry.path)
        elif entry.is_file(follow_symlinks=False) and not name.endswith(UNFINISHED):
            if name.endswith(self._suffixes):
                source = _readable(entry.path.removeprefix(str(self._folder)).lstrip(os.sep))
                return Found(source, entry.path, _stamp(entry.stat(follow_symlinks=False)))
            self.ignored += 1
        return None

    def _listing(self, folder: str) -> list[os.DirEntry[str]]:
        try:
            with os.scandir(folder) as entries:
                return list(entries)
        except OSError as error:
            if folder == str(self._folder):
                raise _lost(folder, error) from error
            self._pass_over(folder, error)
            return []

    def _pass_over(self, path: str, error: OSError) -> None:
        """Leave out an entry that is gone or forbidden; any other error is the whole folder's.

        Raises:
            FolderLost: it is neither, or nothing at all in the folder may be looked at.
        """
        if isinstance(error, FileNotFoundError | NotADirectoryError):  # since it was listed
            return
        if error.errno not in FORBIDDEN or not os.access(self._folder, os.X_OK):
            raise _lost(path, error) from error
        self._skip(path, f"{error.strerror}; give this user the right to read it or take it out")

    def _skip(self, path: str, why: str) -> None:
        """Ignore an entry; said once for as long as it lies there."""
        self.ignored += 1
        self._skipped.add(path)
        if path not in self._skipped_before:
            logger.warning("skipped in the folder", extra={"path": _readable(path), "reason": why})

    def _forget_gone(self, present: dict[str, Found]) -> None:
        for source in self._watched.keys() - present.keys():
            del self._watched[source]
            self.vanished += 1
            logger.warning("file removed before it was judged", extra={"source": source})
        for source in self._done.keys() - present.keys():
            del self._done[source]
        gone = [source for source in self._first_mtime_ns if source not in present]
        for source in gone[:-GONE_KNOWN]:
            del self._first_mtime_ns[source]

    def _is_done(self, found: Found, recorded: Callable[[str], Stamp | None]) -> bool:
        source = found.source
        if source not in self._done and source not in self._watched:
            stamp = recorded(source)
            if stamp is not None:
                self._done[source] = stamp
        done = self._done.get(source) == found.stamp
        if done:
            self._first_mtime_ns.setdefault(source, found.stamp.mtime_ns)
        return done

    def _is_rewritten(self, found: Found) -> bool:
        """Ask the modification time: chmod, rename and link change a file's ctime only."""
        mtime_ns = found.stamp.mtime_ns
        return self._first_mtime_ns.get(found.source, mtime_ns) != mtime_ns

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


def _lost(path: str, error: OSError) -> FolderLost:
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        return FolderLost(
            f"source '{_readable(path)}' is no folder; make it, mount it or correct `source`"
        )
    return FolderLost(
        f"source '{_readable(path)}' cannot be read ({error.strerror}); mount it or give this user "
        "the right to read it"
    )


def _stamp(status: os.stat_result) -> Stamp:
    return Stamp(status.st_size, status.st_mtime_ns, status.st_ctime_ns)


def _readable(path: str) -> str:
    """Give a path as valid text: POSIX separators, bytes that are no UTF-8 are escaped."""
    return os.fsencode(path).replace(os.sep.encode(), b"/").decode("utf-8", "backslashreplace")

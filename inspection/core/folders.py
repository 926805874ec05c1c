"""Writes folders whole or not at all: built beside their place, renamed when complete."""

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from inspection.core.errors import ConfigError, InspectionError


@contextmanager
def new_folder(out: Path) -> Iterator[Path]:
    """Give a folder to fill; it becomes `out` when the block ends well and vanishes otherwise.

    A killed process leaves at most a hidden `.NAME.partial` beside `out`, which the next call
    removes and nothing ever reads.

    Raises:
        ConfigError: `out` exists and is not an empty folder, or another process is writing it.
        InspectionError: it cannot be written.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ConfigError(f"{out}: exists already; name a new folder or remove it")
    partial = out.absolute().parent / f".{out.name}.partial"
    try:
        with _owned(partial, out):
            yield partial
            _sync(partial)
            if out.is_dir():
                out.rmdir()
            partial.rename(out)
    except OSError as error:
        raise InspectionError(
            f"{out}: cannot be written ({error}); free space or rights"
        ) from error


@contextmanager
def _owned(partial: Path, out: Path) -> Iterator[None]:
    """Make the folder anew and hold it against other processes; a killed one lets go of it."""
    partial.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(partial, os.O_RDONLY)
    try:
        _lock(descriptor, partial, out)
        try:
            for path in partial.iterdir():
                shutil.rmtree(path) if path.is_dir() else path.unlink()
            yield
        finally:
            shutil.rmtree(partial, ignore_errors=True)
    finally:
        os.close(descriptor)


def _lock(descriptor: int, partial: Path, out: Path) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.path.samestat(os.fstat(descriptor), partial.stat()):  # not yet renamed by another
            return
    except (BlockingIOError, FileNotFoundError):
        pass
    raise ConfigError(f"{out}: another process is writing it; wait for it or name a new folder")


def _sync(folder: Path) -> None:
    """Make every file and folder below durable before the rename makes them visible."""
    for path in (folder, *folder.rglob("*")):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def link_or_copy(source: str | Path, target: str | Path) -> None:
    """Give a file that never changes a second name, or a copy where the disks differ.

    Raises:
        OSError: it is not there, or cannot be copied.
    """
    try:
        os.link(source, target)
    except FileNotFoundError:
        raise
    except OSError:
        shutil.copyfile(source, target)


def make_private(path: Path) -> None:
    """Make a file that its owner alone may read, empty; one that is there becomes so.

    SQLite gives the files beside a database the rights that it has.

    Raises:
        OSError: it cannot be made, or is another's.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        if os.fstat(descriptor).st_mode & 0o077:
            os.fchmod(descriptor, 0o600)
    finally:
        os.close(descriptor)


def write_whole(path: Path, content: bytes) -> None:
    """Write a file whole or not at all, its folder too; not flushed to the disk.

    Raises:
        OSError: it cannot be written.
    """
    partial = path.with_name(f".{path.name}.partial")
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        partial.write_bytes(content)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)

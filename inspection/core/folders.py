"""Writes folders whole or not at all: built beside their place, renamed when complete."""

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
        ConfigError: `out` exists and is not an empty folder.
        InspectionError: it cannot be written.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ConfigError(f"{out}: exists already; name a new folder or remove it")
    partial = out.absolute().parent / f".{out.name}.partial"
    try:
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        yield partial
        _sync(partial)
        if out.is_dir():
            out.rmdir()
        partial.rename(out)
    except OSError as error:
        raise InspectionError(
            f"{out}: cannot be written ({error}); free space or rights"
        ) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _sync(folder: Path) -> None:
    """Make every file and folder below durable before the rename makes them visible."""
    for path in (folder, *folder.rglob("*")):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

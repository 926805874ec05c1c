"""Watches processes for calls beyond this machine that nobody configured."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

WATCH = Path(__file__).parent / "watch"  # its sitecustomize.py does it


@contextmanager
def watched(folder: Path) -> Iterator[Callable[[], list[str]]]:
    """Refuse every call beyond loopback in each Python started within the block.

    Gives a function that tells which there were: what was called, whom, and from where.
    """
    log = folder / "calls"
    log.touch()
    path = os.pathsep.join(filter(None, (str(WATCH), os.environ.get("PYTHONPATH"))))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", path)
        patch.setenv("CALLS_LOG", str(log))
        yield lambda: log.read_text(encoding="utf-8").splitlines()

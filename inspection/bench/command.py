"""Runs `inspection` commands as a user does: each in a fresh process, timed from start to end."""

import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from inspection.core.command import INSPECTION
from inspection.core.errors import InspectionError

ROOT = Path(__file__).parents[2]
SAID_MOST = 300  # characters of a reason that stand in a table
COMPLAINTS = re.compile("error|exception|failed|assert|killed", re.IGNORECASE)
SAID_NO = 1  # exit code of a check that said no: its evidence is written all the same


def timed_command(arguments: Sequence[str | Path], *, may_refuse: bool = False) -> float:
    """Run one command to its end and give the seconds it took, start of Python included.

    Args:
        arguments: what stands after `inspection`.
        may_refuse: exit code 1 is an answer, too.

    Raises:
        InspectionError: the command failed; carries what it said last.
    """
    command = [*INSPECTION, *map(str, arguments)]
    started = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - our own command, no shell
    seconds = time.perf_counter() - started
    if done.returncode != 0 and not (may_refuse and done.returncode == SAID_NO):
        said = (done.stderr or done.stdout).strip().splitlines()[-1:] or ["nothing was said"]
        raise InspectionError(
            f"inspection {' '.join(map(str, arguments))}: ended with {done.returncode}: {said[0]}"
        )
    return seconds


def last_words(said: Path) -> str:
    """Give the line of a log that says best why its process ended: the last complaint, or line."""
    lines = said.read_text(encoding="utf-8", errors="replace").split("\n")
    lines = [line.strip() for line in lines if line.strip()] or ["nothing was said"]
    return next((line for line in reversed(lines) if COMPLAINTS.search(line)), lines[-1])


def told(reason: str) -> str:
    """Give a reason as it stands in a table: one line, not too long, no paths of this machine."""
    places = (tempfile.gettempdir(), sys.prefix, sys.base_prefix, *map(str, (ROOT, Path.home())))
    for place in sorted(places, key=len, reverse=True):  # one may lie within another
        reason = reason.replace(f"{place}/", "…/")
    words = " ".join(reason.split())
    return words if len(words) <= SAID_MOST else f"{words[:SAID_MOST]} …"

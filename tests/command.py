"""Runs `inspection` commands for tests: in this process, or as a process to kill or to starve."""

import io
import logging
import os
import signal
import subprocess
import sys
import warnings
from collections.abc import Callable, Sequence
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path

from inspection.cli.main import run


@dataclass(frozen=True)
class Said:
    """How a command ended and what it wrote."""

    code: int
    out: str
    err: str


def inspection(*arguments: object) -> Said:
    """Run one command in this process, and leave log and warnings as they were."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    out, err = io.StringIO(), io.StringIO()
    try:
        with redirect_stdout(out), redirect_stderr(err), warnings.catch_warnings():
            code = run([str(argument) for argument in arguments])
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)
    return Said(code, out.getvalue(), err.getvalue())


def done(*arguments: object) -> Said:
    """Run one command in this process that has to end well."""
    said = inspection(*arguments)
    assert said.code == 0, said.err
    return said


def start(
    arguments: Sequence[object],
    folder: Path,
    prepare: Callable[[], None] | None = None,
    *,
    first: str = "",
) -> subprocess.Popen[str]:
    """Start one command as a process of its own in a folder; no hub, two threads.

    Args:
        arguments: words behind `inspection`.
        folder: where it runs.
        prepare: called in the process before Python starts.
        first: a line of Python that runs before the command.
    """
    environment = os.environ | {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "2"}

    def before() -> None:
        signal.signal(signal.SIGINT, signal.default_int_handler)  # as in a terminal
        if prepare:
            prepare()

    return subprocess.Popen(
        [
            sys.executable,
            "-c",
            f"{first}\nfrom inspection.cli.main import main; main()",
            *map(str, arguments),
        ],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=before,
    )


def finish(process: subprocess.Popen[str], timeout_s: float = 300) -> Said:
    """Wait for a process."""
    out, err = process.communicate(timeout=timeout_s)
    return Said(process.returncode, out, err)

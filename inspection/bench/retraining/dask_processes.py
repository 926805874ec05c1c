"""A Dask cluster on this computer, each worker a process with one thread on a processor of its own.

Held to one processor, nothing a worker computes with can take a second one.
"""

import os
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

from inspection.bench.faults.network import HOST, free_port
from inspection.core.errors import InspectionError

WAIT_S = 60.0  # for a process to answer; far beyond what it needs on a busy machine
LOOK_S = 0.05


class DaskProcesses:
    """A scheduler at once, and workers as they are asked for; all on loopback, without pages.

    Args:
        folder: where their logs and scratch files lie.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._processes = ExitStack()
        self._port = free_port()
        self.address = f"dask://{HOST}:{self._port}"

    def __enter__(self) -> Self:
        """Start the scheduler."""
        where = "--host", HOST, "--port", str(self._port), "--no-dashboard"
        self._start("scheduler", *where)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End all of them."""
        self._processes.close()

    def add_worker(self, processor: int) -> None:
        """Start a worker of one thread on one processor, with a nanny that starts it again."""
        before = os.sched_getaffinity(0)
        os.sched_setaffinity(0, {processor})  # what is started now keeps to it, again and again
        try:
            scratch = "--local-directory", str(self._folder)
            words = "--nthreads", "1", "--memory-limit", "0", "--no-dashboard", "--host", HOST
            self._start("worker", f"tcp://{HOST}:{self._port}", *words, *scratch)
        finally:
            os.sched_setaffinity(0, before)

    def wait_for(self, workers: int) -> dict[str, int]:
        """Wait until so many workers are there; give the process of each by its address.

        Raises:
            InspectionError: they are not, after a minute.
        """
        # a bench is asked for without Dask only by mistake
        from distributed import Client

        until = time.monotonic() + WAIT_S
        while time.monotonic() < until:
            try:
                with Client(f"{HOST}:{self._port}", timeout=5, set_as_default=False) as client:
                    found: dict[str, int] = client.run(os.getpid)
            except OSError:
                found = {}
            if len(found) == workers:
                return found
            time.sleep(LOOK_S)
        raise InspectionError(f"{self.address}: {len(found)} workers; wanted {workers}; see logs")

    def _start(self, *words: str) -> None:
        log = self._processes.enter_context((self._folder / f"{words[0]}.log").open("ab"))
        process = subprocess.Popen(  # noqa: S603 - Dask's own command, no shell
            [sys.executable, "-m", "dask", *words], stdout=log, stderr=log
        )
        self._processes.callback(process.wait)
        self._processes.callback(process.terminate)

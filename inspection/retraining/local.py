"""Runs jobs on the hub's own machine so that nothing else there suffers.

The hub starts a process that holds the job's lease and watches; that one starts another for the
steps, at the lowest priority, with few threads and little memory if so set, and ends it when the
job is cancelled. The second ends with the first; the first goes on when the hub is started anew.
"""

import logging
import multiprocessing
import os
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import NamedTuple

from inspection.bundles.priority import go_first
from inspection.core.command import INSPECTION
from inspection.core.config import load_config
from inspection.core.errors import InspectionError, TrainingError
from inspection.core.progress import tell, watched
from inspection.hub.wire.retraining import Step
from inspection.retraining.faults import told
from inspection.retraining.settings import LocalSettings, RetrainingConfig
from inspection.retraining.steps import perform
from inspection.retraining.threads import limit_threads

logger = logging.getLogger(__name__)
OUTPUT = "output.log"  # in the job's folder: what the processes said
LOOK_S = 0.5  # between two looks at the memory, and at whether the job is still wanted
NICE = 19  # the lowest
LESS_NICE = 10  # of the process that watches: a tenth of what a station gets
MB = 1_000_000


def launch(job_id: str, *, hub_file: Path, file: Path) -> subprocess.Popen[bytes]:
    """Start `inspection retrain job` in a process that outlives this one.

    Args:
        job_id: of the job.
        hub_file: configuration of the hub.
        file: configuration of the retraining.

    Raises:
        InspectionError: its output cannot be written, or the configuration cannot be read.
    """
    folder = load_config(file, RetrainingConfig).work_dir / job_id
    files = "--hub", str(hub_file), "--config", str(file)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / OUTPUT).open("ab") as output:
            process = subprocess.Popen(  # noqa: S603 - our own command, no shell
                [*INSPECTION, "retrain", "job", job_id, *files],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        with suppress(OSError):  # it imports, assembles the set and keeps the lease: not the lowest
            os.setpriority(os.PRIO_PROCESS, process.pid, LESS_NICE)
        return process
    except OSError as error:
        raise InspectionError(
            f"{folder}: job cannot be started ({error}); free space or rights"
        ) from error


@contextmanager
def local_perform(settings: LocalSettings) -> Iterator[Callable[[Step, Path], None]]:
    """Give a function that has steps done in a process of lowest priority, and waits for it.

    One process does them all, so that its libraries are loaded once; it ends with the block.
    """
    worker = _Worker(settings)
    try:
        yield worker.perform
    finally:
        worker.end()


class _Said(NamedTuple):
    """A line of the process's log."""

    name: str
    level: int
    text: str


class _Worker:
    """The process that does steps, from the side of who wants them done."""

    def __init__(self, settings: LocalSettings) -> None:
        self._settings = settings
        self._process: BaseProcess | None = None
        self._answers: Connection | None = None

    def perform(self, step: Step, folder: Path) -> None:
        """Have a step done.

        Raises:
            TrainingError: the process took too much memory, or died.
            InspectionError: whatever the step raises, or who watches this thread.
        """
        process, answers = self._started()
        answered = False
        try:
            answers.send((step, folder))
            error = self._await(process, answers)
            answered = True
        except (EOFError, OSError) as error:
            process.join()
            raise TrainingError(
                f"step '{step}': its process died, code {process.exitcode}; code -9 without "
                f"another's doing means that memory was short; {folder / OUTPUT} may say more"
            ) from error
        finally:
            if not answered:
                self.end()
        if error is not None:
            raise error

    def end(self) -> None:
        """End the process, whatever it does; half of a folder is nothing."""
        if self._process is not None and self._answers is not None:
            self._process.kill()
            self._process.join()
            self._answers.close()
        self._process = self._answers = None

    def _started(self) -> tuple[BaseProcess, Connection]:
        if self._process is None or self._answers is None:
            context = multiprocessing.get_context("spawn")  # a fork would take locks along
            self._answers, theirs = context.Pipe()
            process = context.Process(target=serve, args=(theirs, self._settings.threads))
            process.start()
            theirs.close()  # so that its end is an end of file
            self._process = process
        return self._process, self._answers

    def _await(self, process: BaseProcess, answers: Connection) -> InspectionError | None:
        """Wait for the end of a step; give the error it ended with."""
        at = 0, 0
        while True:
            self._require_memory(process)
            if not answers.poll(LOOK_S):
                tell(*at)
                continue
            match answers.recv():
                case _Said(name, level, text):
                    logging.getLogger(name).log(level, "%s", text)
                case (int(done), int(total)):
                    at = done, total
                    tell(*at)
                case error:
                    return error if isinstance(error, InspectionError) else None

    def _require_memory(self, process: BaseProcess) -> None:
        most, found = self._settings.memory_mb, memory_of(process.pid or 0) // MB
        if found > most:
            raise TrainingError(
                f"memory: the training took {found} MB; local.memory_mb allows {most}, so it was "
                "ended; allow more, or take fewer pictures, a smaller bank or a smaller backbone"
            )


def serve(orders: Connection, threads: int | None) -> None:
    """Do steps in this process until nobody orders any more.

    Args:
        orders: gives step and folder, takes log lines, progress, and how it ended.
        threads: of the libraries that compute; none leaves it to them.
    """
    step_back()
    go_first()  # and not the hub, its database or a station beside it
    threading.Thread(target=_end_with_parent, daemon=True).start()
    if threads is not None:
        limit_threads(threads)
    sending = threading.Lock()

    def send(what: object) -> None:
        with sending:
            orders.send(what)

    ours = logging.getLogger("inspection")
    ours.setLevel(logging.INFO)
    ours.addHandler(_Sender(send))
    while True:
        try:
            step, folder = orders.recv()
        except EOFError:
            return
        error = None
        try:
            with told(f"step '{step}'"), watched(lambda done, total: send((done, total))):
                perform(step, folder)
        except InspectionError as found:
            error = found
        send(error)


def step_back() -> None:
    """Let this process have only what others leave of the processor, and on Linux of the disk."""
    try:
        # Linux takes the I/O class from this, too: idle (task_nice_ioclass)
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    except (AttributeError, OSError):  # another system, or one that forbids it
        os.nice(NICE)


def memory_of(pid: int) -> int:
    """Give the resident memory of a process and all it started, bytes; 0 where Linux is not."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines()
        tasks = list(Path(f"/proc/{pid}/task").iterdir())
        children = [child for task in tasks for child in (task / "children").read_text().split()]
    except OSError:
        return 0
    own = next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmRSS:")), 0)
    return own + sum(memory_of(int(child)) for child in children)


class _Sender(logging.Handler):
    """Sends log lines to who ordered the work."""

    def __init__(self, send: Callable[[object], None]) -> None:
        super().__init__(logging.INFO)
        self._send = send

    def emit(self, record: logging.LogRecord) -> None:
        """Send one."""
        self._send(_Said(record.name, record.levelno, record.getMessage()))


def _end_with_parent() -> None:
    """End this process when who started it is gone: another may soon do the same step."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)

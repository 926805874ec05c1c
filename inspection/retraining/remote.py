"""What runs in a worker of a Dask cluster: one step of a job, in a folder that both sides see.

A log in the job's folder says who asked for a step, which worker began it, and that nobody waits
for it any more; so it outlives workers, scheduler and whoever asked.
"""

import fcntl
import functools
import hashlib
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from distributed import get_worker

from inspection.core.errors import ConfigError, InspectionError, TrainingError
from inspection.core.origin import git_revision
from inspection.core.progress import Watcher, watched
from inspection.hub.wire.retraining import Step
from inspection.retraining.faults import told
from inspection.retraining.threads import limit_threads

Perform = Callable[[Step, Path], None]

LOG = "tries.log"  # in a job's folder
ASKED, GIVEN_UP = "asked for", "given up"
MOST_TRIES = 3  # of one step, each of which ended its worker
TELL_S = 1.0  # between two words on progress
TOPIC = "inspection-steps"  # of Dask's events
_one_at_a_time = threading.Lock()


def run_step(work: Perform | None, step: str, log: str, attempt: str, wanted: str) -> None:
    """Do a step on this worker, with as many threads as the worker has.

    Args:
        work: does it; none is `steps.perform`.
        step: to do.
        log: in the job's folder.
        attempt: under which it stands in the log.
        wanted: version of this program.

    Raises:
        ConfigError: this worker has another version, or does not see the log.
        TrainingError: the step ended its worker too often, or raised what is not ours.
        InspectionError: nobody waits for it; and whatever the step raises.
    """
    work = work or _steps()
    path, at = Path(log), get_worker().address
    with _one_at_a_time:  # the trainer's seeds and warnings are the process's
        noted = noted_of(path, attempt)
        if revision() != wanted or ASKED not in noted:
            raise ConfigError(difference(at, revision(), wanted, log))
        began = [one for one in noted if one not in {ASKED, GIVEN_UP}]
        if len(began) >= MOST_TRIES:
            raise TrainingError(
                f"{path.parent}: step '{step}' ended its worker {len(began)} times "
                f"({', '.join(began)}); look at their memory and their logs"
            )
        note(path, attempt, step, at)
        limit_threads(threads_here())
        with _alone_in(path), watched(_teller(path, attempt)), told(f"step '{step}' on {at}"):
            work(Step(step), path.parent)


def threads_here() -> int:
    """Give how many tasks this worker runs at once."""
    return int(get_worker().state.nthreads)


def note(log: Path, attempt: str, step: str, what: str) -> None:
    """Add a line to the log.

    Raises:
        InspectionError: it cannot be written.
    """
    try:
        with log.open("a", encoding="utf-8") as stream:
            stream.write(f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ} {attempt} {step} {what}\n")
    except OSError as error:
        raise InspectionError(
            f"{log}: cannot be written ({error}); free space or rights"
        ) from error


def noted_of(log: Path, attempt: str) -> list[str]:
    """Give what was noted of an attempt, in order; nothing where the log is not seen."""
    try:
        lines = log.read_text(encoding="utf-8").split("\n")
    except OSError:
        return []
    return [line.split(" ", 3)[3] for line in lines if attempt in line]


def look(shared: str, size: int) -> tuple[str, str]:
    """Give this process's version and the hash of a file's first bytes; empty where it is not."""
    try:
        with Path(shared).open("rb") as stream:
            return revision(), hashlib.sha256(stream.read(size)).hexdigest()
    except OSError:
        return revision(), ""


def difference(worker: str, found: str, wanted: str, shared: str) -> str:
    """Say what is wrong with a worker."""
    if found != wanted:
        return f"{worker}: runs inspection {found}; wanted {wanted}; install the same"
    return f"{worker}: sees another {shared}, or none; mount the folder there under the same path"


@functools.cache
def revision() -> str:
    """Give the version of this program and, in a checkout, its commit."""
    return f"{version('inspection')} ({git_revision()})"


def _steps() -> Perform:
    # only workers need the trainer
    from inspection.retraining.steps import perform

    return perform


@contextmanager
def _alone_in(log: Path) -> Iterator[None]:
    """Wait until no worker is at a step in this folder: one may be left of who asked before."""
    with log.open("a") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        yield


def _teller(log: Path, attempt: str) -> Watcher:
    """Tell the cluster how far the step has come, and end it when nobody waits for it."""
    worker, told_s = get_worker(), 0.0

    def tell(done: int, total: int) -> None:
        nonlocal told_s
        if time.monotonic() - told_s < TELL_S:
            return
        told_s = time.monotonic()
        worker.log_event(TOPIC, {"attempt": attempt, "done": done, "total": total})
        if GIVEN_UP in noted_of(log, attempt):
            raise InspectionError(f"{log.parent}: nobody waits for this step any more")

    return tell

"""Has steps of jobs and chunks of archives done on a Dask cluster.

Only who asks for a cluster imports this module. What travels to a worker are functions by their
names, paths and strings; pictures, runs and bundles lie in folders that every machine sees under
the same path. Whoever reaches a Dask scheduler can run anything on its workers: keep it in a closed
network, or use TLS (docs/cluster.md).
"""

import functools
import uuid
from collections.abc import Iterator
from concurrent.futures import CancelledError
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import dask
from distributed import Client, KilledWorker
from distributed.comm import CommClosedError

from inspection.core.errors import ClusterAway, ConfigError, InspectionError, TrainingError
from inspection.core.progress import tell
from inspection.hub.wire.retraining import Step
from inspection.retraining.pool import Pool
from inspection.retraining.remote import (
    ASKED,
    GIVEN_UP,
    LOG,
    MOST_TRIES,
    TOPIC,
    Perform,
    difference,
    look,
    note,
    revision,
    run_step,
)

GPU = "GPU"  # resource of a worker: dask worker … --resources "GPU=1"
CONNECT_S = 10.0
NOBODY_S = 60.0  # without a worker; a nanny has a killed one back within seconds
LOOK_S = 1.0  # between two looks whether those who could do a step are there, and who waits for it


def cluster_perform(address: str, work: Perform | None = None) -> Perform:
    """Give a function that has one step of a job done by some worker of a cluster, and waits.

    For several threads at once. It tells of the step's progress as the step itself would, and an
    error that raises ends it, here at once and there within seconds. A worker that dies costs the
    step it was at: another one begins it anew. When the process that waits is killed, a step under
    way comes to its end, and its output is there for whoever asks again.

    Args:
        address: dask://HOST:PORT of the scheduler.
        work: does the step there, a function of a module; none is `steps.perform`.

    Returns:
        A function of a step and a job's folder that raises what the step raised, and

        * ClusterAway: the scheduler or every worker is gone; asking again goes on from there.
        * ConfigError: a worker has another version of this program, or does not see the folder.
        * TrainingError: the step ended its worker again and again.
    """
    return functools.partial(_perform, address, work)


def _perform(address: str, work: Perform | None, step: Step, folder: Path) -> None:
    asked = _Asked(work, step, folder.resolve() / LOG)
    note(asked.log, asked.attempt, step, ASKED)
    try:
        with connect(address, asked.log) as client:
            client.subscribe_topic(TOPIC, asked.hear)
            error = asked.insist(client)
    except ClusterAway:
        raise
    except BaseException:
        note(asked.log, asked.attempt, step, GIVEN_UP)
        raise
    if error is not None:  # raised here, where none is mistaken for the cluster's
        raise error


class _WorkerGone(Exception):
    """Those who could do the step died or left."""


class _Asked:
    """One step that is asked for."""

    def __init__(self, work: Perform | None, step: Step, log: Path) -> None:
        self.log, self.attempt = log, uuid.uuid4().hex
        self._work, self._step = work, step
        self._progress = 0, 0

    def hear(self, event: tuple[float, dict[str, Any]]) -> None:
        """Take what workers tell of their progress, in a thread of Dask's."""
        _, told = event
        if told["attempt"] == self.attempt:
            self._progress = told["done"], told["total"]

    def insist(self, client: Client) -> BaseException | None:
        """Have it done though workers go, and give what it raised."""
        for _ in range(MOST_TRIES):
            with suppress(_WorkerGone):
                return self._once(client)
        return TrainingError(
            f"{self.log.parent}: whoever was given step '{self._step}' died or left, {MOST_TRIES} "
            f"times over; look at the logs and the memory of the workers; {self.log} names them"
        )

    def _once(self, client: Client) -> BaseException | None:
        resources = self._resources(client)
        # Dask estimates durations by the first word; the rest is new, so no old result answers
        key = f"{self._step}-{uuid.uuid4().hex}"
        arguments = self._work, self._step.value, str(self.log), self.attempt, revision()
        future = client.submit(run_step, *arguments, key=key, resources=resources, pure=False)
        while True:
            with suppress(TimeoutError):
                error: BaseException | None = future.exception(timeout=LOOK_S)
                break
            tell(*self._progress)
            if self._resources(client) != resources:
                raise _WorkerGone
        if future.cancelled():  # its exception is none, as if it were done
            raise CancelledError("the scheduler went while a step was under way")
        # what a step raises of a connection's comes as TrainingError
        if isinstance(error, KilledWorker | CommClosedError):
            raise _WorkerGone
        return error

    def _resources(self, client: Client) -> dict[str, float]:
        """Say what a worker must offer: a GPU for training, where any has one."""
        offered = any(one["resources"].get(GPU, 0) >= 1 for one in _workers(client))
        return {GPU: 1.0} if offered and self._step is Step.TRAIN else {}


def _workers(client: Client) -> list[dict[str, Any]]:
    """Give what the scheduler knows of its workers.

    Raises:
        ClusterAway: there is none, and none came for a minute.
    """
    with suppress(TimeoutError):
        client.wait_for_workers(1, timeout=NOBODY_S)
    workers = list(client.scheduler_info(n_workers=-1)["workers"].values())
    if not workers:
        at = client.scheduler.address
        raise ClusterAway(f"{at}: has no worker; start one: dask worker {at} --nthreads 1")
    return workers


@contextmanager
def cluster_pool(address: str, shared: Path) -> Iterator[Pool]:
    """Give all workers of a cluster, which see a file as it is here, as a pool of threads.

    Raises:
        ClusterAway, ConfigError: as for `connect`.
        InspectionError: a task ended its worker again and again.
    """
    with connect(address, shared) as client:
        threads = sum(worker["nthreads"] for worker in _workers(client))
        try:
            yield Pool(client.get_executor(pure=False), threads, lambda: _workers(client))
        except KilledWorker as error:
            raise InspectionError(f"{address}: {error}") from error


@contextmanager
def connect(address: str, shared: Path) -> Iterator[Client]:
    """Open a cluster all of whose workers have this version and see a file as it is here.

    Args:
        address: dask://HOST:PORT; by TLS where Dask's settings name an authority.
        shared: the file; it may only grow meanwhile.

    Raises:
        ClusterAway: nobody answers, at first or within the block.
        ConfigError: workers differ; names them.
    """
    protocol = "tls" if dask.config.get("distributed.comm.tls.ca-file") else "tcp"
    url = f"{protocol}://{address.removeprefix('dask://')}"
    try:
        with Client(url, timeout=CONNECT_S, set_as_default=False) as client:
            require_alike(client, shared)
            yield client
    except (OSError, CommClosedError, CancelledError) as error:
        raise ClusterAway(
            f"{address}: the scheduler does not answer ({error}); start it, and ask again: what is "
            "finished is kept"
        ) from error


def require_alike(client: Client, shared: Path) -> None:
    """Refuse a cluster any of whose workers has another version, or sees a file otherwise.

    A worker that dies while it is asked is none; whoever comes instead is looked at with its first
    step.

    Raises:
        ConfigError: names each worker that differs.
    """
    size = shared.stat().st_size
    wanted = look(str(shared), size)
    found = client.run(look, str(shared), size, on_error="return")
    wrong = [
        difference(worker, one[0], wanted[0], str(shared))
        if isinstance(one, tuple)
        else f"{worker}: cannot run this program ({one}); install inspection there"
        for worker, one in sorted(found.items())
        if one != wanted and not isinstance(one, OSError)
    ]
    if wrong:
        raise ConfigError("; ".join(wrong))

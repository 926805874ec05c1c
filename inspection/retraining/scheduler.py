"""Runs the loop beside the hub: looks at drift and policy now and then, and starts what waits.

A job runs in a process of its own, which outlives the hub; its lease tells who works on it. So two
hubs, or a hub and a timer that calls `inspection retrain --if-due`, do nothing twice.
"""

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC
from subprocess import Popen
from threading import Event as Flag
from typing import NamedTuple

from apscheduler.jobstores.memory import MemoryJobStore
from apscheduler.schedulers.background import BackgroundScheduler
from apscheduler.triggers.interval import IntervalTrigger

from inspection.core.errors import InspectionError
from inspection.hub import jobs, monitors
from inspection.hub.forgetting import withdraw_forgotten
from inspection.hub.hub import Hub
from inspection.hub.wire.retraining import Job
from inspection.retraining import rolling
from inspection.retraining.due import RetrainingDesk, ask_if_due
from inspection.retraining.schedule import ScheduleStore
from inspection.retraining.settings import LOCAL, Allowed, RetrainingConfig
from inspection.retraining.spoilt import take_back_spoilt
from inspection.station.tasks import running

logger = logging.getLogger(__name__)
Launch = Callable[[str], Popen[bytes]]
TICK, START, WATCH = "retraining", "start", "watch"
START_S = 1  # a job that somebody asks for, at whichever hub, begins so soon
WATCH_S = 30  # harm is found so soon


class Ticked(NamedTuple):
    """What one look at everything led to."""

    asked: tuple[Job, ...]
    faults: tuple[str, ...]


def tick(hub: Hub, config: RetrainingConfig, end: Flag | None = None) -> Ticked:
    """Look once at drift, at the policy of every product, and at the rollouts.

    What is wrong with one product keeps no other waiting; it is logged and returned.

    Args:
        hub: that everything is read from and written to.
        config: of the retraining.
        end: set when the process should end; the rest is left to the next look.
    """
    asked: list[Job] = []
    faults: list[str] = []
    with _reported("drift", faults):
        monitors.look(hub, hub.now())
    for product in config.products:
        if end is not None and end.is_set():
            break
        with _reported(f"{product.product} on {product.line}", faults):
            job = ask_if_due(hub, config, product)
            asked += [] if job is None else [job]
    return Ticked(tuple(asked), (*faults, *watch(hub, config)))


def watch(hub: Hub, config: RetrainingConfig) -> tuple[str, ...]:
    """Look once at what was tried: what learnt from something forgotten or spoilt, or does harm.

    Returns:
        What was wrong with it.
    """
    faults: list[str] = []
    with _reported("forgotten pictures", faults):
        withdraw_forgotten(hub)
    for product in config.products:
        if config.policy_of(product).allowed.includes(Allowed.REFIT):
            with _reported(f"thresholds of {product.product} on {product.line}", faults):
                take_back_spoilt(hub, product.line, product.product)
    with _reported("rollout", faults):
        rolling.roll(hub, config, hub.now())
    return tuple(faults)


@contextmanager
def _reported(what: str, faults: list[str]) -> Iterator[None]:
    try:
        yield
    except InspectionError as error:
        logger.warning("retraining put off", extra={"of": what, "reason": str(error)})
        faults.append(f"{what}: {error}")


class Scheduler:
    """The clock of one process."""

    def __init__(self, hub: Hub, config: RetrainingConfig, launch: Launch) -> None:
        self._hub, self._config, self._launch = hub, config, launch
        # on a cluster each has a process here that assembles its set and waits for its steps
        self._most = 1 if config.executor == LOCAL else config.jobs_at_once
        self._children: dict[str, Popen[bytes]] = {}
        self._not_before: dict[str, float] = {}

    def run(self, end: Flag) -> None:
        """Look and start until `end` is set; jobs that run then go on.

        Raises:
            HubError: the hub's database is away at the start.
        """
        stores = {"default": ScheduleStore(self._hub.database), "memory": MemoryJobStore()}
        clock = BackgroundScheduler(
            jobstores=stores,
            timezone=UTC,
            job_defaults={"coalesce": True, "max_instances": 1, "misfire_grace_time": None},
        )
        every = IntervalTrigger(minutes=self._config.every_min, timezone=UTC)
        clock.add_job(tick, every, (self._hub, self._config, end), id=TICK)
        for name, every_s, work, given in (
            (START, START_S, self.start_waiting, ()),
            (WATCH, WATCH_S, watch, (self._hub, self._config)),
        ):
            often = IntervalTrigger(seconds=every_s, timezone=UTC)
            clock.add_job(work, often, given, id=name, jobstore="memory")
        clock.start()
        try:
            end.wait()
        finally:
            clock.shutdown()

    def start_waiting(self) -> None:
        """Start jobs that wait, or whose worker is gone, as far as there is room.

        Those of them that were cancelled end.

        While the hub's database is away that is put off.
        """
        self._reap()
        ready: tuple[str, ...] = ()
        with _reported("jobs that wait", []):
            jobs.end_left(self._hub)
            ready = jobs.ready(self._hub, self._most)
        self._not_before = {one: self._not_before.get(one, 0.0) for one in ready}
        for job_id in ready:
            if job_id not in self._children and self._not_before[job_id] < time.monotonic():
                self._children[job_id] = self._launch(job_id)
                logger.info("job started", extra={"job_id": job_id})

    def _reap(self) -> None:
        """Hear of processes that ended; one that never took its job is not begun at once again."""
        for job_id, child in tuple(self._children.items()):
            if child.poll() is not None:
                del self._children[job_id]
                self._not_before[job_id] = time.monotonic() + self._config.lease_s
                logger.info("job ended", extra={"job_id": job_id, "code": child.returncode})


@contextmanager
def retraining_beside(
    hub: Hub, config: RetrainingConfig, launch: Launch
) -> Iterator[RetrainingDesk]:
    """Run the loop in this process until the block ends, and give the desk it is asked at."""
    scheduler = Scheduler(hub, config, launch)
    with running("retraining", scheduler.run):
        yield RetrainingDesk(hub, config)

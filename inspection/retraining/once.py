"""Does once, in this process, what the scheduler does again and again: for a person, or cron."""

from typing import NamedTuple

from inspection.hub.hub import Hub
from inspection.hub.jobs import end_left, get_job, ready
from inspection.hub.wire.retraining import Job
from inspection.retraining.scheduler import tick
from inspection.retraining.settings import RetrainingConfig
from inspection.retraining.worker import work


class Once(NamedTuple):
    """What was done, and what could not be looked at."""

    jobs: tuple[Job, ...]
    faults: tuple[str, ...]


def train_if_due(hub: Hub, config: RetrainingConfig) -> Once:
    """Ask for what is due, then do every job that waits, one after the other.

    While another worker has one, what waits is left to it, or to the next call.

    Raises:
        InspectionError: the hub or the cluster is away; a job that was begun may be taken over.
    """
    end_left(hub)  # else nothing would be due while they stand
    faults = tick(hub, config).faults
    ended: list[Job] = []
    while waiting := ready(hub, most=1):
        if work(hub, config, waiting[0]) is not None:
            ended.append(get_job(hub, waiting[0]))
    return Once(tuple(ended), faults)

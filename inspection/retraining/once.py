"""Does once, in this process, what the scheduler does again and again: for a person, or cron."""

from collections.abc import Iterator
from typing import NamedTuple

from inspection.hub.hub import Hub
from inspection.hub.job_rows import UNFINISHED
from inspection.hub.jobs import end_left, get_job, list_jobs, ready
from inspection.hub.wire.retraining import Job, PolicyWords
from inspection.retraining.due import speak
from inspection.retraining.policy import NEEDS
from inspection.retraining.scheduler import tick
from inspection.retraining.settings import Allowed, RetrainingConfig
from inspection.retraining.worker import work

NEWEST = 1_000  # jobs among which those are looked for that others do


class Once(NamedTuple):
    """What was done, what was not, and what could not be looked at."""

    jobs: tuple[Job, ...]
    faults: tuple[str, ...]
    left: tuple[Job, ...] = ()
    """Asked for, by this call or before, and another worker's, or waiting for one."""
    barred: tuple[PolicyWords, ...] = ()
    """Due, but not without a person."""


def train_if_due(hub: Hub, config: RetrainingConfig) -> Once:
    """Ask for what is due, then do every job that waits, one after the other.

    While another worker has one, what waits is left to it, or to the next call.

    Raises:
        InspectionError: the hub or the cluster is away; a job that was begun may be taken over.
    """
    end_left(hub)  # else nothing would be due while they stand
    ticked = tick(hub, config)
    ended: list[Job] = []
    while waiting := ready(hub, most=1):
        if work(hub, config, waiting[0]) is not None:
            ended.append(get_job(hub, waiting[0]))
    ours = {one.job_id for one in ended}
    asked = {one.job_id for one in ticked.asked}
    left = tuple(
        one
        for one in list_jobs(hub, NEWEST)
        if one.job_id not in ours and (one.job_id in asked or one.state in UNFINISHED)
    )
    return Once(tuple(ended), ticked.faults, left, tuple(_barred(hub, config)))


def _barred(hub: Hub, config: RetrainingConfig) -> Iterator[PolicyWords]:
    """Give what the policy says where something is due that only a person may begin."""
    for one in speak(hub, config):
        if one.due is not None and not Allowed(one.allowed).includes(NEEDS[one.due]):
            yield one

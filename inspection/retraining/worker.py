"""Does a job in this process: leases it, and has its steps done beside it or on a cluster."""

import os
import socket
from contextlib import AbstractContextManager, nullcontext

from inspection.hub import jobs
from inspection.hub.hub import Hub
from inspection.hub.wire.retraining import JobState
from inspection.retraining.job import Perform, run_job
from inspection.retraining.local import local_perform
from inspection.retraining.settings import LOCAL, RetrainingConfig


def work(hub: Hub, config: RetrainingConfig, job_id: str | None = None) -> JobState | None:
    """Do a job to its end.

    Args:
        hub: that has it.
        config: of the retraining.
        job_id: of the job; none takes the oldest that nobody works on.

    Returns:
        How it ended; none when there is nothing to do, or another worker has it.

    Raises:
        InspectionError: the hub or the cluster is away; the job may be taken over.
    """
    leased = jobs.lease(hub, f"{socket.gethostname()} {os.getpid()}", config.lease_s, job_id)
    if leased is None:
        return None
    with _performing(config) as perform:
        return run_job(hub, config, leased, perform)


def _performing(config: RetrainingConfig) -> AbstractContextManager[Perform]:
    if config.executor == LOCAL:
        return local_perform(config.local)
    from inspection.retraining.cluster import cluster_perform  # needs Dask, which few have

    return nullcontext(cluster_perform(config.executor))

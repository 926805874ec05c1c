"""Routes of retrainings: what the policy says, which jobs there are, starting and ending them."""

from typing import Annotated, Final

from fastapi import APIRouter, Depends, Query, Request

from inspection.hub import jobs
from inspection.hub.api.access import Engineer, TheHub, Viewer
from inspection.hub.desk import Desk
from inspection.hub.refusals import Standing
from inspection.hub.wire.message import Name
from inspection.hub.wire.retraining import Job, JobLine, NewJob, PolicyWords

router = APIRouter(tags=["retraining"])
ROWS_MOST: Final = 1000


def the_desk(request: Request) -> Desk:
    """Give the retraining that runs beside the hub.

    Raises:
        Standing: none does.
    """
    desk: Desk | None = request.app.state.desk
    if desk is None:
        raise Standing(
            "retraining: this hub was started without it: it begins no job, and neither lets a "
            "challenger go on nor takes it back; what waits is done by inspection retrain "
            "--if-due, or by a hub started with inspection hub serve --retraining FILE"
        )
    return desk


TheDesk = Annotated[Desk, Depends(the_desk)]
Limit = Annotated[int, Query(ge=1, le=ROWS_MOST)]


@router.get("/policy")
def policy(_person: Viewer, desk: TheDesk) -> tuple[PolicyWords, ...]:
    """Say what the policy says of every product it knows; 409 where no retraining runs."""
    return desk.policy()


@router.get("/jobs")
def list_jobs(hub: TheHub, _person: Viewer, limit: Limit = 50) -> tuple[Job, ...]:
    """List retrainings, the newest first, without their steps."""
    return jobs.list_jobs(hub, limit)


@router.post("/jobs")
def start(person: Engineer, desk: TheDesk, new: NewJob) -> Job:
    """Ask for a retraining; the same again while one waits or runs is that one."""
    return desk.start(new, person.account)


@router.get("/jobs/{job_id}")
def job(hub: TheHub, _person: Viewer, job_id: Name) -> Job:
    """Give one, with its steps."""
    return jobs.get_job(hub, job_id)


@router.post("/jobs/{job_id}/cancellation")
def cancel(hub: TheHub, person: Engineer, job_id: Name) -> Job:
    """End one that waits at once, and one that runs as soon as its worker hears of it."""
    return jobs.cancel(hub, job_id, person.account)


@router.get("/jobs/{job_id}/log")
def log(
    hub: TheHub,
    _person: Viewer,
    job_id: Name,
    after: Annotated[int, Query(ge=0, lt=2**63)] = 0,
    limit: Limit = 500,
) -> tuple[JobLine, ...]:
    """Give the lines of a log that came after one, the oldest first."""
    return jobs.job_log(hub, job_id, after, limit)

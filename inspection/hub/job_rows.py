"""What rows of jobs mean: which are free, who may write them, how they end, how they read."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import (
    ColumnElement,
    Connection,
    Row,
    Select,
    and_,
    exists,
    func,
    or_,
    select,
    update,
)

from inspection.hub.job_request import JobRequest
from inspection.hub.loop_tables import jobs
from inspection.hub.refusals import LeaseLost, NotThere
from inspection.hub.wire.message import NO_TEXT
from inspection.hub.wire.retraining import Job, JobState, Step, StepState

UNFINISHED = (JobState.WAITING, JobState.RUNNING)
TEXT = 4_000  # characters of one line, note or outcome


class Leased(NamedTuple):
    """A job in the hands of a worker."""

    job_id: str
    lease: int  # how often the job was leased, this time included
    request: JobRequest
    owner: str


def newest_of(line: str, product: str) -> Select[Any]:
    """Ask for the job of a product that waits or runs, else for the one that ended last."""
    touched = func.coalesce(jobs.c.ended_at, jobs.c.created_at)
    return (
        select(jobs)
        .where(jobs.c.line == line, jobs.c.product == product)
        .order_by(jobs.c.ended_at.is_not(None), touched.desc(), jobs.c.job_id)
        .limit(1)
    )


def are_free(now: datetime) -> ColumnElement[bool]:
    """Say which jobs may be leased: of a product one at a time, whatever it does."""
    open_ended = and_(jobs.c.state == JobState.WAITING, jobs.c.leased_until.is_(None))
    alone = and_(jobs.c.state.in_(UNFINISHED), jobs.c.leased_until < now)
    return and_(or_(open_ended, alone), jobs.c.cancelled_by.is_(None), ~another_runs(now))


def are_left(now: datetime) -> ColumnElement[bool]:
    """Say which jobs were cancelled and have no worker that would end them."""
    nobody = or_(jobs.c.state == JobState.WAITING, jobs.c.leased_until < now)
    return and_(jobs.c.state.in_(UNFINISHED), jobs.c.cancelled_by.is_not(None), nobody)


def another_runs(now: datetime) -> ColumnElement[bool]:
    """Say of which jobs the product has another in somebody's hands."""
    other = jobs.alias("other")
    return (
        exists()
        .where(
            *(other.c[key] == jobs.c[key] for key in ("line", "product", "name")),
            other.c.job_id != jobs.c.job_id,
            other.c.state.in_(UNFINISHED),
            other.c.leased_until >= now,
        )
        .correlate(jobs)
    )


def theirs(leased: Leased) -> ColumnElement[bool]:
    """Say that the job is still in a worker's hands."""
    return and_(
        jobs.c.job_id == leased.job_id,
        jobs.c.lease == leased.lease,
        jobs.c.state == JobState.RUNNING,
    )


def write(connection: Connection, leased: Leased, **values: object) -> None:
    """Change the job, and hold its row until the transaction ends.

    Raises:
        LeaseLost: it is no longer theirs; nothing was changed.
    """
    if not connection.execute(update(jobs).where(theirs(leased)).values(**values)).rowcount:
        raise LeaseLost(
            f"job '{leased.job_id}': lease {leased.lease} of {leased.owner} is over: another "
            "worker has it, or it has ended; leave it alone"
        )


def end_cancelled(connection: Connection, now: datetime) -> None:
    """End cancelled jobs that no worker would end."""
    connection.execute(update(jobs).where(are_left(now)).values(**cancelled(now)))


def cancelled(now: datetime) -> dict[str, Any]:
    """Give what a cancelled job's row says."""
    return {"state": JobState.CANCELLED, "outcome": "cancelled", **ended(now)}


def ended(now: datetime) -> dict[str, Any]:
    """Give what the row of every job says that has ended."""
    return {"ended_at": now, "leased_by": None, "leased_until": None}


def kept(text: str) -> str:
    """Give what both databases keep of a text."""
    return NO_TEXT.sub("\N{REPLACEMENT CHARACTER}", text)[:TEXT]


def required(row: Row[Any] | None, job_id: str) -> Row[Any]:
    """Give the row.

    Raises:
        NotThere: there is none.
    """
    if row is None:
        raise NotThere(f"job '{job_id}': is not here; look at the list of jobs")
    return row


def job_of(row: Row[Any], steps: Sequence[Row[Any]] = ()) -> Job:
    """Give the job, its steps in order."""
    order = list(Step)
    states = [StepState.model_validate(step._asdict()) for step in steps]
    ordered = tuple(sorted(states, key=lambda one: order.index(one.step)))
    return Job.model_validate({**row._asdict(), "steps": ordered})

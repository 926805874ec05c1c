"""Retrainings as rows: asked for once, leased by one worker at a time, followed, cancelled.

A lease is taken by a conditional UPDATE that counts it, so one of many workers wins; what a worker
writes names the count, so one whose lease was taken over writes nothing any more.
"""

from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, Connection, and_, delete, func, insert, or_, select, update

from inspection.hub.audit import note
from inspection.hub.database import insert_new
from inspection.hub.hub import Hub
from inspection.hub.job_request import JobRequest
from inspection.hub.job_rows import (
    UNFINISHED,
    Leased,
    another_runs,
    are_free,
    are_left,
    cancelled,
    end_cancelled,
    ended,
    job_of,
    kept,
    newest_of,
    required,
    theirs,
    write,
)
from inspection.hub.loop_tables import job_lines, job_steps, jobs
from inspection.hub.refusals import Standing
from inspection.hub.wire.retraining import Job, JobKind, JobLine, JobState, Step

AGAIN = (JobState.FAILED, JobState.CANCELLED)  # may be asked for again, and go on where they were
LINES = 10_000  # of a job's log; then the oldest go


def ask(hub: Hub, request: JobRequest, who: str, why: str) -> Job:
    """Ask for a job; one that waits or runs for the same bundles and kind is that one.

    A request known already is its job again: one that failed or was cancelled waits anew and goes
    on with the steps it has finished, a re-fit with what it is asked for now; one that is done
    stays so. What was cancelled and has not
    ended yet stands in nobody's way: the job asked for waits until then.

    Args:
        hub: that keeps it.
        request: what is to be done.
        who: account, or `policy`.
        why: in words.
    """
    with hub.database.writing() as connection:
        _lock(connection)
        job_id = _ask(connection, hub.now(), request, who, why)
    return get_job(hub, job_id)


def ask_after(hub: Hub, request: JobRequest, who: str, why: str, newest: Job | None) -> Job | None:
    """Ask as `ask` does, unless something happened since the product's newest job was looked at.

    Of several schedulers that found the same to be due, one asks.

    Args:
        hub: that keeps it.
        request: what is to be done.
        who: account, or `policy`.
        why: in words.
        newest: as `newest_job` gave it when it was decided that this is due.

    Returns:
        The job; none when there is a newer one meanwhile, or `newest` went on.
    """
    seen = None if newest is None else (newest.job_id, newest.state, newest.ended_at)
    with hub.database.writing() as connection:
        _lock(connection)
        row = connection.execute(newest_of(request.line, request.product)).one_or_none()
        found = None if row is None else (row.job_id, JobState(row.state), row.ended_at)
        if found != seen:
            return None
        job_id = _ask(connection, hub.now(), request, who, why)
    return get_job(hub, job_id)


def newest_job(hub: Hub, line: str, product: str) -> Job | None:
    """Give the job of a product that was touched last: asked for, or ended."""
    with hub.database.reading() as connection:
        row = connection.execute(newest_of(line, product)).one_or_none()
    return None if row is None else job_of(row)


def lease(hub: Hub, owner: str, for_s: float, job_id: str | None = None) -> Leased | None:
    """Take a job on: the oldest that waits, or one whose worker was not heard of any more.

    Of a line's product and bundle name one job at a time is in somebody's hands, of whatever kind.

    Args:
        hub: that keeps them.
        owner: who takes it, as people read it: host and process.
        for_s: how long it is theirs without `renew`, seconds.
        job_id: only this one; none takes any.

    Returns:
        The lease; none when there is nothing to do, another worker was faster, or one is at
        another job of the product.
    """
    now = hub.now()
    query = select(jobs).where(are_free(now)).order_by(jobs.c.created_at, jobs.c.job_id)
    if job_id is not None:
        query = query.where(jobs.c.job_id == job_id)
    with hub.database.writing() as connection:
        _lock(connection)  # else two could take two jobs of one product
        end_cancelled(connection, now)
        for row in connection.execute(query).all():
            taken = connection.execute(
                update(jobs)
                .where(jobs.c.job_id == row.job_id, jobs.c.lease == row.lease, are_free(now))
                .values(
                    state=JobState.RUNNING,
                    lease=row.lease + 1,
                    leased_by=owner,
                    leased_until=now + timedelta(seconds=for_s),
                    started_at=row.started_at or now,
                )
            )
            if taken.rowcount:
                request = JobRequest.model_validate_json(row.request)
                return Leased(row.job_id, row.lease + 1, request, owner)
    return None


def end_left(hub: Hub) -> None:
    """End what was cancelled and whose worker is gone: unfinished, it would hold its product up.

    Any number of hubs may do so at once: the UPDATE asks again whether nobody has it.
    """
    now = hub.now()
    with hub.database.reading() as connection:  # most often there is none: then write nothing
        found = connection.execute(select(jobs.c.job_id).where(are_left(now)).limit(1)).first()
    if found is not None:
        with hub.database.writing() as connection:
            end_cancelled(connection, now)


def ready(hub: Hub, most: int) -> tuple[str, ...]:
    """Name the jobs to lease so that at most so many are in somebody's hands, the oldest first."""
    now = hub.now()
    held = jobs.c.state.in_(UNFINISHED), jobs.c.leased_until >= now
    columns = jobs.c.job_id, jobs.c.line, jobs.c.product, jobs.c.name
    query = select(*columns).where(are_free(now)).order_by(jobs.c.created_at, jobs.c.job_id)
    with hub.database.reading() as connection:
        count = connection.execute(select(func.count()).select_from(jobs).where(*held)).scalar_one()
        free = connection.execute(query).all()
    oldest: dict[tuple[str, ...], str] = {}
    for job_id, *product in free:  # of one product only one could be leased
        oldest.setdefault(tuple(product), job_id)
    return tuple(oldest.values())[: max(most - count, 0)]


def renew(hub: Hub, leased: Leased, for_s: float) -> bool:
    """Keep a job for so many seconds from now on; it may be called by any thread.

    Returns:
        Whether to go on: not when the lease is another's, or has run out and a worker is at
        another job of the product, or the job was cancelled, which then stands CANCELLED, or
        waits when it was asked for anew.
    """
    now = hub.now()
    with hub.database.writing() as connection:
        kept = connection.execute(
            update(jobs)
            .where(theirs(leased), jobs.c.cancelled_by.is_(None), ~another_runs(now))
            .values(leased_until=now + timedelta(seconds=for_s))
        )
        if kept.rowcount:
            return True
        is_cancelled = theirs(leased), jobs.c.cancelled_by.is_not(None)
        connection.execute(update(jobs).where(*is_cancelled).values(**cancelled(now)))
    return False


def let_go(hub: Hub, leased: Leased) -> None:
    """Say that a worker has ended what it did on a job that is no longer its own.

    So one that was cancelled and asked for anew meanwhile may begin before the old lease is over.
    """
    waits = (
        jobs.c.job_id == leased.job_id,
        jobs.c.lease == leased.lease,
        jobs.c.state == JobState.WAITING,
    )
    with hub.database.writing() as connection:
        connection.execute(update(jobs).where(*waits).values(leased_until=None))


def begin_step(hub: Hub, leased: Leased, step: Step, digest: str) -> None:
    """Note that a step begins; one that was begun before counts as tried again.

    Raises:
        LeaseLost: the job is no longer theirs.
    """
    now = hub.now()
    row = {"job_id": leased.job_id, "step": step, "digest": digest, "started_at": now}
    with hub.database.writing() as connection:
        write(connection, leased, step=step, done=0, total=0)
        if not insert_new(connection, job_steps, [row], "step"):
            connection.execute(
                update(job_steps)
                .where(_step(leased, step))
                .values(digest=digest, started_at=now, ended_at=None, tries=job_steps.c.tries + 1)
            )


def end_step(hub: Hub, leased: Leased, step: Step, note: str) -> None:
    """Note that a step has ended, and what to know of it.

    Raises:
        LeaseLost: the job is no longer theirs.
    """
    with hub.database.writing() as connection:
        write(connection, leased, step=step)
        connection.execute(
            update(job_steps).where(_step(leased, step)).values(ended_at=hub.now(), note=kept(note))
        )


def progress(hub: Hub, leased: Leased, done: int, total: int) -> None:
    """Say how many of the step's items are done; total 0 where they cannot be counted.

    Raises:
        LeaseLost: the job is no longer theirs.
    """
    with hub.database.writing() as connection:
        write(connection, leased, done=done, total=total)


def log(hub: Hub, leased: Leased, level: str, text: str) -> None:
    """Add a line to the job's log, whose oldest lines go beyond LINES.

    Args:
        hub: that keeps it.
        leased: the job.
        level: as `logging` names it, at most eight letters.
        text: what happened; cut after TEXT characters.

    Raises:
        LeaseLost: the job is no longer theirs.
    """
    row = {"job_id": leased.job_id, "at": hub.now(), "level": level, "text": kept(text)}
    oldest = (
        select(job_lines.c.id)
        .where(job_lines.c.job_id == leased.job_id)
        .order_by(job_lines.c.id.desc())
        .offset(LINES)
        .limit(1)
    )
    with hub.database.writing() as connection:
        write(connection, leased, lease=leased.lease)  # changes nothing; refuses an old lease
        connection.execute(insert(job_lines).values(row))
        connection.execute(
            delete(job_lines).where(
                job_lines.c.job_id == leased.job_id, job_lines.c.id <= oldest.scalar_subquery()
            )
        )


def finish(
    hub: Hub, leased: Leased, state: JobState, outcome: str, bundle_id: str | None = None
) -> None:
    """End a job and give its lease back.

    Args:
        hub: that keeps it.
        leased: the job.
        state: how it ended; not waiting, not running.
        outcome: in words.
        bundle_id: what came of it.

    Raises:
        LeaseLost: the job is no longer theirs.
    """
    if state in UNFINISHED:
        raise ValueError(f"job {leased.job_id}: cannot end as {state}")
    values = {"state": state, "outcome": kept(outcome), "bundle_id": bundle_id}
    with hub.database.writing() as connection:
        write(connection, leased, **values, **ended(hub.now()))


def list_jobs(hub: Hub, limit: int = 50) -> tuple[Job, ...]:
    """List jobs, the newest first, without their steps."""
    query = select(jobs).order_by(jobs.c.created_at.desc(), jobs.c.job_id).limit(limit)
    with hub.database.reading() as connection:
        return tuple(job_of(row) for row in connection.execute(query))


def get_job(hub: Hub, job_id: str) -> Job:
    """Give one, with its steps.

    Raises:
        NotThere: there is none of this id.
    """
    steps = select(job_steps).where(job_steps.c.job_id == job_id)
    with hub.database.reading() as connection:
        row = connection.execute(select(jobs).where(jobs.c.job_id == job_id)).one_or_none()
        return job_of(required(row, job_id), connection.execute(steps).all())


def job_log(hub: Hub, job_id: str, after: int = 0, limit: int = 500) -> tuple[JobLine, ...]:
    """Give the lines of a log that came after one, the oldest first.

    Raises:
        NotThere: there is no job of this id.
    """
    lines = (
        select(job_lines)
        .where(job_lines.c.job_id == job_id, job_lines.c.id > after)
        .order_by(job_lines.c.id)
        .limit(limit)
    )
    with hub.database.reading() as connection:
        row = connection.execute(select(jobs.c.job_id).where(jobs.c.job_id == job_id))
        required(row.one_or_none(), job_id)
        return tuple(JobLine(**line._mapping) for line in connection.execute(lines))


def cancel(hub: Hub, job_id: str, who: str) -> Job:
    """End a job: one that waits, or whose worker is gone, at once, else when its worker renews.

    Raises:
        NotThere: there is none of this id.
        Standing: it has ended.
    """
    now = hub.now()
    with hub.database.writing() as connection:
        asked = connection.execute(
            update(jobs)
            .where(jobs.c.job_id == job_id, jobs.c.state.in_(UNFINISHED))
            .values(cancelled_by=who)
        )
        if not asked.rowcount:
            row = connection.execute(select(jobs).where(jobs.c.job_id == job_id)).one_or_none()
            state = required(row, job_id).state
            raise Standing(f"job '{job_id}': is {state}; only one that waits or runs is cancelled")
        end_cancelled(connection, now)
        note(connection, now, who, "job cancel", job_id)
    return get_job(hub, job_id)


def _lock(connection: Connection) -> None:
    """Let one at a time ask or lease, so that it sees what was; SQLite has one writer anyhow."""
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql("LOCK TABLE jobs IN EXCLUSIVE MODE")  # readers go on


def _ask(connection: Connection, now: datetime, request: JobRequest, who: str, why: str) -> str:
    """Have the job wait, unless it, or one like it, does already; give its id."""
    standing = connection.execute(
        select(jobs.c.job_id).where(
            jobs.c.line == request.line,
            jobs.c.product == request.product,
            jobs.c.name == request.name,
            jobs.c.kind == request.kind,
            jobs.c.state.in_(UNFINISHED),
            jobs.c.cancelled_by.is_(None),
        )
    ).scalar()
    if standing is not None:
        return str(standing)
    wish = {"why": kept(why), "who": who, "state": JobState.WAITING, "created_at": now}
    asked = request.model_dump_json()
    row = {
        **wish,
        "job_id": request.job_id,
        "line": request.line,
        "product": request.product,
        "name": request.name,
        "kind": request.kind,
        "request": asked,
    }
    if not insert_new(connection, jobs, [row], "job_id"):
        anew = wish | dict.fromkeys(("started_at", "ended_at", "cancelled_by", "leased_by"))
        anew |= {"outcome": "", "step": ""}
        if request.kind is JobKind.REFIT:  # no steps go on; when it was asked for decides
            anew["request"] = asked
        # of one that ends yet, the lease stays until then: `let_go` gives it back
        ends = and_(jobs.c.state == JobState.RUNNING, jobs.c.cancelled_by.is_not(None))
        is_over = or_(jobs.c.state.in_(AGAIN), ends)
        again = update(jobs).where(jobs.c.job_id == request.job_id, is_over)
        if not connection.execute(again.values(anew)).rowcount:
            return request.job_id
    about = {"line": request.line, "product": request.product, "kind": request.kind, "why": why}
    note(connection, now, who, "job ask", request.job_id, **about)
    return request.job_id


def _step(leased: Leased, step: Step) -> ColumnElement[bool]:
    return and_(job_steps.c.job_id == leased.job_id, job_steps.c.step == step)

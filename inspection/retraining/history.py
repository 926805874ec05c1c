"""Reads from the hub's jobs what a product was trained and re-fitted by, and when."""

from collections.abc import Collection
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, Select, func, select

from inspection.hub.job_request import JobRequest
from inspection.hub.loop_tables import challengers, jobs
from inspection.hub.wire.retraining import ChallengerState, JobKind, JobState
from inspection.retraining.settings import RetrainedProduct

# A job that failed teaches nobody anything: the next one has the same reasons.
SETTLED = (JobState.DONE, JobState.REFUSED, JobState.CANCELLED)
TRAININGS = (JobKind.UPDATE, JobKind.RETRAIN)  # what learns more than guards
BUNDLES = (JobKind.GUARDS, *TRAININGS)
REFITS = (JobKind.REFIT,)


def mine(product: RetrainedProduct, kinds: Collection[JobKind]) -> Select[Any]:
    """Ask for the jobs of a product, those asked for last first."""
    mine = jobs.c.line == product.line, jobs.c.product == product.product
    found = select(jobs).where(*mine, jobs.c.name == product.bundle, jobs.c.kind.in_(kinds))
    return found.order_by(jobs.c.created_at.desc(), jobs.c.job_id)


def last_of(
    connection: Connection,
    product: RetrainedProduct,
    kinds: Collection[JobKind],
    states: Collection[JobState],
) -> Row[Any] | None:
    """Give the last job of some kinds that came to one of some ends."""
    found = mine(product, kinds).where(jobs.c.state.in_(states)).limit(1)
    return connection.execute(found).one_or_none()


def tried(
    connection: Connection,
    product: RetrainedProduct,
    kinds: Collection[JobKind] = TRAININGS,
    states: Collection[JobState] = SETTLED,
) -> Row[Any] | None:
    """Give the last training that did what can be done with what it learnt.

    One that was refused as an update of the bank did not: a full training may follow with the same.
    """
    refused = (jobs.c.kind == JobKind.UPDATE) & (jobs.c.state == JobState.REFUSED)
    found = mine(product, kinds).where(jobs.c.state.in_(states), ~refused).limit(1)
    return connection.execute(found).one_or_none()


def ended_at(
    connection: Connection, product: RetrainedProduct, kinds: Collection[JobKind]
) -> datetime | None:
    """Say when the last job of some kinds came to whatever end."""
    ended = mine(product, kinds).order_by(None).with_only_columns(func.max(jobs.c.ended_at))
    found: datetime | None = connection.execute(ended).scalar()
    return found


def until(job: Row[Any] | None) -> int:
    """Give the id of the last review row that a job counted."""
    return 0 if job is None else JobRequest.model_validate_json(job.request).reviews_until


def bank_of(connection: Connection, product: RetrainedProduct, bundle_id: str) -> str:
    """Give the bundle whose bank another has: itself, but for one that has new guards only."""
    seen: set[str] = set()
    while bundle_id not in seen:  # what made the very bundle it began with leads back to it
        seen.add(bundle_id)
        found = mine(product, BUNDLES).where(jobs.c.bundle_id == bundle_id).limit(1)
        made = connection.execute(found).one_or_none()
        if made is None or made.kind != JobKind.GUARDS:
            return bundle_id
        before = JobRequest.model_validate_json(made.request).champion_id
        if before is None:
            return bundle_id
        bundle_id = before
    return bundle_id


def taught(connection: Connection, product: RetrainedProduct, bundle_id: str) -> int:
    """Give the id of the last review row that the bank of a bundle may have learnt from."""
    own = bank_of(connection, product, bundle_id)
    made = mine(product, TRAININGS).where(jobs.c.bundle_id == own).limit(1)
    return until(connection.execute(made).one_or_none())


def guards_tried(connection: Connection, product: RetrainedProduct) -> bool:
    """Say whether new guards came, or were refused, since the last training."""
    last = tried(connection, product, BUNDLES, (JobState.DONE, JobState.REFUSED))
    return last is not None and last.kind == JobKind.GUARDS


def waiting(connection: Connection, product: RetrainedProduct) -> str | None:
    """Give the bundle that waits for a person to let it judge; none where none does."""
    found: str | None = connection.execute(
        select(challengers.c.bundle_id)
        .where(challengers.c.line == product.line, challengers.c.name == product.bundle)
        .where(challengers.c.state == ChallengerState.HELD)
        .limit(1)
    ).scalar()
    return found

"""Gathers from the hub what the policy decides on, and what a job is to begin with."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, func, select

from inspection.core.config import load_config
from inspection.core.records import Card, Split, parse_record, read_manifest
from inspection.core.settings import ExportConfig, TrainConfig
from inspection.hub.hub import Hub
from inspection.hub.job_request import JobRequest
from inspection.hub.job_rows import UNFINISHED, job_of, newest_of
from inspection.hub.loop_tables import alarms, challengers, forgotten, jobs
from inspection.hub.models import in_force
from inspection.hub.reviews import decisions_in_force
from inspection.hub.tables import EPOCH, bundles, events, reviews
from inspection.hub.wire.retraining import ChallengerState, JobKind, JobState
from inspection.hub.wire.review import Decision
from inspection.metrics.causes import Advice, Cause, advise
from inspection.retraining.policy import Drifted, Facts, Settled
from inspection.retraining.settings import RetrainedProduct, RetrainingConfig

# A job that failed teaches nobody anything: the next one has the same reasons.
SETTLED = (JobState.DONE, JobState.REFUSED, JobState.CANCELLED)
TRAININGS = (JobKind.UPDATE, JobKind.RETRAIN)
REFITS = (JobKind.REFIT,)
PAST = 100  # jobs of a product that are looked through
TRIED = (ChallengerState.SHADOW, ChallengerState.ROLLOUT)


def gather(hub: Hub, config: RetrainingConfig, product: RetrainedProduct) -> Facts:
    """Gather what the policy decides on for a product.

    Raises:
        InspectionError: the configuration of its training, or its set, cannot be read.
    """
    train = load_config(product.train, TrainConfig)
    first = read_manifest(product.manifest).of(Split.FIT)
    with hub.database.reading() as connection:
        # first: whatever ends after this makes what follows old, and `ask_after` refuses it
        newest = connection.execute(newest_of(product.line, product.product)).one_or_none()
        past = _past(connection, product)
        champion = _champion(connection, product)
        settled = _last(past, TRAININGS, SETTLED)
        taught = next((one for one in past if champion and one.bundle_id == champion[0]), None)
        goods = _decided(connection, product, 0, Decision.GOOD)
        fresh = _decided(connection, product, _until(taught), Decision.GOOD)
        return Facts(
            champion_at=None if champion is None else champion[1].origin.created_at,
            updatable=champion is not None
            and takes_in(champion[1], train)
            and few(fresh, len(first) + goods, config.update_below),
            reviews=_decided(connection, product, _until(settled), Decision.GOOD, Decision.DEFECT),
            drifts=_drifts(connection, product, past, hub.now()),
            settled=None if settled is None else Settled(JobKind(settled.kind), settled.created_at),
            training_ended_at=_ended_at(past, TRAININGS),
            refit_ended_at=_ended_at(past, REFITS),
            underway=_underway(newest),
            challenged=_challenged(connection, product),
            newest=None if newest is None else job_of(newest),
        )


def request_of(hub: Hub, product: RetrainedProduct, kind: JobKind) -> JobRequest:
    """Say what a job of this kind would be asked to do now.

    It begins with the first set again, and with every decision in force: what a reviewer took back
    is gone from the next bundle.

    Raises:
        InspectionError: its set, or the configuration of its training or export, cannot be read.
    """
    with hub.database.reading() as connection:
        champion = _champion(connection, product)
        until = connection.execute(
            select(func.max(reviews.c.id))
            .join(events, events.c.event_id == reviews.c.event_id)
            .where(reviews.c.line == product.line, events.c.product == product.product)
        ).scalar()
        never = connection.execute(select(forgotten.c.sha256).order_by(forgotten.c.sha256))
        return JobRequest(
            line=product.line,
            product=product.product,
            name=product.bundle,
            kind=kind,
            champion_id=None if champion is None else champion[0],
            manifest=product.manifest,
            manifest_sha256=read_manifest(product.manifest).sha256,
            reviews_until=until or 0,
            forgotten=tuple(never.scalars()),
            train=load_config(product.train, TrainConfig),
            export=_export(product),
            asked_at=hub.now(),
        )


def takes_in(champion: Card, train: TrainConfig) -> bool:
    """Say whether a bundle's bank can be updated to what is configured: it was fitted so."""
    return champion.train == train and train.model == "Patchcore"


def few(fresh: int, pictures: int, most: float) -> bool:
    """Say whether new pictures are some, and at most a share `most` of all."""
    return 0 < fresh <= most * pictures


def _past(connection: Connection, product: RetrainedProduct) -> Sequence[Row[Any]]:
    """Give the jobs of a product, those asked for last first."""
    mine = jobs.c.line == product.line, jobs.c.product == product.product
    found = select(jobs).where(*mine).order_by(jobs.c.created_at.desc(), jobs.c.job_id)
    return connection.execute(found.limit(PAST)).all()


def _last(
    past: Sequence[Row[Any]], kinds: Sequence[JobKind], states: Sequence[JobState]
) -> Row[Any] | None:
    return next((one for one in past if one.kind in kinds and one.state in states), None)


def _ended_at(past: Sequence[Row[Any]], kinds: Sequence[JobKind]) -> datetime | None:
    ends = [one.ended_at for one in past if one.kind in kinds and one.ended_at is not None]
    return max(ends, default=None)


def _until(job: Row[Any] | None) -> int:
    """Give the id of the last review row that a job counted."""
    return 0 if job is None else JobRequest.model_validate_json(job.request).reviews_until


def _champion(connection: Connection, product: RetrainedProduct) -> tuple[str, Card] | None:
    """Give the bundle that judges the product on its line."""
    chosen = {row.name: row.bundle_id for row in connection.execute(in_force(product.line))}
    bundle_id = chosen.get(product.bundle)
    if bundle_id is None:
        return None
    text = connection.execute(select(bundles.c.card).where(bundles.c.bundle_id == bundle_id))
    return bundle_id, parse_record(text.scalar_one(), Card, f"card of bundle {bundle_id}")


def _decided(
    connection: Connection,
    product: RetrainedProduct,
    after: int,
    *decisions: Decision,
    since: datetime = EPOCH,
) -> int:
    """Count the parts, captured since a time, whose decision was made after a review row."""
    made = decisions_in_force()
    query = (
        select(func.count())
        .select_from(made)
        .join(events, events.c.event_id == made.c.event_id)
        .where(made.c.line == product.line, events.c.product == product.product)
        .where(made.c.id > after, made.c.decision.in_(decisions))
        .where(events.c.captured_at >= since)
    )
    return connection.execute(query).scalar_one()


def _drifts(
    connection: Connection, product: RetrainedProduct, past: Sequence[Row[Any]], now: datetime
) -> tuple[Drifted, ...]:
    """Give the alarms that stand, with the good parts that what they advise could learn from."""
    standing = connection.execute(
        select(alarms)
        .where(alarms.c.line == product.line, alarms.c.product == product.product)
        .where(alarms.c.cleared_at.is_(None))
        .order_by(alarms.c.id)
    )
    refit, training = _last(past, REFITS, SETTLED), _last(past, TRAININGS, SETTLED)
    found = []
    for alarm in standing.all():
        cause, since = Cause(alarm.cause), alarm.since or alarm.raised_at
        advice = advise(cause, now - alarm.raised_at)
        last = refit if advice is Advice.REFIT else training
        goods = _decided(connection, product, _until(last), Decision.GOOD, since=since)
        found.append(Drifted(cause, advice, since, goods))
    return tuple(found)


def _underway(newest: Row[Any] | None) -> str:
    if newest is None or newest.state not in UNFINISHED:
        return ""
    return f"A job ({newest.kind}) asked for by {newest.who} is {newest.state}."


def _challenged(connection: Connection, product: RetrainedProduct) -> str:
    found = connection.execute(
        select(challengers.c.bundle_id, challengers.c.state)
        .where(challengers.c.line == product.line, challengers.c.name == product.bundle)
        .where(challengers.c.state.in_(TRIED))
        .limit(1)
    ).one_or_none()
    if found is None:
        return ""
    doing = "scores in the shadow" if found.state == ChallengerState.SHADOW else "is rolled out"
    return f"Bundle {found.bundle_id[:12]} {doing}."


def _export(product: RetrainedProduct) -> ExportConfig:
    return ExportConfig() if product.export is None else load_config(product.export, ExportConfig)

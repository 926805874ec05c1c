"""Gathers from the hub what the policy decides on, and what a job is to begin with."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, func, select

from inspection.core.config import load_config
from inspection.core.records import Card, Manifest, Split, parse_record, read_manifest
from inspection.core.settings import ExportConfig, TrainConfig
from inspection.hub.hub import Hub
from inspection.hub.job_request import JobRequest
from inspection.hub.job_rows import UNFINISHED, job_of, newest_of
from inspection.hub.loop_tables import alarms, challengers, forgotten
from inspection.hub.models import in_force
from inspection.hub.refits import tainted_refits
from inspection.hub.reviews import undisputed_decisions
from inspection.hub.tables import EPOCH, bundles, corrections, events, reviews, stations
from inspection.hub.thresholds import read_card
from inspection.hub.wire.retraining import ChallengerState, JobKind, JobState
from inspection.hub.wire.review import Decision
from inspection.metrics.causes import Advice, Cause, advise
from inspection.retraining.divide import reviews_needed
from inspection.retraining.history import (
    BUNDLES,
    REFITS,
    SETTLED,
    TRAININGS,
    bank_of,
    ended_at,
    guards_tried,
    last_of,
    taught,
    tried,
    until,
    waiting,
)
from inspection.retraining.known import Scope, changed_at, what_is_missing
from inspection.retraining.lessons import (
    TEACHING,
    changes_since,
    is_set_alike,
    material_since,
    own_parts,
)
from inspection.retraining.overkill import find_overkill, what_bars
from inspection.retraining.policy import Drifted, Facts, Settled, Unlearnt, Young
from inspection.retraining.settings import RetrainedProduct, RetrainingConfig
from inspection.retraining.thin import find_thin

IN_VAIN = (JobState.FAILED, JobState.IMPOSSIBLE)
TRIED = (ChallengerState.SHADOW, ChallengerState.ROLLOUT)


def gather(hub: Hub, config: RetrainingConfig, product: RetrainedProduct) -> Facts:
    """Gather what the policy decides on for a product.

    Raises:
        InspectionError: the configuration of its training, or its set, cannot be read.
    """
    first, now = read_manifest(product.manifest), hub.now()
    with hub.database.reading() as connection:
        # first: whatever ends after this makes what follows old, and `ask_after` refuses it
        newest = connection.execute(newest_of(product.line, product.product)).one_or_none()
        request = _request(connection, product, first, now)
        found = replace(
            _of_product(connection, product, request, first),
            underway=_underway(newest),
            newest=None if newest is None else job_of(newest),
        )
        champion = _champion(connection, product)
        if champion is None:
            return found
        goods = _decided(connection, product, 0, Decision.GOOD)
        fresh = _decided(
            connection, product, taught(connection, product, champion[0]), Decision.GOOD
        )
        fit = len(first.of(Split.FIT))
        judging = _of_champion(connection, product, request, champion, found)
        return replace(
            judging,
            updatable=judging.updatable and few(fresh, fit + goods, config.update_below),
            young=_young(connection, product, champion[0], fit) if request.changed_at else None,
        )


def _of_product(
    connection: Connection, product: RetrainedProduct, request: JobRequest, first: Manifest
) -> Facts:
    """Gather what does not depend on which bundle judges."""
    settled = last_of(connection, product, TRAININGS, SETTLED)
    learnt = until(tried(connection, product))
    return Facts(
        champion_at=None,
        updatable=False,
        reviews=_decided(connection, product, learnt, *TEACHING),
        changed=_changed(connection, product, settled, request, first),
        drifts=_drifts(connection, product, request.asked_at),
        settled=None
        if settled is None
        else Settled(JobKind(settled.kind), settled.created_at, settled.state == JobState.REFUSED),
        training_ended_at=ended_at(connection, product, BUNDLES),
        refit_ended_at=ended_at(connection, product, REFITS),
        in_vain=frozenset(_in_vain(connection, product, request, first)),
        challenged=_challenged(connection, product),
        judging=tuple(row.name for row in connection.execute(in_force(product.line))),
        unpromised=_unpromised(connection, product, request),
    )


def _of_champion(
    connection: Connection,
    product: RetrainedProduct,
    request: JobRequest,
    champion: tuple[str, Card],
    found: Facts,
) -> Facts:
    """Add what depends on it; whether few pictures are new is not asked."""
    bundle_id, card = champion
    bundle = product.line, product.product, bundle_id
    alike, waits = takes_in(card, request.train), waiting(connection, product)
    own = read_card(connection, bank_of(connection, product, bundle_id))
    return replace(
        found,
        champion_at=own.origin.created_at,
        updatable=alike,
        guardable=alike
        and card.export == request.export
        and waits is None
        and not guards_tried(connection, product),
        guards_wait=waits is not None and bank_of(connection, product, waits) != waits,
        overkill=find_overkill(connection, bundle, card, _held_against(connection, product)),
        thin=find_thin(connection, bundle, card),
        unlearnt=_unlearnt(connection, product, bundle_id, card),
    )


def request_of(hub: Hub, product: RetrainedProduct, kind: JobKind) -> JobRequest:
    """Say what a job of this kind would be asked to do now.

    It begins with the first set again, and with every decision in force: what a reviewer took back
    is gone from the next bundle.

    Raises:
        InspectionError: its set, or the configuration of its training or export, cannot be read.
    """
    first = read_manifest(product.manifest)
    with hub.database.reading() as connection:
        request = _request(connection, product, first, hub.now())
    return request.model_copy(update={"kind": kind})


def _request(
    connection: Connection, product: RetrainedProduct, first: Manifest, now: datetime
) -> JobRequest:
    champion = _champion(connection, product)
    until = connection.execute(
        select(func.max(reviews.c.id))
        .join(events, events.c.event_id == reviews.c.event_id)
        .where(reviews.c.line == product.line, events.c.product == product.product)
    ).scalar()
    drawn = connection.execute(
        select(func.max(corrections.c.id))
        .join(events, events.c.event_id == corrections.c.event_id)
        .where(events.c.line == product.line, events.c.product == product.product)
    ).scalar()
    never = connection.execute(select(forgotten.c.sha256).order_by(forgotten.c.sha256))
    return JobRequest(
        line=product.line,
        product=product.product,
        name=product.bundle,
        kind=JobKind.RETRAIN,
        champion_id=None if champion is None else champion[0],
        manifest=product.manifest,
        manifest_sha256=first.sha256,
        reviews_until=until or 0,
        corrections_until=drawn or 0,
        forgotten=tuple(never.scalars()),
        changed_at=material_since(connection, product),
        train=load_config(product.train, TrainConfig),
        export=_export(product),
        asked_at=now,
    )


def takes_in(champion: Card, train: TrainConfig) -> bool:
    """Say whether a bundle's bank may stay or be updated: it was fitted as is configured."""
    return champion.train == train and train.model == "Patchcore"


def few(fresh: int, pictures: int, most: float) -> bool:
    """Say whether new pictures are some, and at most a share `most` of all."""
    return 0 < fresh <= most * pictures


def _changed(
    connection: Connection,
    product: RetrainedProduct,
    settled: Row[Any] | None,
    request: JobRequest,
    first: Manifest,
) -> str:
    """Say what but new decisions the last training has not seen."""
    asked = request.model_copy(update={"reviews_until": 0, "forgotten": ()})
    if settled is not None:
        asked = JobRequest.model_validate_json(settled.request)
    return changes_since(connection, product, asked, request, first)


def _in_vain(
    connection: Connection, product: RetrainedProduct, request: JobRequest, first: Manifest
) -> Iterator[JobKind]:
    """Give the kinds of job of which the last failed, and the same would again.

    Of re-fits also where a person cancelled it; a training counts anew what was decided since.
    """
    for kind in JobKind:
        last = last_of(connection, product, (kind,), (*SETTLED, *IN_VAIN))
        cancelled = (JobState.CANCELLED,) if kind in REFITS else ()
        if last is None or last.state not in (*IN_VAIN, *cancelled):
            continue
        asked = JobRequest.model_validate_json(last.request)
        if asked.champion_id != request.champion_id or not is_set_alike(asked, request):
            continue
        if last.state == JobState.IMPOSSIBLE or not (
            _decided(connection, product, asked.reviews_until, *TEACHING)
            or changes_since(connection, product, asked, request, first)
        ):
            yield kind


def _held_against(connection: Connection, product: RetrainedProduct) -> int:
    """Give the id of the last review row that a training, or guards a person cancelled, counted."""
    guards = last_of(connection, product, (JobKind.GUARDS,), (JobState.CANCELLED,))
    return max(until(tried(connection, product)), until(guards))


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
    known: int | None = None,
) -> int:
    """Count the parts, captured since a time, whose decision was made after a review row.

    The last row that counts is `known`; none counts all.
    """
    made = undisputed_decisions(known)
    query = (
        select(func.count())
        .select_from(made)
        .join(events, events.c.event_id == made.c.event_id)
        .where(made.c.line == product.line, own_parts(product))
        .where(made.c.id > after, made.c.decision.in_(decisions))
        .where(events.c.captured_at >= since)
    )
    return connection.execute(query).scalar_one()


def _drifts(
    connection: Connection, product: RetrainedProduct, now: datetime
) -> tuple[Drifted, ...]:
    """Give the alarms that stand, with the good parts that what they advise could learn from."""
    named = select(bundles.c.bundle_id).where(bundles.c.name == product.bundle)
    retired = select(stations.c.station).where(stations.c.retired_at.is_not(None))
    standing = connection.execute(
        select(alarms)
        .where(alarms.c.line == product.line, alarms.c.product == product.product)
        .where(alarms.c.station.not_in(retired))
        .where(alarms.c.bundle_id.in_(named), alarms.c.cleared_at.is_(None))
        .order_by(alarms.c.id)
    )
    refit = until(last_of(connection, product, REFITS, SETTLED))
    training = until(tried(connection, product))
    found = []
    for alarm in standing.all():
        cause, since = Cause(alarm.cause), alarm.since or alarm.raised_at
        advice, missing = advise(cause, now - alarm.raised_at, guarded=alarm.guarded), ""
        if advice is Advice.REFIT:
            bundle = product.line, product.product, alarm.bundle_id
            scope = Scope(*bundle, changed_at(connection, *bundle))
            card = read_card(connection, alarm.bundle_id)
            missing = what_is_missing(connection, scope, card.export.false_reject_rate)
            if not missing and what_bars(connection, scope, card):
                advice = Advice.RETRAIN  # such thresholds would let known defects pass
        last = refit if advice is Advice.REFIT else training
        goods = _decided(connection, product, last, Decision.GOOD, since=since)
        found.append(Drifted(cause, advice, since, goods, missing, alarm.guarded))
    return tuple(found)


def _unlearnt(
    connection: Connection, product: RetrainedProduct, bundle_id: str, card: Card
) -> Unlearnt | None:
    """Say whether the thresholds in force were fitted on what was forgotten since."""
    bundle = product.line, product.product, bundle_id
    gone: set[str] = set()
    for one in tainted_refits(connection, product.line):
        if (one.line, one.record.product, one.record.bundle_id) == bundle:
            gone |= one.sha256s
    if not gone:
        return None
    scope = Scope(*bundle, changed_at(connection, *bundle))
    rate = card.export.false_reject_rate
    return Unlearnt(len(gone), what_is_missing(connection, scope, rate))


def _unpromised(connection: Connection, product: RetrainedProduct, request: JobRequest) -> str:
    """Say how many good parts of since the material changed are missing to fit thresholds."""
    if request.changed_at is None:
        return ""
    needed = reviews_needed(request.export.false_reject_rate)
    goods = _decided(connection, product, 0, Decision.GOOD, since=request.changed_at)
    if goods >= needed:
        return ""
    return (
        f"The material is another since {request.changed_at:%Y-%m-%d %H:%M} UTC; {goods} of "
        f"{needed} good parts of after that are reviewed, on which thresholds of a training could "
        f"promise {request.export.false_reject_rate:.2%}: review more."
    )


def _young(
    connection: Connection, product: RetrainedProduct, bundle_id: str, enough: int
) -> Young | None:
    """Count the good parts of the material that the last training answered to.

    Once the training of what judges counted `enough` of them, it is young no more.
    """
    last = tried(connection, product)
    since = None if last is None else JobRequest.model_validate_json(last.request).changed_at
    if since is None:
        return None

    def goods(known: int | None = None) -> int:
        return _decided(connection, product, 0, Decision.GOOD, since=since, known=known)

    if goods(taught(connection, product, bundle_id)) >= enough:
        return None
    return Young(since, goods(until(last)), goods())


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

"""What a product teaches has changed since a job was asked for: by whom, how much, in words.

New decisions are counted elsewhere. Here is what no new decision tells: one that was taken back or
settled, an outline drawn since, a picture forgotten, another first set or configuration.
"""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import ColumnElement, Connection, and_, func, select

from inspection.core.records import Manifest
from inspection.hub.forgetting import AT_ONCE
from inspection.hub.job_request import JobRequest
from inspection.hub.loop_tables import alarms
from inspection.hub.references import ACCEPTED, REPLACED
from inspection.hub.reviews import undisputed_decisions
from inspection.hub.tables import bundles, corrections, events, pictures, reviews
from inspection.hub.wire.review import Decision
from inspection.metrics.causes import MATERIAL
from inspection.retraining.settings import RetrainedProduct

TEACHING = (Decision.GOOD, Decision.DEFECT)


def material_since(connection: Connection, product: RetrainedProduct) -> datetime | None:
    """Say since when what comes along the line scores as it does: the last change of that kind.

    It stands, was accepted, or a training answered it. What went away by itself, and what a hand
    mends, a lens, a lamp, a fixture, is no other material.
    """
    named = select(bundles.c.bundle_id).where(bundles.c.name == product.bundle)
    return connection.execute(
        select(func.max(func.coalesce(alarms.c.since, alarms.c.raised_at))).where(
            alarms.c.bundle_id.in_(named),
            alarms.c.line == product.line,
            alarms.c.product == product.product,
            alarms.c.cause.in_(MATERIAL),
            alarms.c.cleared_at.is_(None) | alarms.c.why_cleared.in_((*ACCEPTED, REPLACED)),
        )
    ).scalar()


def own_parts(product: RetrainedProduct) -> ColumnElement[bool]:
    """Say which events are of a product's parts, judged by a bundle of its name."""
    named = select(bundles.c.bundle_id).where(bundles.c.name == product.bundle)
    return and_(
        events.c.line == product.line,
        events.c.product == product.product,
        events.c.bundle_id.in_(named),
    )


def changes_since(
    connection: Connection,
    product: RetrainedProduct,
    asked: JobRequest,
    now: JobRequest,
    first: Manifest,
) -> str:
    """Say what of the lessons of a product has changed, but for new decisions; empty: nothing.

    Args:
        connection: of the hub's database.
        product: whose lessons.
        asked: of the job that had learnt them.
        now: the same job, asked for now.
        first: its first set, as it is now.
    """
    other = sorted(set(now.forgotten) - set(asked.forgotten))
    counts = {
        "decisions were taken back, settled or disputed": _turned(
            connection, product, asked.reviews_until
        ),
        "outlines were drawn": _drawn(connection, product, asked.corrections_until),
        "pictures were forgotten": _forgotten(connection, product, other, first),
    }
    found = [f"{count} {what}" for what, count in counts.items() if count]
    if not is_set_alike(asked, now):
        found.append("the first set or the configuration is another")
    return f"Since the last one {', '.join(found)}." if found else ""


def is_set_alike(one: JobRequest, other: JobRequest) -> bool:
    """Say whether two requests begin with the same set and train it alike."""
    return all(
        getattr(one, name) == getattr(other, name)
        for name in ("manifest_sha256", "train", "export")
    )


def _turned(connection: Connection, product: RetrainedProduct, until: int) -> int:
    """Count the parts that began or ceased to teach otherwise than by a new decision."""
    touched = select(reviews.c.event_id).where(reviews.c.line == product.line, reviews.c.id > until)

    def teaching(known: int | None) -> dict[str, int]:
        made = undisputed_decisions(known)
        found = (
            select(made.c.event_id, made.c.id)
            .join(events, events.c.event_id == made.c.event_id)
            .where(made.c.event_id.in_(touched), made.c.decision.in_(TEACHING))
            .where(own_parts(product))
        )
        return {row.event_id: row.id for row in connection.execute(found)}

    before, now = teaching(until), teaching(None)
    anew = {event_id for event_id, number in now.items() if number > until}
    return len((before.keys() ^ now.keys()) - anew)


def _drawn(connection: Connection, product: RetrainedProduct, until: int) -> int:
    """Count the outlines drawn after one of this id on parts that teach."""
    made = undisputed_decisions()
    found = (
        select(func.count())
        .select_from(corrections)
        .join(made, made.c.event_id == corrections.c.event_id)
        .join(events, events.c.event_id == made.c.event_id)
        .where(corrections.c.id > until, made.c.decision.in_(TEACHING), own_parts(product))
    )
    return connection.execute(found).scalar_one()


def _forgotten(
    connection: Connection, product: RetrainedProduct, sha256s: Sequence[str], first: Manifest
) -> int:
    """Count the pictures among some that the first set or a part of the product shows."""
    of_product = (
        select(pictures.c.sha256)
        .join(events, events.c.event_id == pictures.c.event_id)
        .where(events.c.line == product.line, events.c.product == product.product)
    )
    shown = {one.sha256 for one in first.entries}.intersection(sha256s)
    for begin in range(0, len(sha256s), AT_ONCE):
        some = pictures.c.sha256.in_(sha256s[begin : begin + AT_ONCE])
        shown.update(connection.execute(of_product.where(some)).scalars())
    return len(shown)

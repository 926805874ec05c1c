"""Names the thresholds in force that were fitted on parts whose pictures were forgotten since.

A record does not name the parts it was fitted on; what decides which they were stays on the hub: a
re-fit takes what its bundle judged since the line changed and was reviewed then
(`retraining.refit`). Rather one too many is named than one too few: a part that passed and was
reviewed without being drawn counts here. Thresholds a person set are the person's, whatever they
were thought out on.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import NamedTuple, Protocol

from sqlalchemy import Connection, func, select

from inspection.bundles.thresholds import ThresholdRecord
from inspection.core.decision import Verdict
from inspection.hub.challengers import POLICY
from inspection.hub.job_request import JobRequest
from inspection.hub.loop_tables import alarms, forgotten, jobs
from inspection.hub.references import ACCEPTED
from inspection.hub.reviews import undisputed_decisions
from inspection.hub.tables import EPOCH, events, pictures, reviews
from inspection.hub.threshold_rows import read_kept
from inspection.hub.wire.retraining import JobKind, JobState
from inspection.hub.wire.review import Decision

TEACHING = (Decision.GOOD, Decision.DEFECT)


class Kept(Protocol):
    """A record as the hub keeps it."""

    @property
    def sha256(self) -> str: ...  # noqa: D102 - of its text
    @property
    def record(self) -> ThresholdRecord: ...  # noqa: D102 - as signed
    @property
    def origin(self) -> ThresholdRecord: ...  # noqa: D102 - who set its band, maybe of a bundle before
    @property
    def reverts(self) -> str | None: ...  # noqa: D102 - the record it took back
    @property
    def carries(self) -> str | None: ...  # noqa: D102 - the one of another bundle it took over
    @property
    def live(self) -> frozenset[str]: ...  # noqa: D102 - stations where it is in force


class Fitted(NamedTuple):
    """A record in force whose band was fitted: by itself, one brought back or one taken over."""

    sha256: str
    bundle_id: str
    judged_by: str
    """The bundle whose scores it was fitted on; the same, but of a band that was taken over."""
    product: str
    set_at: datetime
    fitted_at: datetime
    after: datetime | None
    """When thresholds had been set before it was fitted; none: never."""


class Tainted(NamedTuple):
    """A threshold record in force, and the pictures forgotten since that it was fitted with."""

    line: str
    record: Fitted
    sha256s: frozenset[str]


def tainted_refits(connection: Connection, line: str | None = None) -> tuple[Tainted, ...]:
    """Give the re-fits in force on a line, or on all, on which something forgotten had a say."""
    lines = {
        one: products
        for one, products in _touched(connection).items()
        if line is None or one == line
    }
    records = (
        Tainted(one, record, _had_a_say(connection, one, record))
        for one, products in lines.items()
        for record in fitted_in_force(read_kept(connection, one))
        if record.product in products
    )
    return tuple(one for one in records if one.sha256s)


def fitted_in_force(kept: Sequence[Kept]) -> Iterator[Fitted]:
    """Give what of a line's records, the newest first, is in force and was fitted."""
    known = {one.sha256: one for one in kept}
    for one in kept:
        source, product = _source(one, known), one.record.product
        if source is None or source.record.who != POLICY or product is None or not one.live:
            continue
        fitted_at, judged_by = source.record.when, source.record.bundle_id
        before = (
            other.when
            for other in (other.record for other in kept)
            if other.bundle_id == judged_by and other.product in {None, product}
        )
        after = max((when for when in before if when < fitted_at), default=None)
        own = one.record.bundle_id
        yield Fitted(one.sha256, own, judged_by, product, one.record.when, fitted_at, after)


def _source(one: Kept, known: Mapping[str, Kept]) -> Kept | None:
    """Give the record that set a band first; none: it is the card's, or of before those listed."""
    source: Kept | None = one
    while source is not None and (source.carries or source.reverts):
        before = source.carries
        if before is None:
            taken_back = known.get(source.reverts or "")
            before = None if taken_back is None else taken_back.origin.previous
        source = known.get(before or "")
    return source


def _touched(connection: Connection) -> dict[str, set[str]]:
    """Give the lines, and their products, of which parts were forgotten; mostly none."""
    parts = (
        select(events.c.line, events.c.product)
        .join(pictures, pictures.c.event_id == events.c.event_id)
        .join(forgotten, forgotten.c.sha256 == pictures.c.sha256)
        .distinct()
    )
    found = defaultdict(set)
    for line, product in connection.execute(parts):
        found[line].add(product)
    return found


def _had_a_say(connection: Connection, line: str, record: Fitted) -> frozenset[str]:
    """Give what was forgotten since of the parts that a re-fit counted; see `retraining.refit`."""
    until = connection.execute(
        select(func.max(reviews.c.id)).where(
            reviews.c.line == line, reviews.c.at <= record.fitted_at
        )
    ).scalar()
    made = undisputed_decisions(until or 0)
    found = (
        select(forgotten.c.sha256)
        .join(pictures, pictures.c.sha256 == forgotten.c.sha256)
        .join(events, events.c.event_id == pictures.c.event_id)
        .join(made, made.c.event_id == events.c.event_id)
        .where(
            events.c.line == line,
            events.c.product == record.product,
            events.c.bundle_id == record.judged_by,
            events.c.captured_at >= _began(connection, line, record),
            events.c.score.is_not(None),
            events.c.verdict != Verdict.FAULT,
            made.c.decision.in_(TEACHING),
            forgotten.c.at > record.fitted_at,
        )
        .distinct()
    )
    gone = frozenset(connection.execute(found).scalars())
    return gone - _refitted_without(connection, line, record) if gone else gone


def _began(connection: Connection, line: str, record: Fitted) -> datetime:
    """Say since when parts counted: since thresholds were set before, or something had moved."""
    then = record.fitted_at
    moved = connection.execute(
        select(func.coalesce(alarms.c.since, alarms.c.raised_at)).where(
            alarms.c.line == line,
            alarms.c.product == record.product,
            alarms.c.bundle_id == record.judged_by,
            alarms.c.raised_at <= then,
            alarms.c.cleared_at.is_(None)
            | (alarms.c.cleared_at > then)
            | alarms.c.why_cleared.in_(ACCEPTED),
        )
    ).scalars()
    times: list[datetime] = [*moved, EPOCH if record.after is None else record.after]
    return max(times)


def _refitted_without(connection: Connection, line: str, record: Fitted) -> frozenset[str]:
    """Give what a re-fit made since has left out: it came to the band that is in force."""
    return frozenset(
        sha256
        for request in _refits_since(connection, line, record)
        if request.champion_id in {record.bundle_id, record.judged_by}
        for sha256 in request.forgotten
    )


def _refits_since(connection: Connection, line: str, record: Fitted) -> Iterator[JobRequest]:
    done = select(jobs.c.request).where(
        jobs.c.line == line,
        jobs.c.product == record.product,
        jobs.c.kind == JobKind.REFIT,
        jobs.c.state == JobState.DONE,
        jobs.c.ended_at > record.set_at,
    )
    for text in connection.execute(done).scalars():
        yield JobRequest.model_validate_json(text)

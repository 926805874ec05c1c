"""What people decided on parts: a log by revisions, what of it is in force, how far they agree."""

from collections import Counter
from collections.abc import Iterable
from typing import Any

from sqlalchemy import ColumnElement, Connection, FromClause, Row, Select, Subquery, func, select

from inspection.core.errors import ConfigError
from inspection.hub.audit import note
from inspection.hub.database import insert_new
from inspection.hub.hub import Hub
from inspection.hub.queue import newest, settle, waiting
from inspection.hub.rates import rate_of
from inspection.hub.refusals import Foreign, NotThere, Standing
from inspection.hub.tables import draws, events, queue, reviews
from inspection.hub.wire.message import Rate
from inspection.hub.wire.people import Me, Role
from inspection.hub.wire.review import Agreement, Decision, NewReview, Review, ReviewSummary
from inspection.metrics.agreement import cohen_kappa

UNNAMED = "unnamed"  # defects of which nobody said the type
DECIDED = [
    reviews.c[name] for name in ("id", "event_id", "line", "decision", "defect", "reviewer", "at")
]


class ReviewConflict(Standing):
    """Somebody decided on the part since the revision that was seen; nothing was changed."""

    def __init__(self, current: Review) -> None:
        made = current.second and current.decision is not Decision.UNDONE
        super().__init__(
            f"{current.event_id}: {current.reviewer} said '{current.decision}' meanwhile, revision "
            f"{current.revision}; "
            + ("the second review is made" if made else "look at it and decide again")
        )
        self.current = current


def decide(hub: Hub, event_id: str, new: NewReview, who: Me) -> Review:
    """Add a decision, or take back the one in force.

    Raises:
        NotThere: there is no such event.
        ReviewConflict: there is a newer revision than the one it was made on, or the second
            review is another person's.
        Foreign: taking back somebody else's decision, or a second review of one's own first.
        ConfigError: nothing to take back, no second review is asked for, or no such revision yet.
    """
    with hub.database.writing() as connection:
        event = connection.execute(
            select(events).where(events.c.event_id == event_id)
        ).one_or_none()
        if event is None:
            raise NotThere(f"event '{event_id}': is not here; look at the list of events")
        log = read_log(connection, event_id)
        current = newest(log, second=new.second)
        _require_newest(new, current, event_id)
        if new.decision is Decision.UNDONE:
            _require_undoable(current, event_id, who)
        elif new.second:
            _require_second(connection, log, event_id, who)
        row = {
            **new.model_dump(),
            "event_id": event_id,
            "line": event.line,
            "revision": new.revision + 1,
            "reviewer": who.account,
            "at": hub.now(),
        }
        if not insert_new(connection, reviews, [row], "id"):  # another hub was faster
            _require_newest(
                new, newest(read_log(connection, event_id), second=new.second), event_id
            )
        told = {name: row[name] for name in ("second", "revision", "defect", "comment")}
        note(connection, row["at"], who.account, f"review {new.decision}", event_id, **told)
        settle(connection, hub, event, read_log(connection, event_id))
    return Review.model_validate(row)


def read_log(connection: Connection, event_id: str) -> list[Row[Any]]:
    """Give all rows of an event's reviews, the oldest first."""
    wanted = select(reviews).where(reviews.c.event_id == event_id).order_by(reviews.c.id)
    return list(connection.execute(wanted))


def decisions_in_force(until: int | None = None) -> Subquery:
    """Give the decision in force of each part that has one, to join on `event_id`.

    Columns: id, event_id, line, decision (good, defect, unsure), defect, reviewer, at. Revisions
    have no gaps, so a decision is in force when the next revision is not there; a blind second
    review changes nothing here.

    Args:
        until: id of the last row that counts; none counts all.
    """
    found = select(*DECIDED).where(
        reviews.c.second.is_(False), reviews.c.decision != Decision.UNDONE, _holds(reviews, until)
    )
    if until is not None:
        found = found.where(reviews.c.id <= until)
    return found.subquery("decisions")


def undisputed_decisions(until: int | None = None) -> Subquery:
    """Give the decisions in force that nobody contradicts, from which something may be learnt.

    Args:
        until: id of the last row that counts; none counts all.

    Returns:
        Columns and meaning as of `decisions_in_force`.
    """
    first = decisions_in_force(until)
    return select(first).where(~is_disputed(first, until)).subquery("undisputed")


def is_disputed(first: FromClause, until: int | None = None) -> ColumnElement[bool]:
    """Say whether a second person contradicts a decision in force.

    It is so while a second review that says otherwise is in force, and nobody decided since with
    both in sight.

    Args:
        first: as `decisions_in_force` gives it.
        until: id of the last row that counts; none counts all.
    """
    other = reviews.alias("other")
    contradicted = select(other.c.id).where(
        other.c.event_id == first.c.event_id,
        other.c.second.is_(True),
        other.c.id > first.c.id,
        other.c.decision.not_in([Decision.UNDONE, first.c.decision]),
        _holds(other, until),
    )
    if until is not None:
        contradicted = contradicted.where(other.c.id <= until)
    return contradicted.exists()


def summarise(hub: Hub, line: str) -> ReviewSummary:
    """Say where reviewing stands on a line."""
    in_force = decisions_in_force()
    counted = (
        select(in_force.c.decision, in_force.c.defect, func.count().label("parts"))
        .where(in_force.c.line == line)
        .group_by(in_force.c.decision, in_force.c.defect)
    )
    drawn = select(func.count()).select_from(draws).where(draws.c.line == line)
    with hub.database.reading() as connection:
        rows = connection.execute(counted).all()
        return ReviewSummary(
            waiting=waiting(connection, line),
            reviewed=sum(row.parts for row in rows),
            decisions=_decisions(rows),
            defects=count_defects(rows),
            agreement=_agreement(connection, line),
            escapes=_escapes(connection, line),
            sampled=connection.execute(drawn).scalar_one(),
        )


def count_defects(rows: Iterable[Row[Any]]) -> dict[str, int]:
    """Sum reviewed defects by type, the most first; rows have decision, defect and parts."""
    counts: Counter[str] = Counter()
    for row in rows:
        if row.decision == Decision.DEFECT:
            counts[row.defect or UNNAMED] += row.parts
    return dict(counts.most_common())


def _decisions(rows: Iterable[Row[Any]]) -> dict[Decision, int]:
    counts: Counter[Decision] = Counter()
    for row in rows:
        counts[Decision(row.decision)] += row.parts
    return dict(counts)


def _agreement(connection: Connection, line: str) -> Agreement:
    """Compare each second review with the decision that stood when it was made.

    What was decided later, with both in sight, is no independent word; what its reviewer took back
    was a slip.
    """
    first, second, later = (reviews.alias(name) for name in ("first", "second", "later"))
    before = (
        select(func.max(reviews.c.id))
        .where(
            reviews.c.event_id == second.c.event_id,
            reviews.c.second.is_(False),
            reviews.c.id < second.c.id,
        )
        .scalar_subquery()
    )
    undone = _next_of(first, later).where(later.c.decision == Decision.UNDONE).exists()
    replaced = _next_of(second, later).exists()
    wanted = (
        select(first.c.decision, second.c.decision, func.count())
        .select_from(second)
        .join(first, first.c.id == before)
        .where(second.c.line == line, second.c.second.is_(True))
        .where(second.c.decision != Decision.UNDONE, ~replaced, ~undone)
        .group_by(first.c.decision, second.c.decision)
    )
    pairs = {(one, other): count for one, other, count in connection.execute(wanted)}
    return Agreement(
        pairs=sum(pairs.values()),
        agreed=sum(count for (one, other), count in pairs.items() if one == other),
        kappa=cohen_kappa(pairs),
    )


def _escapes(connection: Connection, line: str) -> Rate:
    """Give the share of defects among drawn PASS parts on which somebody was sure."""
    in_force = decisions_in_force()
    wanted = (
        select(in_force.c.decision, func.count())
        .join(draws, draws.c.event_id == in_force.c.event_id)
        .where(draws.c.line == line)
        .group_by(in_force.c.decision)
    )
    counts = Counter({row[0]: row[1] for row in connection.execute(wanted)})
    return rate_of(counts[Decision.DEFECT], counts[Decision.DEFECT] + counts[Decision.GOOD])


def _require_newest(new: NewReview, current: Row[Any] | None, event_id: str) -> None:
    """Refuse a decision made on anything but the newest revision.

    Raises:
        ReviewConflict: there is a newer one.
        ConfigError: there is no such revision yet.
    """
    found = 0 if current is None else current.revision
    if current is not None and found != new.revision:
        raise ReviewConflict(_review(current))
    if found != new.revision:
        raise ConfigError(
            f"{event_id}: nobody decided yet, so there is no revision {new.revision}; wanted 0"
        )


def _require_undoable(current: Row[Any] | None, event_id: str, who: Me) -> None:
    if current is None or current.decision == Decision.UNDONE:
        raise ConfigError(f"{event_id}: no decision is in force; there is nothing to take back")
    if current.reviewer != who.account and not who.role.may(Role.ENGINEER):
        raise Foreign(
            f"{event_id}: {current.reviewer} said '{current.decision}'; only they or an engineer "
            "may take it back; decide on top of it instead"
        )


def _require_second(connection: Connection, log: list[Row[Any]], event_id: str, who: Me) -> None:
    """Refuse a second review that is not asked for, or of whom it is not asked."""
    first, current = newest(log, second=False), newest(log, second=True)
    if current is not None and current.decision != Decision.UNDONE:
        if current.reviewer != who.account:
            raise ReviewConflict(_review(current))
    elif not connection.execute(
        select(queue.c.event_id).where(queue.c.event_id == event_id, queue.c.second.is_(True))
    ).all():
        raise ConfigError(f"{event_id}: waits for no second review; decide with second: false")
    if first is not None and first.reviewer == who.account:
        raise Foreign(f"{event_id}: the first review is yours; somebody else makes the second")


def _holds(one: FromClause, until: int | None) -> ColumnElement[bool]:
    """Say whether a review is the last revision of its event and pass."""
    newer = reviews.alias("newer")
    next_one = _next_of(one, newer)
    if until is not None:
        next_one = next_one.where(newer.c.id <= until)
    return ~next_one.exists()


def _next_of(one: FromClause, newer: FromClause) -> Select[Any]:
    """Ask for the next revision of the same event and pass."""
    return select(newer.c.id).where(
        newer.c.event_id == one.c.event_id,
        newer.c.second == one.c.second,
        newer.c.revision == one.c.revision + 1,
    )


def _review(row: Row[Any]) -> Review:
    return Review.model_validate(dict(row._mapping))

"""Which parts people should look at, and in which order: one row for each until it is decided.

A PASS part is asked for by a draw, so that escapes are estimated on a known share of them, or where
a bundle in the shadow would not have let it pass.
"""

import math
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Row,
    Select,
    delete,
    func,
    insert,
    or_,
    select,
    true,
    update,
)

from inspection.core.decision import Verdict
from inspection.core.draw import fraction, is_drawn
from inspection.hub.database import insert_new
from inspection.hub.disagreements import is_disagreeing
from inspection.hub.hub import Hub
from inspection.hub.known import events_with, held_among
from inspection.hub.tables import draws, events, farthest, queue, reviews
from inspection.hub.wire.review import Decision, QueueItem, Why

# What a look is worth, in tenths: the few that statistics or people depend on come before the many.
# Near the band it is 1.0 on a threshold down to 0.5 in the band's middle.
VALUES = {
    Why.SHADOW: 1.1,  # whether a better bundle gets on, or a worse one, rests on it
    Why.DISAGREEING: 1.0,
    Why.NOVEL: 0.9,
    Why.SAMPLED_PASS: 0.9,
    Why.SECOND: 0.9,
    Why.KNOWN: 0.8,
    Why.FAULT: 0.4,
    Why.REJECTED: 0.3,
}
ASKED = [events.c[name] for name in ("event_id", "line", "bundle_id", "score", "captured_at")]
FARTHEST_NEAR = 0.5
POINT_BAND = 0.1  # of the threshold: half the band where both thresholds are one
SEEN_AT_ONCE = 200  # parts of which each person gets another order


@dataclass(frozen=True)
class Ask:
    """Why a part waits, and for whom."""

    why: Why
    value: float
    second: bool = False
    not_for: str | None = None


def enqueue(connection: Connection, hub: Hub, rows: Sequence[Mapping[str, Any]]) -> None:
    """Ask for those of the new events that people should look at, in ingest's own transaction.

    Args:
        connection: a writing one, in which the events were inserted.
        hub: whose settings say how many PASS parts are drawn.
        rows: the new rows of `events`, by column.
    """
    share = hub.config.review.pass_share
    drawn = {
        row["event_id"]
        for row in rows
        if row["verdict"] == Verdict.PASS and is_drawn(row["event_id"], "pass", share)
    }
    reached = _reached(connection, {row["line"] for row in rows if row["verdict"] != Verdict.PASS})
    held = held_among(connection, [row["event_id"] for row in rows])
    asked, taken = [], []
    for row in rows:
        event_id, place = row["event_id"], (row["line"], row["bundle_id"])
        ask = first_ask(row, event_id in drawn, reached.get(place), known=event_id in held)
        if ask is not None:
            asked.append(_row(row, ask))
        if event_id in drawn:
            taken.append({"event_id": event_id, "line": row["line"]})
    insert_new(connection, draws, taken, "event_id")
    insert_new(connection, queue, asked, "event_id")
    came = is_disagreeing(*(row["event_id"] for row in rows))
    apart: defaultdict[str, set[str]] = defaultdict(set)
    for one in connection.execute(came):
        apart[one.line].add(one.event_id)
    for line, ids in sorted(apart.items()):
        ask_of_disagreements(connection, hub, line, ids)


def first_ask(
    event: Mapping[str, Any], drawn: bool, reached: float | None, *, known: bool = False
) -> Ask | None:
    """Say why a person should look at a part that nobody decided on; none if nobody need.

    Args:
        event: its row of `events`.
        drawn: whether it is a PASS part that was drawn.
        reached: the highest score of its bundle and line that anybody decided on; none is none.
        known: whether known defects hold it, and not its score.
    """
    verdict, score = Verdict(event["verdict"]), event["score"]
    if verdict is Verdict.PASS:
        return _ask(Why.SAMPLED_PASS) if drawn else None
    if verdict is Verdict.FAULT:
        return _ask(Why.FAULT)
    if known:
        return _ask(Why.KNOWN)
    away = _away(score, event["review_above"], event["reject_above"])
    if verdict is Verdict.REVIEW or away <= 1:
        return Ask(Why.NEAR_BAND, round(1 - FARTHEST_NEAR * min(away, 1), 1))
    novel = score is not None and (reached is None or score > reached)
    return _ask(Why.NOVEL if novel else Why.REJECTED)


def next_ask(
    event: Mapping[str, Any], log: Sequence[Row[Any]], second_share: float, unseen: Ask | None
) -> Ask | None:
    """Say whether a part needs one more look, after all that was decided on it.

    A share is decided by a second person, blindly. Where the two differ, and where one person
    contradicts the verdict, somebody else's word settles it.

    Args:
        event: its row of `events`.
        log: its rows of `reviews`, the oldest first.
        second_share: of decided parts that a second person decides.
        unseen: why it waits when no decision is in force.
    """
    first, second = newest(log, second=False), newest(log, second=True)
    if first is None or first.decision == Decision.UNDONE:
        return unseen
    if second is not None and second.decision != Decision.UNDONE:
        settled = first.id > second.id or first.decision == second.decision
        return None if settled else _ask(Why.DISAGREEING)
    if is_drawn(event["event_id"], "second", second_share):
        return Ask(Why.SECOND, VALUES[Why.SECOND], second=True, not_for=first.reviewer)
    against = (event["verdict"], first.decision) in {
        (Verdict.REJECT, Decision.GOOD),
        (Verdict.PASS, Decision.DEFECT),
    }
    confirmed = any(
        one.reviewer != first.reviewer and one.decision == first.decision for one in log
    )
    if against and not confirmed:
        return Ask(Why.DISAGREEING, VALUES[Why.DISAGREEING], not_for=first.reviewer)
    return None


def newest(log: Sequence[Row[Any]], *, second: bool) -> Row[Any] | None:
    """Give the last revision of a pass; none when there is none."""
    return next((row for row in reversed(log) if row.second is second), None)


def settle(connection: Connection, hub: Hub, event: Row[Any], log: Sequence[Row[Any]]) -> None:
    """Take a part out of the queue or put it back, after a decision that is in the log.

    Args:
        connection: a writing one that holds the audit log, so that no two settle at once.
        hub: whose settings say how many are decided twice.
        event: its row of `events`.
        log: its rows of `reviews`, the oldest first.
    """
    facts = dict(event._mapping)
    unseen = _unseen(connection, event, facts)
    ask = next_ask(facts, log, hub.config.review.second_share, unseen)
    connection.execute(delete(queue).where(queue.c.event_id == event.event_id))
    if ask is not None:
        connection.execute(insert(queue).values(_row(facts, ask)))
    if event.score is not None and log[-1].decision != Decision.UNDONE:
        _reach(connection, event)


def _unseen(connection: Connection, event: Row[Any], facts: Mapping[str, Any]) -> Ask | None:
    """Say why a part waits while no decision on it is in force."""
    if connection.execute(is_disagreeing(event.event_id)).first() is not None:
        return _ask(Why.SHADOW)
    mine = select(draws.c.event_id).where(draws.c.event_id == event.event_id)
    drawn = connection.execute(mine).one_or_none() is not None
    reached = _reached(connection, {event.line}).get((event.line, event.bundle_id))
    known = bool(held_among(connection, [event.event_id]))
    return first_ask(facts, drawn, reached, known=known)


def ask_of_disagreements(
    connection: Connection, hub: Hub, line: str, apart: Collection[str] | Select[tuple[str]]
) -> None:
    """Ask for parts on which challengers and the champion do not agree, whatever their verdict.

    No more of them wait at once than reviewers look at in a shift, and none that anybody has
    decided on. The picture of a PASS part comes by the station, if at all.

    Args:
        connection: a writing one.
        hub: whose settings say what a shift looks at.
        line: of the parts.
        apart: ids of the parts; those that have not come are asked for when they do.
    """
    asked = queue.c.line == line, queue.c.why == Why.SHADOW
    count = select(func.count()).select_from(queue).where(*asked)
    room = hub.config.review.per_shift - connection.execute(count).scalar_one()
    if room <= 0:
        return
    found = connection.execute(
        select(*ASKED)
        .where(events.c.line == line, events.c.event_id.in_(apart))
        .where(events.c.event_id.not_in(select(queue.c.event_id).where(*asked)))
        .where(~select(reviews.c.id).where(reviews.c.event_id == events.c.event_id).exists())
        .order_by(events.c.id.desc())
        .limit(room)
    ).all()
    rows = [_row(row._asdict(), _ask(Why.SHADOW)) for row in found]
    here = set(insert_new(connection, queue, rows, "event_id"))
    others = [row["event_id"] for row in rows if row["event_id"] not in here]
    first = {"why": Why.SHADOW, "value": VALUES[Why.SHADOW]}
    connection.execute(update(queue).where(queue.c.event_id.in_(others)).values(first))


def waiting(connection: Connection, line: str) -> int:
    """Count the parts of a line that wait for somebody."""
    count = select(func.count()).select_from(queue).where(queue.c.line == line)
    return connection.execute(count).scalar_one()


def asked_blindly(account: str | None) -> Select[tuple[str]]:
    """Ask for the ids of events of which a person must not see what was decided.

    Args:
        account: who may be asked for the second review; none gives what anybody is asked for.
    """
    return select(queue.c.event_id).where(queue.c.second.is_(True), _is_for(account))


def is_blind(connection: Connection, event_id: str, account: str) -> bool:
    """Say whether a person must not see what was decided on an event."""
    asked = asked_blindly(account).where(queue.c.event_id == event_id)
    return connection.execute(asked).one_or_none() is not None


def queue_of(
    hub: Hub, line: str, account: str, limit: int, type_: str | None = None
) -> tuple[QueueItem, ...]:
    """Give the parts of a line that a person should look at, the most valuable first.

    Of equal value each person gets them in another order, so that several seldom meet.

    Args:
        hub: where they wait.
        line: of the parts.
        account: the person's.
        limit: most of them.
        type_: only those on which a second stage named this; none: all.
    """
    only = [] if type_ is None else [queue.c.event_id.in_(events_with(type_))]
    best = (
        select(queue)
        .where(queue.c.line == line, _is_for(account), *only)
        .order_by(queue.c.value.desc(), queue.c.at.desc())
        .limit(max(limit, SEEN_AT_ONCE))
        .subquery("best")
    )
    revision = (
        select(func.max(reviews.c.revision))
        .where(reviews.c.event_id == best.c.event_id, reviews.c.second == best.c.second)
        .scalar_subquery()
    )
    wanted = select(
        best,
        events.c.station,
        events.c.product,
        events.c.part_id,
        func.coalesce(revision, 0).label("revision"),
    ).join(events, events.c.event_id == best.c.event_id)
    with hub.database.reading() as connection:
        rows = connection.execute(wanted).all()
    ordered = sorted(rows, key=lambda row: (-row.value, fraction(account, row.event_id)))
    return tuple(
        QueueItem(
            event_id=row.event_id,
            why=Why(row.why),
            value=row.value,
            second=row.second,
            line=row.line,
            station=row.station,
            product=row.product,
            part_id=row.part_id,
            captured_at=row.at,
            revision=row.revision,
        )
        for row in ordered[:limit]
    )


def _is_for(account: str | None) -> ColumnElement[bool]:
    if account is None:
        return true()
    return or_(queue.c.not_for.is_(None), queue.c.not_for != account)


def _ask(why: Why) -> Ask:
    return Ask(why, VALUES[why])


def _away(score: float | None, review_above: float | None, reject_above: float | None) -> float:
    """Give the distance of a score to the nearer threshold, in halves of the band."""
    if score is None or review_above is None or reject_above is None:
        return math.inf
    half = (reject_above - review_above) / 2 or POINT_BAND * abs(reject_above) or 1.0
    return min(abs(score - review_above), abs(score - reject_above)) / half


def _row(event: Mapping[str, Any], ask: Ask) -> dict[str, Any]:
    copied = {name: event[name] for name in ("event_id", "line", "bundle_id", "score")}
    return copied | asdict(ask) | {"at": event["captured_at"]}


def _reached(connection: Connection, lines: Collection[str]) -> dict[tuple[str, str], float]:
    """Give the highest score decided on, by line and bundle."""
    if not lines:
        return {}
    rows = connection.execute(select(farthest).where(farthest.c.line.in_(lines)))
    return {(row.line, row.bundle_id): row.score for row in rows}


def _reach(connection: Connection, event: Row[Any]) -> None:
    """Keep a score that was decided on; what lies no farther is not novel any more."""
    row = {"line": event.line, "bundle_id": event.bundle_id, "score": event.score}
    same = farthest.c.line == event.line, farthest.c.bundle_id == event.bundle_id
    if not insert_new(connection, farthest, [row], "line"):
        farther = update(farthest).where(*same, farthest.c.score < event.score)
        if not connection.execute(farther.values(score=event.score)).rowcount:
            return
    connection.execute(
        update(queue)
        .where(
            queue.c.line == event.line,
            queue.c.bundle_id == event.bundle_id,
            queue.c.value == VALUES[Why.NOVEL],  # by which the index finds them
            queue.c.why == Why.NOVEL,
            queue.c.score <= event.score,
        )
        .values(why=Why.REJECTED, value=VALUES[Why.REJECTED])
    )

"""Reads what is known of the parts a bundle judges now, and what each reviewed one stands for.

Only reviewed parts have a say. They are no fair sample: what was held is reviewed first, and of
what passed only a draw. So each stands for as many parts as the station gave its verdict to, over
those of them that were reviewed (post-stratification, Holt and Smith 1979). Few that stand for many
say as little as few: parts are counted by their effective number (Kish 1965).
What passed and was reviewed for another reason, as a challenger would have held it, was not drawn
and has no say; nor has what was forgotten, and what two reviewers dispute.
"""

import math
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import ColumnElement, Connection, Row, func, select

from inspection.core.decision import Verdict
from inspection.core.errors import CalibrationMissing
from inspection.hub.loop_tables import alarms, forgotten
from inspection.hub.references import ACCEPTED
from inspection.hub.reviews import undisputed_decisions
from inspection.hub.tables import draws, events, pictures
from inspection.hub.thresholds import times_set
from inspection.hub.wire.review import Decision
from inspection.metrics.calibration import conformal_threshold, normals_needed
from inspection.retraining.spoilt import is_spoilt

# On simulated lines (4 shapes of scores, 120 or 400 calibrate parts, drifts up to 2.5 deviations) 2
# to 14 % of the re-fits by the card's shape reject more than three times the promised 1 % of good
# parts, 7 % at the median; with an effective number of 20 it is 9 to 28 %, with 3 up to 46 %.
EFFECTIVE_LEAST = 60
GOODS_LEAST = 30  # so few are not looked at any closer
ABOVE_LEAST = 3  # good parts, drawn evenly, in the promised share that is read off them
ALL = 0.9  # of what was held, decided: the rest waits, is disputed, or nobody can tell
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
Floats = NDArray[np.float64]


class Scope(NamedTuple):
    """Which parts count."""

    line: str
    product: str
    bundle_id: str | None
    since: datetime
    until: int | None = None
    """Id of the last review row that counts; none counts all."""
    before: datetime | None = None
    """No part that came later counts, by the hub's clock; none counts all."""


class Known(NamedTuple):
    """Reviewed parts since a change, of one bundle; scores raw."""

    goods: Floats
    weights: Floats
    """Parts each good one stands for."""
    defects: Floats
    held_above: Floats
    """Threshold each defect was held against."""
    all_held: bool
    """What did not pass is decided, but for few, so that hardly any of it stands for others."""


def changed_at(
    connection: Connection,
    line: str,
    product: str,
    bundle_id: str | None,
    asked_at: datetime | None = None,
) -> datetime:
    """Say since when the line is as it is: the last change, or since thresholds were set.

    A change is of what stands or was accepted. Parts held against other thresholds are left out,
    for what a reviewed part stands for depends on them; those set after `asked_at` are not looked
    at, so that a job done again comes to the same.
    """
    changes = connection.execute(
        select(func.coalesce(alarms.c.since, alarms.c.raised_at)).where(
            alarms.c.line == line,
            alarms.c.product == product,
            alarms.c.bundle_id == bundle_id,
            alarms.c.cleared_at.is_(None) | alarms.c.why_cleared.in_(ACCEPTED),
        )
    )
    set_at = () if bundle_id is None else times_set(connection, line, bundle_id, product)
    times: list[datetime] = [*changes.scalars(), EPOCH]
    times += [when for when in set_at if asked_at is None or when <= asked_at]
    return max(times)


def read_known(connection: Connection, scope: Scope, rate: float) -> Known:
    """Read the reviewed parts of a bundle, and what each stands for.

    Args:
        connection: of the hub's database.
        scope: which parts.
        rate: false-reject rate that thresholds on them are to promise.

    Raises:
        CalibrationMissing: they say too little; tells what to review.
    """
    judged, rows = _read(connection, scope)
    known = _known(judged, rows)
    if words := _missing(judged, rows, known, rate):
        raise CalibrationMissing(words)
    return known


def what_is_missing(connection: Connection, scope: Scope, rate: float) -> str:
    """Say what has to be reviewed before thresholds can be fitted; empty where nothing has."""
    judged, rows = _read(connection, scope)
    return _missing(judged, rows, _known(judged, rows), rate)


def tells(known: Known, rate: float) -> bool:
    """Say whether the threshold of a promise can be read off the reviewed good parts.

    It can where all that was held is decided, and good parts that say as much as a few drawn evenly
    lie above the promised share, or next to it: one that a reviewer took for good by mistake moves
    it by a place then, and one that stands for many does not set it. On simulated lines (four
    shapes of scores, 1 and 5 % promised, 0.1 to 50 % held, 0.5 to 30 % of the others drawn) up to
    4 % of such thresholds hold more than twice the promised share.
    """
    scores = even(known)
    if not known.all_held or scores.size < normals_needed(rate):
        return False
    tail = _tail(known, rate)
    return tail.size > ABOVE_LEAST + 1 and effective(tail) >= ABOVE_LEAST


def drawn_evenly(known: Known, rate: float) -> int:
    """Say how many good parts drawn evenly would say as much of a small share of highest scores.

    As many as they stand for, where each of the highest stands for itself; else fewer, as those of
    the tail are by their effective number.
    """
    tail = _tail(known, rate)
    return round(float(known.weights.sum() * effective(tail) / tail.sum()))


def _tail(known: Known, rate: float) -> Floats:
    """Give the weights of the good parts above a promised share, and of the one below them."""
    threshold, _ = conformal_threshold(even(known), rate)
    order = np.argsort(known.goods)
    below = max(0, int(np.searchsorted(known.goods[order], threshold)) - 1)
    return known.weights[order][below:]


def even(known: Known) -> Floats:
    """Spread the known good parts over as many as they stand for, evenly by their distribution."""
    count = round(float(known.weights.sum()))
    return quantiles(known.goods, known.weights, (np.arange(count) + 0.5) / count)


def quantiles(values: Floats, weights: Floats, shares: Floats) -> Floats:
    """Give weighted quantiles of values (n,), linear between the middles of weights."""
    order = np.argsort(values)
    reached = np.cumsum(weights[order]) - weights[order] / 2
    return np.interp(shares, reached / weights.sum(), values[order])


def _known(judged: dict[Verdict, int], rows: Sequence[Row[Any, Any, Any, Any]]) -> Known:
    reviewed = Counter(Verdict(row.verdict) for row in rows)
    goods = [row for row in rows if row.decision == Decision.GOOD]
    defects = [row for row in rows if row.decision == Decision.DEFECT]
    stands_for = {verdict: judged[verdict] / reviewed[verdict] for verdict in reviewed if judged}
    held = [sum(of.values()) - of.get(Verdict.PASS, 0) for of in (reviewed, judged)]
    return Known(
        np.array([row.score for row in goods], np.float64),
        np.array([stands_for.get(Verdict(row.verdict), 1.0) for row in goods], np.float64),
        np.array([row.score for row in defects], np.float64),
        np.array([row.review_above for row in defects], np.float64),
        held[0] >= ALL * held[1],
    )


def _read(
    connection: Connection, scope: Scope
) -> tuple[dict[Verdict, int], Sequence[Row[Any, Any, Any, Any]]]:
    """Give how many parts had each verdict, and those of them that teach.

    The first, which reads what nobody reviewed, only where the others may be enough.
    """
    rows = _read_decided(connection, scope)
    goods = sum(row.decision == Decision.GOOD for row in rows)
    return ({} if goods < GOODS_LEAST else _read_judged(connection, scope)), rows


def of_scope(scope: Scope) -> tuple[ColumnElement[bool], ...]:
    """Say which events are of parts that count."""
    return (
        events.c.line == scope.line,
        events.c.product == scope.product,
        events.c.bundle_id == scope.bundle_id,
        events.c.captured_at >= scope.since,
        *(() if scope.before is None else (events.c.received_at <= scope.before,)),
        events.c.score.is_not(None),
        events.c.verdict != Verdict.FAULT,
        ~is_spoilt(),
    )


def effective(weights: Floats) -> float:
    """Say how many parts drawn evenly would say as much as some of these weights (Kish 1965)."""
    return float(weights.sum() ** 2 / (weights**2).sum())


def _read_judged(connection: Connection, scope: Scope) -> dict[Verdict, int]:
    """Count the parts by verdict, whether reviewed or not."""
    counted = (
        select(events.c.verdict, func.count()).where(*of_scope(scope)).group_by(events.c.verdict)
    )
    return {Verdict(verdict): count for verdict, count in connection.execute(counted)}


def _read_decided(connection: Connection, scope: Scope) -> Sequence[Row[Any, Any, Any, Any]]:
    """Give score, verdict, threshold and decision of the parts that teach, by score.

    Of those that passed, only what was drawn is a fair sample.
    """
    made = undisputed_decisions(scope.until)
    drawn = select(draws.c.event_id).where(draws.c.line == scope.line)
    never = select(pictures.c.event_id).join(forgotten, forgotten.c.sha256 == pictures.c.sha256)
    return connection.execute(
        select(events.c.score, events.c.verdict, events.c.review_above, made.c.decision)
        .join(made, made.c.event_id == events.c.event_id)
        .where(*of_scope(scope), made.c.decision.in_([Decision.GOOD, Decision.DEFECT]))
        .where(events.c.event_id.not_in(never))
        .where((events.c.verdict != Verdict.PASS) | events.c.event_id.in_(drawn))
        .order_by(events.c.score)
    ).all()


def _missing(
    judged: dict[Verdict, int], rows: Sequence[Row[Any, Any, Any, Any]], known: Known, rate: float
) -> str:
    """Say what is missing of reviewed parts, of as many as were judged; empty where nothing is."""
    reviewed = Counter(Verdict(row.verdict) for row in rows)
    goods = Counter(Verdict(row.verdict) for row in rows if row.decision == Decision.GOOD)
    passed, drawn = judged.get(Verdict.PASS, 0), reviewed[Verdict.PASS]
    if goods.total() >= GOODS_LEAST and (drawn or not passed) and tells(known, rate):
        return ""
    if goods.total() < EFFECTIVE_LEAST:
        return (
            f"{goods.total()} reviewed good parts since the change; thresholds need "
            f"{EFFECTIVE_LEAST}; review more, or set them by hand"
        )
    if passed and not drawn:
        return (
            f"none of the {passed} parts that passed since the change was reviewed, so nobody "
            "knows where good parts lie; wanted some; review those the queue draws"
        )
    weights = {verdict: judged[verdict] / reviewed[verdict] for verdict in goods}
    total = sum(count * weights[verdict] for verdict, count in goods.items())
    squares = {verdict: count * weights[verdict] ** 2 for verdict, count in goods.items()}
    alike = total**2 / sum(squares.values())
    if alike >= EFFECTIVE_LEAST:
        return ""
    of_passed = squares.pop(Verdict.PASS, 0.0)
    room = total**2 / EFFECTIVE_LEAST - sum(squares.values())  # for those that passed
    wanted = math.ceil(of_passed * drawn / room) if room > 0 else math.inf
    remedy = (
        f"review {wanted - drawn} more of those the queue draws"
        if drawn < wanted <= passed
        else "review more, of every verdict"
    )
    return (
        f"{goods.total()} reviewed good parts since the change say no more than {alike:.0f} drawn "
        f"evenly, for {drawn} stand for the {passed} that passed; thresholds need "
        f"{EFFECTIVE_LEAST}; {remedy}, or set thresholds by hand"
    )

"""Says when surely more good parts do not pass than the card promises, and what held them.

Of the last parts, those that did not pass and were reviewed good are the least that was overkill:
nothing is assumed of what nobody looked at. Those above the threshold want another threshold,
unless a person set this one. Those below it were held by a guard, for they look unlike what the
bundle was fitted on: they want a training that has seen them.
"""

from scipy import stats
from sqlalchemy import Connection, and_, select

from inspection.core.decision import Verdict
from inspection.core.records import Card
from inspection.hub.challengers import POLICY
from inspection.hub.reviews import undisputed_decisions
from inspection.hub.tables import events
from inspection.hub.thresholds import record_in_force
from inspection.hub.wire.review import Decision
from inspection.retraining.policy import Overkill
from inspection.retraining.refit import Scope, changed_at, of_scope, what_is_missing

WINDOWS = (100, 1_000)  # of the last parts: one sees a leap at once, one a little for long
CHANCE = 0.001  # of a promise kept to look broken, at one look: there is one every few minutes


def find_overkill(
    connection: Connection, bundle: tuple[str, str, str], card: Card, learnt: int
) -> tuple[Overkill, ...]:
    """Look at the last parts a bundle judged since its thresholds hold.

    Args:
        connection: of the hub's database.
        bundle: line, product, and the bundle that judges there.
        card: of the bundle.
        learnt: id of the last review row that a training has seen.

    Returns:
        By thresholds and by guards at most one each: the first window in which the promise is
        surely broken (exact binomial limit of Clopper and Pearson 1934).
    """
    line, product, bundle_id = bundle
    record = record_in_force(connection, line, bundle_id, product)
    band = card.band if record is None else record.band
    scope = Scope(*bundle, changed_at(connection, *bundle))
    made = undisputed_decisions()
    rows = connection.execute(
        select(events.c.score, made.c.id, (events.c.verdict != Verdict.PASS).label("held"))
        .join(
            made,
            and_(made.c.event_id == events.c.event_id, made.c.decision == Decision.GOOD),
            isouter=True,
        )
        .where(*of_scope(scope))
        .order_by(events.c.captured_at.desc())
        .limit(WINDOWS[-1])
    ).all()
    good = [row.held and row.id is not None for row in rows]
    above = [row.score > band.review_above for row in rows]
    promised = card.export.false_reject_rate
    found = []
    if record is None or record.who == POLICY:
        by_threshold = [one and high for one, high in zip(good, above, strict=True)]
        if (seen := _broken(by_threshold, promised)) is not None:
            found.append(Overkill(*seen, promised, missing=what_is_missing(connection, scope)))
    guarded = [
        one and not high and row.id > learnt
        for one, high, row in zip(good, above, rows, strict=True)
    ]
    if (seen := _broken(guarded, promised)) is not None:
        found.append(Overkill(*seen, promised, by_guard=True))
    return tuple(found)


def _broken(held: list[bool], promised: float) -> tuple[int, int] | None:
    """Give how many were held, of how many of the last, where those are surely too many."""
    for parts in sorted({min(one, len(held)) for one in WINDOWS}):
        rejected = sum(held[:parts])
        if rejected and stats.beta.ppf(CHANCE, rejected, parts - rejected + 1) > promised:
            return rejected, parts
    return None

"""Says when surely more good parts do not pass than the thresholds promise.

A band that no person set promises what the card does. Of the last parts judged by it, those that
did not pass and were reviewed good are the least that was overkill: nothing is assumed of what
nobody looked at.
"""

from scipy import stats
from sqlalchemy import Connection, select

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
    connection: Connection, line: str, product: str, bundle_id: str, card: Card
) -> Overkill | None:
    """Look at the last parts a bundle judged since its thresholds hold.

    Args:
        connection: of the hub's database.
        line: where it judges.
        product: of the parts.
        bundle_id: that judges.
        card: its card, which promises.

    Returns:
        The first window in which the promise is surely broken (exact binomial limit of Clopper and
        Pearson 1934); none where none is, or where a person set the thresholds.
    """
    record = record_in_force(connection, line, bundle_id, product)
    if record is not None and record.who != POLICY:
        return None
    scope = Scope(line, product, bundle_id, changed_at(connection, line, product, bundle_id))
    made = undisputed_decisions()
    rows = connection.execute(
        select(events.c.verdict, made.c.decision)
        .join(made, made.c.event_id == events.c.event_id, isouter=True)
        .where(*of_scope(scope))
        .order_by(events.c.captured_at.desc())
        .limit(WINDOWS[-1])
    ).all()
    held = [row.verdict != Verdict.PASS and row.decision == Decision.GOOD for row in rows]
    promised = card.export.false_reject_rate
    for parts in sorted({min(one, len(rows)) for one in WINDOWS}):
        rejected = sum(held[:parts])
        if rejected and stats.beta.ppf(CHANCE, rejected, parts - rejected + 1) > promised:
            return Overkill(rejected, parts, promised, what_is_missing(connection, scope))
    return None

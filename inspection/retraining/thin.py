"""Says when thresholds rest on few good parts or a line that moved, and more are known by now.

A bundle of a new material has few parts of it to calibrate on. What those promise on average, some
bundles miss by more than a factor of two, which takes a thousand parts to be sure of. A re-fit that
an alarm made due learns from the beginning of a change: a lamp may go on fading after it. And a
re-fit on few reviewed parts sets them so high that most such re-fits keep their promise.
"""

import math
from datetime import datetime, timedelta

from scipy import stats
from sqlalchemy import Connection, select

from inspection.bundles.thresholds import ThresholdRecord
from inspection.core.errors import CalibrationMissing
from inspection.core.records import Card
from inspection.hub.loop_tables import alarms
from inspection.hub.references import REFITTED
from inspection.hub.thresholds import read_by_hand, record_in_force
from inspection.metrics.calibration import normals_needed
from inspection.retraining.fitting import fit, is_exceeded, is_loose, why_not
from inspection.retraining.known import Known, Scope, changed_at, read_known, tells
from inspection.retraining.policy import Thin

TWICE, SELDOM = 2, 0.01  # times the promised share, in so many bundles


def find_thin(
    connection: Connection,
    bundle: tuple[str, str, str],
    card: Card,
    until: int | None = None,
    before: datetime | None = None,
) -> Thin | None:
    """Look at what a bundle's thresholds rest on.

    Args:
        connection: of the hub's database.
        bundle: line, product, and the bundle that judges there.
        card: of the bundle.
        until: id of the last review row that counts; none counts all.
        before: parts that came later do not count; none counts all.

    Returns:
        None where a person set any, or of the reviewed good parts no more lie above them than
        promised, nor surely fewer (one-sided 5 % at a look). Those the policy fitted when nothing
        moved are only too high, and only once twice as many parts are known as then.
    """
    line, product, bundle_id = bundle
    rate = card.export.false_reject_rate
    record = record_in_force(connection, line, bundle_id, product)
    hands = read_by_hand(connection, line, bundle_id, product)
    if hands.stations or not (record or misses(len(card.calibrate_scores), rate) > SELDOM):
        return None
    band, least = (card.band, len(card.calibrate_scores)) if record is None else (record.band, 0)
    scope = Scope(*bundle, changed_at(connection, *bundle, before), until, before)
    try:
        known = read_known(connection, scope, rate)
    except CalibrationMissing:
        return None
    if not tells(known, rate) or known.weights.sum() < least:
        return None
    loose = is_loose(known, band.review_above, rate)
    if not loose and not is_exceeded(known, band.review_above, rate):
        return None
    why = _why(connection, scope, record, card) or (
        _cautious(connection, scope, record, known, rate) if record and loose else ""
    )
    if not why or why_not(known, fit(known, card)):
        return None
    return Thin(why, known.goods.size)


def _why(connection: Connection, scope: Scope, record: ThresholdRecord | None, card: Card) -> str:
    """Say on what thresholds rest, a record or the card's, where that is little; else nothing."""
    if record is None:
        rate, parts = card.export.false_reject_rate, len(card.calibrate_scores)
        return f"rest on {parts} good parts, few to promise {rate:.2%}"
    stood = select(alarms.c.cause).where(
        alarms.c.line == scope.line,
        alarms.c.product == scope.product,
        alarms.c.bundle_id == record.bundle_id,
        alarms.c.why_cleared == REFITTED,
        alarms.c.raised_at <= record.when,
        alarms.c.cleared_at >= record.when,
    )
    cause = connection.execute(stood.order_by(alarms.c.id).limit(1)).scalar()
    if cause is None:
        return ""
    return f"were fitted as the {cause} had begun to move, maybe before it came to rest"


def _cautious(
    connection: Connection, scope: Scope, record: ThresholdRecord, known: Known, rate: float
) -> str:
    """Say that thresholds keep more than they promise because few parts were known; else nothing.

    The fewer, the higher they have to be to keep it in four of five draws; `known` are those since.
    """
    fitted = scope.line, scope.product, record.bundle_id  # another's, where they were carried
    begin = changed_at(connection, *fitted, record.when - timedelta(microseconds=1))
    try:
        then = read_known(connection, Scope(*fitted, begin, scope.until, record.when), rate).goods
    except CalibrationMissing:  # what they were fitted on has changed since
        return ""
    if known.goods.size < TWICE * then.size:
        return ""
    return f"hold fewer than promised, as they were fitted on {then.size} reviewed good parts"


def misses(parts: int, rate: float) -> float:
    """Give the chance that a conformal threshold holds more than twice the promised share.

    What lies above the k-th highest of n scores is Beta(k, n + 1 - k) of all (Vovk 2012).

    Args:
        parts: n, on which it was fitted.
        rate: promised, in (0, 1).
    """
    if parts < normals_needed(rate):
        return 1.0
    above = parts + 1 - math.ceil((parts + 1) * (1 - rate))
    return float(stats.beta.sf(TWICE * rate, above, parts + 1 - above))

"""Says when thresholds rest on few good parts or a line that moved, and more are known by now.

A bundle of a new material has few parts of it to calibrate on. What those promise on average, some
bundles miss by more than a factor of two, which takes a thousand parts to be sure of. A re-fit that
an alarm made due learns from the beginning of a change: a lamp may go on fading after it.
"""

import math
from datetime import datetime

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
from inspection.retraining.known import Scope, changed_at, read_known, tells
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
        None where they rest on many, a person set any, the policy fitted them after an alarm's
        re-fit, or of the reviewed good parts no more lie above them than promised, nor surely
        fewer (one-sided 5 % at a look: they are fitted again once at most).
    """
    line, product, bundle_id = bundle
    rate = card.export.false_reject_rate
    record = record_in_force(connection, line, bundle_id, product)
    hands = read_by_hand(connection, line, bundle_id, product)
    if hands.stations or not (why := _why(connection, line, product, record, card)):
        return None
    band, least = (card.band, len(card.calibrate_scores)) if record is None else (record.band, 0)
    try:
        since = changed_at(connection, *bundle, before)
        known = read_known(connection, Scope(*bundle, since, until, before), rate)
    except CalibrationMissing:
        return None
    if not tells(known, rate) or known.weights.sum() < least:
        return None
    if not any(wrong(known, band.review_above, rate) for wrong in (is_exceeded, is_loose)):
        return None
    if why_not(known, fit(known, card)):
        return None
    return Thin(why, known.goods.size)


def _why(
    connection: Connection, line: str, product: str, record: ThresholdRecord | None, card: Card
) -> str:
    """Say on what thresholds rest, a record or the card's, where that is little; else nothing."""
    if record is None:
        rate, parts = card.export.false_reject_rate, len(card.calibrate_scores)
        few = misses(parts, rate) > SELDOM
        return f"rest on {parts} good parts, few to promise {rate:.2%}" if few else ""
    stood = select(alarms.c.cause).where(
        alarms.c.line == line,
        alarms.c.product == product,
        alarms.c.bundle_id == record.bundle_id,
        alarms.c.why_cleared == REFITTED,
        alarms.c.raised_at <= record.when,
        alarms.c.cleared_at >= record.when,
    )
    cause = connection.execute(stood.order_by(alarms.c.id).limit(1)).scalar()
    if cause is None:
        return ""
    return f"were fitted as the {cause} had begun to move, maybe before it came to rest"


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

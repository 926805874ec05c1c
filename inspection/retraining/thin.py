"""Says when thresholds rest on few good parts, and reviewed ones can set them by now.

A bundle of a new material has few parts of it to calibrate on. What those promise on average, some
bundles miss by more than a factor of two, which takes a thousand parts to be sure of.
"""

import math

from scipy import stats
from sqlalchemy import Connection

from inspection.core.errors import CalibrationMissing
from inspection.core.records import Card
from inspection.hub.thresholds import times_set
from inspection.metrics.calibration import normals_needed
from inspection.retraining.fitting import fit, is_kept, why_not
from inspection.retraining.known import Scope, changed_at, read_known, tells
from inspection.retraining.policy import Thin

TWICE, SELDOM = 2, 0.05  # times the promised share, in so many bundles


def find_thin(
    connection: Connection, line: str, product: str, bundle_id: str, card: Card
) -> Thin | None:
    """Look at what a bundle's thresholds rest on.

    Returns:
        None where they rest on many, were set by anybody since, or cannot be read off the reviewed
        good parts.
    """
    rate, parts = card.export.false_reject_rate, len(card.calibrate_scores)
    if misses(parts, rate) <= SELDOM or times_set(connection, line, bundle_id, product):
        return None
    try:
        since = changed_at(connection, line, product, bundle_id)
        known = read_known(connection, Scope(line, product, bundle_id, since), rate)
    except CalibrationMissing:
        return None
    if not tells(known, rate) or is_kept(known, card.band.review_above, rate):
        return None
    if why_not(known, fit(known, card)):
        return None
    return Thin(parts, known.goods.size, rate)


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

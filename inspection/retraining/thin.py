"""Says when thresholds rest on few good parts, and reviewed ones know more by now.

A bundle of a new material has few parts of it to calibrate on. What those promise on average, one
bundle in eight misses by more than a factor of two, which takes a thousand parts to be sure of.
"""

from sqlalchemy import Connection

from inspection.bundles.thresholds import ThresholdRecord
from inspection.core.errors import CalibrationMissing
from inspection.core.records import Card
from inspection.metrics.calibration import normals_needed
from inspection.retraining.known import Scope, effective, read_known
from inspection.retraining.policy import Thin

# The share of good parts above a threshold that is the k-th highest of n is Beta(k, n + 1 - k)
# (Vovk 2012). With the least n that can promise a rate it is more than twice that in 13 of 100
# bundles, with three times as many in 7.
FEW, MORE = 3, 2


def find_thin(
    connection: Connection, scope: Scope, card: Card, record: ThresholdRecord | None
) -> Thin | None:
    """Look at what the thresholds in force rest on.

    Args:
        connection: of the hub's database.
        scope: parts of the bundle since its thresholds hold.
        card: of the bundle.
        record: its thresholds, where others than the card's are in force.

    Returns:
        None where they rest on many, were set since, or are not to be fitted yet.
    """
    rate, parts = card.export.false_reject_rate, len(card.calibrate_scores)
    if record is not None or parts >= FEW * normals_needed(rate):
        return None
    try:
        known = effective(read_known(connection, scope).weights)
    except CalibrationMissing:
        return None
    return Thin(parts, int(known), rate) if known >= MORE * parts else None

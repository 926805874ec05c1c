"""Fits thresholds on the scores of whole parts of several frames."""

from collections.abc import Sequence

from inspection.core.decision import Band
from inspection.core.promise import exact_rate, reject_above
from inspection.core.records import Card
from inspection.export.calibrate import Calibration
from inspection.metrics.calibration import conformal_threshold


def fit_parts(
    scores: Sequence[float], card: Card, cameras: int, rate: float | None = None
) -> Calibration:
    """Choose the band of one camera from the scores of whole good parts.

    The promise is per part: where several cameras see it, each may reject its share only.

    Args:
        scores: one of each good part, fused as the station does; none of a part that was fitted.
        card: of the bundle that judged; says how far REJECT lies above REVIEW.
        cameras: that see each part.
        rate: false rejects to promise per part; none takes the bundle's.

    Raises:
        CalibrationMissing: too few parts for the rate.
        ConfigError: the rate is no share between 0 and 1.
    """
    share = float(exact_rate(card.export.false_reject_rate if rate is None else rate) / cameras)
    review, certificate = conformal_threshold(list(scores), share)
    ascending = tuple(sorted(scores))
    reject = reject_above(review, ascending, card.export.reject_margin)
    return Calibration(Band(review_above=review, reject_above=reject), certificate, ascending)

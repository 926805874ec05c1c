"""Fits the band on the calibrate scores of the graph that ships, by split conformal prediction."""

from dataclasses import dataclass

from inspection.core.decision import Band
from inspection.core.promise import reject_above
from inspection.core.records import Certificate
from inspection.core.settings import ExportConfig
from inspection.metrics.calibration import conformal_threshold


@dataclass(frozen=True)
class Calibration:
    """The band with what it promises and the scores it was fitted on, ascending."""

    band: Band
    certificate: Certificate
    scores: tuple[float, ...]


def fit_band(scores: list[float], config: ExportConfig) -> Calibration:
    """Choose the band from scores of normals that never entered the bank.

    `review_above` is the conformal threshold of the promised false-reject rate. Normals alone say
    nothing of defects, so REJECT begins a margin of the normals' own spread above it.

    Raises:
        CalibrationMissing: too few scores for the promised rate, or one that is not finite.
    """
    review_above, certificate = conformal_threshold(scores, config.false_reject_rate)
    ascending = tuple(sorted(scores))
    band = Band(
        review_above=review_above,
        reject_above=reject_above(review_above, ascending, config.reject_margin),
    )
    return Calibration(band, certificate, ascending)

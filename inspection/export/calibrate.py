"""Fits the band on the calibrate scores of the graph that ships, by split conformal prediction."""

from dataclasses import dataclass

from inspection.core.decision import Band
from inspection.core.errors import CalibrationMissing
from inspection.core.promise import reject_above
from inspection.core.records import Certificate
from inspection.core.settings import ExportConfig
from inspection.metrics.calibration import conformal_threshold, normals_needed

MOST_DAY0 = 1.0  # no score of a model that judges by words is larger


@dataclass(frozen=True)
class Calibration:
    """The band with what it promises, if anything, and the scores it was fitted on, ascending."""

    band: Band
    certificate: Certificate | None
    scores: tuple[float, ...]

    @property
    def promised(self) -> Certificate:
        """What it promises.

        Raises:
            CalibrationMissing: nothing.
        """
        if self.certificate is None:
            raise CalibrationMissing("this band promises no false-reject rate; bring more normals")
        return self.certificate


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


def guess_band(scores: list[float], config: ExportConfig) -> Calibration:
    """Choose the band of a model that judges by words, as long as few good parts are known.

    With enough of them that is `fit_band`. With fewer, nothing is promised: what scores above all
    of them is REVIEW, and nothing is REJECT, because nobody knows yet how good parts spread.

    Args:
        scores: of normals, raw, 0 to 1.
        config: the false-reject rate that is wanted in the end.

    Raises:
        CalibrationMissing: a score is not finite or lies outside 0 to 1.
    """
    broken = sum(not 0 <= score <= MOST_DAY0 for score in scores)
    if broken or not scores:
        raise CalibrationMissing(
            f"{broken} of {len(scores)} calibrate scores are no number from 0 to 1; wanted at "
            "least one, and all; look at those images and at the weights"
        )
    if len(scores) >= normals_needed(config.false_reject_rate):
        return fit_band(scores, config)
    band = Band(review_above=max(scores), reject_above=MOST_DAY0)
    return Calibration(band, None, tuple(sorted(scores)))

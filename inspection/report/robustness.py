"""Measures what disturbed pixels do to image AUROC, false rejects and recall of a bundle.

The thresholds stay where calibration put them, as they would on the line.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from inspection.core.decision import Band
from inspection.core.errors import InspectionError
from inspection.core.imaging import Rgb
from inspection.core.records import Interval, Label
from inspection.metrics import image
from inspection.report.perturb import PERTURBATIONS, Perturbation


@dataclass(frozen=True)
class LabelledFrame:
    """Pixels of one test part, uint8 H×W×3 RGB, and what a person said of it."""

    pixels: Rgb
    label: Label


@dataclass(frozen=True)
class RobustnessRow:
    """What one disturbance leaves; none where a class was not tested."""

    perturbation: str
    auroc: Interval | None
    false_reject_rate: Interval | None
    recall: Interval | None


@dataclass(frozen=True)
class Robustness:
    """The same frames under every disturbance; the first row is as taken."""

    good: int
    defect: int
    rows: tuple[RobustnessRow, ...]


def measure_robustness(
    score: Callable[[Rgb], float],
    band: Band,
    frames: Iterable[LabelledFrame],
    perturbations: Sequence[Perturbation] = PERTURBATIONS,
    seed: int = 0,
) -> Robustness:
    """Score every frame under every disturbance; each frame is held only while it is scored.

    Args:
        score: raw score of uint8 H×W×3 RGB pixels.
        band: false rejects and recall count scores above `review_above`.
        frames: test frames; may be read lazily.
        perturbations: the first should be the frame as taken.
        seed: of the bootstrap and of added noise.

    Raises:
        InspectionError: no frames, or a score that is not finite.
    """
    labels: list[Label] = []
    columns: list[list[float]] = []
    for number, frame in enumerate(frames):
        labels.append(frame.label)
        columns.append([score(each.apply(frame.pixels, seed + number)) for each in perturbations])
    if not columns:
        raise InspectionError("robustness: no test frames; name a manifest whose images are there")
    scores = np.asarray(columns).T  # (perturbations, frames)
    defect = np.asarray([label is Label.DEFECT for label in labels])
    rows = tuple(
        _row(each.name, values[~defect].tolist(), values[defect].tolist(), band, seed)
        for each, values in zip(perturbations, scores, strict=True)
    )
    return Robustness(int((~defect).sum()), int(defect.sum()), rows)


def _row(name: str, good: list[float], defect: list[float], band: Band, seed: int) -> RobustnessRow:
    above = band.review_above
    return RobustnessRow(
        perturbation=name,
        auroc=image.auroc_interval(good, defect, seed) if good and defect else None,
        false_reject_rate=image.false_reject_rate_at(good, above) if good else None,
        recall=image.recall_at(defect, above) if defect else None,
    )


def is_worse(taken: Interval | None, now: Interval | None, *, larger_is_better: bool) -> bool:
    """Tell whether the interval `now` lies wholly on the worse side of the value as taken."""
    if taken is None or now is None:
        return False
    return now.high < taken.value if larger_is_better else now.low > taken.value

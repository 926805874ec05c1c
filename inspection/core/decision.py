"""Turns a raw score map into a score, a verdict and the regions a person should look at.

The gate, the station, the dashboard and replay all decide here and nowhere else.
"""

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

import cv2
import numpy as np
from pydantic import Field, StrictBool, StrictFloat, StrictInt, model_validator

from inspection.core.config import Settings
from inspection.core.errors import ConfigError
from inspection.core.geometry import Geometry, judged_area
from inspection.core.heat import heat_of_frame
from inspection.core.imaging import Map, Mask
from inspection.core.limits import (
    MAX_PX,
    MAX_SCORE,
    Count,
    Figure,
    FinePx,
    Finite,
    Reason,
    Short,
    Some,
)

MAX_REGIONS = 20  # a person looks at no more; the strongest come first


class Verdict(StrEnum):
    """What the station says of a part; a part nobody could judge is FAULT, never PASS."""

    PASS = "PASS"  # noqa: S105 - a verdict, no password
    REVIEW = "REVIEW"
    REJECT = "REJECT"
    FAULT = "FAULT"


class Band(Settings):
    """The two thresholds on the raw score: up to the first PASS, above the second REJECT."""

    review_above: Finite = Field(description="scores above this are REVIEW, raw score units")
    reject_above: Finite = Field(description="scores above this are REJECT, raw score units")

    @model_validator(mode="after")
    def _ordered(self) -> "Band":
        if self.review_above > self.reject_above:
            raise ValueError("review_above must not lie above reject_above")
        return self


class ThresholdLimits(Settings):
    """Which thresholds one person may set for a bundle; beyond them a second person must approve.

    Below `low` every good part is held; above `high` parts pass that the bundle was shown to find.
    """

    low: Figure = Field(description="least review_above, raw score units")
    high: Figure = Field(description="largest review_above, raw score units")
    high_reject: Figure = Field(description="largest reject_above, raw score units")

    def exceeded_by(self, band: Band | None) -> str:
        """Say which threshold lies beyond them; nothing when none does, or there is none."""
        if band is None:
            return ""
        if not self.low <= band.review_above <= self.high:
            return (
                f"review_above {band.review_above:.6g} lies beyond {self.low:.6g} to "
                f"{self.high:.6g}, the limits of the bundle's card"
            )
        if band.reject_above > self.high_reject:
            return (
                f"reject_above {band.reject_above:.6g} lies above {self.high_reject:.6g}, the "
                "limit of the bundle's card"
            )
        return ""


class ScoreRule(Settings):
    """How a map becomes one number: the largest value after a Gaussian over map cells."""

    smooth_sigma: StrictFloat = Field(
        1.0, ge=0, le=8, description="Gaussian sigma, cells; 0 is none"
    )


class DefectSize(Settings):
    """The measures of one defect's mask on the whole part, px."""

    area_px: Some
    length_px: float = Field(gt=0, le=MAX_PX)
    width_px: float = Field(gt=0, le=MAX_PX, description="mean: area over length")
    x_px: FinePx = Field(description="of its centre of gravity, from the left edge")
    y_px: FinePx = Field(description="of its centre of gravity, from the upper edge")

    def scaled(self, mm_per_px: float) -> tuple[float, float, float]:
        """Give area, length and width in mm² and mm."""
        return self.area_px * mm_per_px**2, self.length_px * mm_per_px, self.width_px * mm_per_px


class Defect(Settings):
    """One defect of a frame as its mask shows it."""

    size: DefectSize
    peak: Finite = Field(description="strongest value of the smoothed map on it, raw score units")
    trusted: StrictBool = Field(description="the segmenter's outline; else the map's coarse one")
    reason: Reason = Field("", description="why the segmenter's outline was refused")
    types: tuple[Short, ...] = Field(
        (),
        max_length=10_000,
        description="what the second stage calls what lies there; none is unknown",
    )
    objects: Some = Field(1, description="how many of them it found there; at least 1")


class Defects(Settings):
    """All defects of a frame, strongest first."""

    found: tuple[Defect, ...] = Field(max_length=10_000)
    uncounted: Count = Field(0, description="weaker ones beyond the budget, not measured")
    mm_per_px: float | None = Field(
        None, gt=0, le=MAX_SCORE, description="of the frame as judged; none is px only"
    )
    segmenter: Reason = Field("", description="which outlined them, and its weights")


class AcceptRule(Settings):
    """Which defects a product may have: those within every bound, up to so many on a frame."""

    name: str = Field(min_length=1, max_length=64, description="stands in the event's reason")
    shape: Literal["any", "long", "compact"] = Field(
        "any", description="long: 3 times as long as wide or more, like a scratch; compact: less"
    )
    unit: Literal["mm", "px"] = Field("mm", description="of the bounds; mm needs mm_per_px")
    area_below: StrictFloat | None = Field(None, gt=0, description="unit²; none has no bound")
    length_below: StrictFloat | None = Field(None, gt=0, description="unit; none has no bound")
    width_below: StrictFloat | None = Field(None, gt=0, description="unit; none has no bound")
    most: StrictInt | None = Field(
        None, ge=1, description="so many on a frame and no more; none has no bound"
    )
    types: tuple[str, ...] = Field(
        (),
        description="names of the second stage: fits defects of these types only, none that it "
        "does not know; () fits any",
    )
    then: Literal[Verdict.PASS, Verdict.REVIEW, Verdict.REJECT] = Field(
        Verdict.REVIEW,
        description="what a frame becomes whose defects are all accepted; REJECT claims a defect "
        "before later rules, to accept it never",
    )

    @model_validator(mode="after")
    def _accepts_not_everything(self) -> "AcceptRule":
        if self.then is Verdict.REJECT:
            return self
        limits = (*self.bounds, *self.types, self.most)
        if self.shape == "any" and not any(limits):
            raise ValueError(
                f"accept rule '{self.name}' accepts every defect; give it a bound, a shape, types "
                "or most"
            )
        return self

    @property
    def bounds(self) -> tuple[float | None, float | None, float | None]:
        """Give what area, length and width must lie below; none has no bound."""
        return self.area_below, self.length_below, self.width_below


@dataclass(frozen=True)
class Region:
    """One suspicious region: box in px of the whole part, its strongest smoothed value."""

    xyxy_px: tuple[int, int, int, int]
    peak: float


@dataclass(frozen=True)
class Judgement:
    """Verdict on one part with its raw score, the map of its ROI and the regions above the band."""

    verdict: Verdict
    score: float
    band: Band
    regions: tuple[Region, ...]
    score_map: Map
    embedding: tuple[float, ...] | None = None
    """How the bundle's backbone sees the part, see `image_statistics`; none where it does not say.

    Nothing is decided by it."""
    floor: float = -math.inf
    """The least score that is believed, see `score_floor`."""

    @property
    def fault(self) -> str:
        """Why the score is not believed; empty when it is."""
        if max(self.floor, -MAX_SCORE) <= self.score <= MAX_SCORE:
            return ""
        return (
            f"score is {self.score:.6g}; expected a finite number of at least {self.floor:.6g}, as "
            "good parts have; the graph or its memory is damaged: restart the station, then check "
            "the bundle with 'inspection bundle verify'"
        )


def smooth(score_map: Map, rule: ScoreRule) -> Map:
    """Smooth a float32 (h, w) map by the rule's Gaussian, mirrored at the border."""
    if rule.smooth_sigma == 0:
        return score_map
    smoothed = cv2.GaussianBlur(
        score_map, (0, 0), rule.smooth_sigma, borderType=cv2.BORDER_REFLECT_101
    )
    return np.asarray(smoothed, np.float32)


def part_score(score_map: Map, rule: ScoreRule, geometry: Geometry) -> float:
    """Give the score of one part: the largest smoothed value within the judged area.

    Returns:
        NaN when the map holds a value that is not finite or nothing is judged; `decide` calls it
        FAULT.
    """
    if not np.isfinite(score_map).all():
        return math.nan
    judged = smooth(score_map, rule)[judged_area(score_map.shape, geometry)]
    return float(judged.max()) if judged.size else math.nan


def decide(score: float, band: Band, floor: float = -math.inf) -> Verdict:
    """Turn a raw score into a verdict; one below `floor` or beyond `MAX_SCORE` is FAULT."""
    if not max(floor, -MAX_SCORE) <= score <= MAX_SCORE:
        return Verdict.FAULT
    if score > band.reject_above:
        return Verdict.REJECT
    return Verdict.REVIEW if score > band.review_above else Verdict.PASS


def score_floor(calibrate_scores: Sequence[float]) -> float:
    """Give the score below which no part lies: a graph that gives less is broken, not pleased.

    Scores are distances, so their spread is taken in ratios: three times as far below the least
    calibrate score as that is below their median, and at least at half of it. Where scores reach
    zero or below, ten times the distance from median to least score. On four real sets no test part
    came near it (reports/LOG.md).

    Args:
        calibrate_scores: raw, of good parts; none has no floor.
    """
    if not calibrate_scores:
        return -math.inf
    least, median = min(calibrate_scores), float(np.median(calibrate_scores))
    if least > 0:
        return min(least / 2, least * (least / median) ** 3)
    return least - 10 * max(median - least, abs(least), 1e-6)


def threshold_limits(
    band: Band, calibrate_scores: Sequence[float], defect_scores: Sequence[float]
) -> ThresholdLimits:
    """Give the limits of a bundle's thresholds, as its card's scores tell them.

    The least is the least calibrate score. The largest review_above lies as far above the largest
    calibrate score, in ratio, as that lies above the median (in difference where scores reach zero
    or below), at most at twice that score; the largest reject_above three times as far. Neither
    lies above the score of a golden defect. The card's own band lies within in any case.

    Args:
        band: the card's.
        calibrate_scores: raw, of good parts; none allows the card's band alone.
        defect_scores: raw, of golden defects; may be empty.
    """
    low, high, high_reject = band.review_above, band.review_above, band.reject_above
    if calibrate_scores:
        low, largest = min(calibrate_scores), max(calibrate_scores)
        median = float(np.median(calibrate_scores))
        if low > 0:
            ratio = min(2.0, largest / median)  # one odd normal does not disarm a station
            high, farther = largest * ratio, largest * ratio**3
        else:
            high, farther = 2 * largest - median, 4 * largest - 3 * median
        high_reject = max(high_reject, farther)
    below = min((math.nextafter(score, -math.inf) for score in defect_scores), default=math.inf)
    return ThresholdLimits(
        low=min(low, band.review_above),
        high=max(min(high, below), band.review_above),
        high_reject=max(min(high_reject, below), band.reject_above),
    )


def severity(verdict: Verdict) -> int:
    """Rank verdicts to combine the frames of a part: PASS, REVIEW, FAULT, REJECT.

    A defect one camera saw is a defect whatever another could not see, so REJECT stands above
    FAULT; neither is ever a PASS.
    """
    return (Verdict.PASS, Verdict.REVIEW, Verdict.FAULT, Verdict.REJECT).index(verdict)


LONG = 3.0  # times as long as wide


def accept(verdict: Verdict, defects: Defects, rules: Sequence[AcceptRule]) -> tuple[Verdict, str]:
    """Hold the measured defects of a REJECT against the rules of its product.

    A defect belongs to the first rule it fits. When each belongs to one, and to none more than its
    `most`, the frame becomes what these rules say, the worse of them, but REVIEW while one outline
    is only the map's coarse one. So one more defect never makes a frame better. Defects beyond the
    budget were not measured, so nothing accepts them. A rule that names types fits no defect of
    which a type is not known, nor one that is of another type, too.

    Args:
        verdict: of the score; anything but REJECT stays as it is.
        defects: all of the frame.
        rules: of the product, in order.

    Returns:
        The verdict and which rules led to it; the same verdict and no words when none did.

    Raises:
        ConfigError: a rule needs mm, and the defects have px only.
    """
    if lacking := lacking_mm(rules, defects.mm_per_px):
        raise ConfigError(lacking)
    if verdict is not Verdict.REJECT or not defects.found or defects.uncounted:
        return verdict, ""
    first = [
        next((rule for rule in rules if _fits(rule, one, defects.mm_per_px)), None)
        for one in defects.found
    ]
    counts: Counter[AcceptRule | None] = Counter()
    for rule, one in zip(first, defects.found, strict=True):
        counts[rule] += one.objects
    if None in counts or any(rule.most and counts[rule] > rule.most for rule in rules):
        return verdict, ""
    accepting = [rule for rule in rules if rule in counts]
    if any(rule.then is Verdict.REJECT for rule in accepting):
        return verdict, ""
    names = ", ".join(f"'{rule.name}'" for rule in accepting)
    coarse = sum(not one.trusted for one in defects.found)
    if coarse:
        return (
            Verdict.REVIEW,
            f"{names} would accept it, but {coarse} of {len(first)} outlines are coarse",
        )
    return max((rule.then for rule in accepting), key=severity), f"accepted by {names}"


def lacking_mm(rules: Iterable[AcceptRule], mm_per_px: float | None) -> str:
    """Say which rules have bounds in mm while mm_per_px is not known; nothing when none has."""
    names = [f"'{rule.name}'" for rule in rules if rule.unit == "mm" and any(rule.bounds)]
    if mm_per_px is not None or not names:
        return ""
    return (
        f"accept rules {', '.join(names)} have bounds in mm, but mm_per_px is not known; set "
        "mm_per_px, or their unit to px"
    )


def _fits(rule: AcceptRule, defect: Defect, mm_per_px: float | None) -> bool:
    """Say whether one defect has a rule's types and shape and lies below every bound."""
    if rule.types and not (defect.types and set(defect.types) <= set(rule.types)):
        return False
    size = defect.size
    is_long = size.length_px >= LONG * size.width_px
    if rule.shape != "any" and is_long != (rule.shape == "long"):
        return False
    scale = mm_per_px if rule.unit == "mm" and mm_per_px is not None else 1.0
    return all(
        bound is None or found < bound
        for bound, found in zip(rule.bounds, size.scaled(scale), strict=True)
    )


def judge_map(
    score_map: Map,
    *,
    band: Band,
    rule: ScoreRule,
    geometry: Geometry,
    part_hw: tuple[int, int],
    floor: float = -math.inf,
) -> Judgement:
    """Judge one part from its raw map.

    Args:
        score_map: float32 (h, w), raw, of the part's ROI.
        band: the two thresholds.
        rule: how the map becomes a score.
        geometry: ROI and excluded areas.
        part_hw: height and width of the whole part, px.
        floor: of the score, see `score_floor`.
    """
    score = part_score(score_map, rule, geometry)
    verdict = decide(score, band, floor)
    regions: tuple[Region, ...] = ()
    if verdict in {Verdict.REVIEW, Verdict.REJECT}:
        smoothed = smooth(score_map, rule)
        above = (smoothed > band.review_above) & judged_area(score_map.shape, geometry)
        regions = find_regions(smoothed, above, geometry, part_hw)
    return Judgement(verdict, score, band, regions, score_map, floor=floor)


def find_regions(
    smoothed: Map, above: Mask, geometry: Geometry, part_hw: tuple[int, int]
) -> tuple[Region, ...]:
    """Box the connected cells of `above`, strongest first, at most 20, in px of the whole part."""
    count, _, stats, _ = (labelled := cv2.connectedComponentsWithStats(above.astype(np.uint8)))
    labels = labelled[1]
    heat = heat_of_frame(smoothed, geometry, part_hw)
    peaks = np.full(count, -np.inf, np.float32)
    np.maximum.at(peaks, labels, smoothed)
    regions = []
    for index in range(1, count):
        x, y, width, height = (int(value) for value in stats[index, :4])
        box = heat.px((x, y, x + width, y + height))
        regions.append(Region(box, float(peaks[index])))
    return tuple(sorted(regions, key=lambda region: -region.peak)[:MAX_REGIONS])

"""Turns a raw score map into a score, a verdict and the regions a person should look at.

The gate, the station, the dashboard and replay all decide here and nowhere else.
"""

import math
from dataclasses import dataclass
from enum import StrEnum

import cv2
import numpy as np
from pydantic import Field, StrictFloat, model_validator

from inspection.core.config import Settings
from inspection.core.geometry import Geometry, judged_area, roi_px
from inspection.core.imaging import Map, Mask

MAX_REGIONS = 20  # a person looks at no more; the strongest come first


class Verdict(StrEnum):
    """What the station says of a part; a part nobody could judge is FAULT, never PASS."""

    PASS = "PASS"  # noqa: S105 - a verdict, no password
    REVIEW = "REVIEW"
    REJECT = "REJECT"
    FAULT = "FAULT"


class Band(Settings):
    """The two thresholds on the raw score: up to the first PASS, above the second REJECT."""

    review_above: float = Field(description="scores above this are REVIEW, raw score units")
    reject_above: float = Field(description="scores above this are REJECT, raw score units")

    @model_validator(mode="after")
    def _ordered(self) -> "Band":
        if self.review_above > self.reject_above:
            raise ValueError("review_above must not lie above reject_above")
        return self


class ScoreRule(Settings):
    """How a map becomes one number: the largest value after a Gaussian over map cells."""

    smooth_sigma: StrictFloat = Field(
        1.0, ge=0, le=8, description="Gaussian sigma, cells; 0 is none"
    )


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


def decide(score: float, band: Band) -> Verdict:
    """Turn a raw score into a verdict; a score that is no number is FAULT."""
    if not math.isfinite(score):
        return Verdict.FAULT
    if score > band.reject_above:
        return Verdict.REJECT
    return Verdict.REVIEW if score > band.review_above else Verdict.PASS


def severity(verdict: Verdict) -> int:
    """Rank verdicts to combine the frames of a part: PASS, REVIEW, FAULT, REJECT.

    A defect one camera saw is a defect whatever another could not see, so REJECT stands above
    FAULT; neither is ever a PASS.
    """
    return (Verdict.PASS, Verdict.REVIEW, Verdict.FAULT, Verdict.REJECT).index(verdict)


def judge_map(
    score_map: Map, *, band: Band, rule: ScoreRule, geometry: Geometry, part_hw: tuple[int, int]
) -> Judgement:
    """Judge one part from its raw map.

    Args:
        score_map: float32 (h, w), raw, of the part's ROI.
        band: the two thresholds.
        rule: how the map becomes a score.
        geometry: ROI and excluded areas.
        part_hw: height and width of the whole part, px.
    """
    score = part_score(score_map, rule, geometry)
    verdict = decide(score, band)
    regions: tuple[Region, ...] = ()
    if verdict in {Verdict.REVIEW, Verdict.REJECT}:
        smoothed = smooth(score_map, rule)
        above = (smoothed > band.review_above) & judged_area(score_map.shape, geometry)
        regions = find_regions(smoothed, above, geometry, part_hw)
    return Judgement(verdict, score, band, regions, score_map)


def find_regions(
    smoothed: Map, above: Mask, geometry: Geometry, part_hw: tuple[int, int]
) -> tuple[Region, ...]:
    """Box the connected cells of `above`, strongest first, at most 20, in px of the whole part."""
    count, _, stats, _ = (labelled := cv2.connectedComponentsWithStats(above.astype(np.uint8)))
    labels = labelled[1]
    top, left, bottom, right = roi_px(geometry.roi, *part_hw)
    scale_y, scale_x = (bottom - top) / smoothed.shape[0], (right - left) / smoothed.shape[1]
    peaks = np.full(count, -np.inf, np.float32)
    np.maximum.at(peaks, labels, smoothed)
    regions = []
    for index in range(1, count):
        x, y, width, height = (int(value) for value in stats[index, :4])
        box = (
            left + math.floor(x * scale_x),
            top + math.floor(y * scale_y),
            left + math.ceil((x + width) * scale_x),
            top + math.ceil((y + height) * scale_y),
        )
        regions.append(Region(box, float(peaks[index])))
    return tuple(sorted(regions, key=lambda region: -region.peak)[:MAX_REGIONS])

"""An open bundle as one recipe uses it: with the recipe's ROI and the band in force."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from inspection.bundles.bundle import Bundle
from inspection.core.decision import AcceptRule, Band, Judgement, ScoreRule, accept
from inspection.core.geometry import Geometry, Roi, roi_px
from inspection.core.guards import GuardLimits
from inspection.core.imaging import Rgb
from inspection.station.judge import Accepted, Challenger

if TYPE_CHECKING:  # a station without accept rules does not load it
    from inspection.masks.refine import Refiner


@dataclass(frozen=True)
class Acceptance:
    """The accept rules of one recipe, with what measures defects for them."""

    rules: tuple[AcceptRule, ...]
    refiner: "Refiner"
    mm_per_px: float | None
    """Of the camera's frame; none is px only."""


@dataclass(frozen=True)
class BundleJudge:
    """Judges the frames of one camera of one product; for several threads at once."""

    bundle: Bundle
    roi: Roi
    band: Band
    """The thresholds in force."""
    acceptance: Acceptance | None = None
    """What turns some of its REJECTs into PASS or REVIEW; none leaves all."""
    predecessor: "BundleJudge | None" = None
    """What returns should the bundle fail its trial; none when it is on none."""
    challenger: Challenger | None = None
    """What scores in the shadow what this one decided; none when nothing does."""

    @property
    def bundle_id(self) -> str:
        """Which bundle judges."""
        return self.bundle.bundle_id

    @property
    def geometry(self) -> Geometry:
        """Where on the cut frame the map lies."""
        return self.bundle.card.geometry

    @property
    def rule(self) -> ScoreRule:
        """How a map becomes a score."""
        return self.bundle.card.score

    @property
    def guards(self) -> GuardLimits | None:
        """What a frame of the calibrate normals looks like; none in older bundles."""
        return self.bundle.card.guards

    def cut(self, pixels: Rgb) -> Rgb:
        """Cut the recipe's ROI out of a camera's frame, uint8 H×W×3 RGB; a view."""
        top, left, bottom, right = roi_px(self.roi, pixels.shape[0], pixels.shape[1])
        return pixels[top:bottom, left:right]

    def prepare(self, pixels: Rgb) -> Rgb:
        """Give the model inputs of a cut frame, uint8 (tiles, h, w, 3)."""
        return self.bundle.prepare(pixels)

    def judge(self, tiles: Rgb, part_hw: tuple[int, int]) -> Judgement:
        """Judge the model inputs of a cut frame of height and width `part_hw`, px."""
        return self.bundle.judge_tiles(tiles, part_hw, self.band)

    def accept(self, cut: Rgb, judgement: Judgement) -> Accepted:
        """Measure the defects of a cut frame that is REJECT, where its product accepts some.

        Raises:
            InspectionError: the segmenter failed on them.
        """
        if self.acceptance is None:
            return Accepted(judgement.verdict)
        refined = self.acceptance.refiner.refine(cut, judgement, self.geometry, self.rule)
        defects = refined.defects(self.acceptance.mm_per_px)
        verdict, reason = accept(judgement.verdict, defects, self.acceptance.rules)
        return Accepted(verdict, reason, defects)

"""An open bundle as one recipe uses it: with the recipe's ROI and the band in force."""

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from math import inf
from typing import TYPE_CHECKING

from inspection.bundles.bundle import Bundle
from inspection.core.decision import (
    AcceptRule,
    Band,
    Defects,
    Judgement,
    ScoreRule,
    Verdict,
    accept,
    severity,
)
from inspection.core.geometry import Geometry, Roi, roi_px
from inspection.core.guards import GuardLimits
from inspection.core.imaging import Rgb
from inspection.core.known import look_from
from inspection.station.judge import Accepted, Challenger, Seen

logger = logging.getLogger(__name__)

if TYPE_CHECKING:  # a station without accept rules does not load it
    from inspection.masks.refine import Refiner
    from inspection.station.recipes.recognising import Recognition


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
    recognition: "Recognition | None" = None
    """What names known defects; none where nothing does."""
    predecessor: "BundleJudge | None" = None
    """What returns should the bundle fail its trial; none when it is on none."""
    override: str = ""
    """Who let the band lie beyond the limits of the bundle's card; empty when it does not."""
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

    def recognise(
        self,
        cut: Rgb,
        judgement: Judgement,
        verdict: Verdict,
        left_s: Callable[[], float] | None,
    ) -> Seen | None:
        """Name the known defects of a cut frame, as `Judge.recognise` says."""
        if self.recognition is None:
            return None
        usual = judgement.score < self._look_from
        return self.recognition.see(cut, verdict, left_s, usual=usual)

    @cached_property
    def _look_from(self) -> float:
        """Give the score from which frames that pass are looked at; what it cannot see, always."""
        share = self.recognition.above_normals if self.recognition else 0.0
        if share == 0:
            return -inf
        level = look_from(self.bundle.card.calibrate_scores, share, self.band.review_above)
        if level == -inf or not self.geometry.is_whole:
            logger.warning(
                "every frame is looked at for known defects: above_normals needs a bundle that "
                "judges the whole part, and normals between it and review_above; lower it",
                extra={"bundle_id": self.bundle_id, "above_normals": share},
            )
            return -inf
        return level

    def accept(self, cut: Rgb, judgement: Judgement, seen: Seen | None) -> Accepted:
        """Measure the defects of a cut frame that is held, where its product accepts some.

        Where the score makes it REJECT, all that map and second stage see has to be accepted;
        where known defects alone made it worse, all that the second stage sees.

        Raises:
            InspectionError: the segmenter failed on them.
        """
        before = judgement.verdict
        held = before if seen is None else seen.verdict
        if self.acceptance is None:
            return Accepted(held)
        defects = self._defects(cut, judgement, seen)
        verdict, reason = accept(Verdict.REJECT, defects, self.acceptance.rules)
        if verdict is Verdict.REJECT:
            return Accepted(held, "", defects)
        accepted = Accepted(verdict, reason, defects, relieved=verdict)
        if before is not Verdict.REJECT:
            verdict = max(before, min(held, verdict, key=severity), key=severity)
        return replace(accepted, verdict=verdict)

    def _defects(self, cut: Rgb, judgement: Judgement, seen: Seen | None) -> Defects:
        from inspection.masks.components import heat_of  # a station without accept rules has none
        from inspection.masks.refine import Refined
        from inspection.station.recipes.joining import join

        if self.acceptance is None:
            raise ValueError("a recipe without accept rules measures nothing")
        refiner, refined = self.acceptance.refiner, Refined(())
        if judgement.verdict is Verdict.REJECT:
            refined = refiner.refine(cut, judgement, self.geometry, self.rule)
        heat = heat_of(judgement, self.geometry, self.rule, (cut.shape[0], cut.shape[1]))
        objects = () if seen is None else seen.objects
        joined = join(refined, objects, heat, refiner.settings.most_defects)
        return joined.model_copy(update={"mm_per_px": self.acceptance.mm_per_px})

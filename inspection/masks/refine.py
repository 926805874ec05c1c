"""Refines the coarse masks of a map by a segmenter, and keeps them where it is not to be believed.

Prompts come from the map, the choice among a segmenter's masks and the guard hold them against the
map again. Refinement never changes a verdict; `core.decision.accept` may, by rules.
"""

from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np

from inspection.core.decision import Defect, Defects, Judgement, ScoreRule
from inspection.core.geometry import Geometry
from inspection.core.heat import Heat, PxBox
from inspection.core.imaging import Map, Mask, Rgb, require_rgb8
from inspection.masks.components import Component, find_components, heat_of
from inspection.masks.contrast import contrast
from inspection.masks.measure import measure
from inspection.masks.segmenter import NO_POINTS, Candidates, Points, Prompt, Segmenter
from inspection.masks.settings import RefineSettings
from inspection.masks.views import MOST_PX as MOST_WINDOW_PX
from inspection.masks.views import View, grown, lay_views

DEFAULTS = RefineSettings()
SURE = 4.0  # logits of a mask prompt at a defect's peak; SAM's own masks reach about 10
BOX_LEAST_PX = 2
LEAST_PX = 9  # a spot of 3×3; fewer are the sensor's noise
BLUR_CELLS = 4.0  # how far around a small defect a map of stride-16 features rises
MOST_PX = 8_000_000  # of windows, asked about at once: a question takes some 30 bytes per px
LARGEST = 0.5  # share of the frame; a larger coarse mask is not asked about
RING = 0.25  # of the box's sides, the width of the quiet ring around a defect
RING_LEAST_PX = 8


@dataclass(frozen=True)
class Outline:
    """One defect's mask on a frame."""

    box: PxBox
    """Where it lies on the frame."""
    mask: Mask
    """bool, as large as the box."""
    peak: float
    """The strongest smoothed value of the map on it."""
    trusted: bool
    """The segmenter's outline; else the map's coarse one."""
    reason: str = ""
    """Why the segmenter's was refused."""


@dataclass(frozen=True)
class Refined:
    """The defects of a frame, strongest first."""

    outlines: tuple[Outline, ...]
    uncounted: int = 0
    """Weaker ones beyond the budget."""
    reason: str = ""
    """Why there is none."""
    segmenter: str = ""
    """Which was asked."""

    def defects(self, mm_per_px: float | None = None) -> Defects:
        """Measure every defect."""
        found = (
            Defect(
                size=measure(one.mask, one.box[:2]),
                peak=one.peak,
                trusted=one.trusted,
                reason=one.reason,
            )
            for one in self.outlines
        )
        return Defects(
            found=tuple(found),
            uncounted=self.uncounted,
            mm_per_px=mm_per_px,
            segmenter=self.segmenter,
        )

    def mask(self, part_hw: tuple[int, int]) -> Mask:
        """Give all outlines on one frame, bool H×W."""
        joined = np.zeros(part_hw, np.bool_)
        for one in self.outlines:
            x0, y0, x1, y1 = one.box
            joined[y0:y1, x0:x1] |= one.mask
        return joined


class Refiner:
    """Finds the outlines of a frame's defects; for several threads at once."""

    def __init__(self, segmenter: Segmenter, settings: RefineSettings = DEFAULTS) -> None:
        self.segmenter, self.settings = segmenter, settings

    def refine(
        self, pixels: Rgb, judgement: Judgement, geometry: Geometry, rule: ScoreRule
    ) -> Refined:
        """Outline the defects of a judged frame.

        Args:
            pixels: uint8 H×W×3 RGB, what was judged.
            judgement: of these pixels.
            geometry: that made its map.
            rule: that made its score.

        Returns:
            One outline or more per component of the map above the band; none for a map without.

        Raises:
            ImageError: the pixels are anything else.
        """
        require_rgb8(pixels, "part to refine")
        if not np.isfinite(judgement.score_map).all():
            return Refined((), reason="the map holds values that are no numbers")
        frame_hw = pixels.shape[0], pixels.shape[1]
        heat = heat_of(judgement, geometry, rule, frame_hw)
        above, wanted = judgement.band.review_above, self.settings
        components, more = find_components(heat, above, wanted.most_defects)
        if not components:
            return Refined((), reason="nothing of the map lies above the band")
        largest = LARGEST * frame_hw[0] * frame_hw[1]
        asked = {
            i: one
            for i, one in enumerate(components[: wanted.most_asked])
            if one.mask.sum() <= largest
        }
        found: dict[int, tuple[Outline, ...]] = {}
        for view in lay_views(asked, self.segmenter.side_px, frame_hw, wanted.most_views):
            found |= self._look(pixels, heat, above, view)
        for i, one in enumerate(components):
            if i not in found:
                found[i] = (_coarse(one, self._why_not_asked(i, one.mask.sum() > largest)),)
        outlines = tuple(one for i in range(len(components)) for one in found[i])
        return Refined(outlines, more, segmenter=self.segmenter.name)

    def _why_not_asked(self, place: int, is_too_large: bool) -> str:
        wanted = self.settings
        if place >= wanted.most_asked:
            return f"not among the {wanted.most_asked} strongest, which are asked about"
        if is_too_large:
            return f"covers more than {LARGEST:.0%} of the frame, which tells nothing of where"
        return (
            f"lies in none of the {wanted.most_views} windows that may be looked at, or needs one "
            f"of over {MOST_WINDOW_PX // 1_000_000} Mpx"
        )

    def _look(
        self, pixels: Rgb, heat: Heat, above: float, view: View
    ) -> dict[int, tuple[Outline, ...]]:
        """Look at one window once, and ask about its defects, all at once where memory allows."""
        x0, y0, x1, y1 = view.window
        seen = np.ascontiguousarray(pixels[y0:y1, x0:x1])
        image = self.segmenter.set_image(seen)
        hot = heat.of(view.window)
        found: dict[int, tuple[Outline, ...]] = {}
        all_places, at_once = list(view.components), max(1, MOST_PX // hot.size)
        for first in range(0, len(all_places), at_once):
            places = all_places[first : first + at_once]
            cases = [
                Case(view.components[i], view.window, (hot, above), BLUR_CELLS * heat.cell_px)
                for i in places
            ]
            answers = image.predict([case.prompt(self.settings.box_grow) for case in cases])
            for i, case, answer in zip(places, cases, answers, strict=True):
                found[i] = self._choose(case, seen, answer)
        return found

    def _choose(self, case: "Case", seen: Rgb, answer: Candidates) -> tuple[Outline, ...]:
        """Take the largest candidate that map and picture bear out: too much is safer than a piece.

        Each of its pieces is a defect of its own: six scratches in one warm patch of the map are
        six.
        """
        candidates = [tidy(mask, case.own) for mask in answer.masks]
        refusals = [
            self._against_map(case, mask) or self._against_picture(seen, mask)
            for mask in candidates
        ]
        believed = [mask for mask, why in zip(candidates, refusals, strict=True) if not why]
        if not believed:
            likest = int(np.argmax([case.agreement(mask) for mask in candidates]))
            return (_coarse(case.component, refusals[likest]),)
        best = max(believed, key=np.count_nonzero)
        x0, y0 = case.window[0], case.window[1]
        count, labels, stats, _ = cv2.connectedComponentsWithStats(best.astype(np.uint8))
        boxes = [tuple(int(value) for value in stats[i, :4]) for i in range(1, count)]
        pieces = [
            Outline(
                (x0 + x, y0 + y, x0 + x + width, y0 + y + height),
                labels[y : y + height, x : x + width] == i,
                case.highest(y, x, labels[y : y + height, x : x + width] == i),
                trusted=True,
            )
            for i, (x, y, width, height) in enumerate(boxes, 1)
        ]
        return tuple(sorted(pieces, key=lambda piece: -piece.peak))

    def _against_map(self, case: "Case", mask: Mask) -> str:
        """Say what of the map speaks against an outline; nothing when nothing does."""
        wanted = self.settings
        area_px = np.count_nonzero(mask)
        if area_px < LEAST_PX:
            return f"the segmenter found {area_px} px; wanted {LEAST_PX}"
        growth = area_px / np.count_nonzero(case.own)
        if growth > wanted.growth:
            return f"grows to {growth:.2f} of the coarse area; wanted at most {wanted.growth:.2f}"
        if growth < wanted.shrink:
            return f"shrinks to {growth:.3f} of the coarse area; wanted {wanted.shrink:.3f}"
        agreement = case.agreement(mask) / max(case.own_agreement, 1e-12)
        if agreement < wanted.agreement:
            return (
                f"agrees {agreement:.2f} with the map; wanted {wanted.agreement:.2f} of the coarse"
            )
        cover = case.cover(mask)
        if cover < wanted.cover:
            return f"explains {cover:.2f} of the coarse mask; wanted {wanted.cover:.2f}"
        return ""

    def _against_picture(self, seen: Rgb, mask: Mask) -> str:
        """Say what of the picture does: that the outline follows no edge of it."""
        shown, wanted = contrast(seen, mask), self.settings.contrast
        return f"has a contrast of {shown:.2f}; wanted {wanted:.2f}" if shown < wanted else ""


class Case:
    """One defect within a window: its prompt, and what the map says of a mask of it."""

    def __init__(
        self, component: Component, window: PxBox, map_: tuple[Map, float], blur_px: float
    ) -> None:
        self.component, self.window = component, window
        (self._hot, self._above), self._blur_px = map_, blur_px
        left, top, right, bottom = window
        x0, y0, x1, y1 = component.box
        self.own = np.zeros((bottom - top, right - left), np.bool_)
        self.own[y0 - top : y1 - top, x0 - left : x1 - left] = component.mask
        width = max(RING_LEAST_PX, round(max(x1 - x0, y1 - y0) * RING))
        away_px = cv2.distanceTransform((~self.own).astype(np.uint8), cv2.DIST_L2, 3)
        self.ring = (away_px > 0) & (away_px <= width) & (self._hot <= self._above)

    def prompt(self, box_grow: float) -> Prompt:
        """Ask for this defect: box, peaks, quiet points and the map as a first guess."""
        left, top = self.window[:2]
        box = grown(self.component.box, box_grow, BOX_LEAST_PX, (self.window[3], self.window[2]))
        x0, y0, x1, y1 = box
        others = (self._hot > self._above) & ~self.own
        guess = SURE * (self._hot - self._above) / max(self.component.peak - self._above, 1e-12)
        return Prompt(
            box=(max(0, x0 - left), max(0, y0 - top), x1 - left, y1 - top),
            positive=self.component.peaks_xy - np.asarray((left, top), np.float32),
            negative=self._quiet_points(),
            mask=np.where(others, -SURE, guess).astype(np.float32),
        )

    def agreement(self, mask: Mask) -> float:
        """Say how a mask agrees with the map: mean inside minus mean on the ring."""
        ring = self.ring & ~mask
        outside = float(self._hot[ring].mean()) if ring.any() else self._above
        return float(self._hot[mask].mean()) - outside if mask.any() else -np.inf

    @cached_property
    def own_agreement(self) -> float:
        """How the coarse mask agrees with the map."""
        return self.agreement(self.own)

    def highest(self, top: int, left: int, piece: Mask) -> float:
        """Give the map's largest value on a piece of the window, which begins at top and left."""
        height, width = piece.shape
        return float(self._hot[top : top + height, left : left + width][piece].max())

    def cover(self, mask: Mask) -> float:
        """Say which share of the coarse mask lies so near to a mask that blur explains it."""
        away_px = cv2.distanceTransform((~mask).astype(np.uint8), cv2.DIST_L2, 3)
        return float((away_px[self.own] <= self._blur_px).mean())

    def _quiet_points(self) -> Points:
        """Give the quietest place of the ring on each side of the defect."""
        y, x = np.nonzero(self.ring)
        if not len(y):
            return NO_POINTS
        x0, y0, x1, y1 = self.component.box
        centre_x, centre_y = (x0 + x1) / 2 - self.window[0], (y0 + y1) / 2 - self.window[1]
        side = (np.arctan2(y - centre_y, x - centre_x) // (np.pi / 2)).astype(int)
        quiet = [
            places[np.argmin(self._hot[y[places], x[places]])]
            for quadrant in np.unique(side)
            if len(places := np.flatnonzero(side == quadrant))
        ]
        return np.stack((x[quiet], y[quiet]), axis=1).astype(np.float32) + np.float32(0.5)


def _coarse(component: Component, reason: str) -> Outline:
    return Outline(component.box, component.mask, component.peak, trusted=False, reason=reason)


def tidy(mask: Mask, own: Mask) -> Mask:
    """Fill holes, and drop what an opening takes away whole or what does not meet the defect.

    The opening is by reconstruction: a part that survives a 3×3 opening keeps its thin ends.
    Where nothing survives, as of a scratch of one px, nothing is opened.

    Args:
        mask: bool (H, W), a candidate.
        own: bool (H, W), the defect's coarse mask.
    """
    outlines, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    filled = np.zeros(mask.shape, np.uint8)
    cv2.drawContours(filled, outlines, -1, 1, cv2.FILLED)
    _, labels = cv2.connectedComponents(filled)
    opened = cv2.morphologyEx(filled, cv2.MORPH_OPEN, np.ones((3, 3), np.uint8)) > 0
    meeting = set(np.unique(labels[own & (filled > 0)]).tolist()) - {0}
    surviving = set(np.unique(labels[opened]).tolist()) & meeting
    return np.isin(labels, list(surviving or meeting))

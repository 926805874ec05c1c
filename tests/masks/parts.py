"""A grey part with one dark defect, and what a coarse map says of it."""

import cv2
import numpy as np

from inspection.core.decision import Band, Judgement, ScoreRule, judge_map
from inspection.core.geometry import Geometry
from inspection.core.imaging import Map, Mask, Rgb
from inspection.masks.segmenter import Candidates, Prompt

BAND = Band(review_above=0.3, reject_above=0.6)
RULE = ScoreRule(smooth_sigma=0)
GEOMETRY = Geometry()
CELL_PX = 16
SIZE_HW = (192, 256)


def make_part(
    centres: tuple[tuple[int, int], ...] = ((100, 80),), size_hw: tuple[int, int] = SIZE_HW
) -> tuple[Rgb, Mask]:
    """Make a noisy part with dark ellipses of 24×12 px around the centres, x and y."""
    grey = np.random.default_rng(0).normal(150, 5, size_hw).astype(np.float32)
    truth = np.zeros(size_hw, np.uint8)
    for centre in centres:
        cv2.ellipse(truth, centre, (12, 6), 20, 0, 360, 1, cv2.FILLED)
    grey[truth > 0] -= 70
    return np.repeat(np.clip(grey, 0, 255).astype(np.uint8)[:, :, None], 3, axis=2), truth > 0


def judge(truth: Mask) -> Judgement:
    """Judge by the map a model gives at best: how much of each cell is defect, blurred."""
    cells = truth.shape[1] // CELL_PX, truth.shape[0] // CELL_PX
    share = cv2.resize(truth.astype(np.float32), cells, interpolation=cv2.INTER_AREA)
    blurred = cv2.GaussianBlur(share, (0, 0), 1.0)
    score_map: Map = np.asarray(blurred / max(blurred.max(), 1e-9), np.float32)
    return judge_map(score_map, band=BAND, rule=RULE, geometry=GEOMETRY, part_hw=truth.shape)


class Oracle:
    """A segmenter that gives made-up masks for every prompt, and remembers what it was asked."""

    name = "oracle"

    def __init__(self, *masks: Mask, side_px: int | None = None) -> None:
        self.masks, self.side_px = masks, side_px
        self.windows: list[Rgb] = []
        self.prompts: list[Prompt] = []

    def set_image(self, pixels: Rgb) -> "Oracle":
        """Keep the window."""
        self.windows.append(pixels)
        return self

    def predict(self, prompts: list[Prompt]) -> list[Candidates]:
        """Give the masks, cut to the window by whoever made them."""
        height, width = self.windows[-1].shape[:2]
        for prompt in prompts:
            prompt.require_fitting(height, width)
        self.prompts += prompts
        masks = np.stack([mask[:height, :width] for mask in self.masks])
        return [Candidates(masks, np.ones(len(masks), np.float32)) for _ in prompts]

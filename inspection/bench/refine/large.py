"""Refines one small defect on a part of 4,000×3,000 px, in a process of its own."""

import multiprocessing
import os
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from inspection.bench.peak import peak_memory
from inspection.core.decision import Band, ScoreRule, judge_map
from inspection.core.geometry import Geometry
from inspection.core.imaging import Mask, Rgb
from inspection.masks.opening import open_segmenter
from inspection.masks.refine import Refiner
from inspection.metrics.masks import iou

HEIGHT_PX, WIDTH_PX = 3000, 4000
CELL_PX = 50
CENTRE_XY, AXES_PX = (2715, 1212), (14, 6)
BAND = Band(review_above=0.3, reject_above=0.4)


@dataclass(frozen=True)
class Large:
    """What came of it."""

    iou: float
    """Of the outline with the defect."""
    trusted: bool
    peak_mb: float | None
    """Most resident memory of the process, its libraries included; none where it is hidden."""


def measure_large(segmenter: Path | None) -> Large:
    """Make, judge and refine the part in a fresh process; as `open_segmenter` takes it."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(refine_large, (segmenter,))


def make_large() -> tuple[Rgb, Mask]:
    """Make a grey, noisy part with one dark scratch of 28×12 px."""
    rng = np.random.default_rng(0)
    grey = rng.normal(150, 6, (HEIGHT_PX, WIDTH_PX)).astype(np.float32)
    truth = np.zeros(grey.shape, np.uint8)
    cv2.ellipse(truth, CENTRE_XY, AXES_PX, 30, 0, 360, 1, cv2.FILLED)
    grey[truth > 0] -= 60
    pixels = np.repeat(np.clip(grey, 0, 255).astype(np.uint8)[:, :, None], 3, axis=2)
    return pixels, truth > 0


def refine_large(segmenter: Path | None) -> Large:
    """Make, judge and refine the part in this process."""
    pixels, truth = make_large()
    # the map any model of this cell gives at best: which share of each cell is defect
    cells = WIDTH_PX // CELL_PX, HEIGHT_PX // CELL_PX
    score_map = cv2.resize(truth.astype(np.float32), cells, interpolation=cv2.INTER_AREA)
    score_map = np.asarray(score_map / score_map.max(), np.float32)
    geometry, rule = Geometry(), ScoreRule(smooth_sigma=0.0)
    judgement = judge_map(
        score_map, band=BAND, rule=rule, geometry=geometry, part_hw=(HEIGHT_PX, WIDTH_PX)
    )
    found = Refiner(open_segmenter(segmenter)).refine(pixels, judgement, geometry, rule)
    mask = found.mask((HEIGHT_PX, WIDTH_PX))
    peak_bytes = peak_memory(os.getpid())
    peak_mb = None if peak_bytes is None else peak_bytes / 1e6
    return Large(iou(mask, truth), all(one.trusted for one in found.outlines), peak_mb)

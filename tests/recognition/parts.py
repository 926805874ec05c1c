"""Parts with two types of defects that a small network can tell: holes and scratches."""

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

SIZE_HW = (96, 120)


def draw_part(
    rng: np.random.Generator, kind: str | None
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Draw a part, uint8 H×W×3, and the mask of its defect, uint8 H×W of 0 and 255."""
    part = np.clip(rng.normal(120, 12, (*SIZE_HW, 1)).repeat(3, 2), 0, 255).astype(np.uint8)
    mask = np.zeros(SIZE_HW, np.uint8)
    x, y = int(rng.integers(30, 90)), int(rng.integers(30, 66))
    if kind == "hole":
        cv2.circle(mask, (x, y), int(rng.integers(9, 15)), 255, -1)
        part[mask > 0] = 30
    elif kind == "scratch":
        cv2.line(mask, (x - 18, y), (x + 18, y + int(rng.integers(-6, 7))), 255, 7)
        part[mask > 0] = 230
    return part, mask


def draw_set(root: Path, count: int, seed: int = 0) -> Path:
    """Write a data set of so many parts of each kind, and as many good ones."""
    rng = np.random.default_rng(seed)
    for number in range(count):
        for kind in (None, "hole", "scratch"):
            part, mask = draw_part(rng, kind)
            path = root / ("train/good" if kind is None else f"test/{kind}") / f"{number:03d}.png"
            _write(path, part)
            if kind:
                _write(root / f"ground_truth/{kind}/{number:03d}_mask.png", mask)
    return root


def _write(path: Path, pixels: NDArray[np.uint8]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if not cv2.imwrite(str(path), pixels):
        raise OSError(f"{path}: not written")

"""Makes MVTec-style sets of generated parts: plate, fabric or board, good and with exact masks.

The bytes of one file depend on the product, the seed and the file's own path only: not on the
counts, the order or the number of threads.
"""

import io
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydantic import Field, StrictInt

from inspection.core.config import Settings
from inspection.core.errors import DatasetError
from inspection.core.folders import new_folder
from inspection.core.imaging import Mask, Rgb
from inspection.core.progress import follow
from inspection.synthetic import board, fabric, plate
from inspection.synthetic.conditions import roughen
from inspection.synthetic.flaws import Flaw, mark
from inspection.synthetic.scene import Scene, Seeds, Station, photograph

if TYPE_CHECKING:
    from inspection.synthetic.frames import Motions

VISIBLE_LEVELS = 6  # a pixel belongs to the defect when some channel differs by this, of 255
LEAST_PX = 20  # a smaller defect is drawn again
ATTEMPTS = 20


class Product(StrEnum):
    """What can be generated."""

    PLATE = "plate"
    FABRIC = "fabric"
    BOARD = "board"


class Counts(Settings):
    """How many images of each kind a generated set holds."""

    train_good: StrictInt = Field(120, ge=1, le=100_000, description="good parts under train/")
    test_good: StrictInt = Field(40, ge=0, le=100_000, description="good parts under test/")
    per_defect: StrictInt = Field(8, ge=0, le=10_000, description="parts of each defect type")


Build = Callable[[Seeds, Flaw | None], Scene]
RECIPES: dict[Product, tuple[Build, Station]] = {
    Product.PLATE: (plate.build_plate, plate.STATION),
    Product.FABRIC: (fabric.build_fabric, fabric.STATION),
    Product.BOARD: (board.build_board, board.STATION),
}


@dataclass(frozen=True)
class _FramedTask:
    """One part of several frames; those that do not show its defect are good ones."""

    product: Product
    motions: "Motions"
    seed: int
    flaw: Flaw | None
    folder: str
    index: int

    def run(self, root: Path) -> None:
        """Write its frames, named part_frame from 1, and their masks."""
        from inspection.synthetic.frames import make_framed

        key = f"{self.product}/{self.motions.motion}/{self.seed}/{self.folder}/{self.index:03d}"
        part = make_framed(self.motions, self.product, key, self.flaw)
        for number, (pixels, mask, shown) in enumerate(
            zip(part.frames, part.masks, part.shown, strict=True), 1
        ):
            split = self.folder.partition("/")[0]
            name = f"{self.flaw or split}-{self.index:03d}_{number}"
            if self.flaw is None or not shown:
                _write_png(root / split / "good" / f"{name}.png", pixels)
                continue
            _write_png(root / self.folder / f"{name}.png", pixels)
            mask_path = root / "ground_truth" / self.flaw / f"{name}_mask.png"
            _write_png(mask_path, mask.astype(np.uint8) * 255)


@dataclass(frozen=True)
class _Task:
    product: Product
    seed: int
    flaw: Flaw | None
    folder: str  # 'train/good', 'test/dent' …
    index: int

    def run(self, root: Path) -> None:
        """Write one image and, for a defect, its mask."""
        key = f"{self.product}/{self.seed}/{self.folder}/{self.index:03d}"
        image = root / self.folder / f"{self.index:03d}.png"
        if self.flaw is None:
            _write_png(image, make_good(self.product, key))
            return
        pixels, mask = make_defective(self.product, key, self.flaw)
        _write_png(image, pixels)
        mask_path = root / "ground_truth" / self.flaw / f"{self.index:03d}_mask.png"
        _write_png(mask_path, mask.astype(np.uint8) * 255)


def make_dataset(
    out: Path,
    product: Product,
    seed: int,
    counts: Counts | None = None,
    motions: "Motions | None" = None,
) -> Path:
    """Write a generated set in the MVTec layout, whole or not at all.

    Args:
        out: folder to make; it must not exist, or be empty.
        product: what the parts are.
        seed: any whole number; the same seed gives the same bytes.
        counts: how many parts; 120 + 40 good and 8 of each defect by default.
        motions: how each part is shown several times; none shows it once. Files are named
            part_frame, and `--group '(.*)_'` of `inspection dataset check` keeps a part in one
            split. Frames of a defective part that do not show its defect are under test/good.

    Returns:
        `out`.

    Raises:
        InspectionError: `out` holds files or cannot be written.
    """
    tasks = _tasks(product, seed, counts or Counts(), motions)
    with new_folder(out) as building:
        for folder in sorted({task.folder for task in tasks} | {"test/good"}):
            (building / folder).mkdir(parents=True)
        for flaw in sorted({task.flaw for task in tasks if task.flaw is not None}):
            (building / "ground_truth" / flaw).mkdir(parents=True)
        with ThreadPoolExecutor(max_workers=min(4, os.cpu_count() or 1)) as pool:
            pending = [pool.submit(task.run, building) for task in tasks]
            try:
                for future in follow(pending, f"make {product}"):
                    future.result()
            finally:
                pool.shutdown(cancel_futures=True)
    return out


def _tasks(
    product: Product, seed: int, counts: Counts, motions: "Motions | None"
) -> list[_Task] | list[_FramedTask]:
    wanted: list[tuple[Flaw | None, str, int]] = [
        (None, "train/good", counts.train_good),
        (None, "test/good", counts.test_good),
        *((flaw, f"test/{flaw}", counts.per_defect) for flaw in Flaw),
    ]
    each = [(flaw, folder, n) for flaw, folder, count in wanted for n in range(count)]
    if motions is not None:
        return [_FramedTask(product, motions, seed, *one) for one in each]
    return [_Task(product, seed, *one) for one in each]


def make_good(product: Product, key: str, grain: float = 0.0) -> Rgb:
    """Make one good part; uint8 320×448×3 RGB, decided by product, key and the batch's grain."""
    seeds = Seeds(key)
    return photograph(_build(product, seeds, None, grain), RECIPES[product][1], seeds)


def make_defective(product: Product, key: str, flaw: Flaw, grain: float = 0.0) -> tuple[Rgb, Mask]:
    """Make one defective part and its mask.

    Returns:
        uint8 320×448×3 RGB and bool 320×448: the pixels that differ by 6 levels or more from the
        same part without the defect, enclosed holes filled; outside it both parts are the same.

    Raises:
        DatasetError: no draw of this flaw shows on the part.
    """
    seeds, station = Seeds(key), RECIPES[product][1]
    good = photograph(_build(product, seeds, None, grain), station, seeds)
    for attempt in range(ATTEMPTS):
        scene = _build(product, seeds, flaw, grain)
        mark(scene, flaw, station.relief, seeds.of(f"mark {attempt}"))
        shown = photograph(scene, station, seeds)
        steps = np.abs(shown.astype(np.int16) - good).max(axis=2)
        mask = _filled(np.asarray(steps >= VISIBLE_LEVELS))
        if np.count_nonzero(mask) >= LEAST_PX:
            return np.where(mask[:, :, None], shown, good), mask
    raise DatasetError(f"{key}: no {flaw} shows after {ATTEMPTS} draws; report this seed")


def _build(product: Product, seeds: Seeds, flaw: Flaw | None, grain: float) -> Scene:
    """Build a scene; grain is that of another batch, 0 for the usual one."""
    scene = RECIPES[product][0](seeds, flaw)
    roughen(scene, grain, seeds)
    return scene


def _filled(mask: Mask) -> Mask:
    """Close 3 px gaps and fill enclosed holes, so that a defect is one region with no specks."""
    closed = cv2.morphologyEx(mask.astype(np.uint8), cv2.MORPH_CLOSE, np.ones((3, 3), np.uint8))
    outlines, _ = cv2.findContours(closed, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    drawn = np.zeros_like(closed)
    cv2.drawContours(drawn, [line for line in outlines if len(line) >= 4], -1, 1, cv2.FILLED)
    return np.asarray(drawn.astype(np.bool_))


def _write_png(path: Path, pixels: NDArray[np.uint8]) -> None:
    encoded = io.BytesIO()
    # fixed settings: the same pixels give the same bytes; 1 is fast and noise hardly shrinks more
    Image.fromarray(pixels).save(encoded, "PNG", compress_level=1, optimize=False)
    path.write_bytes(encoded.getvalue())

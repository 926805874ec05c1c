"""Generated parts of a line through a month: a store of pictures, and what changes them each day.

Drawing a part takes 40 times as long as judging it, so each seed draws its parts from one store.
"""

import os
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from inspection.core.folders import new_folder
from inspection.core.imaging import Rgb, load_image
from inspection.core.progress import follow
from inspection.synthetic.conditions import dimmed, smeared
from inspection.synthetic.dataset import Product, make_defective, make_good
from inspection.synthetic.flaws import Flaw

PRODUCT = Product.PLATE
FLAWS = tuple(Flaw)


class Batch(StrEnum):
    """Of which material."""

    USUAL = "usual"
    COARSE = "coarse"


GRAIN = {Batch.USUAL: 0.0, Batch.COARSE: 0.016}


@dataclass(frozen=True)
class Condition:
    """How the line looks at one moment."""

    light: float = 0.0
    """Share of the light that is lost."""
    batch: Batch = Batch.USUAL
    smear: float = 0.0
    """Strength of the smear on the lens, 0 to 1."""

    def apply(self, pixels: Rgb) -> Rgb:
        """Give what the camera shows of a part."""
        seen = dimmed(pixels, self.light) if self.light else pixels
        return smeared(seen, self.smear) if self.smear else seen


@dataclass(frozen=True)
class Drawn:
    """One part that comes along the line."""

    path: Path
    defect: str | None


class Store:
    """The pictures, good and defective, of both batches.

    Args:
        folder: of `fill_store`.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.goods = {one: sorted((folder / one / "good").glob("*.png")) for one in Batch}
        self.defects = {
            one: [path for flaw in FLAWS for path in sorted((folder / one / flaw).glob("*.png"))]
            for one in Batch
        }

    def draw(
        self, rng: np.random.Generator, batch: Batch, count: int, prevalence: float
    ) -> list[Drawn]:
        """Draw parts; each is defective with this probability."""
        bad = rng.random(count) < prevalence
        return [self._one(rng, batch, bad=bool(one)) for one in bad]

    def _one(self, rng: np.random.Generator, batch: Batch, *, bad: bool) -> Drawn:
        among = self.defects[batch] if bad else self.goods[batch]
        path = among[int(rng.integers(len(among)))]
        return Drawn(path, path.parent.name if bad else None)


def fill_store(folder: Path, goods: int, per_flaw: int) -> Store:
    """Make the pictures unless they are there: so many goods and of each flaw, per batch."""
    if not folder.is_dir():
        wanted: list[tuple[Batch, Flaw | None, int]] = [
            (batch, flaw, number)
            for batch in Batch
            for flaw in (None, *FLAWS)
            for number in range(goods if flaw is None else per_flaw)
        ]
        with new_folder(folder) as made:
            for batch, flaw, _ in wanted:
                (made / batch / (flaw or "good")).mkdir(parents=True, exist_ok=True)
            with ProcessPoolExecutor(os.cpu_count()) as pool:
                write = partial(_write, made)
                for _ in follow(list(pool.map(write, wanted, chunksize=16)), "parts"):
                    pass
    return Store(folder)


def _write(folder: Path, wanted: tuple[Batch, Flaw | None, int]) -> None:
    batch, flaw, number = wanted
    key = f"month/{batch}/{flaw}/{number}"
    if flaw is None:
        pixels = make_good(PRODUCT, key, GRAIN[batch])
    else:
        pixels, _ = make_defective(PRODUCT, key, flaw, GRAIN[batch])
    path = folder / batch / (flaw or "good") / f"{number:05d}.png"
    Image.fromarray(pixels).save(path, compress_level=1)


def pictures(parts: Sequence[Drawn], condition: Condition) -> list[Rgb]:
    """Give what the camera shows of each part, uint8 H×W×3."""
    return [condition.apply(load_image(one.path)) for one in parts]

"""What a student is taught: pictures, and what the champion makes of them in as many numbers.

A linear map has to stand between features of different depths. Here it is no weight but the
champion's principal directions on these parts: they turn its features, each layer by its weight,
into as many numbers as the student's layer has, and keep distances. So what PatchCore compares
stays what it was, and the student needs no map of its own.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import openvino
import torch
from torch import Tensor
from torch.nn import functional

from inspection.bundles.graph import compile_graph
from inspection.core.defects import generate_defect
from inspection.core.imaging import Rgb, resize
from inspection.core.parts import FitTiles
from inspection.core.progress import follow
from inspection.export.build import read_features, read_run
from inspection.networks.formulanet import LAYERS
from inspection.pretraining.targets import Directions, fit_directions

FINE_BELOW = 8 * 2**0.5  # px per cell, halfway between the student's 8 and 16
LIGHT = (0.7, 1.3)  # factor on the grey levels
FIRST = 96  # pictures that directions are learnt from
DEFECT_SEED = 1_000_003  # far from those that rank candidates


class Lesson(NamedTuple):
    """One picture as both are given it, uint8 H×W×3, each in its own size."""

    champion: Rgb
    student: Rgb


class Pictures:
    """The good parts of a run: as they are, mirrored, lighter or darker, every other one broken.

    Where the student's input is smaller, a broken one is resized once more for it.
    """

    def __init__(self, champion: FitTiles, student: FitTiles) -> None:
        self._champion, self._student = champion, student

    def __len__(self) -> int:
        return len(self._champion)

    def plain(self, number: int) -> Lesson:
        """Give a tile as it is."""
        return Lesson(self._champion[number], self._student[number])

    def varied(self, number: int, turn: int) -> Lesson:
        """Give a tile as it is met this turn; the same turn gives the same picture."""
        rng = np.random.default_rng([turn, number])
        lesson = self.plain(number)
        if rng.random() < 0.5:
            broken = generate_defect(lesson.champion, DEFECT_SEED + turn, number).pixels
            height, width = lesson.student.shape[:2]
            small = broken
            if broken.shape != lesson.student.shape:
                small = resize(broken, height, width)
            lesson = Lesson(broken, small)
        mirrored = (slice(None, None, step) for step in rng.choice((1, -1), 2).tolist())
        places, light = tuple(mirrored), rng.uniform(*LIGHT)
        return Lesson(*(_lit(one[places], light) for one in lesson))


def _lit(pixels: Rgb, light: float) -> Rgb:
    return np.asarray(np.clip(pixels * light, 0, 255), np.uint8)


class Teacher:
    """Gives what a student is to compute; first it learns its directions.

    Args:
        run: the champion's, of PatchCore.
        depths: of the student's layers, by name; a power of 2.
        sizes: height and width of the student's maps, likewise.
    """

    def __init__(
        self, run: Path, depths: dict[str, int], sizes: dict[str, tuple[int, int]]
    ) -> None:
        record, features = read_run(run), read_features(run)
        self.layers = layers_of(features)
        self._depths, self._sizes = depths, sizes
        weights = record.config.patchcore.layer_weights
        self._weights = weights or (1.0,) * len(features.outputs)
        self._request = compile_graph(features).create_infer_request()
        self._directions: dict[str, Directions] = {}

    def learn(self, tiles: Sequence[Rgb]) -> None:
        """Learn the principal directions of what the champion makes of uint8 H×W×3 tiles."""
        seen = [self._maps(tile) for tile in follow(tiles, "champion's directions")]
        for name, depth in self._depths.items():
            planes = torch.cat([one[name] for one in seen])
            missing = max(0, depth - planes.shape[1])  # what the champion lacks is to be 0
            planes = functional.pad(planes, (0, 0, 0, 0, 0, missing))
            self._directions[name] = fit_directions(planes, depth, power=0)

    def __call__(self, tiles: Sequence[Rgb]) -> dict[str, Tensor]:
        """Give what the student is to make of n tiles, float32 n×D×h×w of each layer."""
        seen = [self._maps(tile) for tile in tiles]
        answers = {}
        for name, directions in self._directions.items():
            planes = torch.cat([one[name] for one in seen])
            missing = max(0, len(directions.mean) - planes.shape[1])
            answers[name] = directions(functional.pad(planes, (0, 0, 0, 0, 0, missing)))
        return answers

    def _maps(self, tile: Rgb) -> dict[str, Tensor]:
        """Give the champion's maps of a tile, weighed, in the student's sizes, 1×C×h×w by layer."""
        self._request.infer({0: tile[None]})
        found = {}
        for name in self._depths:
            maps = [
                _resized(self._request.get_output_tensor(number).data, self._sizes[name])
                * self._weights[number]
                for number in self.layers[name]
            ]
            found[name] = torch.cat(maps, 1)
        return found


def layers_of(features: openvino.Model) -> dict[str, list[int]]:
    """Say which outputs of a champion's graph each layer of a student learns: those as fine."""
    height = features.input(0).shape[1]
    found: dict[str, list[int]] = {}
    for number, output in enumerate(features.outputs):
        fine, coarse = LAYERS
        name = fine if height / output.shape[2] < FINE_BELOW else coarse
        found.setdefault(name, []).append(number)
    return {name: found[name] for name in LAYERS if name in found}


def _resized(planes: np.ndarray, size_hw: tuple[int, int]) -> Tensor:
    given = torch.tensor(planes)
    if given.shape[2:] == size_hw:
        return given
    return functional.interpolate(given, size_hw, mode="bilinear", antialias=True)

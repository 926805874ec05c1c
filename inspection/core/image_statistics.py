"""Measures on every judged frame what tells causes of drift apart: light, focus, place, texture.

Cheap enough for a station's path. Each number answers to one cause and hardly to the others; what
is far from normal is decided elsewhere, from many parts at once.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from inspection.core.config import Settings
from inspection.core.imaging import Rgb, require_tiles
from inspection.core.limits import MAX_SCORE, Finite, Some

Plane = NDArray[np.float32]

REGIONS = 4  # of a tile, down and across; a smear over a quarter of the frame fills a quarter
CELL_PX = 8  # side of the cells whose median is the texture: most of them hold no edge
FAINT = 0.1  # energy below what rounding to grey levels makes; its logarithm stays finite
STATISTICS = ("light", "focus", "across", "down", "texture")
EMBEDDING_MOST = 16  # directions: what 200 normals can whiten, and some bytes per event


class ImageStatistics(Settings):
    """What one frame looks like in a few numbers, and how the backbone sees it."""

    light: Finite = Field(description="mean grey level, 0 to 255")
    focus: Finite = Field(
        description="log2 of fine over coarse detail of the strongest edges, in the least sharp "
        "quarter of the frame; follows neither light nor contrast"
    )
    across: Finite = Field(description="centre of the part's structure, share of the frame's width")
    down: Finite = Field(description="centre of the part's structure, share of the frame's height")
    texture: Finite = Field(
        description="log2 of coarse detail over the mean grey level, median over cells of the frame"
    )
    embedding: tuple[Finite, ...] | None = Field(
        None,
        max_length=EMBEDDING_MOST,
        description="pooled features of the bundle's backbone along whitened directions: mean 0 "
        "and deviation 1 over the fit normals; none from a bundle without features",
    )


class Reference(Settings):
    """What a statistic is on the calibrate normals."""

    mean: Finite
    deviation: float = Field(ge=0, le=MAX_SCORE, description="standard deviation over the normals")


class StatisticsReference(Settings):
    """What the calibrate normals of a bundle look like, statistic by statistic."""

    normals: Some = Field(description="calibrate normals it is of")
    light: Reference
    focus: Reference
    across: Reference
    down: Reference
    texture: Reference


class _Detail(NamedTuple):
    """Detail of one tile, as energies: squared differences of grey levels."""

    sharpness: Plane
    """log2 of fine over coarse detail, each of the strongest edges, (REGIONS, REGIONS)."""
    cells: Plane
    """Coarse detail of cells of 8 px, (h, w)."""
    structure: Plane
    """Slopes of the tile at a quarter of its size, grey levels, (h, w)."""


def measure_image(tiles: Rgb, columns: int = 1) -> ImageStatistics:
    """Measure the model inputs of one part, without its embedding.

    Fine detail is the Laplacian, coarse detail the slopes (Sobel) of the frame at half its size. A
    lamp changes both in proportion to the light. Blur takes the first of the strongest edges, which
    fourth powers pick out of any texture, and leaves most of the second. Stray light, which adds to
    all levels, lowers `texture` beside raising `light`: less contrast is what both are.

    Args:
        tiles: uint8 (tiles, height, width, 3), as `geometry.prepare` gives them, row by row.
        columns: tiles across the part.

    Raises:
        ImageError: the tiles are anything else.
    """
    require_tiles(tiles)
    greys = [cv2.cvtColor(tile, cv2.COLOR_RGB2GRAY).astype(np.float32) for tile in tiles]
    details = [_detail(grey) for grey in greys]
    light = float(np.mean([cv2.mean(grey)[0] for grey in greys]))
    sharpness = np.sort([one.sharpness for one in details], axis=None)
    across, down = _centre(np.stack([one.structure for one in details]), columns)
    typical = float(np.median([one.cells for one in details]))
    return ImageStatistics(
        light=round(light, 3),
        focus=round(float(sharpness[: len(sharpness) // 4].mean()), 4),
        across=round(across, 5),
        down=round(down, 5),
        texture=round(math.log2(typical + FAINT) / 2 - math.log2(light + 1), 4),
    )


def _detail(grey: Plane) -> _Detail:
    height, width = grey.shape
    half = _shrink(grey, (width // 2, height // 2))
    quarter = _shrink(half, (width // 4, height // 4))
    fine, coarse = np.asarray(cv2.Laplacian(grey, cv2.CV_32F), np.float32), _slopes(half)
    fine *= fine  # in place, as memory that is new costs more than the product
    cells = _shrink(coarse, (max(width // CELL_PX, 1), max(height // CELL_PX, 1)))
    return _Detail(_strongest(fine) - _strongest(coarse), cells, np.sqrt(_slopes(quarter)))


def _slopes(plane: Plane) -> Plane:
    """Give the squared slope of every pixel by Sobel's operator."""
    across, down = (cv2.Sobel(plane, cv2.CV_32F, *axis) for axis in ((1, 0), (0, 1)))
    return np.asarray(across * across + down * down, np.float32)


def _strongest(energy: Plane) -> Plane:
    """Give log2 of the amplitude by fourth powers, region by region; the energy is overwritten."""
    energy *= energy
    regions = _shrink(energy, (REGIONS, REGIONS))
    return np.asarray(np.log2(regions + FAINT) / 4, np.float32)


def _shrink(plane: Plane, size_wh: tuple[int, int]) -> Plane:
    return np.asarray(cv2.resize(plane, size_wh, interpolation=cv2.INTER_AREA), np.float32)


def _centre(structure: Plane, columns: int) -> tuple[float, float]:
    """Give the centre (across, down) of (tiles, h, w); 0.5 each where there is no structure.

    Tiles count as lying edge to edge: their overlap moves the centre of every part alike.
    """
    rows = len(structure) // columns
    height, width = structure.shape[1:]
    whole = structure.reshape(rows, columns, height, width).swapaxes(1, 2)
    whole = whole.reshape(rows * height, columns * width) + FAINT
    down, across = ((np.arange(side) + 0.5) / side for side in whole.shape)
    total = float(whole.sum())
    return float(whole.sum(axis=0) @ across) / total, float(whole.sum(axis=1) @ down) / total


def refer(measured: Sequence[ImageStatistics]) -> StatisticsReference:
    """Describe the calibrate normals, at least one."""
    columns = {name: np.array([getattr(one, name) for one in measured]) for name in STATISTICS}
    return StatisticsReference(
        normals=len(measured),
        **{
            name: Reference(mean=float(values.mean()), deviation=float(values.std()))
            for name, values in columns.items()
        },
    )

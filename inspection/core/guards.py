"""Says whether a frame can be judged at all: its size, light, focus, and whether it shows a part.

Limits are learnt from the calibrate normals at export and stand in the bundle's card. Whoever
judges decides what becomes of a complaint; a frozen camera shows between frames, not here.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import Field

from inspection.core.config import Settings
from inspection.core.imaging import Rgb, require_tiles
from inspection.core.limits import Figure, Finite, Some

Look = NDArray[np.float64]  # (4 channels × 8 bands,): red, green, blue, texture, each ascending

MARGIN = 3.0  # limits lie this many robust spreads outside the extremes of the normals
SIZE_MARGIN = 0.1  # share by which a side may leave the range of normals that differ in size
# Least spread of each measure, so that normals taken in one calm hour do not forbid a lamp to age:
LEVEL_OCTAVES = 0.05  # the light may always change by a tenth
SHARPNESS_OCTAVES = 0.1
FAINT = 0.001  # sharpness below this is none; its logarithm stays finite
CLIPPED_SHARE = 0.01  # a glossy defect may always clip 3 % of the pixels
COLOUR_SPREAD, TEXTURE_OCTAVES = 0.03, 0.25  # of the look; colours relative to the mean grey
UNLIKENESS = 1 / 3  # so that one spread of the look is never a missing part
CELLS, CELL_PX = 16, 8  # of each tile, down and across; side of a cell when shrunk
BANDS, OUTER = 8, 24  # of the sorted cells; as many cells per tile at either end, room for defects
FOLDS = 20  # into which normals are divided to see how unlike a new one is
LIGHT = ("level", "black_share", "white_share")  # of the limits
# With these words the complaint of the light begins and ends; they stand in years of events:
LIGHT_SAYS = ("mean grey level ", "black pixels ", "white pixels ")
MEND_LIGHT = "check the light and the exposure time"
BLACK, WHITE = 2, 253  # clipped grey levels, with room for the noise of JPEG


class Guard(StrEnum):
    """What can be wrong with a frame before it is judged."""

    SIZE = "size"
    EXPOSURE = "exposure"
    FOCUS = "focus"
    MISSING = "missing"


class Range(Settings):
    """Least and most, both allowed."""

    least: Figure
    most: Figure

    def __contains__(self, value: float) -> bool:
        """Say whether a number lies within."""
        return self.least <= value <= self.most

    @property
    def is_one(self) -> bool:
        """Whether one value only is allowed."""
        return self.least == self.most

    def __str__(self) -> str:
        """Say one number, or both."""
        if self.is_one:
            return f"{self.least:.5g}"
        return f"{self.least:.5g} to {self.most:.5g}"


class GuardLimits(Settings):
    """What a frame that can be judged looks like, learnt from the calibrate normals."""

    normals: Some = Field(description="calibrate normals the limits are learnt from")
    height_px: Range = Field(description="of the whole part; one value when all are alike")
    width_px: Range = Field(description="of the whole part, likewise")
    level: Range = Field(description="mean grey level, 0 to 255")
    black_share: Finite = Field(description="most, share of pixels at grey level 0 to 2")
    white_share: Finite = Field(description="most, share of pixels at grey level 253 to 255")
    sharpness: Finite = Field(
        description="least, root mean square of the Laplacian over the deviation of the grey levels"
    )
    look: tuple[Finite, ...] = Field(
        max_length=1_000,
        description="median over the normals: red, green, blue and texture of 16×16 cells per tile "
        "relative to the mean grey level, each sorted and averaged in 8 bands",
    )
    look_spread: tuple[Finite, ...] = Field(
        max_length=1_000, description="robust spread of each of them, above 0"
    )
    unlikeness: Figure = Field(description="most, root mean square of a look's distance in spreads")

    def __str__(self) -> str:
        """Say the limits in one line."""
        return (
            f"{self.height_px} × {self.width_px} px, grey level {self.level}, "
            f"focus from {self.sharpness:.3g}, unlike the {self.normals} normals by at most "
            f"{self.unlikeness:.3g}"
        )


@dataclass(frozen=True)
class GuardMeasure:
    """What the guards measure on the model inputs of one part; units as in `GuardLimits`."""

    level: float
    black_share: float
    white_share: float
    sharpness: float
    look: Look


def measure(tiles: Rgb) -> GuardMeasure:
    """Measure the model inputs of one part: uint8 (tiles, height, width, 3), as prepared.

    Raises:
        ImageError: they are anything else.
    """
    require_tiles(tiles)
    count, height, width, _ = tiles.shape
    column = tiles.reshape(count * height, width, 3)  # tiles one below the other
    grey = cv2.cvtColor(column, cv2.COLOR_RGB2GRAY)
    levels = cv2.calcHist([grey], [0], None, [256], [0, 256]).ravel() / grey.size
    mean, deviation = (float(value[0, 0]) for value in cv2.meanStdDev(grey))
    edges = cv2.Laplacian(grey, cv2.CV_16S).reshape(count, height, width)[:, 1:-1]
    edge_strength = cv2.norm(edges.reshape(-1, width), cv2.NORM_L2) / math.sqrt(edges.size)
    return GuardMeasure(
        level=mean,
        black_share=float(levels[: BLACK + 1].sum()),
        white_share=float(levels[WHITE:].sum()),
        sharpness=edge_strength / (deviation + 1),
        look=_look(column, count, mean),
    )


def _look(column: Rgb, count: int, mean: float) -> Look:
    """Give the distribution over cells; where in the frame a cell lies does not count.

    So parts that lie elsewhere, turned, or are textures, look alike, and a defect in a few cells
    moves little, while an empty frame has another distribution. Relative to the mean of all cells,
    which even a part of a few per cent of the frame moves: without it the score may see only
    normal background and PASS.
    """
    small = _shrink(column, (CELLS * CELL_PX, count * CELLS * CELL_PX))
    grey = cv2.cvtColor(small, cv2.COLOR_RGB2GRAY).astype(np.float32)
    cells_wh = CELLS, count * CELLS
    colours = _shrink(small, cells_wh).reshape(-1, 3) / (mean + 1)
    variance = _shrink(grey**2, cells_wh) - _shrink(grey, cells_wh) ** 2
    deviation = np.sqrt(np.maximum(variance, 0)).reshape(-1, 1)
    texture = np.log2((deviation + 1) / (mean + 1))
    channels = np.sort(np.hstack([colours, texture]), axis=0)  # (cells, 4)
    bands = channels[OUTER * count : -OUTER * count].reshape(BANDS, -1, 4).mean(axis=1)
    return np.asarray(bands.T.ravel(), np.float64)


def _shrink(plane: NDArray[Any], size_wh: tuple[int, int]) -> NDArray[Any]:
    return np.asarray(cv2.resize(plane, size_wh, interpolation=cv2.INTER_AREA))


def learn(
    measures: Sequence[GuardMeasure],
    sizes_hw: Sequence[tuple[int, int]],
    before: GuardLimits | None = None,
) -> GuardLimits:
    """Learn the limits from normals that represent what the line will show.

    Each limit is the extreme of the n normals, widened by three of their robust spreads
    (interquartile range / 1.349) or of a least spread. Of normals drawn like them at most
    1 / (n + 1) lie beyond an extreme on average, whatever the distribution; the widening makes it
    far fewer. Sizes are widened by a tenth only where the normals differ.

    Args:
        measures: one per normal, at least one.
        sizes_hw: height and width of each whole part, px.
        before: limits of which the light's alone are learnt anew; none learns all. A part that a
            smeared lens shows may well be good, and the focus would follow the smear.
    """
    looks = np.stack([one.look for one in measures])
    median, spread = _centre(looks)
    unlike = _unlikeness_of_each(looks)
    heights, widths = zip(*sizes_hw, strict=True)
    log_level = np.log2([one.level + 1 for one in measures])
    log_sharpness = np.log2([one.sharpness + FAINT for one in measures])
    lightness = _widened(log_level, LEVEL_OCTAVES)
    found = GuardLimits(
        normals=len(measures),
        height_px=_size_range(heights),
        width_px=_size_range(widths),
        level=Range(least=2**lightness.least - 1, most=min(2**lightness.most - 1, 255)),
        black_share=_widened([one.black_share for one in measures], CLIPPED_SHARE).most,
        white_share=_widened([one.white_share for one in measures], CLIPPED_SHARE).most,
        sharpness=2 ** _widened(log_sharpness, SHARPNESS_OCTAVES).least - FAINT,
        look=tuple(median.tolist()),
        look_spread=tuple(spread.tolist()),
        unlikeness=_widened(unlike, UNLIKENESS).most,
    )
    if before is None:
        return found
    light = {name: getattr(found, name) for name in ("normals", *LIGHT)}
    return before.model_copy(update=light)


def _widened(values: ArrayLike, least_spread: float) -> Range:
    found = np.asarray(values, np.float64)
    low, high = np.quantile(found, (0.25, 0.75))
    margin = MARGIN * max(float(high - low) / 1.349, least_spread)
    return Range(least=float(found.min()) - margin, most=float(found.max()) + margin)


def _size_range(sides_px: Sequence[int]) -> Range:
    least, most = min(sides_px), max(sides_px)
    if least == most:
        return Range(least=least, most=most)
    return Range(least=int(least * (1 - SIZE_MARGIN)), most=int(most * (1 + SIZE_MARGIN)))


def _centre(looks: Look) -> tuple[Look, Look]:
    """Give median and robust spread of each column of (n, look)."""
    median = np.median(looks, axis=0)
    floor = np.repeat([COLOUR_SPREAD] * 3 + [TEXTURE_OCTAVES], BANDS)
    spread = np.maximum(1.4826 * np.median(np.abs(looks - median), axis=0), floor)
    return np.asarray(median), np.asarray(spread)


def _unlikeness_of_each(looks: Look) -> list[float]:
    """Measure each normal against the others, as a new one would be."""
    fold = np.arange(len(looks)) % FOLDS
    unlike: list[float] = []
    for number in range(min(FOLDS, len(looks))):
        others = looks[fold != number] if len(looks) > 1 else looks
        centre = _centre(others)
        unlike += [_unlikeness(look, *centre) for look in looks[fold == number]]
    return unlike


def _unlikeness(look: Look, median: ArrayLike, spread: ArrayLike) -> float:
    return float(np.sqrt(np.mean(((look - np.asarray(median)) / np.asarray(spread)) ** 2)))


def complaints(tiles: Rgb, part_hw: tuple[int, int], limits: GuardLimits) -> dict[Guard, str]:
    """Say what keeps a frame from being judged; empty for a good frame.

    Args:
        tiles: the model inputs of the part, uint8 (tiles, height, width, 3).
        part_hw: height and width of the whole part, px.
        limits: those of the bundle that judges.

    Returns:
        Found, wanted and remedy for each guard that complains.

    Raises:
        ImageError: as for `measure`.
    """
    found = measure(tiles)
    said = {
        Guard.SIZE: _size_complaint(part_hw, limits),
        Guard.EXPOSURE: _exposure_complaint(found, limits),
        Guard.FOCUS: _focus_complaint(found, limits),
        Guard.MISSING: _missing_complaint(found, limits),
    }
    return {guard: complaint for guard, complaint in said.items() if complaint}


def _size_complaint(part_hw: tuple[int, int], limits: GuardLimits) -> str:
    height, width = part_hw
    if height in limits.height_px and width in limits.width_px:
        return ""
    return (
        f"frame is {height} × {width} px; wanted {limits.height_px} × {limits.width_px} as the "
        "good parts have; check the camera's region and the recipe's ROI"
    )


def _exposure_complaint(found: GuardMeasure, limits: GuardLimits) -> str:
    wrong = []
    if found.level not in limits.level:
        wrong.append(f"mean grey level {found.level:.1f}; wanted {limits.level}")
    if found.black_share > limits.black_share:
        wrong.append(
            f"black pixels {found.black_share:.1%}; wanted at most {limits.black_share:.1%}"
        )
    if found.white_share > limits.white_share:
        wrong.append(
            f"white pixels {found.white_share:.1%}; wanted at most {limits.white_share:.1%}"
        )
    if not wrong:
        return ""
    return f"{'; '.join(wrong)} as the good parts have; {MEND_LIGHT}"


def is_of_light(reason: str) -> bool:
    """Say whether a frame's reason is the complaint of its light, and nothing else."""
    return reason.startswith(LIGHT_SAYS) and reason.endswith(MEND_LIGHT)


def _focus_complaint(found: GuardMeasure, limits: GuardLimits) -> str:
    if found.sharpness >= limits.sharpness:
        return ""
    return (
        f"focus {found.sharpness:.3g}; wanted at least {limits.sharpness:.3g} as the good parts "
        "have; check the lens and the distance"
    )


def _missing_complaint(found: GuardMeasure, limits: GuardLimits) -> str:
    unlike = _unlikeness(found.look, limits.look, limits.look_spread)
    if unlike <= limits.unlikeness:
        return ""
    return (
        f"frame is unlike the good parts by {unlike:.3g}; wanted at most {limits.unlikeness:.3g}; "
        "see that the part lies before the camera and that the recipe is its own"
    )

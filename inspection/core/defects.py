"""Puts generated defects on normal parts, for settings and gates where no real defect exists yet.

Owns two kinds (Perlin regions as in DRAEM, pieces of the part itself as in CutPaste), graded from
obvious to faint. Every number measured on them must say "generated defects".
"""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum

import cv2
import numpy as np
from numpy.typing import NDArray

from inspection.core.errors import DatasetError
from inspection.core.imaging import Mask, Rgb, require_rgb8

Floats = NDArray[np.float32]

VISIBLE_LEVELS = 4  # each masked pixel differs by at least this in some channel, of 255
CONTRAST_LEVELS = (8.0, 128.0)  # mean change over the region, drawn log-uniformly
AREA_SHARE = (0.001, 0.08)  # of the part, drawn log-uniformly
AREA_LEAST_PX = 12
DRAWS = 8  # each retry is at least 1.5 times stronger and larger


class GeneratedDefect(StrEnum):
    """How a generated defect is made."""

    PERLIN = "perlin"
    CUT_PASTE = "cut_paste"


@dataclass(frozen=True)
class GeneratedPart:
    """A normal with one generated defect: uint8 H×W×3 RGB, its exact bool H×W mask, the kind."""

    pixels: Rgb
    mask: Mask
    kind: GeneratedDefect


def generate_defects(normals: Iterable[Rgb], seed: int) -> Iterator[GeneratedPart]:
    """Put one defect on each normal, the kinds in turn.

    Args:
        normals: uint8 H×W×3 RGB parts; unchanged.
        seed: at least 0.
    """
    for number, pixels in enumerate(normals):
        yield generate_defect(pixels, seed, number)


def generate_defect(pixels: Rgb, seed: int, number: int) -> GeneratedPart:
    """Put the defect of this number on a normal; its kind and form depend on (seed, number)."""
    kind = tuple(GeneratedDefect)[number % len(GeneratedDefect)]
    defective, mask = add_defect(pixels, np.random.default_rng([seed, number]), kind)
    return GeneratedPart(defective, mask, kind)


def add_defect(pixels: Rgb, rng: np.random.Generator, kind: GeneratedDefect) -> tuple[Rgb, Mask]:
    """Put one generated defect on a part; size and contrast are drawn log-uniformly.

    Args:
        pixels: uint8 H×W×3 RGB, sides from 8 px; unchanged. A grey part gets a grey defect.
        rng: decides everything; the same state gives the same defect.
        kind: how the defect is made.

    Returns:
        The defective part, uint8 H×W×3, and its bool H×W mask: every masked pixel differs by 4
        levels or more in some channel, every other pixel is the same; never empty.

    Raises:
        ImageError: not uint8 H×W×3 or smaller than 8 px.
        DatasetError: no draw stayed visible; unreached on any part known so far.
    """
    require_rgb8(pixels, "normal part")
    area = pixels.shape[0] * pixels.shape[1]
    for draw in range(DRAWS):
        wanted_px = max(AREA_LEAST_PX, _log_uniform(rng, AREA_SHARE) * area * 1.5**draw)
        contrast = _log_uniform(rng, CONTRAST_LEVELS) * 1.5**draw
        if kind is GeneratedDefect.PERLIN:
            region, source = _perlin_defect(pixels, rng, min(wanted_px, area / 2))
        else:
            region, source = _cut_paste_defect(pixels, rng, min(wanted_px, area / 2))
        defective = _blend(pixels, source, region, contrast, rng)
        steps = np.abs(defective.astype(np.int16) - pixels).max(axis=2)
        if np.count_nonzero(region) >= AREA_LEAST_PX and (steps[region] >= VISIBLE_LEVELS).all():
            return defective, region
    raise DatasetError(
        f"generated defect '{kind}': not visible after {DRAWS} draws on a part of "
        f"{pixels.shape[0]}×{pixels.shape[1]} px; wanted {AREA_LEAST_PX} px; use another part"
    )


def perlin_noise(
    size_hw: tuple[int, int], cells_hw: tuple[int, int], rng: np.random.Generator
) -> Floats:
    """Draw Perlin gradient noise.

    Args:
        size_hw: height and width of the result, px.
        cells_hw: lattice cells down and across; more cells are finer noise.
        rng: draws the gradients.

    Returns:
        float32 (height, width), about [-1, 1], mean about 0.
    """
    angles = rng.uniform(0, 2 * math.pi, (cells_hw[0] + 1, cells_hw[1] + 1))
    y, row = _lattice(size_hw[0], cells_hw[0])
    x, column = _lattice(size_hw[1], cells_hw[1])
    ease_y, ease_x = _ease(y)[:, None], _ease(x)[None, :]

    def corner(down: int, right: int) -> NDArray[np.float64]:
        angle = angles[np.ix_(row + down, column + right)]  # (height, width)
        return np.cos(angle) * (x - right)[None, :] + np.sin(angle) * (y - down)[:, None]

    upper = corner(0, 0) * (1 - ease_x) + corner(0, 1) * ease_x
    lower = corner(1, 0) * (1 - ease_x) + corner(1, 1) * ease_x
    return np.asarray(math.sqrt(2) * (upper * (1 - ease_y) + lower * ease_y), np.float32)


def _lattice(length: int, cells: int) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
    """Give for each pixel its place within its cell, [0, 1), and the index of the cell."""
    place = (np.arange(length) + 0.5) * cells / length
    cell = place.astype(np.intp)
    return place - cell, cell


def _ease(place: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(place**3 * (place * (place * 6 - 15) + 10))


def _log_uniform(rng: np.random.Generator, low_high: tuple[float, float]) -> float:
    return math.exp(rng.uniform(math.log(low_high[0]), math.log(low_high[1])))


def _perlin_defect(pixels: Rgb, rng: np.random.Generator, wanted_px: float) -> tuple[Mask, Floats]:
    region = _perlin_region((pixels.shape[0], pixels.shape[1]), rng, wanted_px)
    source = _own_texture(pixels, rng) if rng.random() < 0.5 else _structured_colour(pixels, rng)
    return region, source


def _perlin_region(size_hw: tuple[int, int], rng: np.random.Generator, wanted_px: float) -> Mask:
    """Threshold noise that falls off from a random place so that about `wanted_px` remain."""
    height, width = size_hw
    cells = int(2 ** rng.integers(2, 5))
    noise = perlin_noise(size_hw, (min(cells, height), min(cells, width)), rng)
    angle, stretch = rng.uniform(0, math.pi), _log_uniform(rng, (1.0, 4.0))
    y = np.arange(height)[:, None] - rng.uniform(0, height)
    x = np.arange(width)[None, :] - rng.uniform(0, width)
    along = (x * math.cos(angle) + y * math.sin(angle)) / stretch
    across = (y * math.cos(angle) - x * math.sin(angle)) * stretch
    distance = np.sqrt((along**2 + across**2) / wanted_px)  # 1 is about twice the radius
    height_field = noise - distance
    threshold = np.partition(height_field, -int(wanted_px), axis=None)[-int(wanted_px)]
    return _without_specks(np.asarray(height_field >= threshold))


def _without_specks(region: Mask) -> Mask:
    """Drop components below 4 px unless nothing else is left."""
    _, labels, stats, _ = cv2.connectedComponentsWithStats(region.astype(np.uint8))
    areas = stats[:, cv2.CC_STAT_AREA]
    kept = areas >= 4
    kept[0] = False
    cleaned = np.asarray(kept[labels], np.bool_)
    return cleaned if np.count_nonzero(cleaned) >= AREA_LEAST_PX else region


def _own_texture(pixels: Rgb, rng: np.random.Generator) -> Floats:
    """Shuffle the tiles of the part itself, flip, and bend its brightness."""
    height, width = pixels.shape[:2]
    count = int(rng.integers(2, 5))
    tiles = rng.permutation(count * count)
    rows, columns = -(-height // count), -(-width // count)
    wide = cv2.resize(pixels, (columns * count, rows * count), interpolation=cv2.INTER_AREA)
    blocks = wide.reshape(count, rows, count, columns, 3).swapaxes(1, 2)  # tile row, tile column
    shuffled = blocks.reshape(count * count, rows, columns, 3)[tiles]
    joined = shuffled.reshape(count, count, rows, columns, 3).swapaxes(1, 2)
    texture = joined.reshape(count * rows, count * columns, 3)[:height, :width]
    flips = tuple(axis for axis in (0, 1) if rng.random() < 0.5)
    bent = 255 * (np.flip(texture, flips) / np.float32(255)) ** _log_uniform(rng, (0.4, 2.5))
    return np.asarray(255 - bent if rng.random() < 0.25 else bent, np.float32)


def _structured_colour(pixels: Rgb, rng: np.random.Generator) -> Floats:
    """Mix two colours by noise or by stripes; grey for a grey part."""
    height, width = pixels.shape[:2]
    colours = rng.uniform(0, 255, (2, 3)).astype(np.float32)
    if _is_grey(pixels):
        colours[:] = colours[:, :1]
    if rng.random() < 0.6:
        cells = int(2 ** rng.integers(2, 6))
        pattern = perlin_noise((height, width), (min(cells, height), min(cells, width)), rng)
    else:
        angle, period_px = rng.uniform(0, math.pi), rng.uniform(3, 24)
        y, x = np.arange(height)[:, None], np.arange(width)[None, :]
        pattern = np.sin((x * math.cos(angle) + y * math.sin(angle)) * 2 * math.pi / period_px)
    share = np.asarray((np.clip(pattern, -1, 1) + 1) / 2, np.float32)[:, :, None]
    return np.asarray(colours[0] * share + colours[1] * (1 - share), np.float32)


def _is_grey(pixels: Rgb) -> bool:
    return bool((pixels[:, :, :1] == pixels[:, :, 1:]).all())


def _cut_paste_defect(
    pixels: Rgb, rng: np.random.Generator, wanted_px: float
) -> tuple[Mask, Floats]:
    """Turn a patch or a scar of the part, jitter its brightness, put it elsewhere."""
    height, width = pixels.shape[:2]
    elongation = _log_uniform(rng, (4.0, 25.0) if rng.random() < 0.5 else (1.0, 3.3))
    length_px = min(math.sqrt(wanted_px * elongation), 0.8 * math.hypot(height, width))
    breadth_px = max(1.5, wanted_px / length_px)
    centre = (rng.uniform(0.05, 0.95) * width, rng.uniform(0.05, 0.95) * height)
    box = cv2.boxPoints((centre, (length_px, breadth_px), rng.uniform(0, 180)))
    region = np.zeros((height, width), np.uint8)
    cv2.fillPoly(region, [np.rint(box).astype(np.int32)], 1)
    turn = cv2.getRotationMatrix2D(centre, rng.uniform(-45, 45), 1.0)
    turn[:, 2] += rng.uniform(-0.5, 0.5, 2) * (width, height)
    turned = cv2.warpAffine(
        pixels,
        turn,
        (width, height),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REFLECT_101,
    )
    jitter = rng.uniform(0.8, 1.2, 3) if not _is_grey(pixels) else rng.uniform(0.8, 1.2)
    return region.astype(np.bool_), np.asarray(turned * jitter, np.float32)


def _blend(
    pixels: Rgb, source: Floats, region: Mask, contrast: float, rng: np.random.Generator
) -> Rgb:
    """Move the region towards the source by `contrast` levels on average, softer at its border."""
    alpha = _soft_region(region, rng)
    change = alpha[:, :, None] * (source - pixels)
    side = 1.0 if pixels[region].mean() < 128 else -1.0
    mean_change = float(np.abs(change).max(axis=2)[region].mean())
    change *= min(1.0, contrast / max(mean_change, 1e-6))
    missing = max(0.0, contrast - mean_change) / float(alpha[region].mean())
    change += (alpha * side * missing)[:, :, None]
    changed = np.clip(np.rint(pixels + change), 0, 255).astype(np.int16)
    weak = region & (np.abs(changed - pixels).max(axis=2) < VISIBLE_LEVELS)
    changed[weak] = _stepped(pixels[weak], side)
    return np.where(region[:, :, None], changed, pixels).astype(np.uint8)


def _soft_region(region: Mask, rng: np.random.Generator) -> Floats:
    """Give the opacity of each pixel, float32 [0, 1]: 0 outside, rising from the border inward."""
    # a frame of zeros, so that the part's own edge counts as a border
    inside = cv2.distanceTransform(np.pad(region.astype(np.uint8), 1), cv2.DIST_L2, 3)[1:-1, 1:-1]
    feather_px = rng.uniform(1.0, 2.0 + 0.2 * math.sqrt(np.count_nonzero(region)))
    return np.asarray(np.minimum(1.0, inside / feather_px), np.float32)


def _stepped(values: NDArray[np.uint8], side: float) -> NDArray[np.int16]:
    """Move (n, 3) pixels by the least visible step, back where the range ends."""
    step = VISIBLE_LEVELS if side > 0 else -VISIBLE_LEVELS
    forward = values.astype(np.int16) + step
    fits = ((forward >= 0) & (forward <= 255)).any(axis=1, keepdims=True)
    backward = values.astype(np.int16) - step
    return np.clip(np.where(fits, forward, backward), 0, 255).astype(np.int16)

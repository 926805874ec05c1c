"""Marks on procedural pictures, with their masks: what a segmenter learns to outline.

Cracks and scratches, pores, stains without a hard edge, pieces broken out, foreign bodies: forms
that defects of real parts have, on pictures no camera took.
"""

import itertools
import math
from collections.abc import Callable
from typing import NamedTuple

import cv2
import numpy as np

from inspection.core.defects import perlin_noise
from inspection.core.imaging import Mask, Rgb
from inspection.pretraining.fractals import radial_outline
from inspection.pretraining.pictures import draw_picture
from inspection.pretraining.textures import Plane, draw_texture, log_uniform

LEAST_PX, MOST_SHARE = 12, 0.5  # of a mask: what can be outlined, and still is a mark on something
VISIBLE_LEVELS, VISIBLE_DEVIATIONS = 5.0, 0.4  # mean change, of 255 and of what is around
DRAWS = 20  # until a mark shows
FAINT = 0.2  # share of the marks that hardly show: their outlines follow from the prompt
WIDE = 0.5  # share of the masks drawn wider than the mark, as people do
WIDEST = 0.12  # of the root of its area; LEAST_WIDE_PX for thin ones
LEAST_WIDE_PX = 3.0
LOOSE = 0.3  # share of those that take in the bays of the mark
EDGE = 0.5  # cover from which on a pixel belongs to the mark
APART_PX = 9  # of two marks, at least half of it


class Marked(NamedTuple):
    """A picture with marks that do not touch each other."""

    pixels: Rgb
    masks: tuple[Mask, ...]
    """Of each mark, bool side×side."""


def draw_marked(side_px: int, rng: np.random.Generator, most: int = 1) -> Marked:
    """Draw a picture, uint8 side×side×3, with marks and their masks.

    Most marks show, and half of the masks are as wide as people would draw them: what defects of
    real parts are outlined like. So a prompt tells more than where to look.

    Args:
        side_px: of it.
        rng: decides everything.
        most: marks; there is one at least.
    """
    while True:
        pixels, masks = draw_picture(side_px, rng), []
        taken = np.zeros((side_px, side_px), np.bool_)
        for _ in range(int(rng.integers(1, most + 1))):
            if found := _marked(pixels, taken, rng):
                pixels, mask = found
                masks.append(mask)
                taken |= cv2.dilate(mask.astype(np.uint8), np.ones((APART_PX,) * 2)) > 0
        if masks:
            return Marked(pixels, tuple(masks))


def _marked(pixels: Rgb, taken: Mask, rng: np.random.Generator) -> tuple[Rgb, Mask] | None:
    """Draw marks until one shows where nothing is taken; none after so many draws."""
    for _ in range(DRAWS):
        cover = KINDS[rng.integers(len(KINDS))](len(pixels), rng)
        faint = rng.random() < FAINT
        mask = cover >= EDGE
        outlined = _widened(mask, rng) if rng.random() < WIDE else mask
        fits = np.count_nonzero(mask) >= LEAST_PX and outlined.mean() <= MOST_SHARE
        if fits and not (taken & (outlined | (cover > 0))).any():
            after = _mark(pixels, cover, rng, rng.uniform(0, 0.5) if faint else 1.0)
            if faint or _shows(pixels, after, mask):
                return after, outlined
    return None


def _widened(mask: Mask, rng: np.random.Generator) -> Mask:
    """Draw around a mark as people do: some px away, and some of them straight over its bays."""
    area = float(np.count_nonzero(mask))
    radius = rng.uniform(1.0, max(LEAST_WIDE_PX, WIDEST * math.sqrt(area)))
    side = 2 * round(radius) + 1
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side))
    wide = cv2.dilate(mask.astype(np.uint8), kernel)
    if rng.random() < LOOSE:
        wide = cv2.morphologyEx(wide, cv2.MORPH_CLOSE, cv2.resize(kernel, None, fx=3, fy=3))
    return np.asarray(wide > 0)


def _mark(pixels: Rgb, cover: Plane, rng: np.random.Generator, opaque: float) -> Rgb:
    levels = pixels.astype(np.float32)
    other = _other(levels, cover, rng)
    blended = levels + opaque * cover[..., None] * (other - levels)
    return np.asarray(np.clip(np.round(blended), 0, 255), np.uint8)


def _shows(before: Rgb, after: Rgb, mask: Mask) -> bool:
    change = np.abs(after.astype(np.float32) - before).max(axis=2)[mask].mean()
    reach = cv2.dilate(mask.astype(np.uint8), np.ones((9, 9), np.uint8)) > 0
    around = before[reach & ~mask].mean(axis=1).std() if (reach & ~mask).any() else 0
    return bool(change >= max(VISIBLE_LEVELS, VISIBLE_DEVIATIONS * around))


def _other(levels: Plane, cover: Plane, rng: np.random.Generator) -> Plane:
    """Give what a mark is made of: darker, brighter, another texture, or the part's own moved."""
    kind = rng.integers(4)
    if kind < 2:  # most defects are a shade of what they are on
        step = log_uniform(rng, (8.0, 120.0)) * (-1 if rng.random() < 0.65 else 1)
        tint = rng.normal(0, 0.15 * abs(step), 3)
        return np.asarray(levels * rng.uniform(0.4, 1.0) + step + tint, np.float32)
    if kind == 2:
        texture = draw_texture(len(levels), rng)[..., None] * log_uniform(rng, (2.0, 40.0))
        base = levels[cover >= EDGE].mean(axis=0) if (cover >= EDGE).any() else 128.0
        return np.asarray(base + rng.normal(0, 30) + rng.normal(0, 8, 3) + texture, np.float32)
    moved = np.roll(levels, tuple(rng.integers(16, len(levels) - 16, 2)), axis=(0, 1))
    return np.asarray(moved + rng.normal(0, 20), np.float32)


def crack(side_px: int, rng: np.random.Generator) -> Plane:
    """Draw a thin line that wanders and may fork."""
    plane = np.zeros((side_px, side_px), np.float32)
    lines = [(rng.uniform(0.15, 0.85, 2) * side_px, rng.uniform(0, 2 * math.pi))]
    bend, thick = rng.uniform(0, 0.5), log_uniform(rng, (1.0, 5.0))
    length_px = log_uniform(rng, (12.0, 0.8 * side_px))
    for number in range(1 + int(rng.random() < 0.3) + int(rng.random() < 0.2)):
        start, angle = lines[int(rng.integers(len(lines)))] if number else lines[0]
        turns = angle + np.cumsum(rng.normal(0, bend, 24))
        steps = np.stack((np.cos(turns), np.sin(turns)), axis=1) * length_px / 24
        points = start + np.cumsum(steps, axis=0)
        lines += [
            (point, turn + rng.normal(0, 0.8)) for point, turn in zip(points, turns, strict=True)
        ]
        for first, second in itertools.pairwise(points):
            ends = [tuple(np.round(one * 8).astype(int).tolist()) for one in (first, second)]
            width_px = max(1, round(thick * rng.uniform(0.6, 1.2)))
            cv2.line(plane, ends[0], ends[1], 1.0, width_px, cv2.LINE_AA, 3)
    return _softened(plane, log_uniform(rng, (0.3, 0.9)))


def blob(side_px: int, rng: np.random.Generator) -> Plane:
    """Draw a wavy spot: a pore, an inclusion, a foreign body."""
    return _softened(_filled(radial_outline(rng), side_px, rng), log_uniform(rng, (0.4, 2.0)))


def stain(side_px: int, rng: np.random.Generator) -> Plane:
    """Draw a patch whose edge is soft: uneven grinding, a smear, moisture."""
    plane = _filled(radial_outline(rng), side_px, rng)
    spread = math.sqrt(max(float(plane.sum()), 1.0)) * rng.uniform(0.05, 0.25)
    return _softened(plane, max(1.0, spread))


def break_out(side_px: int, rng: np.random.Generator) -> Plane:
    """Draw a piece with corners, often one that reaches the border."""
    angle = np.sort(rng.uniform(0, 2 * math.pi, int(rng.integers(3, 9))))
    radius = rng.uniform(0.5, 1.0, len(angle))
    outline = np.stack((np.cos(angle), np.sin(angle)), axis=1) * radius[:, None]
    return _softened(_filled(outline, side_px, rng, margin=-0.1), log_uniform(rng, (0.3, 1.2)))


def cloud(side_px: int, rng: np.random.Generator) -> Plane:
    """Draw ragged pieces near each other: fraying, rust, a spill."""
    within = _filled(radial_outline(rng), side_px, rng)
    cells = int(rng.integers(4, 20))
    noise = perlin_noise((side_px, side_px), (cells, cells), rng)
    return _softened(within * (noise > rng.uniform(-0.3, 0.1)), log_uniform(rng, (0.4, 1.5)))


KINDS: tuple[Callable[[int, np.random.Generator], Plane], ...] = (
    crack,
    crack,
    blob,
    blob,
    stain,
    break_out,
    cloud,
)


def _filled(
    outline: np.ndarray, side_px: int, rng: np.random.Generator, margin: float = 0.1
) -> Plane:
    """Fill an outline about 0 0, scaled and placed anew: 1 inside, 0 outside."""
    plane = np.zeros((side_px, side_px), np.float32)
    radius = log_uniform(rng, (2.5, 0.35 * side_px)) * np.array((1.0, log_uniform(rng, (0.3, 1.0))))
    place = rng.uniform(margin, 1 - margin, 2) * side_px
    points = np.round((place + outline * radius) * 8).astype(np.int32)
    cv2.fillPoly(plane, [points], 1.0, cv2.LINE_AA, 3)
    return plane


def _softened(plane: Plane, sigma_px: float) -> Plane:
    """Blur a cover; a thin line keeps its height, or it would be none."""
    soft = cv2.GaussianBlur(plane, (0, 0), sigma_px)
    most = float(soft.max())
    return np.asarray(soft / most if 0 < most < 1 else soft, np.float32)

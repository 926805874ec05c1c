"""Procedural pictures: textured leaves on a textured ground, lit, blurred and noisy.

Nothing but formulas: no photograph, no data set and no other network is behind them. Leaves fall
as in Lee, Mumford and Huang's model of natural scenes (IJCV 2001): sizes by a power law, each
hiding what lies below.
"""

import math

import cv2
import numpy as np
from numpy.typing import NDArray

from inspection.core.imaging import Rgb
from inspection.pretraining.fractals import contours, fractal, radial_outline
from inspection.pretraining.textures import Plane, draw_texture, log_uniform, standardised

Floats = NDArray[np.float32]
GREY = 0.4  # share of the pictures that hardly have a colour, as metal and paper do
LEAVES = 60  # at most
LEAST_RADIUS_PX = 3.0
FORMED = 0.35  # share of the grounds with a fractal or contours on them
EIGHTHS = 3  # cv2 takes eighths of a pixel by this shift


def draw_picture(side_px: int, rng: np.random.Generator) -> Rgb:
    """Draw a picture, uint8 side×side×3.

    Args:
        side_px: of it, 32 at least.
        rng: decides everything.
    """
    grey = rng.random() < GREY
    planes = [draw_texture(side_px, rng) for _ in range(2)]
    levels = _coloured(_formed(planes[0], rng), grey=grey, rng=rng)
    for _ in range(int(rng.integers(LEAVES)) if rng.random() < 0.8 else 0):
        _drop_leaf(levels, planes[rng.integers(2)], grey=grey, rng=rng)
    return _photographed(levels, rng)


def _formed(ground: Plane, rng: np.random.Generator) -> Plane:
    if rng.random() >= FORMED:
        return ground
    form = (fractal if rng.random() < 0.5 else contours)(len(ground), rng)
    return standardised(ground * rng.uniform(0, 1) + form)


def _coloured(plane: Floats, *, grey: bool, rng: np.random.Generator) -> Floats:
    """Give a plane a colour and a contrast: float32 ...×3, levels of 0 to 255, not yet clipped."""
    tint = 4.0 if grey else 50.0
    base = rng.uniform(30, 225) + rng.normal(0, tint, 3)
    step = log_uniform(rng, (1.5, 50.0)) * (1 + rng.normal(0, tint / 100, 3))
    return np.asarray(base + plane[..., None] * step, np.float32)


def _drop_leaf(levels: Floats, plane: Plane, *, grey: bool, rng: np.random.Generator) -> None:
    """Paint one leaf over what is there, its texture cut from a plane at another place."""
    side_px = len(levels)
    # radii fall with the cube: as many small ones as the large leave room for
    radius = min(LEAST_RADIUS_PX / math.sqrt(rng.uniform(0.0005, 1)), side_px / 3)
    x, y = rng.uniform(0, side_px, 2)
    reach = math.ceil(1.7 * radius) + 2
    left, top = max(0, int(x) - reach), max(0, int(y) - reach)
    right, bottom = min(side_px, int(x) + reach), min(side_px, int(y) + reach)
    if right - left < 2 or bottom - top < 2:
        return
    cover = np.zeros((bottom - top, right - left), np.float32)
    outline = (x - left, y - top) + radius * _outline(rng)
    cv2.fillPoly(cover, [np.round(outline * 2**EIGHTHS).astype(np.int32)], 1.0, cv2.LINE_8, EIGHTHS)
    cover = cv2.GaussianBlur(cover, (0, 0), log_uniform(rng, (0.4, 3.0)))[..., None]
    row, column = rng.integers(side_px - len(cover) + 1), rng.integers(side_px - cover.shape[1] + 1)
    own = plane[row : row + len(cover), column : column + cover.shape[1]]
    place = levels[top:bottom, left:right]
    opaque = 1.0 if rng.random() < 0.7 else rng.uniform(0.1, 0.9)
    place += opaque * cover * (_coloured(own, grey=grey, rng=rng) - place)


def _outline(rng: np.random.Generator) -> NDArray[np.float64]:
    """Give the outline of a leaf about 0 0: an ellipse, a polygon, a bar or a wavy contour."""
    kind = rng.integers(4)
    if kind == 0:
        return radial_outline(rng)
    corners = (64, int(rng.integers(3, 8)), 4)[kind - 1]
    angle = np.sort(rng.uniform(0, 2 * math.pi, corners)) if kind == 2 else _evenly(corners)
    points = np.stack((np.cos(angle), np.sin(angle) * log_uniform(rng, (0.05, 1.0))), axis=1)
    turn = rng.uniform(0, 2 * math.pi)
    cos, sin = math.cos(turn), math.sin(turn)
    return np.asarray(points @ np.array([[cos, sin], [-sin, cos]]))


def _evenly(corners: int) -> NDArray[np.float64]:
    return (np.arange(corners) + 0.5) * 2 * math.pi / corners


def _photographed(levels: Floats, rng: np.random.Generator) -> Rgb:
    """Light, blur and expose a scene, with the noise of a camera."""
    side_px = len(levels)
    y, x = np.mgrid[:side_px, :side_px] / side_px - 0.5
    angle, fall = rng.uniform(0, 2 * math.pi), rng.uniform(0, 0.5)
    light = 1 + fall * (x * math.cos(angle) + y * math.sin(angle))
    seen = levels * np.float32(rng.uniform(0.6, 1.3)) * light[..., None].astype(np.float32)
    if rng.random() < 0.5:
        seen = cv2.GaussianBlur(seen, (0, 0), log_uniform(rng, (0.3, 2.0)))
    seen += rng.normal(0, log_uniform(rng, (0.3, 6.0)), seen.shape)
    return np.asarray(np.clip(np.round(seen), 0, 255), np.uint8)

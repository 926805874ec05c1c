"""Fractals and radial contours: the formulas that networks learn to see from.

FractalDB (Kataoka et al., ACCV 2020) draws attractors of iterated functions; ExFractalDB and
VisualAtom (Takashima et al., CVPR 2023) showed that contours are what matters.
"""

import math

import cv2
import numpy as np
from numpy.typing import NDArray

from inspection.pretraining.textures import Plane, standardised

WALKERS, STEPS, SETTLING = 1_000, 40, 10  # points of an attractor: each walker's after it settled
WAVES = 2, 20  # around a contour
ORBITS = 3, 24  # contours within each other


def fractal(side_px: int, rng: np.random.Generator) -> Plane:
    """Draw the attractor of 2 to 7 affine maps, the logarithm of how often each pixel is met.

    The maps' singular values are those that fill a picture evenly: their sum, the smaller counted
    twice, between (5 + n) / 2 and (6 + n) / 2 for n maps (Anderson and Farrell, WACV 2022).
    """
    maps, shifts = _contractions(int(rng.integers(2, 8)), rng)
    shares = np.abs(np.linalg.det(maps)) + 0.01
    place = np.zeros((WALKERS, 2))
    met = []
    for step in range(STEPS):
        chosen = rng.choice(len(maps), WALKERS, p=shares / shares.sum())
        place = np.einsum("nij,nj->ni", maps[chosen], place) + shifts[chosen]
        if step >= SETTLING:
            met.append(place)
    points = np.concatenate(met)
    low, high = np.quantile(points, (0.005, 0.995), axis=0)
    grid = (points - low) / np.maximum(high - low, 1e-6) * (side_px - 1)
    inside = grid[((grid >= 0) & (grid < side_px)).all(axis=1)].astype(np.intp)
    counts = np.bincount(inside[:, 1] * side_px + inside[:, 0], minlength=side_px**2)
    plane = np.log1p(counts).reshape(side_px, side_px).astype(np.float32)
    return standardised(cv2.GaussianBlur(plane, (0, 0), rng.uniform(0.5, 1.5)))


def contours(side_px: int, rng: np.random.Generator) -> Plane:
    """Draw closed wavy lines within each other, as VisualAtom does."""
    plane = np.zeros((side_px, side_px), np.float32)
    outline = radial_outline(rng)
    centre = rng.uniform(0.3, 0.7, 2) * side_px
    radii = np.linspace(1.0, rng.uniform(0.1, 0.7), int(rng.integers(*ORBITS)))
    for radius in radii * side_px * rng.uniform(0.3, 0.7):
        jitter = 1 + rng.normal(0, 0.01, (len(outline), 1))
        points = centre + radius * outline * jitter
        line = np.round(points * 8).astype(np.int32)  # cv2 takes eighths of a pixel by its shift
        level, width_px = rng.uniform(0.4, 1.0), int(rng.integers(1, 4))
        cv2.polylines(plane, [line], isClosed=True, color=level, thickness=width_px, shift=3)
    return standardised(cv2.GaussianBlur(plane, (0, 0), rng.uniform(0.5, 1.2)))


def radial_outline(rng: np.random.Generator, points: int = 180) -> NDArray[np.float64]:
    """Give a closed outline, (points, 2) x y, that waves about the unit circle at two rates."""
    angle = np.linspace(0, 2 * math.pi, points, endpoint=False)
    rates, phases = rng.integers(*WAVES, 2), rng.uniform(0, 2 * math.pi, 2)
    waves = [
        depth * np.sin(rate * angle + phase)
        for depth, rate, phase in zip(rng.uniform(0, 0.25, 2), rates, phases, strict=True)
    ]
    radius = 1 + np.sum(waves, axis=0)
    squeeze = rng.uniform(0.4, 1.0)
    turn = rng.uniform(0, 2 * math.pi)
    x, y = radius * np.cos(angle), squeeze * radius * np.sin(angle)
    return np.stack(
        (x * math.cos(turn) - y * math.sin(turn), x * math.sin(turn) + y * math.cos(turn)), axis=1
    )


def _contractions(
    count: int, rng: np.random.Generator
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Draw affine maps, (n, 2, 2), and their shifts, (n, 2)."""
    wanted = rng.uniform(5 + count, 6 + count) / 2
    large = rng.uniform(0.3, 1.0, count)
    small = large * rng.uniform(0.1, 1.0, count)
    scale = wanted / (large + 2 * small).sum()
    large, small = np.minimum(large * scale, 0.95), np.minimum(small * scale, 0.95)
    first, second = (_turns(rng.uniform(0, 2 * math.pi, count)) for _ in range(2))
    stretch = np.zeros((count, 2, 2))
    stretch[:, 0, 0], stretch[:, 1, 1] = large, small * rng.choice((-1, 1), count)
    return first @ stretch @ second, rng.uniform(-1, 1, (count, 2))


def _turns(angles: NDArray[np.float64]) -> NDArray[np.float64]:
    cos, sin = np.cos(angles), np.sin(angles)
    return np.stack((cos, -sin, sin, cos), axis=-1).reshape(-1, 2, 2)

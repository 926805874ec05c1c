"""Procedural textures: surfaces that formulas with drawn parameters make.

Each is a plane, float32 side×side, of mean 0 and deviation 1.
"""

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from inspection.core.defects import perlin_noise

Plane = NDArray[np.float32]
WAVELENGTHS_PX = 3.0, 40.0  # of what repeats: from what a camera just resolves to large forms
SLOPES = 0.5, 2.5  # of the amplitude over the frequency; natural pictures have about 1
STRETCH = 1.0, 6.0  # of a grain along one direction
BOTH = 0.35  # share of the textures that are two of them on top of each other


def draw_texture(side_px: int, rng: np.random.Generator) -> Plane:
    """Draw a texture of any kind, or one on top of another."""
    plane = _one(side_px, rng)
    if rng.random() < BOTH:
        plane = standardised(plane + rng.uniform(0.2, 1.0) * _one(side_px, rng))
    return plane


def coloured_noise(side_px: int, rng: np.random.Generator) -> Plane:
    """Draw noise whose amplitude falls with a power of the frequency, along a direction slower."""
    y, x = np.meshgrid(np.fft.fftfreq(side_px), np.fft.rfftfreq(side_px), indexing="ij")
    angle, stretch = rng.uniform(0, math.pi), log_uniform(rng, STRETCH)
    along = x * math.cos(angle) + y * math.sin(angle)
    across = y * math.cos(angle) - x * math.sin(angle)
    frequency = np.hypot(along, across / stretch)
    frequency[0, 0] = 1.0  # the mean, which goes anyway
    spectrum = np.exp(2j * math.pi * rng.random(frequency.shape))
    spectrum *= frequency ** -rng.uniform(*SLOPES)
    return standardised(np.fft.irfft2(spectrum, s=(side_px, side_px)))


def stripes(side_px: int, rng: np.random.Generator) -> Plane:
    """Draw a grating, or two that cross as threads do: turned, warped, its edges soft or hard."""
    first = _grating(side_px, rng)
    if rng.random() < 0.5:
        return first
    second = _grating(side_px, rng)
    weave = np.maximum(first, second) if rng.random() < 0.5 else first * second
    return standardised(weave)


def cells(side_px: int, rng: np.random.Generator) -> Plane:
    """Draw cells around random or nearly regular points (Worley, SIGGRAPH 1996)."""
    pitch = log_uniform(rng, (5.0, WAVELENGTHS_PX[1]))
    places = np.arange(-pitch, side_px + 2 * pitch, pitch)
    grid = np.stack(np.meshgrid(places, places), axis=-1).reshape(-1, 2)
    points = grid + rng.normal(0, pitch * rng.uniform(0.02, 0.6), grid.shape)
    pixels = np.stack(np.meshgrid(np.arange(side_px), np.arange(side_px)), axis=-1).reshape(-1, 2)
    distances, nearest = cKDTree(points).query(pixels, k=2)
    kind = rng.integers(3)
    if kind == 0:  # pebbles
        plane = distances[:, 0]
    elif kind == 1:  # grains with seams between them
        plane = np.minimum(distances[:, 1] - distances[:, 0], rng.uniform(0.1, 0.5) * pitch)
    else:  # facets
        plane = rng.normal(size=len(points))[nearest[:, 0]]
    return standardised(plane.reshape(side_px, side_px))


def spots(side_px: int, rng: np.random.Generator) -> Plane:
    """Draw noise of one size, bent so that rare places stand out: pores, sparks, specks."""
    count = max(1, round(side_px / log_uniform(rng, WAVELENGTHS_PX)))
    cloud = standardised(perlin_noise((side_px, side_px), (count, count), rng))
    sign = 1 if rng.random() < 0.5 else -1
    return standardised(np.exp(sign * rng.uniform(0.5, 2.0) * cloud))


def standardised(plane: NDArray[np.floating]) -> Plane:
    """Shift and scale a plane to mean 0 and deviation 1; a flat one stays flat."""
    spread = float(plane.std())
    return np.asarray((plane - plane.mean()) / (spread if spread > 1e-6 else 1.0), np.float32)


def log_uniform(rng: np.random.Generator, low_high: tuple[float, float]) -> float:
    """Draw a number whose logarithm is uniform."""
    return float(np.exp(rng.uniform(*np.log(low_high))))


TEXTURES: tuple[Callable[[int, np.random.Generator], Plane], ...] = (
    coloured_noise,
    coloured_noise,  # twice: most surfaces have some
    stripes,
    cells,
    spots,
)


def _one(side_px: int, rng: np.random.Generator) -> Plane:
    return TEXTURES[rng.integers(len(TEXTURES))](side_px, rng)


def _grating(side_px: int, rng: np.random.Generator) -> Plane:
    wavelength, angle = log_uniform(rng, WAVELENGTHS_PX), rng.uniform(0, math.pi)
    y, x = np.mgrid[:side_px, :side_px]
    place = (x * math.cos(angle) + y * math.sin(angle)) / wavelength
    warp = perlin_noise((side_px, side_px), (4, 4), rng) * rng.uniform(0, 0.8)
    wave = np.sin(2 * math.pi * (place + warp) + rng.uniform(0, 2 * math.pi))
    return standardised(np.tanh(wave * log_uniform(rng, (0.5, 8.0))))

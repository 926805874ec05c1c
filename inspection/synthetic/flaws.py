"""The defects of generated parts: marks that can fall anywhere, and prints gone wrong.

What only a product can leave out (a hole, a thread, a component) its own module leaves out.
"""

import math
from enum import StrEnum

import numpy as np

from inspection.core.defects import perlin_noise
from inspection.synthetic.scene import (
    SIZE_HW,
    Plane,
    Point,
    Scene,
    Shape,
    blurred,
    everywhere,
    lettering,
    polygon,
    stroke,
)


class Flaw(StrEnum):
    """The defect types of a generated set, each a folder of test/."""

    SCRATCH = "scratch"
    DENT = "dent"
    STAIN = "stain"
    MISSING = "missing"
    FOREIGN = "foreign"
    MISPRINT = "misprint"


def mark(scene: Scene, flaw: Flaw, relief: float, rng: np.random.Generator) -> None:
    """Paint a scratch, dent, stain or foreign matter onto a part; other flaws leave it alone.

    Args:
        scene: the part; painted in place.
        flaw: what to paint.
        relief: brightness per unit of slope where the part is photographed.
        rng: decides place, size and strength.
    """
    if flaw is Flaw.SCRATCH:
        _scratch(scene, rng)
    elif flaw is Flaw.DENT:
        _dent(scene, relief, rng)
    elif flaw is Flaw.STAIN:
        _stain(scene, rng)
    elif flaw is Flaw.FOREIGN:
        _foreign(scene, rng)


def _place(scene: Scene, rng: np.random.Generator) -> Point:
    """Draw a point well on the part, uniformly."""
    inside = np.argwhere(blurred(scene.cover, 6, 6) > 0.97)
    y, x = inside[rng.integers(len(inside))]
    return float(x), float(y)


def _path(start: Point, length_px: float, bend: float, rng: np.random.Generator) -> Plane:
    """Walk smoothly from `start`, turning by `bend` rad per 4 px; float64 (n, 2) as (x, y)."""
    steps = max(4, int(length_px / 4))
    heading = rng.uniform(0, 2 * math.pi) + np.cumsum(np.cumsum(rng.normal(0, bend, steps)) / 3)
    ways = 4 * np.column_stack([np.cos(heading), np.sin(heading)])
    return np.asarray(start + np.cumsum(ways, axis=0))


def _noise(rng: np.random.Generator, cells_hw: tuple[int, int]) -> Plane:
    return perlin_noise(SIZE_HW, cells_hw, rng).astype(np.float64)


def _scratch(scene: Scene, rng: np.random.Generator) -> None:
    line = stroke(
        _path(_place(scene, rng), rng.uniform(25, 150), 0.02, rng), int(rng.integers(1, 3))
    )
    broken = np.clip(0.75 + 0.6 * _noise(rng, (20, 28))[line.window], 0.1, 1)
    line = line.of(line.alpha * broken * rng.uniform(0.25, 0.9))
    tone = 0.9 if rng.random() < 0.7 else 0.12
    scene.paint(line, (tone, tone, tone), opacity=0.65)
    scene.lift(line, -0.8)
    scene.lift(line.moved((1.2, 1.2)), 0.5)  # the burr thrown up along the groove


def _dent(scene: Scene, relief: float, rng: np.random.Generator) -> None:
    x, y = everywhere(scene.cover).away(_place(scene, rng))
    angle, radius_px = rng.uniform(0, math.pi), rng.uniform(6, 18)
    along = (x * math.cos(angle) + y * math.sin(angle)) / rng.uniform(1.0, 1.8)
    across = y * math.cos(angle) - x * math.sin(angle)
    bowl = everywhere(np.exp(-(((along**2 + across**2) / radius_px**2) ** 1.5)))
    scene.lift(bowl, -radius_px * rng.uniform(0.12, 0.28) / relief)
    scene.shade(bowl, -rng.uniform(0.05, 0.2))


def _stain(scene: Scene, rng: np.random.Generator) -> None:
    x, y = everywhere(scene.cover).away(_place(scene, rng))
    radius_px = rng.uniform(8, 38)
    ragged = 1 + 0.7 * _noise(rng, (10, 14)) + 0.25 * _noise(rng, (32, 45))
    reach = np.hypot(x, y) / radius_px / np.maximum(ragged, 0.2)
    film = np.clip((1 - reach) * rng.uniform(3, 9), 0, 1)
    rim = np.exp(-(((reach - 0.93) / 0.08) ** 2))  # drying leaves more at the border
    density = everywhere(np.clip(0.8 * film + 0.3 * rim * (film > 0), 0, 1))
    tints = ((0.36, 0.26, 0.14), (0.10, 0.10, 0.12), (0.55, 0.32, 0.16), (0.75, 0.78, 0.74))
    scene.paint(density, tints[rng.integers(len(tints))], opacity=rng.uniform(0.2, 0.75))
    scene.gloss[:] *= 1 - 0.6 * density.alpha


def _foreign(scene: Scene, rng: np.random.Generator) -> None:
    """Drop a hair or a chip onto the part, with its shadow."""
    start = _place(scene, rng)
    if rng.random() < 0.5:
        matter = stroke(_path(start, rng.uniform(30, 110), 0.16, rng), int(rng.integers(1, 3)))
        colours = ((0.07, 0.06, 0.06), (0.62, 0.10, 0.10), (0.12, 0.2, 0.55), (0.85, 0.83, 0.78))
        lift_px = 1.0
    else:
        count, radius_px = int(rng.integers(5, 10)), rng.uniform(3.5, 11)
        turn = np.sort(rng.uniform(0, 2 * math.pi, count))
        spokes = np.column_stack([np.cos(turn), np.sin(turn)])
        matter = polygon(start + spokes * radius_px * rng.uniform(0.55, 1.2, (count, 1)))
        colours = ((0.80, 0.80, 0.82), (0.35, 0.22, 0.12), (0.72, 0.57, 0.2), (0.16, 0.16, 0.17))
        lift_px = 2.5
    shadow = matter.moved((2, 2.5)).soft(1.2)
    scene.shade(shadow.of(shadow.alpha * (1 - matter.alpha)), -0.5)
    scene.paint(matter, colours[rng.integers(len(colours))], gloss=0.25)
    scene.lift(matter.soft(1), lift_px)


def printed(
    text: str, origin: Point, scale: float, gone_wrong: np.random.Generator | None
) -> Shape:
    """Print text, or print it wrong in the way that the generator decides."""
    if gone_wrong is None:
        return lettering(text, origin, scale)
    faults = (_doubled, _wrong_letter, _smeared, _run_dry, _slipped)
    return faults[gone_wrong.integers(len(faults))](text, origin, scale, gone_wrong)


def _side(rng: np.random.Generator) -> float:
    return float(rng.choice([-1.0, 1.0]))


def _doubled(text: str, origin: Point, scale: float, rng: np.random.Generator) -> Shape:
    first = lettering(text, origin, scale)
    again = first.moved((_side(rng) * rng.uniform(3, 6), rng.uniform(-3, 3)))
    return first.of(np.maximum(first.alpha, rng.uniform(0.6, 1) * again.alpha))


def _wrong_letter(text: str, origin: Point, scale: float, rng: np.random.Generator) -> Shape:
    index = int(rng.choice([i for i, letter in enumerate(text) if letter.isalnum()]))
    others = [letter for letter in "AEHKMRSX2358" if letter != text[index]]
    return lettering(f"{text[:index]}{rng.choice(others)}{text[index + 1 :]}", origin, scale)


def _smeared(text: str, origin: Point, scale: float, rng: np.random.Generator) -> Shape:
    print_ = lettering(text, origin, scale)
    smear = print_.moved((5, 0)).soft(rng.uniform(4, 8), 0.7)
    return print_.of(np.clip(0.55 * print_.alpha + 1.5 * smear.alpha, 0, 1))


def _run_dry(text: str, origin: Point, scale: float, rng: np.random.Generator) -> Shape:
    print_ = lettering(text, origin, scale)
    width_px = 18 * scale * len(text)
    x, _ = print_.away((origin[0] + rng.uniform(0.1, 0.8) * width_px, origin[1]))
    dry = np.clip(2.5 * (1 - np.abs(x) / (0.2 * width_px)), 0, 1)
    return print_.of(print_.alpha * (1 - dry))


def _slipped(text: str, origin: Point, scale: float, rng: np.random.Generator) -> Shape:
    shift = (rng.uniform(-7, 7), _side(rng) * rng.uniform(4, 8))
    return lettering(text, origin, scale).moved(shift, _side(rng) * rng.uniform(2, 6), origin)

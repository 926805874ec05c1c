"""A generated product: a brushed steel plate with drilled holes, screws, a boss and markings."""

import math

import numpy as np

from inspection.synthetic.flaws import Flaw, printed
from inspection.synthetic.scene import (
    SIZE_HW,
    Point,
    Scene,
    Seeds,
    Station,
    box,
    disc,
    empty_scene,
    everywhere,
    lettering,
    rounded_box,
    smooth_noise,
    stroke,
)

STATION = Station(background=(0.10, 0.105, 0.115), shift_px=5, turn_deg=2.0, relief=0.55)

CENTRE: Point = (224, 160)
HOLES: tuple[Point, ...] = ((62, 58), (386, 58), (62, 262), (386, 262), (224, 50), (224, 270))
SCREWS: tuple[Point, ...] = ((120, 160), (328, 160))


def build_plate(seeds: Seeds, flaw: Flaw | None) -> Scene:
    """Build the scene of one plate, without one feature or with a wrong print when asked."""
    scene = empty_scene((0.60, 0.61, 0.62), gloss=0.55)
    body = rounded_box(CENTRE, (388, 264), 16)
    scene.cover[:] = 0
    scene.cover[body.window] = body.alpha
    scene.lift(body.soft(2.2), 3.0)  # chamfer
    _brush(scene, seeds.of("brush"))
    gone = int(seeds.of("missing").integers(9)) if flaw is Flaw.MISSING else -1
    if gone != 8:
        _boss(scene, seeds.of("boss"))
    for index, hole in enumerate(HOLES):
        if index != gone:
            _drill(scene, hole, 10)
    for index, screw in enumerate(SCREWS):
        _spot_face(scene, screw)
        if index + len(HOLES) != gone:
            _screw(scene, screw, seeds.of(f"screw {index}"))
    _mark(scene, seeds, flaw)
    return scene


def _brush(scene: Scene, rng: np.random.Generator) -> None:
    """Grain of the brushing: noise drawn out along the plate, at three widths."""
    rows = SIZE_HW[0]
    grain = 0.030 * smooth_noise(rng, (rows, 6)) + 0.028 * smooth_noise(rng, (rows, 16))
    grain += 0.040 * smooth_noise(rng, (rows // 4, 4)) + 0.015 * smooth_noise(rng, (7, 8))
    scene.shade(everywhere(grain), 1.0)


def _boss(scene: Scene, rng: np.random.Generator) -> None:
    """A turned disc in the middle with concentric tool marks and a bore."""
    top = disc(CENTRE, 44)
    x, y = top.away(CENTRE)
    radius_px = np.hypot(x, y)
    rings = np.sin(radius_px * 2.1 + rng.uniform(0, 2 * math.pi)) + 0.6 * np.sin(radius_px * 0.83)
    fan = np.abs(np.cos(np.arctan2(y, x) + rng.uniform(-0.3, 0.3))) ** 6  # light on turned rings
    scene.paint(top, (0.57, 0.58, 0.60), gloss=0.6)
    scene.shade(top.of(top.alpha * (0.035 * rings + 0.22 * fan - 0.05)), 1.0)
    scene.lift(top.soft(1.3), 2.6)
    _drill(scene, CENTRE, 17)


def _drill(scene: Scene, centre: Point, radius_px: float) -> None:
    """A countersunk through hole."""
    sink, bore = disc(centre, radius_px + 4), disc(centre, radius_px)
    scene.lift(sink.soft(1.6), -2.4)
    scene.shade(sink, -0.12)
    scene.paint(bore, (0.23, 0.23, 0.24), gloss=0.1)
    scene.paint(
        disc((centre[0] + 1, centre[1] + 1), radius_px - 1.5), (0.045, 0.045, 0.05), gloss=0
    )


def _spot_face(scene: Scene, centre: Point) -> None:
    """The recess and the thread that a screw covers."""
    recess = disc(centre, 25)
    scene.lift(recess.soft(1.2), -1.8)
    scene.shade(recess, -0.1)
    scene.paint(disc(centre, 9), (0.05, 0.05, 0.055), gloss=0)


def _screw(scene: Scene, centre: Point, rng: np.random.Generator) -> None:
    """A zinc-plated cross-head screw, turned as far as it happened to go."""
    centre = (centre[0] + rng.uniform(-0.6, 0.6), centre[1] + rng.uniform(-0.6, 0.6))
    head = disc(centre, 19)
    scene.paint(head, (0.66, 0.64, 0.56), gloss=0.7)
    scene.lift(head.soft(3.2), 4.5)
    turn = rng.uniform(0, 90)
    for slot in (box(centre, (22, 5), turn), box(centre, (22, 5), turn + 90)):
        scene.paint(slot, (0.12, 0.12, 0.11), gloss=0.1)
        scene.lift(slot.soft(0.9), -1.2)
    scene.paint(disc(centre, 19, 1), (0.3, 0.3, 0.28), opacity=0.5)


def _mark(scene: Scene, seeds: Seeds, flaw: Flaw | None) -> None:
    """Embossed part number, a scribed frame, a laser-marked lot."""
    scene.lift(lettering("IP-4472", (82, 108), 0.8, 2).soft(0.9), 1.7)
    frame = [(262, 196), (372, 196), (372, 234), (262, 234), (262, 196)]
    scene.paint(stroke(frame, 1), (0.25, 0.25, 0.26), opacity=0.55)
    wrong = seeds.of("misprint") if flaw is Flaw.MISPRINT else None
    lot = printed("LOT 2407A", (268, 221), 0.55, wrong)
    scene.paint(lot, (0.13, 0.12, 0.12), opacity=0.85, gloss=0.1)

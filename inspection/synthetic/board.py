"""A generated product: a populated circuit board with traces, pads, components and silkscreen."""

from numpy.random import Generator

from inspection.synthetic.flaws import Flaw, printed
from inspection.synthetic.scene import (
    Colour,
    Point,
    Scene,
    Seeds,
    Shape,
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

STATION = Station(background=(0.42, 0.42, 0.43), shift_px=4, turn_deg=1.2, relief=0.42)

GOLD: Colour = (0.72, 0.56, 0.22)
TIN: Colour = (0.64, 0.65, 0.66)
INK: Colour = (0.88, 0.89, 0.86)
TRACES: tuple[tuple[Point, ...], ...] = (
    ((92, 92), (92, 128), (150, 128)), ((104, 92), (104, 120), (150, 120)),
    ((116, 92), (116, 112), (150, 112)), ((258, 104), (300, 104), (322, 82), (368, 82)),
    ((258, 114), (306, 114), (326, 94), (368, 94)),
    ((258, 124), (312, 124), (330, 106), (368, 106)),
    ((258, 134), (318, 134), (336, 152), (336, 214)),
    ((258, 144), (310, 144), (326, 160), (326, 214)),
    ((150, 136), (110, 136), (82, 164), (82, 226)), ((150, 146), (116, 146), (94, 168), (94, 226)),
    ((150, 156), (122, 156), (106, 172), (106, 226)), ((182, 172), (182, 214), (160, 236)),
    ((196, 172), (196, 220), (180, 236)), ((210, 172), (210, 236)),
    ((224, 172), (224, 220), (240, 236)),
    ((60, 256), (160, 256), (180, 276), (300, 276)), ((300, 50), (250, 50), (232, 68), (232, 84)),
)  # fmt: skip
VIAS: tuple[Point, ...] = (
    (92, 92), (104, 92), (116, 92), (336, 214), (326, 214), (60, 256), (300, 276), (160, 236),
    (300, 50), (82, 226), (94, 226), (106, 226), (380, 176), (396, 176), (380, 190), (396, 190),
)  # fmt: skip
CHIPS: tuple[tuple[Point, float, str], ...] = (  # centre, turn in degrees, kind
    ((160, 58), 0, "resistor"), ((196, 58), 0, "capacitor"), ((160, 82), 0, "resistor"),
    ((300, 176), 90, "capacitor"), ((280, 176), 90, "resistor"), ((260, 196), 90, "capacitor"),
    ((60, 128), 90, "resistor"), ((60, 176), 90, "resistor"), ((288, 248), 0, "capacitor"),
    ((324, 248), 0, "resistor"), ((356, 236), 90, "capacitor"), ((356, 262), 0, "resistor"),
)  # fmt: skip
DESIGNATORS: tuple[tuple[str, Point], ...] = (
    ("R1", (128, 62)), ("C4", (214, 62)), ("U1", (124, 102)), ("J2", (346, 60)),
)  # fmt: skip
MOUNTS: tuple[Point, ...] = ((54, 52), (394, 52), (54, 284), (394, 284))


def build_board(seeds: Seeds, flaw: Flaw | None) -> Scene:
    """Build the scene of one board, without one component or with a wrong print when asked."""
    scene = empty_scene((0.045, 0.26, 0.135), gloss=0.35)
    body = rounded_box((224, 168), (392, 276), 8)
    scene.cover[:] = 0
    scene.cover[body.window] = body.alpha
    scene.lift(body.soft(1.2), 1.5)
    scene.shade(everywhere(smooth_noise(seeds.of("resist"), (160, 224))), 0.03)
    gone = int(seeds.of("missing").integers(len(CHIPS) + 2)) if flaw is Flaw.MISSING else -1
    wrong = seeds.of("misprint") if flaw is Flaw.MISPRINT else None
    on_controller = wrong is not None and wrong.random() < 0.4
    _copper(scene)
    _silkscreen(scene, None if on_controller else wrong)
    for index, chip in enumerate(CHIPS):
        _chip(scene, chip, seeds.of(f"chip {index}"), present=index != gone)
    _footprint(scene, seeds.of("legs"), soldered=gone != len(CHIPS))
    if gone != len(CHIPS):
        _controller(scene, seeds.of("controller"), wrong if on_controller else None)
    _connector(scene, seeds.of("connector"), lost_pin=gone == len(CHIPS) + 1)
    return scene


def _copper(scene: Scene) -> None:
    """Traces under the resist, vias, and mounting holes with their rings."""
    for trace in TRACES:
        line = stroke(trace, 3)
        scene.paint(line, (0.10, 0.40, 0.20), opacity=0.85)
        scene.lift(line.soft(0.7), 0.5)
    for via in VIAS:
        scene.paint(disc(via, 4.5), GOLD, gloss=0.7)
        scene.paint(disc(via, 2.0), (0.05, 0.05, 0.04), gloss=0)
    for mount in MOUNTS:
        scene.paint(disc(mount, 13), GOLD, gloss=0.8)
        scene.lift(disc(mount, 8).soft(0.8), -1.2)
        scene.paint(disc(mount, 8), (0.30, 0.30, 0.30), gloss=0)


def _silkscreen(scene: Scene, wrong: Generator | None) -> None:
    outline = [(146, 92), (262, 92), (262, 172), (146, 172), (146, 92)]
    ink = [stroke(outline, 1), printed("CTRL-08 REV C", (106, 268), 0.5, wrong)]
    ink += [lettering(text, origin, 0.36) for text, origin in DESIGNATORS]
    for line in ink:
        scene.paint(line, INK, opacity=0.92, gloss=0.05)


def _solder(scene: Scene, pad: Shape, rng: Generator) -> None:
    """A joint: tin that bulges over its pad, each a little differently."""
    scene.paint(pad, TIN, gloss=0.9)
    scene.lift(pad.soft(1.5), rng.uniform(1.6, 2.3))


def _chip(scene: Scene, chip: tuple[Point, float, str], rng: Generator, *, present: bool) -> None:
    """A two-pole component soldered to its pads, or the bare pads."""
    (x, y), turn, kind = chip
    for side in (-9, 9):
        pad = box((x, y + side) if turn else (x + side, y), (9, 13), turn)
        scene.paint(pad, GOLD, gloss=0.5)
        if present:
            _solder(scene, pad, rng)
    if not present:
        return
    centre = (x + rng.uniform(-0.8, 0.8), y + rng.uniform(-0.8, 0.8))
    slant, tone = turn + rng.uniform(-2, 2), rng.uniform(0.94, 1.06)
    body = box(centre, (21, 11), slant)
    _cast_shadow(scene, body)
    scene.paint(body, TIN, gloss=0.8)
    dark, light = (0.055 * tone, 0.055 * tone, 0.06), (0.56 * tone, 0.43 * tone, 0.29)
    scene.paint(box(centre, (13, 11), slant), dark if kind == "resistor" else light, gloss=0.15)
    scene.lift(body.soft(1.0), 2.4)
    if kind == "resistor" and not turn:
        scene.paint(lettering("103", (centre[0] - 6, centre[1] + 3), 0.22), INK, opacity=0.7)


def _cast_shadow(scene: Scene, body: Shape) -> None:
    shadow = body.moved((2, 2)).soft(1.5)
    scene.shade(shadow.of(shadow.alpha * (1 - body.alpha)), -0.45)


def _footprint(scene: Scene, rng: Generator, *, soldered: bool) -> None:
    """The controller's pads, with its legs soldered on."""
    for x in (154.0, 254.0):
        for index in range(7):
            pad = box((x, 104.0 + 8 * index), (14, 5))
            scene.paint(pad, GOLD, gloss=0.5)
            if soldered:
                _solder(scene, pad, rng)


def _controller(scene: Scene, rng: Generator, wrong: Generator | None) -> None:
    """The integrated circuit with its dot and its print."""
    x, y = 204 + rng.uniform(-0.8, 0.8), 128 + rng.uniform(-0.8, 0.8)
    body = box((x, y), (88, 62), rng.uniform(-0.6, 0.6))
    _cast_shadow(scene, body)
    scene.paint(body, (0.075, 0.075, 0.08), gloss=0.12)
    scene.lift(body.soft(1.2), 3.0)
    dot = disc((x - 35, y - 22), 3.5)
    scene.paint(dot, (0.04, 0.04, 0.045))
    scene.lift(dot.soft(0.8), -1.0)
    scene.paint(printed("AX7 2031", (x - 36, y + 1), 0.42, wrong), INK, opacity=0.65)
    scene.paint(lettering("K24 0619", (x - 36, y + 18), 0.36), INK, opacity=0.65)


def _connector(scene: Scene, rng: Generator, *, lost_pin: bool) -> None:
    """A white pin header at the right edge."""
    body = box((386, 116), (30, 92))
    _cast_shadow(scene, body)
    scene.paint(body, (0.74, 0.73, 0.68), gloss=0.15)
    scene.lift(body.soft(1.4), 3.5)
    lost = int(rng.integers(6)) if lost_pin else -1
    for index in range(6):
        y = 80 + 14.4 * index
        scene.paint(box((386, y), (13, 8)), (0.13, 0.13, 0.12), gloss=0)
        pin = box((386 + rng.uniform(-0.5, 0.5), y), (8, 4))
        if index != lost:
            _solder(scene, pin, rng)

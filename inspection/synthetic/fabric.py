"""A generated product: a twill weave with a coloured stripe and a printed mark in each repeat."""

import numpy as np
from numpy.typing import NDArray

from inspection.synthetic.flaws import Flaw, printed
from inspection.synthetic.scene import (
    SIZE_HW,
    Plane,
    Point,
    Scene,
    Seeds,
    Station,
    blurred,
    disc,
    empty_scene,
    smooth_noise,
)

STATION = Station(background=(0.2, 0.2, 0.2), shift_px=4, turn_deg=1.5, relief=0.30)

PITCH_PX = 7.0  # from thread to thread
STRIPE_EVERY, STRIPE_THREADS = 22, 3  # warp threads
THREADS = 128  # more than fit the picture
MARKS: tuple[Point, ...] = tuple(
    (x + 52.0 * odd, y)
    for y, odd in ((52, 0), (124, 1), (196, 0), (268, 1))
    for x in (52, 156, 260, 364)
)


def build_fabric(seeds: Seeds, flaw: Flaw | None) -> Scene:
    """Build the scene of one piece, with a lost thread or a wrong print when asked."""
    scene = empty_scene((0.3, 0.34, 0.42), gloss=0.0)
    places = _thread_places(seeds.of("tension"))
    warp, weft = (np.floor(place).astype(np.intp) for place in places)
    over = (warp + weft) % 4 < 2  # 2/2 twill: True where the warp lies on top
    if flaw is Flaw.MISSING:
        _lay(scene, seeds, *_lose_thread(over, places, seeds.of("missing")), places)
    else:
        _lay(scene, seeds, over, np.zeros(SIZE_HW), places)
    hit = int(seeds.of("misprint").integers(len(MARKS))) if flaw is Flaw.MISPRINT else -1
    for index, centre in enumerate(MARKS):
        _print_mark(scene, centre, seeds.of("ink") if index == hit else None)
    return scene


def _thread_places(rng: np.random.Generator) -> tuple[Plane, Plane]:
    """Give each pixel's place counted in warp and in weft threads, bent by uneven tension."""
    rows, columns = np.indices(SIZE_HW)
    bent_x = columns + 1.3 * smooth_noise(rng, (7, 8)) + rng.uniform(0, 4 * PITCH_PX)
    bent_y = rows + 1.3 * smooth_noise(rng, (7, 8)) + rng.uniform(0, 4 * PITCH_PX)
    return (bent_x + 40) / PITCH_PX, (bent_y + 40) / PITCH_PX


def _bulge(place: Plane) -> Plane:
    """Height across a thread, 1 in its middle and 0 at its sides."""
    return np.asarray(np.sqrt(np.clip(1 - (2 * (place % 1) - 1) ** 2, 0, 1)))


def _lay(
    scene: Scene,
    seeds: Seeds,
    over: NDArray[np.bool_],
    gap: Plane,
    places: tuple[Plane, Plane],
) -> None:
    """Colour and raise whichever thread is on top, each thread a little different."""
    warp, weft = (np.floor(place).astype(np.intp) for place in places)
    rng = seeds.of("yarn")
    shades = 1 + 0.06 * rng.standard_normal((2, THREADS))
    fibre_warp = shades[0][warp] * (1 + 0.25 * smooth_noise(rng, (90, 448)))
    fibre_weft = shades[1][weft] * (1 + 0.25 * smooth_noise(rng, (320, 120)))
    stripe = (warp % STRIPE_EVERY < STRIPE_THREADS)[:, :, None]
    warp_colour = np.where(stripe, (0.74, 0.70, 0.60), (0.22, 0.30, 0.44))
    weft_colour = np.array((0.45, 0.50, 0.57))
    colour = np.where(
        over[:, :, None],
        warp_colour * fibre_warp[:, :, None],
        weft_colour * fibre_weft[:, :, None],
    )
    crown = np.where(over, _bulge(places[0]), _bulge(places[1]))
    lying = (0.45 + 0.6 * crown) * (1 - gap * (0.75 - 0.5 * crown))
    scene.albedo[:] = np.clip(colour * lying[:, :, None], 0, 1)
    scene.height[:] = blurred(1.6 * crown * (1 - 0.5 * gap), 0.6, 0.6)


def _lose_thread(
    over: NDArray[np.bool_], places: tuple[Plane, Plane], rng: np.random.Generator
) -> tuple[NDArray[np.bool_], Plane]:
    """Take out one or two threads over a length; the crossing ones float over the dark gap.

    Returns:
        Which thread now lies on top, bool H×W, and the gap, float64 H×W, [0, 1].
    """
    upright = rng.random() < 0.5
    across, along = places if upright else places[::-1]
    first = np.floor(across[160, 224]) + rng.integers(-12, 12)
    gap = (across >= first) & (across < first + rng.integers(1, 3))
    gap &= np.abs(along - along[160, 224] - rng.uniform(-10, 10)) < rng.uniform(3, 16)
    return over & ~gap if upright else over | gap, gap.astype(np.float64)


def _print_mark(scene: Scene, centre: Point, gone_wrong: np.random.Generator | None) -> None:
    """Print one ring with its letters; the ink takes to the crowns of the threads."""
    around = centre
    if gone_wrong is not None and gone_wrong.random() < 0.4:
        slip = gone_wrong.uniform(4, 8), gone_wrong.uniform(-5, 5)
        around = (centre[0] + slip[0], centre[1] + slip[1])
    letters = printed("TX7", (centre[0] - 15, centre[1] + 5), 0.42, gone_wrong)
    for ink in (disc(around, 19, 2), letters):
        taken = np.clip(0.45 + 0.4 * scene.height[ink.window], 0, 1)
        scene.paint(ink.of(ink.alpha * taken), (0.93, 0.91, 0.86), opacity=0.9)

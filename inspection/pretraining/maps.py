"""Draws what a score map would show of a mark, and asks as the refiner asks."""

import math
from typing import NamedTuple

import cv2
import numpy as np

from inspection.core.defects import perlin_noise
from inspection.core.heat import Heat
from inspection.core.imaging import Map, Mask
from inspection.masks.components import find_components
from inspection.masks.refine import BLUR_CELLS, DEFAULTS, Case
from inspection.masks.segmenter import Prompt
from inspection.pretraining.textures import log_uniform

CELLS = (16, 24, 32, 48)  # of a map, down and across: windows show parts of one
REACH_CELLS = (0.7, 2.0)  # sigma of how far around a mark features rise
SATURATION = (3.0, 30.0)  # a mark that covers this part of a cell shows by 63 %
UNEVEN, NOISE = 0.5, 0.06  # of the height: a mark shows more here than there, and so do good parts
BAND = (0.15, 0.6)  # where the band lies, of the mark's highest value


class Asked(NamedTuple):
    """A prompt, and what its answer should be."""

    prompt: Prompt
    mask: Mask


def ask_by_map(mask: Mask, others: Mask, rng: np.random.Generator) -> Asked | None:
    """Ask about a mark as the refiner would on a map of it; none where the map does not show it.

    What other marks the map joins with it belongs to the answer.

    Args:
        mask: bool side×side, of the mark.
        others: bool side×side, the other marks.
        rng: decides everything.
    """
    side = len(mask)
    heat = Heat(_cells(mask | others, rng), (0, 0, side, side))
    hot = heat.enlarged()
    above = float(hot[mask].max() * rng.uniform(*BAND))
    components, _ = find_components(heat, above, DEFAULTS.most_defects)
    cases = [
        Case(one, heat.rectangle, (hot, above), BLUR_CELLS * heat.cell_px) for one in components
    ]
    case = max(cases, key=lambda one: int((one.own & mask).sum()), default=None)
    if case is None or not (case.own & mask).any():
        return None
    _, labels = cv2.connectedComponents(others.astype(np.uint8))
    joined = set(np.unique(labels[case.own & others]).tolist()) - {0}
    wanted = mask | np.isin(labels, list(joined))
    return Asked(case.prompt(float(rng.uniform(0, 2 * DEFAULTS.box_grow))), wanted)


def _cells(marks: Mask, rng: np.random.Generator) -> Map:
    count = int(rng.choice(CELLS))
    cover = cv2.resize(marks.astype(np.float32), (count, count), interpolation=cv2.INTER_AREA)
    shows = 1 - np.exp(-cover * log_uniform(rng, SATURATION))
    reached = cv2.GaussianBlur(shows, (0, 0), rng.uniform(*REACH_CELLS))
    rough = min(count, 8)
    uneven = 1 + UNEVEN * perlin_noise((count, count), (rough, rough), rng)
    noise = cv2.GaussianBlur(rng.normal(0, 1, (count, count)), (0, 0), 1.0)
    height = float(reached.max()) * NOISE / math.sqrt(float(noise.var()) + 1e-12)
    return np.asarray(reached * uneven + height * noise, np.float32)

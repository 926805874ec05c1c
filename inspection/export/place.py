"""Measures where on the part the cells of a map speak of: they lie beside what they show.

A strided convolution centres its cell on the first of the pixels it stands for, and trained filters
move it further. On MobileNetV2 a map lies 1.6 cells down and right of what it shows, which
is 13 of 256 px: enough to miss a small defect.
"""

import logging
from collections.abc import Iterable
from itertools import islice

import cv2
import numpy as np

from inspection.bundles.bundle import map_part
from inspection.bundles.graph import Graph
from inspection.core.geometry import Geometry
from inspection.core.heat import heat_of_frame
from inspection.core.imaging import Map, Rgb

logger = logging.getLogger(__name__)

PROBES = 32  # normals, each with one mark
MARK_CELLS = 0.75  # half the side of the mark
CLEAR = 0.3  # of the strongest answer: below it an answer is the texture's
LEAST_ANSWERS = 8
MOST_SPREAD = 1.0  # cells, between the quartiles; maps that answer anywhere have no one shift


def measure_shift(graph: Graph, normals: Iterable[Rgb], geometry: Geometry) -> tuple[float, float]:
    """Mark normals and see where their maps answer.

    Args:
        graph: of the bundle.
        normals: uint8 H×W×3 RGB parts; the first 32 are used.
        geometry: of the bundle; its own shift is not looked at.

    Returns:
        How far below and right of the mark the answer lies, cells, medians over the parts to 0.05;
        zeros, with a warning, when fewer than 8 maps answer or they disagree.
    """
    rng, found = np.random.default_rng(0), []
    # what is never judged is cut out of maps, and with it a part of some answers
    geometry = geometry.model_copy(update={"include": (), "exclude": ()})
    for pixels in islice(normals, PROBES):
        before = map_part(graph, pixels, geometry)
        down, across = rng.uniform(0.3, 0.7, 2) * before.shape  # away from borders
        marked = _marked(pixels, before, geometry, (down, across))
        answer = np.maximum(map_part(graph, marked, geometry) - before, 0)
        strong = np.where(answer > CLEAR * answer.max(), answer, 0)
        if strong.any():
            rows, columns = np.indices(strong.shape) + 0.5
            place = (rows * strong).sum() / strong.sum(), (columns * strong).sum() / strong.sum()
            found.append((place[0] - down, place[1] - across))
    low, high = np.percentile(found, (25, 75), axis=0) if found else (0.0, np.inf)
    if len(found) < LEAST_ANSWERS or np.max(high - low) > MOST_SPREAD:
        logger.warning(
            "%d of %d marked parts answer, and not at one place; wanted %d within %g cells; "
            "outlines may lie beside defects, look at overlays",
            *(len(found), PROBES, LEAST_ANSWERS, MOST_SPREAD),
        )
        return 0.0, 0.0
    down, across = np.median(found, axis=0)
    return round(round(down / 0.05) * 0.05, 2), round(round(across / 0.05) * 0.05, 2)


def _marked(pixels: Rgb, cells: Map, geometry: Geometry, place: tuple[float, float]) -> Rgb:
    """Put a black or white ellipse on a part, the one it differs from most, at a place in cells."""
    plain = geometry.model_copy(update={"map_shift": (0.0, 0.0)})
    heat = heat_of_frame(cells, plain, (pixels.shape[0], pixels.shape[1]))
    y, x = place
    x0, y0, x1, y1 = heat.px((x - MARK_CELLS, y - MARK_CELLS, x + MARK_CELLS, y + MARK_CELLS))
    marked = pixels.copy()
    colour = 0 if pixels[y0:y1, x0:x1].mean() > 127 else 255
    centre, axes = ((x0 + x1) // 2, (y0 + y1) // 2), ((x1 - x0) // 2, (y1 - y0) // 2)
    cv2.ellipse(marked, centre, axes, 0, 0, 360, (colour,) * 3, cv2.FILLED)
    return marked

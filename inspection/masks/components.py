"""Finds the defects of a score map, its connected parts above the band, and those of a mask."""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from inspection.core.decision import Judgement, ScoreRule, smooth
from inspection.core.geometry import Geometry, judged_area
from inspection.core.heat import Heat, PxBox, heat_of_frame, tight_box
from inspection.core.imaging import Mask
from inspection.masks.segmenter import NO_POINTS, Points

MOST_PEAKS = 3  # of a defect, for prompts
JOIN_PX = 9  # parts of a drawn mask nearer than this are one defect


@dataclass(frozen=True)
class Component:
    """One defect as the map shows it, or as somebody drew it, on a frame."""

    box: PxBox
    """Of its mask."""
    mask: Mask
    """bool, as large as the box; a map's is coarse."""
    peak: float
    """The strongest smoothed value; 1 of what was drawn."""
    peaks_xy: Points
    """Local maxima, px of the frame, strongest first, at most 3; none of what was drawn."""


def heat_of(
    judgement: Judgement, geometry: Geometry, rule: ScoreRule, frame_hw: tuple[int, int]
) -> Heat:
    """Smooth a judgement's map as its score was; what is not judged is as quiet as anything."""
    smoothed = smooth(judgement.score_map, rule)
    judged = judged_area(smoothed.shape, geometry)
    quiet = smoothed.min(where=judged, initial=judgement.band.review_above)
    cells = np.where(judged, smoothed, quiet).astype(np.float32)
    return heat_of_frame(cells, geometry, frame_hw)


def find_components(heat: Heat, above: float, most: int) -> tuple[list[Component], int]:
    """Find the connected parts of a map above a value.

    Args:
        heat: the smoothed map.
        above: raw score units; the band's `review_above`, as for the boxes a person sees.
        most: so many of them, strongest first.

    Returns:
        The components, strongest first, and how many more there are.
    """
    cells = (heat.cells > above).astype(np.uint8)
    count, labels, stats, _ = cv2.connectedComponentsWithStats(cells)
    peaks = np.full(count, -np.inf, np.float32)
    np.maximum.at(peaks, labels, heat.cells)
    peaks[0] = -np.inf
    found = [
        _component(heat, above, labels == index, tuple(int(v) for v in stats[index, :4]))
        for index in np.argsort(-peaks)[: min(most, count - 1)]
    ]
    return found, count - 1 - len(found)


def _component(
    heat: Heat, above: float, own: NDArray[np.bool_], bounds: tuple[int, ...]
) -> Component:
    x, y, width, height = bounds
    box = heat.px((x - 1, y - 1, x + width + 1, y + height + 1))
    alone = Heat(
        np.where(own | (heat.cells <= above), heat.cells, above).astype(np.float32),
        heat.rectangle,
        heat.shift,
    )
    mask = alone.of(box) > above
    if not mask.any():  # so little above that no px shows it: each lies beside the cell's centre
        box = heat.px((x, y, x + width, y + height))
        mask = _cells(heat, own, box)
    left, top, right, bottom = tight_box(mask)
    tight = box[0] + left, box[1] + top, box[0] + right, box[1] + bottom
    return Component(
        tight, mask[top:bottom, left:right], float(heat.cells[own].max()), _peaks(heat, own)
    )


def _cells(heat: Heat, own: NDArray[np.bool_], box: PxBox) -> Mask:
    """Fill the px of a box that a component's cells speak of."""
    mask = np.zeros((box[3] - box[1], box[2] - box[0]), np.bool_)
    for row, column in np.argwhere(own):
        x0, y0, x1, y1 = heat.px((column, row, column + 1, row + 1))
        mask[y0 - box[1] : y1 - box[1], x0 - box[0] : x1 - box[0]] = True
    return mask


def _peaks(heat: Heat, own: NDArray[np.bool_]) -> Points:
    """Give the centres of the cells that no neighbour exceeds, strongest first, px."""
    highest = cv2.dilate(heat.cells, np.ones((3, 3), np.uint8))
    y, x = np.nonzero(own & (heat.cells >= highest))
    order = np.argsort(-heat.cells[y, x])[:MOST_PEAKS]
    boxes = [heat.px((x[i], y[i], x[i] + 1, y[i] + 1)) for i in order]
    centres = [((x0 + x1) / 2, (y0 + y1) / 2) for x0, y0, x1, y1 in boxes]
    return np.asarray(centres, np.float32).reshape(-1, 2)


def drawn_components(mask: Mask, most: int) -> tuple[list[Component], int]:
    """Find the defects of a drawn mask; parts that lie nearer than 9 px are one.

    Args:
        mask: bool (H, W) of the frame.
        most: so many of them, the largest.

    Returns:
        The components, row by row, and how many more there are.
    """
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (JOIN_PX, JOIN_PX))
    joined = cv2.dilate(mask.astype(np.uint8), disc)
    count, labels, stats, _ = cv2.connectedComponentsWithStats(joined)
    areas = np.bincount(labels[mask], minlength=count)
    largest = np.argsort(-areas[1:], kind="stable")[:most] + 1
    found = [_drawn(mask, labels, index, stats[index]) for index in np.sort(largest)]
    return found, count - 1 - len(found)


def _drawn(
    mask: Mask, labels: NDArray[np.int32], index: int, bounds: NDArray[np.int32]
) -> Component:
    """Cut one defect out of a mask; its joined parts lie within the bounds."""
    x, y, width, height = (int(value) for value in bounds[:4])
    within = slice(y, y + height), slice(x, x + width)
    own = (labels[within] == index) & mask[within]
    left, top, right, bottom = tight_box(own)
    box = x + left, y + top, x + right, y + bottom
    return Component(box, own[top:bottom, left:right], 1.0, NO_POINTS)

"""Measures how well one mask fits the true one: IoU, Dice, boundary F1, error of the area."""

import cv2
import numpy as np
from numpy.typing import NDArray

from inspection.core.imaging import Mask

TOLERANCE = 0.008  # of the diagonal: how far a boundary may lie off, as in DAVIS (Perazzi 2016)


def iou(found: Mask, truth: Mask) -> float:
    """Give intersection over union of two bool H×W masks; 1 where both are empty."""
    union = int(np.count_nonzero(found | truth))
    return int(np.count_nonzero(found & truth)) / union if union else 1.0


def dice(found: Mask, truth: Mask) -> float:
    """Give twice the intersection over the sum of two bool H×W masks; 1 where both are empty."""
    both = int(np.count_nonzero(found)) + int(np.count_nonzero(truth))
    return 2 * int(np.count_nonzero(found & truth)) / both if both else 1.0


def boundary_f1(found: Mask, truth: Mask, tolerance: float = TOLERANCE) -> float:
    """Give F1 of the boundaries: their shares that lie within a tolerance of each other.

    Args:
        found: bool H×W.
        truth: bool H×W.
        tolerance: share of the diagonal, at least one px.

    Returns:
        0 to 1; 1 where both are empty, 0 where one is.
    """
    edges = _edge(found), _edge(truth)
    if not (edges[0].any() and edges[1].any()):
        return float(not edges[0].any() and not edges[1].any())
    reach_px = max(1.0, tolerance * float(np.hypot(*found.shape)))
    precision = float((_away(edges[1])[edges[0]] <= reach_px).mean())
    recall = float((_away(edges[0])[edges[1]] <= reach_px).mean())
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def area_error(found: Mask, truth: Mask) -> float:
    """Give how far the area is off, as a share of the true one, which is not empty."""
    wanted = int(np.count_nonzero(truth))
    return abs(int(np.count_nonzero(found)) - wanted) / wanted


def _edge(mask: Mask) -> Mask:
    """Give the pixels of a mask that touch one outside it; the frame's border is outside."""
    inner = cv2.erode(np.pad(mask, 1).astype(np.uint8), np.ones((3, 3), np.uint8))[1:-1, 1:-1]
    return np.asarray(mask & (inner == 0))


def _away(edge: Mask) -> NDArray[np.float32]:
    """Give each pixel's distance to the next of an edge, px."""
    return np.asarray(cv2.distanceTransform((~edge).astype(np.uint8), cv2.DIST_L2, 5))

"""Measures a defect's mask: area, length, width and place, in px and in mm."""

import math

import cv2
import numpy as np

from inspection.core.decision import DefectSize
from inspection.core.imaging import Mask

LONGEST_WALK_PX = 128  # larger masks are reduced to this before their length is walked


def measure(mask: Mask, origin_xy: tuple[int, int] = (0, 0)) -> DefectSize:
    """Measure one defect.

    The length is the longer side of the rectangle of least area around it; or the longest way
    through the mask where that exceeds the rectangle's diagonal, as only in a bent shape; the width
    is area over length.

    Args:
        mask: bool (h, w), not empty.
        origin_xy: where its upper left corner lies on the part, px.
    """
    area_px = int(np.count_nonzero(mask))
    y, x = np.nonzero(mask)
    sides, way_px = _rectangle(mask), walk_px(mask)
    length_px = way_px if way_px > math.hypot(*sides) + 1 else max(sides)
    return DefectSize(
        area_px=area_px,
        length_px=round(length_px, 2),
        width_px=round(area_px / length_px, 2),
        x_px=round(float(x.mean()) + 0.5 + origin_xy[0], 2),
        y_px=round(float(y.mean()) + 0.5 + origin_xy[1], 2),
    )


def _rectangle(mask: Mask) -> tuple[float, float]:
    """Give the sides of the least rectangle around the pixels, their own extent included."""
    outline, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    points = np.concatenate(outline)[:, 0]
    corners = np.concatenate([points + step for step in ((0, 0), (0, 1), (1, 0), (1, 1))])
    _, sides, _ = cv2.minAreaRect(corners.astype(np.float32))
    return float(sides[0]), float(sides[1])


def walk_px(mask: Mask) -> float:
    """Give the longest way from one pixel of a mask to another without leaving it, px.

    Two walks of ever wider steps, the second from where the first ended (the geodesic diameter of
    Lantuéjoul and Maisonneuve, 1984). Steps go to 4 and to 8 neighbours in turn, so that a way
    comes out right along the axes and at most 11 % short between them.
    """
    scale = max(1.0, max(mask.shape) / LONGEST_WALK_PX)
    if scale > 1:
        size = math.ceil(mask.shape[1] / scale), math.ceil(mask.shape[0] / scale)
        mask = cv2.resize(mask.astype(np.float32), size, interpolation=cv2.INTER_AREA) > 0
    whole = np.pad(mask, 1).astype(np.uint8)
    _, labels, stats, _ = cv2.connectedComponentsWithStats(whole)
    whole = (labels == 1 + int(np.argmax(stats[1:, cv2.CC_STAT_AREA]))).astype(np.uint8)
    _, (y, x) = _walk(whole, divmod(int(np.flatnonzero(whole)[0]), whole.shape[1]))
    steps, _ = _walk(whole, (y, x))
    return float((steps + 1) * scale)  # both ends have their own extent


def _walk(whole: Mask, start: tuple[int, int]) -> tuple[int, tuple[int, int]]:
    """Spread from a pixel until nothing is new; give the steps and one of the last pixels."""
    kernels = cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3)), np.ones((3, 3), np.uint8)
    reached = np.zeros_like(whole)
    reached[start] = 1
    last, steps = start, 0
    while True:
        wider = cv2.dilate(reached, kernels[steps % 2]) & whole
        fresh = np.flatnonzero(wider != reached)
        if not len(fresh):
            wider = cv2.dilate(reached, kernels[1]) & whole  # a diagonal needs an 8-step
            fresh = np.flatnonzero(wider != reached)
            if not len(fresh):
                return steps, last
        last = divmod(int(fresh[0]), whole.shape[1])
        reached, steps = wider, steps + 1

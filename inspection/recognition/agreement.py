"""Compares two detectors' boxes on the same pictures."""

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from inspection.detectors.detections import Detections, Floats

LEAST_IOU = 0.5


def box_iou(one: Floats, other: Floats) -> NDArray[np.float64]:
    """Give the IoU of every box (n, 4) with every other (m, 4), x0 y0 x1 y1; float64 (n, m)."""
    first = np.maximum(one[:, None, :2], other[None, :, :2])
    last = np.minimum(one[:, None, 2:], other[None, :, 2:])
    both = np.prod(np.clip(last - first, 0, None), axis=-1)
    areas = [np.prod(boxes[:, 2:] - boxes[:, :2], axis=-1) for boxes in (one, other)]
    return np.asarray(both / (areas[0][:, None] + areas[1][None] - both), np.float64)


def matched(found: Detections, wanted: Detections) -> int:
    """Count the boxes found again, each once: same type, IoU at least 0.5; the surest chooses."""
    overlap = box_iou(found.boxes, wanted.boxes)
    overlap[found.types[:, None] != wanted.types[None]] = 0
    count = 0
    for row in overlap:
        if len(row) and row.max() >= LEAST_IOU:
            overlap[:, int(row.argmax())] = 0
            count += 1
    return count


def agreement(pairs: Iterable[tuple[Detections, Detections]]) -> float:
    """Give the F1 of one detector's boxes with another's over pictures; 1 where neither has any."""
    both = total = 0
    for found, wanted in pairs:
        both += matched(found, wanted)
        total += len(found) + len(wanted)
    return 2 * both / total if total else 1.0

"""Compares two detectors on the same pictures: which boxes both find, and how well they lie."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from inspection.core.heat import PxBox
from inspection.core.imaging import Mask
from inspection.detectors.detections import Detections, Floats
from inspection.detectors.detector import Parity

LEAST_IOU = 0.5


def compare(found: Sequence[Detections], wanted: Sequence[Detections]) -> Parity:
    """Compare what one finds on each picture with what another does."""
    pairs = [
        (one, other, i, j)
        for one, other in zip(found, wanted, strict=True)
        for i, j in matches(one, other)
    ]
    total = sum(map(len, found)) + sum(map(len, wanted))
    overlaps = [
        float(box_iou(a.boxes[i : i + 1], b.boxes[j : j + 1])[0, 0]) for a, b, i, j in pairs
    ]
    masks = [_mask_iou(a, b, i, j) for a, b, i, j in pairs if a.masks and b.masks]
    return Parity(
        pictures=len(found),
        found=sum(map(len, wanted)),
        agreement=2 * len(pairs) / total if total else 1.0,
        box_iou=float(np.mean(overlaps)) if overlaps else None,
        mask_iou=float(np.mean(masks)) if masks else None,
    )


def matches(found: Detections, wanted: Detections) -> list[tuple[int, int]]:
    """Pair boxes of one type with IoU of at least 0.5, each once; the surest chooses first."""
    overlap = box_iou(found.boxes, wanted.boxes)
    overlap[found.types[:, None] != wanted.types[None]] = 0
    pairs = []
    for i, row in enumerate(overlap):
        if len(row) and row.max() >= LEAST_IOU:
            j = int(row.argmax())
            overlap[:, j] = 0
            pairs.append((i, j))
    return pairs


def box_iou(one: Floats, other: Floats) -> NDArray[np.float64]:
    """Give the IoU of every box (n, 4) with every other (m, 4), x0 y0 x1 y1; float64 (n, m)."""
    first = np.maximum(one[:, None, :2], other[None, :, :2])
    last = np.minimum(one[:, None, 2:], other[None, :, 2:])
    both = np.prod(np.clip(last - first, 0, None), axis=-1)
    areas = [np.prod(boxes[:, 2:] - boxes[:, :2], axis=-1) for boxes in (one, other)]
    return np.asarray(both / (areas[0][:, None] + areas[1][None] - both), np.float64)


def _mask_iou(one: Detections, other: Detections, i: int, j: int) -> float:
    boxes = one.px_boxes[i], other.px_boxes[j]
    corner = min(box[0] for box in boxes), min(box[1] for box in boxes)
    end = max(box[2] for box in boxes), max(box[3] for box in boxes)
    size = end[1] - corner[1], end[0] - corner[0]
    masks = (one.masks or ())[i], (other.masks or ())[j]
    a, b = (_laid(mask, box, corner, size) for mask, box in zip(masks, boxes, strict=True))
    return float((a & b).sum() / max(1, (a | b).sum()))


def _laid(mask: Mask, box: PxBox, corner: tuple[int, int], size_hw: tuple[int, int]) -> Mask:
    whole = np.zeros(size_hw, np.bool_)
    x, y = box[0] - corner[0], box[1] - corner[1]
    whole[y : y + mask.shape[0], x : x + mask.shape[1]] = mask
    return whole

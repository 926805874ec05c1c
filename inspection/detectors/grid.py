"""Decodes boxes that are told from the points of a grid."""

import numpy as np

from inspection.core.errors import BundleError
from inspection.detectors.detections import Floats
from inspection.detectors.layout import Grid

LARGEST = 20.0  # of an exponent; larger ones are no box


def off_grid(boxes: Floats, grid: Grid, form: str, input_hw: tuple[int, int]) -> tuple[Floats, str]:
    """Give boxes in px of the input, and their form then.

    Distances as in FCOS (Tian et al., ICCV 2019), counted in strides; YOLOX (Ge et al., 2021);
    YOLOv5 after its sigmoid, whose centres reach half a cell beyond their own; and the deltas of
    R-CNN (Girshick et al., CVPR 2014) from anchors, unweighted, as RetinaNet and RPN have them.

    Args:
        boxes: float32 (n, 4), of all levels.
        grid: whose points they are told from.
        form: ltrb, yolox, yolov5 or deltas.
        input_hw: height and width of the input, px.

    Raises:
        BundleError: the grid has not as many places.
    """
    points, strides, anchors = _points(grid, input_hw)
    if len(points) != len(boxes):
        raise BundleError(
            f"grid: strides {grid.strides} have {len(points)} places on "
            f"{input_hw[1]}×{input_hw[0]} px, the output {len(boxes)}; mend grid.strides, "
            "grid.anchors or the size of the input"
        )
    if form == "ltrb":
        first, last = points - boxes[:, :2], points + boxes[:, 2:]
        return np.concatenate([first * strides, last * strides], axis=1), "xyxy"
    if form == "deltas":
        return from_anchors(boxes, points * strides, anchors), "cxcywh"
    if form == "yolox":
        centres, sizes = points + boxes[:, :2], np.exp(np.minimum(boxes[:, 2:], LARGEST)) * strides
    else:
        centres, sizes = points + 2 * boxes[:, :2] - 0.5, (2 * boxes[:, 2:]) ** 2 * anchors
    return np.concatenate([centres * strides, sizes], axis=1), "cxcywh"


def from_anchors(deltas: Floats, centres: Floats, sizes: Floats) -> Floats:
    """Give boxes (n, 4) as centre and size, from deltas (n, 4) and anchors (n, 2) each."""
    moved = centres + deltas[:, :2] * sizes
    return np.concatenate([moved, np.exp(np.minimum(deltas[:, 2:], LARGEST)) * sizes], axis=1)


def _points(grid: Grid, input_hw: tuple[int, int]) -> tuple[Floats, Floats, Floats]:
    """Give places (n, 2) x y in cells, strides (n, 1) and anchors (n, 2), level after level."""
    levels = []
    for number, stride in enumerate(grid.strides):
        rows, columns = (-(-side // stride) for side in input_hw)
        y, x = np.mgrid[:rows, :columns].reshape(2, -1) + grid.offset
        for anchor in grid.anchors[number] if grid.anchors else ((1.0, 1.0),):
            ones = np.ones((len(x), 1), np.float32)
            levels.append((np.stack([x, y], axis=1), ones * stride, ones * np.array(anchor)))
    points, strides, anchors = (
        np.concatenate(parts).astype(np.float32) for parts in zip(*levels, strict=True)
    )
    return points, strides, anchors

"""Draws the masks of detections, each of the px that its box touches."""

from collections.abc import Callable

import cv2
import numpy as np

from inspection.bundles.graph import Tensors
from inspection.core.heat import PxBox, tight_box
from inspection.core.imaging import Mask
from inspection.detectors.columns import activated, columns, output, require_numbers, unlike
from inspection.detectors.detections import Candidates, Floats, Numbers, Places, px_box
from inspection.detectors.fitting import Fit
from inspection.detectors.layout import Masks

LEVEL = 0.5  # above which a px is of the object


def draw_masks(
    outputs: Tensors,
    where: Masks,
    found: Candidates,
    fit: Fit,
    before_each: Callable[[], None],
) -> tuple[Mask, ...]:
    """Draw masks.

    Args:
        outputs: of the graph.
        where: they stand.
        found: of these, boxes in px of the picture, which they may reach beyond; a mask is of the
            px within.
        fit: how the picture lay in the input.
        before_each: mask; may raise to end it.

    Raises:
        BundleError: the output is missing, of another shape, or no number.
    """
    shown = _shown(outputs, where, found.rows, found.types)
    require_numbers(where.output, shown)
    masks = activated(shown.astype(np.float32), where.activation)
    within = [px_box(box) for box in fit.cut(found.boxes)]
    roi = where.kind == "roi"
    if masks.size and not roi and not _is_like(masks.shape[1:], fit.input_hw):
        raise unlike(where.output, masks.shape, f"masks of an input of {fit.input_hw}")
    drawn = []
    for mask, box, px in zip(masks, found.boxes, within, strict=True):
        before_each()
        drawn.append(_of_box(mask, box, px) if roi else _of_input(mask, px, fit))
    return tuple(drawn)


def filled_boxes(outputs: Tensors, where: Masks | None, input_hw: tuple[int, int]) -> Floats:
    """Give the boxes that masks of the whole input fill, (n, 4) px of it; an empty one has no area.

    Raises:
        BundleError: the output is missing, of another shape, or no number.
    """
    if where is None:
        return np.zeros((0, 4), np.float32)
    values = output(outputs, where.output)
    require_numbers(where.output, values)
    if values.ndim < 3 or not _is_like(values.shape[-2:], input_hw):
        raise unlike(where.output, values.shape, f"masks of an input of {input_hw}")
    shown = activated(values.reshape(-1, *values.shape[-2:]).astype(np.float32), where.activation)
    boxes = [tight_box(mask > LEVEL) for mask in shown]
    scale = [input_hw[1] / values.shape[-1], input_hw[0] / values.shape[-2]] * 2
    return np.asarray(np.array(boxes, np.float32).reshape(-1, 4) * scale, np.float32)


def _is_like(mask_hw: tuple[int, ...], input_hw: tuple[int, int]) -> bool:
    """Say whether masks have the aspect of the input, to a px."""
    return abs(mask_hw[0] * input_hw[1] / input_hw[0] - mask_hw[1]) <= 1


def _shown(outputs: Tensors, where: Masks, rows: Places, types: Numbers) -> Floats:
    values = output(outputs, where.output)
    if where.coefficients:
        mixed = columns(outputs, where.coefficients)
        if values.ndim < 3 or values.shape[-3] != mixed.shape[1] or set(values.shape[:-3]) - {1}:
            raise unlike(where.output, values.shape, f"{mixed.shape[1]} pictures to mix")
        if len(mixed) <= max(rows, default=-1):
            raise unlike(where.coefficients.output, mixed.shape, "as many rows as there are boxes")
        pictures = values.reshape(values.shape[-3:]).astype(np.float32)  # (kinds, h, w)
        return np.asarray(np.tensordot(mixed[rows], pictures, axes=1), np.float32)
    axes = 3 if where.per_type else 2
    each = values.reshape(-1, *values.shape[-axes:])
    if len(each) <= max(rows, default=-1) or (
        where.per_type and each.shape[1] <= types.max(initial=-1)
    ):
        raise unlike(where.output, values.shape, "a mask for each box, and for each type if so")
    return np.asarray(each[rows, types] if where.per_type else each[rows])


def _of_box(mask: Floats, box: Floats, within: PxBox) -> Mask:
    """Read a mask of a box's area at the centres of the px within the picture."""
    x0, y0, x1, y1 = within
    height, width = mask.shape
    x = (np.arange(x0, x1) + 0.5 - box[0]) / (box[2] - box[0]) * width - 0.5
    y = (np.arange(y0, y1) + 0.5 - box[1]) / (box[3] - box[1]) * height - 0.5
    return _read(mask, x, y)


def _of_input(mask: Floats, within: PxBox, fit: Fit) -> Mask:
    """Read a mask of the whole input at the centres of a box's px."""
    x0, y0, x1, y1 = within
    (height, width), (rows, columns_), (left, top) = fit.input_hw, fit.seen_hw, fit.corner_xy
    part_h, part_w = fit.image_hw
    x = (((np.arange(x0, x1) + 0.5) * columns_ / part_w + left) / width) * mask.shape[1] - 0.5
    y = (((np.arange(y0, y1) + 0.5) * rows / part_h + top) / height) * mask.shape[0] - 0.5
    return _read(mask, x, y)


def _read(mask: Floats, x: Floats, y: Floats) -> Mask:
    there = np.meshgrid(x.astype(np.float32), y.astype(np.float32))
    level = cv2.remap(mask, *there, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(level > LEVEL)

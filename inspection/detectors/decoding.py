"""Reads a detector's raw outputs by its layout: the one place that decodes and suppresses boxes."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from pydantic import Field, StrictFloat, StrictInt

from inspection.bundles.graph import Tensors
from inspection.core.config import Settings
from inspection.core.errors import BundleError
from inspection.core.known import MAX_FOUND
from inspection.detectors.columns import columns, unlike
from inspection.detectors.detections import Candidates, Detections, Floats, Numbers, suppress
from inspection.detectors.drawing import draw_masks, filled_boxes
from inspection.detectors.fitting import Fit
from inspection.detectors.grid import off_grid
from inspection.detectors.layout import Layout

WHOLE = 1e-3  # how far a type's number may lie from a whole one


class Limits(Settings):
    """Which candidates count."""

    least_score: StrictFloat = Field(gt=0, lt=1, description="from which a box counts")
    most_overlap: StrictFloat = Field(
        0.5, ge=0, le=1, description="IoU above which the less sure of two of one type goes"
    )
    most: StrictInt = Field(100, ge=1, le=MAX_FOUND, description="boxes of a picture")
    compared: StrictInt = Field(
        2_000,
        ge=1,
        le=1_000_000,
        description="surest candidates that are compared; of 25,000 that takes 0.5 s",
    )


def decode(
    outputs: Tensors,
    layout: Layout,
    fit: Fit,
    types: int,
    limits: Limits,
    before_each: Callable[[], None] = lambda: None,
) -> Detections:
    """Read what a graph gave for one picture.

    Args:
        outputs: by name, in the graph's order; a batch holds one picture.
        layout: of the graph.
        fit: how the picture lay in its input.
        types: how many the detector knows.
        limits: which candidates count.
        before_each: mask is drawn; may raise to end it.

    Raises:
        BundleError: an output is missing, or unlike its layout.
    """
    found = read_candidates(outputs, layout, fit.input_hw, types)
    found = replace(found, boxes=fit.back(found.boxes))
    found, dropped = surest(found, limits)
    boxes = fit.cut(found.boxes)
    kept = np.flatnonzero((boxes[:, 2:] > boxes[:, :2]).all(axis=1))
    if not layout.suppressed:
        some = found.at(kept)
        kept = kept[suppress(boxes[kept], some.scores, some.types, limits.most_overlap)]
    # a graph that drops the less sure itself may have dropped some where it is full, too
    more = dropped or len(kept) >= limits.most + (not layout.suppressed)
    found, boxes = found.at(kept[: limits.most]), boxes[kept[: limits.most]]
    masks = None
    if layout.masks:
        masks = draw_masks(outputs, layout.masks, found, fit, before_each)
    return Detections(boxes, found.scores, found.types, masks, more)


def surest(found: Candidates, limits: Limits) -> tuple[Candidates, bool]:
    """Give the candidates that are compared, surest first, and whether there were others."""
    certain = np.flatnonzero(found.scores >= limits.least_score)
    order = certain[np.argsort(-found.scores[certain], kind="stable")]
    return found.at(order[: limits.compared]), len(order) > limits.compared


def read_candidates(
    outputs: Tensors, layout: Layout, input_hw: tuple[int, int], types: int
) -> Candidates:
    """Read every candidate, boxes in px of the input.

    Raises:
        BundleError: as for `decode`.
    """
    corners, scores = _corners(outputs, layout, input_hw), columns(outputs, layout.scores)
    if len(scores) != len(corners):
        raise unlike(layout.scores.output, scores.shape, f"{len(corners)} rows, as there are boxes")
    if layout.objectness:
        objectness = columns(outputs, layout.objectness)
        if objectness.shape != (len(scores), 1):
            raise unlike(layout.objectness.output, objectness.shape, f"{(len(scores), 1)}")
        scores = scores * objectness
        scores = np.sqrt(np.maximum(scores, 0)) if layout.geometric else scores
    surest, numbers = _typed(outputs, layout, scores, types)
    if not (np.isfinite(scores).all() and np.isfinite(corners).all()):
        raise BundleError("a box or a score is no number; look at the graph and the part")
    return Candidates(corners, surest, numbers, np.arange(len(corners)))


def _typed(outputs: Tensors, layout: Layout, scores: Floats, types: int) -> tuple[Floats, Numbers]:
    """Give each candidate's score and type."""
    if layout.types is None:
        first = int(layout.background == "first")
        wanted = types + int(layout.background != "none")
        if scores.shape[1] != wanted:
            raise unlike(layout.scores.output, scores.shape, f"{wanted} scores for each box")
        of_types = scores[:, first : first + types]
        return of_types.max(axis=1), of_types.argmax(axis=1).astype(np.int64)
    named = columns(outputs, layout.types)
    if scores.shape[1] != 1 or named.shape != scores.shape:
        raise unlike(layout.types.output, named.shape, f"one number beside each of {scores.shape}")
    whole = np.round(named[:, 0])
    if not np.abs(named[:, 0] - whole).max(initial=0) <= WHOLE:  # so is what is no number
        raise unlike(layout.types.output, named.shape, "whole numbers of types")
    numbers = whole.astype(np.int64) - layout.first_type
    unknown = (numbers < 0) | (numbers >= types)
    counted = unknown & (scores[:, 0] > 0)  # of rows that only fill up the score is 0
    if counted.any():
        raise BundleError(
            f"output '{layout.types.output}': type {round(float(named[counted][0, 0]))}; wanted "
            f"{layout.first_type} to {layout.first_type + types - 1}; name every type, or mend "
            "first_type of the layout"
        )
    return np.where(unknown, -np.inf, scores[:, 0]).astype(np.float32), numbers


def _corners(outputs: Tensors, layout: Layout, input_hw: tuple[int, int]) -> Floats:
    """Give boxes as x0 y0 x1 y1 in px of the input."""
    if layout.boxes is None:
        return filled_boxes(outputs, layout.masks, input_hw)
    boxes, form = columns(outputs, layout.boxes), str(layout.boxes.form)
    if boxes.shape[1] != 4:
        raise unlike(layout.boxes.output, boxes.shape, "four numbers for each box")
    if layout.grid:
        boxes, form = off_grid(boxes, layout.grid, form, input_hw)
    first, last = boxes[:, :2], boxes[:, 2:]
    if form == "cxcywh":
        half = last / np.float32(2)
        first, last = first - half, first + half
    elif form == "xywh":
        last = first + last
    corners = np.concatenate([first, last], axis=1)
    if layout.boxes.unit == "share":
        height, width = input_hw
        return np.asarray(corners * (width, height, width, height), np.float32)
    return corners

"""Looks again at what a first graph proposes: heads that see a region's features, not the picture.

Mask R-CNN classifies its proposals so and draws their masks; CenterMask draws masks only. Graphs
are static, so a head takes a fixed number of regions at a time and is run as often as needed.
"""

from collections.abc import Callable, Mapping
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, StrictBool, model_validator

from inspection.bundles.graph import Tensors
from inspection.core.config import Settings
from inspection.core.limits import Count, PathText
from inspection.detectors.columns import activated, output, require_numbers, unlike
from inspection.detectors.decoding import Limits, read_candidates, surest
from inspection.detectors.detections import Candidates, Floats, suppress
from inspection.detectors.grid import from_anchors
from inspection.detectors.layout import Layout

Run = Callable[[Tensors], Tensors]
BOXES, MASKS = "boxes", "masks"  # the heads
REGIONS, LEVELS = "regions", "levels"  # their inputs, beside the features
MORE = "more"  # beside what is found
LEVEL_OF_PX, LEVEL = 224.0, 4  # a region of 224 px is of level 4, stride 16: Lin et al., CVPR 2017
DELTA_WEIGHTS = (10.0, 10.0, 5.0, 5.0)  # of R-CNN's second stage, as in torchvision
FOUND = Layout.model_validate(
    {
        "boxes": {"output": "boxes", "form": "xyxy"},
        "scores": {"output": "scores", "along": "list"},
        "types": {"output": "types", "along": "list"},
        "suppressed": True,
    }
)
FOUND_WITH_MASKS = Layout.model_validate(
    {**FOUND.model_dump(), "masks": {"output": "masks", "kind": "roi"}}
)


class Regions(Settings):
    """How the first graph's candidates become what is found."""

    first: Layout = Field(description="of the first graph's outputs")
    features: tuple[PathText, ...] = Field(
        min_length=1, max_length=100, description="its outputs too, finest first"
    )
    strides: tuple[Count, ...] = Field(
        min_length=1, max_length=100, description="of these, px of the input"
    )
    level: Literal["size", "share"] = Field(
        description="by what the features that a region is cut from are chosen: its size in px "
        "(FPN), or its share of the input (CenterMask)"
    )
    proposals: Limits | None = Field(
        None, description="which candidates the head for boxes sees; none without this head"
    )
    boxes: Count | None = Field(None, description="regions that the head for boxes takes")
    masks: Count | None = Field(None, description="regions that the head for masks takes")
    rated: StrictBool = Field(
        default=False,
        description="masks come with their likely IoU, by which scores are multiplied",
    )

    @model_validator(mode="after")
    def _heads_fit(self) -> "Regions":
        if (self.proposals is None) != (self.boxes is None):
            raise ValueError("proposals and boxes: wanted both or neither")
        if len(self.features) != len(self.strides):
            raise ValueError("features and strides: wanted one stride for each")
        return self

    @property
    def heads(self) -> dict[str, int]:
        """The heads and how many regions each takes."""
        both = {BOXES: self.boxes, MASKS: self.masks}
        return {name: rows for name, rows in both.items() if rows is not None}

    @property
    def found(self) -> Layout:
        """The layout of what `look_again` gives."""
        return FOUND_WITH_MASKS if self.masks else FOUND


def look_again(
    first: Tensors,
    heads: Mapping[str, Run],
    how: Regions,
    input_hw: tuple[int, int],
    types: int,
    limits: Limits,
) -> Tensors:
    """Give what is found, by names as `Regions.found` declares.

    Args:
        first: outputs of the first graph.
        heads: the graphs of `Regions.heads`.
        how: candidates become what is found.
        input_hw: height and width of the input, px.
        types: how many the detector knows.
        limits: which candidates count.

    Returns:
        boxes (n, 4) px of the input, scores (n,), types (n,), and masks (n, h, w), logits; `MORE`,
        whether candidates were left out because they are too many.

    Raises:
        BundleError: an output is missing, of another shape, or no number.
    """
    features = {name: output(first, name) for name in how.features}
    if how.proposals:
        proposed = read_candidates(first, how.first, input_hw, 1)
        regions = _best(_within(proposed, input_hw), how.proposals)[0].boxes
        found = _classified(regions, features, heads[BOXES], how, input_hw, types)
    else:
        found = read_candidates(first, how.first, input_hw, types)
    found, more = _best(_within(found, input_hw), limits)
    outputs: dict[str, NDArray[Any]] = {
        "boxes": found.boxes,
        "scores": found.scores,
        "types": found.types,
        MORE: np.array(more),
    }
    if how.masks is None:
        return outputs
    drawn = _through(heads[MASKS], found.boxes, features, how, how.masks, input_hw)
    outputs["masks"] = _of_types(drawn, "masks", 4, found, types)
    if how.rated:
        likely = np.clip(_of_types(drawn, "rating", 2, found, types), 0, 1)
        outputs["scores"] = found.scores * likely
    return outputs


def levels(regions: Floats, how: Regions, input_hw: tuple[int, int]) -> Floats:
    """Choose the features each region (n, 4) is cut from, float32 (n, levels), 1 at the chosen.

    By size as FPN does (Lin et al., CVPR 2017, eq. 1); by share of the input as CenterMask does,
    which needs no size that objects usually have (Lee and Park, CVPR 2020, eq. 2).
    """
    area = np.maximum(np.prod(regions[:, 2:] - regions[:, :2], axis=1), 1e-6)
    finest, coarsest = (round(np.log2(how.strides[i])) for i in (0, -1))
    if how.level == "size":
        chosen = np.floor(LEVEL + np.log2(np.sqrt(area) / LEVEL_OF_PX) + 1e-6)
    else:
        chosen = np.ceil(coarsest - np.log2(np.prod(input_hw) / area))
    places = np.clip(chosen, finest, coarsest).astype(np.int64) - finest
    return np.asarray(np.eye(len(how.strides), dtype=np.float32)[places])


def _within(found: Candidates, input_hw: tuple[int, int]) -> Candidates:
    """Cut boxes at the input's sides; drop those without area."""
    height, width = input_hw
    cut = np.clip(found.boxes, 0, (width, height, width, height)).astype(np.float32)
    kept = np.flatnonzero((cut[:, 2:] > cut[:, :2]).all(axis=1))
    return Candidates(cut, found.scores, found.types, found.rows).at(kept)


def _best(found: Candidates, limits: Limits) -> tuple[Candidates, bool]:
    """Give the surest of candidates, and whether there were more."""
    found, dropped = surest(found, limits)
    kept = suppress(found.boxes, found.scores, found.types, limits.most_overlap)
    return found.at(kept[: limits.most]), dropped or len(kept) > limits.most


def _classified(
    regions: Floats,
    features: Tensors,
    head: Run,
    how: Regions,
    input_hw: tuple[int, int],
    types: int,
) -> Candidates:
    """Give every region once for each type, with its box corrected for it."""
    rows = how.boxes or 1
    told = _through(head, regions, features, how, rows, input_hw)
    scores = _shaped(told, "scores", (len(regions), types + 1))  # the first is the background
    deltas = _shaped(told, "deltas", (len(regions), (types + 1) * 4))
    scores = activated(scores, "softmax")[:, 1:].reshape(-1)
    deltas = deltas.reshape(-1, types + 1, 4)[:, 1:].reshape(-1, 4)
    anchors = np.repeat(regions, types, axis=0)
    moved = from_anchors(
        np.asarray(deltas / np.array(DELTA_WEIGHTS), np.float32),
        np.asarray((anchors[:, 2:] + anchors[:, :2]) / 2, np.float32),
        np.asarray(anchors[:, 2:] - anchors[:, :2], np.float32),
    )
    half = moved[:, 2:] / 2
    corners = np.concatenate([moved[:, :2] - half, moved[:, :2] + half], axis=1)
    numbers = np.tile(np.arange(types, dtype=np.int64), len(regions))
    return Candidates(
        corners.astype(np.float32), scores, numbers, np.repeat(np.arange(len(regions)), types)
    )


def _through(
    head: Run,
    regions: Floats,
    features: Tensors,
    how: Regions,
    rows: int,
    input_hw: tuple[int, int],
) -> dict[str, Floats]:
    """Run a head over all regions; the last ones are filled up with the whole input."""
    height, width = input_hw
    filler = np.array([[0, 0, width, height]], np.float32)
    filled = np.concatenate([regions, filler.repeat(-len(regions) % rows or 0, axis=0)])
    if not len(regions):
        filled = filler.repeat(rows, axis=0)  # one run tells the shapes
    chosen = levels(filled, how, input_hw)
    told = [
        head({**features, REGIONS: filled[i : i + rows], LEVELS: chosen[i : i + rows]})
        for i in range(0, len(filled), rows)
    ]
    joined = {
        name: np.concatenate([one[name] for one in told])[: len(regions)].astype(np.float32)
        for name in told[0]
    }
    for name, values in joined.items():
        require_numbers(name, values)
    return joined


def _shaped(told: Tensors, name: str, shape: tuple[int, ...]) -> Floats:
    values = output(told, name)
    if values.shape != shape:
        raise unlike(name, values.shape, f"{shape}")
    return values


def _of_types(told: Tensors, name: str, axes: int, found: Candidates, types: int) -> Floats:
    """Give each region what was told for its own type, or for all types at once."""
    values = output(told, name)
    if values.ndim != axes or values.shape[1] not in (1, types):
        raise unlike(name, values.shape, f"one or {types} for each region, on its second axis")
    chosen = found.types if values.shape[1] == types else np.zeros_like(found.types)
    return np.asarray(values[np.arange(len(chosen)), chosen], np.float32)

"""Declares what a detector's graph takes and gives, so that any framework's export can be read."""

from typing import Annotated, Literal

from pydantic import Field, StrictBool, StrictFloat, StrictInt, model_validator

from inspection.core.config import Settings
from inspection.core.limits import Count, Finite, PathText

Activation = Literal["none", "sigmoid", "softmax"]
ANCHORED = ("yolov5", "deltas")
OF_GRID = ("ltrb", "yolox", *ANCHORED)  # forms that are told from the points of a grid
MAX_COLUMNS = 100_000  # of a candidate: four numbers, types, coefficients
Divisor = Annotated[float, Field(gt=0, le=1e9)]
Anchors = Annotated[tuple[tuple[Finite, Finite], ...], Field(max_length=1_000)]


class Picture(Settings):
    """What the graph takes: one picture of a fixed size."""

    fit: Literal["stretch", "corner", "centre"] = Field(
        "stretch",
        description="how a picture lies in the input: stretched over it; or reduced with its "
        "aspect kept, from the upper left corner or in the centre (letterbox)",
    )
    pad: StrictInt = Field(0, ge=0, le=255, description="grey level beside the picture")
    colours: Literal["rgb", "bgr"] = "rgb"
    mean: tuple[Finite, Finite, Finite] = Field(
        (0.0, 0.0, 0.0), description="taken from each channel, grey levels, in the order of colours"
    )
    std: tuple[Divisor, Divisor, Divisor] = Field(
        (1.0, 1.0, 1.0), description="by which each is then divided; 255 makes 0 to 1"
    )
    channels: Literal["first", "last"] = "first"


class Columns(Settings):
    """Where some numbers of every candidate stand."""

    output: PathText | Annotated[tuple[PathText, ...], Field(max_length=100)] = Field(
        description="name of the graph's output or its number; several are levels, in turn"
    )
    first: StrictInt = Field(
        0,
        ge=-MAX_COLUMNS,
        le=MAX_COLUMNS,
        description="first column of a candidate; below 0 it counts from the last",
    )
    end: StrictInt | None = Field(
        None,
        ge=-MAX_COLUMNS,
        le=MAX_COLUMNS,
        description="column after the last of them, likewise; none is all that follow",
    )
    along: Literal["rows", "columns", "maps", "list"] = Field(
        "rows",
        description="each candidate is a row, the last axis its columns; a column (1, columns, "
        "candidates), as YOLOv8 has it; a place of maps (1, columns, height, width); or one number",
    )
    activation: Activation = "none"


class Grid(Settings):
    """Points of a grid that candidates are told from, level after level, row by row."""

    strides: tuple[Count, ...] = Field(
        min_length=1, max_length=100, description="px of the input, per level"
    )
    anchors: tuple[Anchors, ...] = Field(
        (),
        max_length=100,
        description="width and height in px of each level's anchors, which its candidates follow "
        "one after the other; YOLOv5, RetinaNet",
    )
    offset: StrictFloat = Field(0.5, ge=0, le=1, description="of a point in its cell")


class Boxes(Columns):
    """Where boxes stand and what their four numbers mean."""

    form: Literal["xyxy", "xywh", "cxcywh", "ltrb", "yolox", "yolov5", "deltas"] = Field(
        description="corners; corner and size; centre and size; distances from a grid's point, in "
        "strides; YOLOX's and YOLOv5's numbers before they are decoded; or how far from an anchor"
    )
    unit: Literal["px", "share"] = Field("px", description="of the input, or shares of its sides")


class Masks(Settings):
    """Where masks stand."""

    output: PathText
    kind: Literal["roi", "picture", "prototypes"] = Field(
        description="per box, over its area; per box, over the whole input; or pictures that each "
        "candidate mixes (YOLACT, YOLOv5 and YOLOv8)"
    )
    coefficients: Columns | None = Field(None, description="of the mixture, with prototypes")
    per_type: StrictBool = Field(
        default=False, description="one for each type, of which the candidate's counts"
    )
    activation: Literal["none", "sigmoid"] = "sigmoid"

    @model_validator(mode="after")
    def _mixtures_have_coefficients(self) -> "Masks":
        if (self.kind == "prototypes") != (self.coefficients is not None):
            raise ValueError(
                f"coefficients belong to prototypes and to nothing else; kind is {self.kind}"
            )
        return self


class Layout(Settings):
    """What stands where in a detector's outputs."""

    picture: Picture = Field(default_factory=Picture)
    boxes: Boxes | None = Field(None, description="none takes those that masks fill")
    scores: Columns = Field(description="one number per candidate, or one for each type")
    objectness: Columns | None = Field(
        None, description="scores are multiplied by it; YOLOv5, YOLOX"
    )
    geometric: StrictBool = Field(default=False, description="take the root of that product; FCOS")
    types: Columns | None = Field(
        None, description="number of the type, where scores hold one number per candidate"
    )
    first_type: Count = Field(
        0, description="number of the first type; 1 where 0 is the background"
    )
    background: Literal["none", "first", "last"] = Field(
        "none", description="column of the scores that means nothing is there; DETR's is the last"
    )
    masks: Masks | None = None
    grid: Grid | None = Field(None, description="with boxes that are told from its points")
    suppressed: bool = Field(
        description="whether overlapping boxes are gone already (NMS inside, or DETR's queries)"
    )

    @model_validator(mode="after")
    def _parts_fit(self) -> "Layout":
        if self.boxes is None and (self.masks is None or self.masks.kind != "picture"):
            raise ValueError("boxes: wanted some, or masks of the kind 'picture' to take them of")
        form = self.boxes.form if self.boxes else "of masks"
        if (form in OF_GRID) != (self.grid is not None):
            raise ValueError(f"boxes.form '{form}' and grid: wanted both or neither")
        anchored = form in ANCHORED
        if self.grid and anchored != bool(self.grid.anchors):
            raise ValueError(f"grid.anchors belong to boxes.form {ANCHORED} and to nothing else")
        if self.grid and anchored and len(self.grid.anchors) != len(self.grid.strides):
            raise ValueError("grid.anchors: wanted a list for each of strides")
        if self.geometric and self.objectness is None:
            raise ValueError("geometric: belongs to objectness; leave it out")
        if self.types is not None and self.background != "none":
            raise ValueError("background: scores of one column have none; leave it out")
        return self

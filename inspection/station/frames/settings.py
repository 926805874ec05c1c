"""`frames` of configs/station.yaml: which frames are one part, and how they become one verdict."""

from typing import Literal, Self

from pydantic import Field, StrictFloat, StrictInt, model_validator

from inspection.core.config import Settings
from inspection.core.fusion import Overlap

Place = tuple[StrictInt | StrictFloat, StrictInt | StrictFloat]


class ViewsSettings(Settings):
    """Frames that show different surfaces of a part: a turntable, poses of a robot."""

    kind: Literal["views"] = "views"


class TilesSettings(Settings):
    """Frames that lie at known places of one large picture: a line scan, an x-y table."""

    kind: Literal["tiles"]
    step_px: Place | None = Field(
        None, description="right and down from frame to frame, px of the frame as judged"
    )
    offsets_px: tuple[Place, ...] = Field(
        (), description="right and down of the first frame, one for each; instead of step_px"
    )
    overlap: Overlap = Field(
        "max", description="what places take that several frames see: max or mean"
    )

    @model_validator(mode="after")
    def _places_are_known(self) -> Self:
        if (self.step_px is None) is not bool(self.offsets_px):
            raise ValueError("tiles need step_px or offsets_px, and not both")
        return self


class ConveyorSettings(Settings):
    """Frames that see the same surface several times while it moves; their maps are averaged."""

    kind: Literal["conveyor"]
    step_px: Place | None = Field(
        None,
        description="right and down from frame to frame, px of the frame as judged; against the "
        "surface's own motion in the picture. None estimates it from the pictures, for surfaces "
        "that do not repeat themselves and move by less than half a frame",
    )


Fusion = ViewsSettings | TilesSettings | ConveyorSettings


class FramesSettings(Settings):
    """Parts of several frames of each camera."""

    count: StrictInt = Field(
        ge=2,
        le=256,
        description="frames of a part; where `ends` is not count, the most it may have",
    )
    ends: Literal["count", "next", "marker"] = Field(
        "count",
        description="what ends a part. count: its last frame is there. next: the first frame of "
        "another part. marker: a frame that says it is the last",
    )
    first: StrictInt = Field(1, ge=0, description="number of a part's first frame")
    wait_ms: StrictInt = Field(
        10_000,
        ge=1,
        le=3_600_000,
        description="from a part's first frame to its last, ms; then it is judged by what is there "
        "and is never PASS",
    )
    open_parts: StrictInt = Field(
        4,
        ge=1,
        le=256,
        description="parts that may wait for frames at once, with their pixels; the oldest of more "
        "is judged by what is there",
    )
    fusion: Fusion = Field(
        default_factory=ViewsSettings,
        discriminator="kind",
        description="how frames become a verdict",
    )

    @property
    def averages(self) -> bool:
        """Whether maps are averaged, so that a frame's score is not its own alone."""
        fusion = self.fusion
        return fusion.kind == "conveyor" or (fusion.kind == "tiles" and fusion.overlap == "mean")

    @property
    def in_pieces(self) -> bool:
        """Whether a defect may lie on several frames."""
        return self.fusion.kind != "views"

    @model_validator(mode="after")
    def _each_tile_has_its_place(self) -> Self:
        places = self.fusion.offsets_px if isinstance(self.fusion, TilesSettings) else ()
        if places and len(places) != self.count:
            raise ValueError(
                f"fusion.offsets_px has {len(places)} places for {self.count} frames; give one for "
                "each"
            )
        return self

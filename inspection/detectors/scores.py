"""What a detector was seen to find of what people drew."""

from pydantic import Field, StrictFloat, StrictInt

from inspection.core.config import Settings
from inspection.core.records import Interval


class TypeScore(Settings):
    """How one type is found."""

    drawn: StrictInt = Field(description="defects of it that people drew")
    box_ap50: StrictFloat | None = Field(description="average precision at IoU 0.5; none undrawn")
    mask_ap50: StrictFloat | None = Field(description="the same of masks; none without masks")
    found: StrictInt = Field(description="of those drawn, with any type, from the least score on")
    named: StrictInt = Field(description="of those found, with the right type")


class Held(Settings):
    """What a station would hold that holds parts from a score on."""

    from_score: StrictFloat
    good: Interval = Field(description="share of good parts, with its exact 95 % interval")
    defective: Interval | None = Field(description="the same of parts with a defect; none without")


class Scores(Settings):
    """How a detector finds what people drew."""

    pictures: StrictInt
    box_ap50: StrictFloat = Field(description="mean of the types")
    mask_ap50: StrictFloat | None = Field(description="the same of masks; none without masks")
    recall: StrictFloat | None = Field(description="share of the defects found; none undrawn")
    type_accuracy: StrictFloat | None = Field(description="share of these named right; none found")
    good_held: StrictFloat | None = Field(
        description="share of good parts on which something is found; none without good parts"
    )
    held: tuple[Held, ...] = Field((), description="none without good parts")
    types: dict[str, TypeScore]

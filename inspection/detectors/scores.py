"""What a detector was seen to find of what people drew."""

from pydantic import Field

from inspection.core.config import Settings
from inspection.core.known import MAX_TYPES
from inspection.core.limits import Count, Figure, Short
from inspection.core.records import Interval


class TypeScore(Settings):
    """How one type is found."""

    drawn: Count = Field(description="defects of it that people drew")
    box_ap50: Figure | None = Field(description="average precision at IoU 0.5; none undrawn")
    mask_ap50: Figure | None = Field(description="the same of masks; none without masks")
    found: Count = Field(description="of those drawn, with any type, from the least score on")
    named: Count = Field(description="of those found, with the right type")


class Held(Settings):
    """What a station would hold that holds parts from a score on."""

    from_score: Figure
    good: Interval = Field(description="share of good parts, with its exact 95 % interval")
    defective: Interval | None = Field(description="the same of parts with a defect; none without")


class Scores(Settings):
    """How a detector finds what people drew."""

    pictures: Count
    box_ap50: Figure = Field(description="mean of the types")
    mask_ap50: Figure | None = Field(description="the same of masks; none without masks")
    recall: Figure | None = Field(description="share of the defects found; none undrawn")
    type_accuracy: Figure | None = Field(description="share of these named right; none found")
    good_held: Figure | None = Field(
        description="share of good parts on which something is found; none without good parts"
    )
    held: tuple[Held, ...] = Field((), max_length=1_000, description="none without good parts")
    types: dict[Short, TypeScore] = Field(max_length=MAX_TYPES)

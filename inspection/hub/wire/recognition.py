"""What second stages named: counts of types, and how people's types compare with them."""

from typing import Literal

from pydantic import Field

from inspection.core.known import Status
from inspection.core.limits import Moment, Total
from inspection.hub.wire.message import Answer, Name, Rate, Request

GOOD, UNNAMED = "good", "unnamed"
"""What people say of a part beside types: it is good; a defect of which nobody said the type."""


class RecognitionWanted(Request):
    """Of which parts; each filter exactly, all of them together."""

    line: Name | None = None
    product: Name | None = None
    hours: int = Field(24, ge=1, le=24 * 366, description="back from now, by time of capture")


class ConfusionWanted(RecognitionWanted):
    """The same, of one detector where several have looked."""

    detector_id: str | None = Field(None, max_length=64)


class TypeCount(Answer):
    """How often a type was named on a product's parts of a line."""

    line: str
    product: str
    type: str
    parts: Total = Field(description="on which it was named")
    objects: Total = Field(description="of that type, on all of them")


class TypeTime(Answer):
    """How many parts of one hour or day a type was named on."""

    begin: Moment
    type: str
    parts: Total


class TypeCounts(Answer):
    """What was named in a time."""

    at: Moment
    span_h: Total
    looks: dict[Status, Total] = Field(
        description="parts by how the second stage ended; skipped ones were not looked at"
    )
    named: Total = Field(description="parts on which anything was named")
    held: Total = Field(description="parts that it made worse than score and guards did")
    types: tuple[TypeCount, ...] = Field(description="the most parts first")
    per: Literal["hour", "day"] = Field(description="of `times`: hours up to two days, else days")
    times: tuple[TypeTime, ...] = Field(description="in order of time")


class DetectorSeen(Answer):
    """A detector that looked at reviewed parts."""

    detector: str = Field(description="its name")
    detector_id: str
    parts: Total


class ConfusionCell(Answer):
    """Reviewed parts of which detector and person said these."""

    found: str | None = Field(
        description="type the detector named: what the person said where that is among several, "
        "else the surest; none where it named nothing"
    )
    said: str = Field(description="type the person gave, 'unnamed', or 'good'")
    parts: Total


class TypeAgreement(Answer):
    """How far detector and reviewers mean the same by a type."""

    type: str
    found: Rate = Field(description="parts people gave it to on which the detector named it")
    right: Rate = Field(
        description="parts the detector named it on to which people gave it; those of which they "
        "gave no type are left out"
    )


class Confusion(Answer):
    """How the detector's types compare with those of reviewers; unsure and disputed left out."""

    at: Moment
    span_h: Total
    cells: tuple[ConfusionCell, ...] = Field(description="the most parts first")
    agreement: tuple[TypeAgreement, ...] = Field(description="of each type either knows, by name")
    detectors: tuple[DetectorSeen, ...] = Field(description="in that time, the most parts first")

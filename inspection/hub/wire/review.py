"""What reviewers see and say: the queue, decisions with revisions, looks, outlines, agreement."""

from enum import StrEnum

from pydantic import Field, model_validator

from inspection.core.limits import Count, Figure, FinePx, Moment, Total
from inspection.hub.wire.message import Answer, Comment, Rate, Request


class Decision(StrEnum):
    """What a person says of a part."""

    GOOD = "good"
    DEFECT = "defect"
    UNSURE = "unsure"
    UNDONE = "undone"  # takes back what stood before; the part is in the queue again


class Why(StrEnum):
    """Why a part is in the queue."""

    SHADOW = "shadow"  # the bundle in the shadow would let it go another way
    NEAR_BAND = "near the band"
    NOVEL = "novel"  # farther above the band than any part reviewed so far
    DISAGREEING = "disagreeing"  # two reviewers, or reviewer and verdict
    SAMPLED_PASS = "sampled PASS"  # noqa: S105 - a reason, no password
    KNOWN = "known defect"  # the second stage holds it, and not its score
    REJECTED = "rejected"
    FAULT = "fault"
    SECOND = "second review"


class QueueItem(Answer):
    """One part to look at."""

    event_id: str
    why: Why
    value: Figure = Field(description="what looking at it is worth; the queue is ordered by it")
    second: bool = Field(description="a blind second review; earlier decisions are not shown")
    line: str
    station: str
    product: str
    part_id: str
    captured_at: Moment
    revision: Total = Field(description="of this pass, to give back with the decision")


class NewReview(Request):
    """A decision on a part."""

    decision: Decision
    defect: str | None = Field(
        None, max_length=64, pattern=r"^\w[\w .-]*$", description="type; with decision defect only"
    )
    comment: Comment = ""
    second: bool = False
    revision: Count = Field(description="seen last; another one meanwhile is a conflict")

    @model_validator(mode="after")
    def _types_are_of_defects(self) -> "NewReview":
        if self.defect is not None and self.decision is not Decision.DEFECT:
            raise ValueError(
                f"defect '{self.defect}' with decision '{self.decision}'; leave it out"
            )
        if self.defect == "good":
            raise ValueError("'good' is no type of defect; wanted another word, or decision good")
        return self


class Review(Answer):
    """One decision as it stands in the log."""

    event_id: str
    second: bool
    revision: Total
    reviewer: str
    decision: Decision
    defect: str | None
    comment: str
    at: Moment


class Conflict(Answer):
    """Somebody else decided first; nothing was changed."""

    error: str
    current: Review


class Agreement(Answer):
    """How far two people decide alike (Cohen 1960)."""

    pairs: Total
    agreed: Total
    kappa: Figure | None = Field(
        description="-1 to 1; none without pairs, or when all of them say one and the same"
    )


class ReviewSummary(Answer):
    """Where reviewing stands on a line."""

    waiting: Total
    reviewed: Total
    decisions: dict[Decision, Total]
    defects: dict[str, Total]
    agreement: Agreement
    escapes: Rate = Field(description="defects among the sampled PASS parts that were decided")
    sampled: Total = Field(description="PASS parts drawn for review, decided or not")


class Look(Answer):
    """What explains one frame's score; images are base64 PNG, as large as asked at most."""

    camera: str
    bundle_id: str
    score: Figure = Field(description="as the hub computes it from the stored picture")
    height_px: Total = Field(description="of the stored picture")
    width_px: Total
    heat: str = Field(
        description="grey 8 bit over the whole picture; 0: the map's least value, 255: its "
        "largest, or reject_above where that is larger"
    )
    coarse: str = Field(description="grey 8 bit, 255 where the map lies above the band")
    refined: str = Field(description="likewise, outlined by the segmenter or corrected by a person")
    segmenter: str = Field(
        "", description="which was asked; empty where a person's mask is shown or none was asked"
    )
    corrected_by: str | None
    correction: Total = Field(
        0, description="revision of the person's mask shown, to give back; 0 is none"
    )
    peak_xy: tuple[Figure, Figure] | None = Field(description="px of the stored picture")
    patch: str | None = Field(description="RGB around the peak")
    normal_patch: str | None = Field(
        description="RGB of the most alike patch among the bundle's golden normals"
    )
    normal_distance: Figure | None = Field(description="of their features; none for other models")
    note: str = Field(description="what could not be shown, and why; else empty")


class Outline(Request):
    """Clicks on a part's picture, px."""

    camera: str = Field(max_length=128)
    box: tuple[FinePx, FinePx, FinePx, FinePx] | None = Field(None, description="x0, y0, x1, y1")
    positive: tuple[tuple[FinePx, FinePx], ...] = Field((), max_length=100)
    negative: tuple[tuple[FinePx, FinePx], ...] = Field((), max_length=100)


class Outlined(Answer):
    """The mask that clicks give."""

    mask: str = Field(description="base64 PNG, grey 8 bit, as large as the picture")
    area_px: Total
    segmenter: str


class NewCorrection(Request):
    """A mask a person made."""

    camera: str = Field(max_length=128)
    mask: str = Field(max_length=20_000_000, description="base64 PNG as large as the picture")
    defect: str | None = Field(None, max_length=64, pattern=r"^\w[\w .-]*$")
    revision: Count = Field(description="of the correction seen last; 0 is none")


class Correction(Answer):
    """A mask as it stands in the log."""

    event_id: str
    camera: str
    revision: Total
    reviewer: str
    defect: str | None
    at: Moment

"""What pages read of the line: events, pictures, stations, and the overview."""

from enum import StrEnum

from pydantic import AwareDatetime, Field

from inspection.core.decision import Verdict
from inspection.core.records import Event
from inspection.hub.wire.message import Answer, Name, Rate, Request
from inspection.hub.wire.people import Token
from inspection.hub.wire.review import Review
from inspection.metrics.causes import Cause
from inspection.station.state import StationStatus


class RefusalCode(StrEnum):
    """Why an event is never stored, however often it is sent."""

    CONFLICT = "conflict"
    """An event of this id is stored with other content, which stays."""
    INVALID = "invalid"
    """It is none, or holds what no event may."""


class Refused(Answer):
    """One event of a batch that is never stored."""

    index: int = Field(ge=0, description="its place in the batch")
    code: RefusalCode
    reason: str


class Stored(Answer):
    """How many of a batch, from the first, the hub is done with, and which of them it refused."""

    stored: int = Field(ge=0, description="durable, or refused for good")
    refused: tuple[Refused, ...] = ()


class Picture(Answer):
    """One stored picture of an event."""

    name: str
    kind: str = Field(description="media type")
    bytes: int
    height_px: int
    width_px: int


class EventRow(Answer):
    """One event as lists show it; the deciding frame's values."""

    event_id: str
    line: str
    station: str
    product: str
    part_id: str
    camera: str
    verdict: Verdict
    score: float | None
    review_above: float | None
    reject_above: float | None
    bundle_id: str
    captured_at: AwareDatetime
    received_at: AwareDatetime
    latency_ms: float
    picture: str | None = Field(description="name of the deciding frame's picture, if it is here")
    decision: str | None = Field(
        description="of the review in force: good, defect, unsure; none for who is asked for a "
        "blind second review"
    )
    types: dict[str, int] = Field(
        default_factory=dict,
        description="objects of each type that a second stage named on it, the most first",
    )


class EventDetail(Answer):
    """All of one event."""

    event: Event
    row: EventRow
    pictures: tuple[Picture, ...]
    reviews: tuple[Review, ...] = Field(
        description="oldest first; who is asked for a blind second review sees his own only, and a "
        "second review is left out for who has not decided"
    )


class StationRow(Answer):
    """One station as it said last."""

    station: str
    line: str
    enrolled_at: AwareDatetime
    retired_at: AwareDatetime | None
    copied_at: AwareDatetime | None = Field(
        description="when two machines were seen to send under its name; none: never"
    )
    seen_at: AwareDatetime | None
    silent: bool = Field(description="did not say anything for 15 s, or never")
    skew_s: float | None = Field(description="its clock minus the hub's")
    skewed: bool = Field(description="its clock is off by more than the hub allows")
    behind: int | None = Field(description="events it has and the hub has not; none: never said")
    status: StationStatus | None
    tokens: tuple[Token, ...] = Field(description="for admins; else empty")


class NewStation(Request):
    """A station to enrol."""

    station: Name
    line: Name


class HourCount(Answer):
    """Verdicts of one station in one hour."""

    hour: AwareDatetime
    station: str
    verdict: Verdict
    parts: int


class Drift(Answer):
    """Whether something has moved for a bundle: a lamp for each standing alarm.

    A dark one says that the hub has looked lately; without any, nobody knows.
    """

    bundle_id: str
    lit: bool
    cause: Cause | None = Field(description="none of a dark one")
    shift: float | None = Field(description="in standard deviations of the reference")
    note: str
    station: str = Field("", description="on which it has moved; empty: not of one station")


class LineOverview(Answer):
    """One line in the last hours."""

    line: str
    stations: tuple[StationRow, ...]
    hours: tuple[HourCount, ...]
    parts: int
    rates: dict[Verdict, Rate]
    defects: dict[str, int] = Field(description="reviewed defect types, most first")
    late: int = Field(description="parts whose verdict came after the deadline")
    latency_mean_ms: float | None
    latency_most_ms: float | None
    deadline_ms: int | None
    drift: tuple[Drift, ...]
    waiting: int = Field(description="parts in the review queue")


class Need(Answer):
    """Something a person should do now, the most urgent first."""

    line: str
    station: str | None
    urgency: int = Field(ge=1, le=3, description="1 now, 2 today, 3 when there is time")
    what: str
    page: str = Field(description="of the dashboard: review, stations, models, retraining")


class Overview(Answer):
    """All lines."""

    at: AwareDatetime
    span_h: int
    lines: tuple[LineOverview, ...]
    needs: tuple[Need, ...]

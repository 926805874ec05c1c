"""What pages read of the line: events, pictures, stations, and the overview."""

from enum import StrEnum

from pydantic import Field

from inspection.core.decision import Verdict
from inspection.core.limits import Figure, Moment, Total
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

    index: Total = Field(description="its place in the batch")
    code: RefusalCode
    reason: str


class Stored(Answer):
    """How many of a batch, from the first, the hub is done with, and which of them it refused."""

    stored: Total = Field(description="durable, or refused for good")
    refused: tuple[Refused, ...] = ()


class Picture(Answer):
    """One stored picture of an event."""

    name: str
    kind: str = Field(description="media type")
    bytes: Total
    height_px: Total
    width_px: Total


class EventRow(Answer):
    """One event as lists show it; the deciding frame's values."""

    event_id: str
    line: str
    station: str
    product: str
    part_id: str
    camera: str
    verdict: Verdict
    score: Figure | None
    review_above: Figure | None
    reject_above: Figure | None
    bundle_id: str
    captured_at: Moment
    received_at: Moment
    latency_ms: Figure
    picture: str | None = Field(description="name of the deciding frame's picture, if it is here")
    decision: str | None = Field(
        description="of the review in force: good, defect, unsure; none for who is asked for a "
        "blind second review"
    )
    types: dict[str, Total] = Field(
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
    enrolled_at: Moment
    retired_at: Moment | None
    copied_at: Moment | None = Field(
        description="when two machines were seen to send under its name; none: never"
    )
    seen_at: Moment | None
    silent: bool = Field(description="did not say anything for 15 s, or never")
    skew_s: Figure | None = Field(description="its clock minus the hub's")
    skewed: bool = Field(description="its clock is off by more than the hub allows")
    behind: Total | None = Field(description="events it has and the hub has not; none: never said")
    status: StationStatus | None
    tokens: tuple[Token, ...] = Field(description="for admins; else empty")


class NewStation(Request):
    """A station to enrol."""

    station: Name
    line: Name


class HourCount(Answer):
    """Verdicts of one station in one hour."""

    hour: Moment
    station: str
    verdict: Verdict
    parts: Total


class Drift(Answer):
    """Whether something has moved for a bundle: a lamp for each standing alarm.

    A dark one says that the hub has looked lately; without any, nobody knows.
    """

    bundle_id: str
    lit: bool
    cause: Cause | None = Field(description="none of a dark one")
    shift: Figure | None = Field(description="in standard deviations of the reference")
    note: str
    station: str = Field("", description="on which it has moved; empty: not of one station")


class LineOverview(Answer):
    """One line in the last hours."""

    line: str
    stations: tuple[StationRow, ...]
    hours: tuple[HourCount, ...]
    parts: Total
    rates: dict[Verdict, Rate]
    defects: dict[str, Total] = Field(description="reviewed defect types, most first")
    late: Total = Field(description="parts whose verdict came after the deadline")
    latency_mean_ms: Figure | None
    latency_most_ms: Figure | None
    deadline_ms: Total | None
    drift: tuple[Drift, ...]
    waiting: Total = Field(description="parts in the review queue")


class Need(Answer):
    """Something a person should do now, the most urgent first."""

    line: str
    station: str | None
    urgency: int = Field(ge=1, le=3, description="1 now, 2 today, 3 when there is time")
    what: str
    page: str = Field(description="of the dashboard: review, stations, models, retraining")


class Overview(Answer):
    """All lines."""

    at: Moment
    span_h: Total
    lines: tuple[LineOverview, ...]
    needs: tuple[Need, ...]

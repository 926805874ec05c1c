"""Thresholds by their consequences: scores, predictions, previews, records in force, replay."""

from pydantic import Field, StrictFloat, StrictInt

from inspection.core.decision import Band, ThresholdLimits, Verdict
from inspection.core.limits import Figure, Moment, Total
from inspection.core.records import Certificate
from inspection.hub.wire.line import EventRow
from inspection.hub.wire.message import Answer, BundleId, Name, Rate, Request, Why


class Scores(Answer):
    """What is known of a bundle's scores on a line, each ascending, raw score units."""

    bundle_id: str
    name: str
    certificate: Certificate | None = Field(description="none: the bundle promises nothing")
    normals: tuple[Figure, ...] = Field(description="calibrate parts of the card")
    goods: tuple[Figure, ...] = Field(description="reviewed good")
    defects: tuple[Figure, ...] = Field(description="reviewed defect")
    recent: tuple[Figure, ...] = Field(description="of the last parts, reviewed or not; a sample")
    in_force: Band
    limits: ThresholdLimits = Field(description="beyond them a second person must approve")


class Costs(Request):
    """What mistakes cost and how much the line makes."""

    escape: StrictFloat = Field(100.0, ge=0, le=1e9, description="of one defect that passes")
    overkill: StrictFloat = Field(2.0, ge=0, le=1e9, description="of one good part rejected")
    review: StrictFloat = Field(0.5, ge=0, le=1e9, description="of one look at a part")
    prevalence: StrictFloat = Field(0.01, ge=0, le=1, description="share of defects among parts")
    parts_per_shift: StrictInt = Field(5_000, ge=1, le=10_000_000)


class Asked(Request):
    """A band to think about."""

    bundle_id: BundleId
    band: Band
    costs: Costs = Field(default_factory=Costs)
    last: StrictInt = Field(500, ge=1, le=20_000, description="parts to preview it on")


class Expected(Answer):
    """An expected number per shift with its 95 % prediction interval."""

    expected: Figure
    low: Figure
    high: Figure


class Change(Answer):
    """A part whose verdict would be another."""

    row: EventRow
    would_be: Verdict


class Consequences(Answer):
    """What a band leads to."""

    band: Band
    false_rejects: Expected = Field(description="good parts rejected per shift")
    review_load: Expected = Field(description="parts for review per shift")
    capacity: Total = Field(description="parts reviewers can look at per shift")
    escapes: Rate = Field(description="share of reviewed defects that would pass")
    escapes_per_shift: Expected
    cost_per_1000: Figure = Field(description="parts, in the unit of the costs")
    certificate: str = Field(description="what the calibrate parts promise at this band, in words")
    previewed: Total
    now: dict[Verdict, Total]
    then: dict[Verdict, Total]
    changes: tuple[Change, ...] = Field(
        description="those farthest from both bands first; 60 at most"
    )
    notes: tuple[str, ...] = Field(description="what the numbers do not know")


class NewThresholds(Request):
    """A band to apply."""

    bundle_id: BundleId
    band: Band
    stations: tuple[Name, ...] = Field(min_length=1, max_length=1000)
    product: Name | None = None
    camera: Name | None = None
    comment: Why
    previous: str | None = Field(
        None,
        max_length=64,
        description="sha256 of the record seen in force; another one meanwhile is a conflict",
    )


class Proposal(Answer):
    """Thresholds beyond the limits of their bundle's card, which wait for a second person."""

    id: Total
    new: NewThresholds
    exceeded: str = Field(description="which limit, in words")
    who: str
    at: Moment


class Revert(Request):
    """Bring back the band of an earlier record; none is the card's."""

    sha256: str = Field(pattern=r"^[0-9a-f]{64}$", description="record to take back")
    comment: Why


class ThresholdRow(Answer):
    """One record of the history."""

    sha256: str
    bundle_id: str
    product: str | None
    camera: str | None
    band: Band
    who: str
    approved_by: str | None
    when: Moment
    why: str
    reverts: str | None
    in_force: bool
    stations: tuple[str, ...]
    used_by: tuple[str, ...] = Field(description="stations that said they judge by it")


class Replay(Request):
    """A past time to decide again under another band, or another bundle."""

    line: Name
    begin: Moment
    end: Moment
    bundle_id: BundleId = Field(description="whose parts are decided again")
    band: Band | None = Field(None, description="none takes that in force, or the other bundle's")
    other_bundle_id: BundleId | None = Field(
        None, description="judges the stored pictures anew; none decides the stored scores"
    )


class Replayed(Answer):
    """What would have been."""

    parts: Total = Field(description="decided again")
    without: Total = Field(
        description="left out: no score, or no stored picture for another bundle"
    )
    band: Band
    now: dict[Verdict, Total]
    then: dict[Verdict, Total]
    reviewed_then: dict[str, dict[Verdict, Total]] = Field(
        description="reviewed good and defect parts by the verdict they would have"
    )
    changes: tuple[Change, ...] = Field(description="60 at most")
    notes: tuple[str, ...]

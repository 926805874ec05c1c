"""One snapshot of a station, for its page, metrics, `station status` and heartbeats."""

from enum import StrEnum

from pydantic import AwareDatetime, Field, StrictInt

from inspection.core.config import Settings
from inspection.core.decision import Verdict
from inspection.core.image_statistics import Reference, StatisticsReference
from inspection.core.records import Event, Record


class StationState(StrEnum):
    """What the station is doing; only READY releases parts."""

    STARTING = "STARTING"  # opens bundles, tests itself
    READY = "READY"  # judges what comes
    IMPAIRED = "IMPAIRED"  # judges, but the source brings nothing or the bundle fails
    BLOCKED = "BLOCKED"  # cannot make events durable, so no verdict leaves
    STOPPED = "STOPPED"  # ended, or ends


class OutputStatus(Settings):
    """How one destination stands."""

    name: str
    up: bool
    waiting: StrictInt = Field(description="events it has not acknowledged yet")
    reason: str = Field(description="why it is down; empty while it is up")


class BundleStatus(Settings):
    """Which bundle judges one camera of one product."""

    product: str
    camera: str
    name: str
    bundle_id: str
    review_above: float
    reject_above: float
    since: AwareDatetime
    trial: bool = Field(description="new, and watched until it has judged enough parts")
    note: str = Field(description="what became of the last update; empty when none was tried")
    statistics: StatisticsReference | None = Field(
        None, description="of the calibrate normals' pictures; none in older bundles"
    )
    scores: Reference | None = Field(
        None, description="of the calibrate normals' raw scores; none from older stations"
    )
    detector: str = Field("", description="what names known defects, with its id; empty: nothing")


class ChallengerStatus(Settings):
    """A bundle that scores in the shadow of the one that judges, and decides nothing."""

    name: str
    bundle_id: str
    lost: StrictInt = Field(
        description="parts it did not score: there was no time, or it failed on them"
    )
    unheard: StrictInt = Field(description="frames it scored of which the hub never heard")


class SelftestStatus(Settings):
    """What the last start-of-shift check said."""

    checked_at: AwareDatetime
    checks: StrictInt
    failed: tuple[str, ...] = Field(description="each check that did not pass, in words")
    notes: tuple[str, ...] = Field(description="what is no failure, but has to be known")


class Latencies(Settings):
    """From arrival to verdict, ms, over the last parts."""

    parts: StrictInt
    p50_ms: float
    p99_ms: float


class StationStatus(Record):
    """One look at a station."""

    line: str
    station: str
    state: StationState
    reason: str = Field(description="why it is not READY; empty when it is")
    beat: StrictInt = Field(
        description="counts heartbeats; one that stands still is a dead station"
    )
    at: AwareDatetime
    started_at: AwareDatetime
    version: str
    deadline_ms: StrictInt
    counts: dict[Verdict, StrictInt] = Field(description="events of each verdict in the record")
    since_start: dict[Verdict, StrictInt] = Field(description="the same since the start")
    sequence: StrictInt = Field(description="of the last event; 0 before the first")
    last: tuple[Event, ...] = Field(description="the last parts, newest first")
    latency: Latencies | None = Field(description="none before the first verdict")
    waiting: StrictInt = Field(description="parts in the queue")
    known: StrictInt = Field(
        0, description="parts handed in again since the start, their event was there already"
    )
    late: StrictInt = Field(description="parts that were FAULT because they came too late")
    late_frames: StrictInt = Field(
        0, description="frames that came after the verdict on their part; kept, not judged"
    )
    source: str = Field(description="empty while it works, else what is wrong with it")
    outputs: tuple[OutputStatus, ...]
    bundles: tuple[BundleStatus, ...]
    challengers: tuple[ChallengerStatus, ...] = ()
    selftest: SelftestStatus | None = Field(None, description="none before the first")
    disk_bytes: StrictInt = Field(description="of the record and the pictures")
    budget_bytes: StrictInt
    dropped: dict[str, StrictInt] = Field(
        description="what the byte budget or a full disk took: pictures of each verdict, events"
    )

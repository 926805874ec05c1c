"""One snapshot of a station, for its page, metrics, `station status` and heartbeats."""

from enum import StrEnum

from pydantic import Field

from inspection.core.config import Settings
from inspection.core.decision import Verdict
from inspection.core.image_statistics import Reference, StatisticsReference
from inspection.core.limits import (
    MAX_ENTRIES,
    MAX_NAME,
    Count,
    DurationMs,
    Finite,
    Moment,
    Reason,
    Sha256,
    Short,
)
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

    name: Short
    up: bool
    waiting: Count = Field(description="events it has not acknowledged yet")
    reason: Reason = Field(description="why it is down; empty while it is up")


class BundleStatus(Settings):
    """Which bundle judges one camera of one product."""

    product: Short
    camera: Short
    name: Short
    bundle_id: Sha256
    review_above: Finite
    reject_above: Finite
    override: Reason = Field(
        "", description="who let them lie beyond the limits of the bundle's card; else empty"
    )
    since: Moment
    trial: bool = Field(description="new, and watched until it has judged enough parts")
    note: Reason = Field(description="what became of the last update; empty when none was tried")
    statistics: StatisticsReference | None = Field(
        None, description="of the calibrate normals' pictures; none in older bundles"
    )
    scores: Reference | None = Field(
        None, description="of the calibrate normals' raw scores; none from older stations"
    )
    detector: str = Field(
        "",
        max_length=2 * MAX_NAME,
        description="what names known defects, with its id; empty: nothing",
    )


class ChallengerStatus(Settings):
    """A bundle that scores in the shadow of the one that judges, and decides nothing."""

    name: Short
    bundle_id: Sha256
    lost: Count = Field(
        description="parts it did not score: there was no time, or it failed on them"
    )
    unheard: Count = Field(description="frames it scored of which the hub never heard")


class SelftestStatus(Settings):
    """What the last start-of-shift check said."""

    checked_at: Moment
    checks: Count
    failed: tuple[Reason, ...] = Field(
        max_length=MAX_ENTRIES, description="each check that did not pass, in words"
    )
    notes: tuple[Reason, ...] = Field(
        max_length=MAX_ENTRIES, description="what is no failure, but has to be known"
    )


class Latencies(Settings):
    """From arrival to verdict, ms, over the last parts."""

    parts: Count
    p50_ms: DurationMs
    p99_ms: DurationMs


class StationStatus(Record):
    """One look at a station."""

    line: Short
    station: Short
    state: StationState
    reason: Reason = Field(description="why it is not READY; empty when it is")
    beat: Count = Field(description="counts heartbeats; one that stands still is a dead station")
    at: Moment
    started_at: Moment
    version: Short
    deadline_ms: Count
    counts: dict[Verdict, Count] = Field(description="events of each verdict in the record")
    since_start: dict[Verdict, Count] = Field(description="the same since the start")
    sequence: Count = Field(description="of the last event; 0 before the first")
    last: tuple[Event, ...] = Field(max_length=1_000, description="the last parts, newest first")
    latency: Latencies | None = Field(description="none before the first verdict")
    waiting: Count = Field(description="parts in the queue")
    known: Count = Field(
        0, description="parts handed in again since the start, their event was there already"
    )
    late: Count = Field(description="parts that were FAULT because they came too late")
    late_frames: Count = Field(
        0, description="frames that came after the verdict on their part; kept, not judged"
    )
    source: Reason = Field(description="empty while it works, else what is wrong with it")
    outputs: tuple[OutputStatus, ...] = Field(max_length=1_000)
    bundles: tuple[BundleStatus, ...] = Field(max_length=MAX_ENTRIES)
    challengers: tuple[ChallengerStatus, ...] = Field((), max_length=MAX_ENTRIES)
    selftest: SelftestStatus | None = Field(None, description="none before the first")
    disk_bytes: Count = Field(description="of the record and the pictures")
    budget_bytes: Count
    dropped: dict[Short, Count] = Field(
        max_length=1_000,
        description="what the byte budget or a full disk took: pictures of each verdict, events",
    )

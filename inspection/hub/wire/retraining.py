"""What the retraining loop says and is asked: alarms, jobs, challengers, shadows, the policy."""

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from inspection.core.decision import Verdict
from inspection.core.limits import DurationMs, Figure, Finite, Moment, Total
from inspection.core.records import Interval
from inspection.hub.wire.message import Answer, BundleId, Name, Request, Why
from inspection.metrics.causes import Advice as Advice
from inspection.metrics.causes import Cause as Cause

Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]


class Alarm(Answer):
    """One thing that has moved away from where it lay when the bundle began to judge."""

    id: Total
    line: str
    product: str
    camera: str
    bundle_id: str
    cause: Cause
    raised_at: Moment
    cleared_at: Moment | None = Field(description="none while it stands")
    why_cleared: Literal["", "settled", "replaced", "explained", "dismissed", "refitted"]
    since: Moment | None = Field(description="of the part it began with, if known")
    effect: Figure = Field(description="in standard deviations of the reference")
    p_value: Figure = Field(description="corrected for all tests made together")
    words: str = Field(description="what moved, how far, and what to do")
    station: str = Field("", description="whose frames; empty: of a time when all counted as one")
    guarded: bool = Field(
        default=False,
        description="the station's guards hold most of these frames for REVIEW, which no threshold "
        "changes",
    )
    advice: Advice = Field(description="what to do; another once it has stood for a shift")


class Dismissal(Request):
    """Why what an alarm found is the reference from now on."""

    comment: Why


class Monitored(Answer):
    """How one monitor stands, for charts: the blocks of parts it compares."""

    line: str
    product: str
    camera: str
    bundle_id: str
    cause: Cause
    reference: Total = Field(description="parts of the reference; 0: it is still being gathered")
    blocks: tuple[tuple[Moment, Figure], ...] = Field(
        description="end of each block and its mean, in standard deviations of the reference"
    )
    standing: Total | None = Field(description="id of the alarm that stands")
    limit: Figure | None = Field(
        None, description="how far a block's mean may lie out, in the same unit; for charts"
    )
    note: str
    station: str = ""
    since: Moment | None = Field(
        None, description="captured_at of the first part of the reference; none while gathered"
    )
    recent: Total = Field(0, description="last blocks, of a window, that are held against it")
    watched: bool = Field(
        default=False, description="parts of late are held against it; else the note says why not"
    )
    looked_at: Moment | None = Field(
        None, description="when the hub last looked, which raises alarms; none: never"
    )


class JobKind(StrEnum):
    """What a job does, from the cheapest on."""

    REFIT = "refit"  # new thresholds of the same graph, from reviewed parts
    GUARDS = "guards"  # guards learn the light of reviewed good parts; scores stay
    UPDATE = "update"  # PatchCore's bank takes in reviewed good parts, within its budget
    RETRAIN = "retrain"  # everything anew


class JobState(StrEnum):
    """How a job stands."""

    WAITING = "waiting"
    RUNNING = "running"
    DONE = "done"  # a bundle passed its gate, or a threshold record was made
    REFUSED = "refused"  # the gate or the comparison said no
    FAILED = "failed"  # by a fault; the same may go well another time
    IMPOSSIBLE = "impossible"  # and asking for the same again would end the same
    CANCELLED = "cancelled"


class Step(StrEnum):
    """The steps of a job, in order."""

    ASSEMBLE = "assemble"
    TRAIN = "train"
    EXPORT = "export"
    CALIBRATE = "calibrate"
    GATE = "gate"
    COMPARE = "compare"


NO_TRAINING = (Step.ASSEMBLE, Step.CALIBRATE, Step.GATE, Step.COMPARE)
STEPS: dict[JobKind, tuple[Step, ...]] = {
    JobKind.REFIT: (),
    JobKind.GUARDS: NO_TRAINING,  # it makes its bundle at once, as an update does
    JobKind.UPDATE: NO_TRAINING,
    JobKind.RETRAIN: tuple(Step),
}
"""What each kind goes through."""


class StepState(Answer):
    """How one step of a job stands."""

    step: Step
    digest: str = Field(description="of its inputs")
    started_at: Moment
    ended_at: Moment | None
    tries: Total = Field(description="how often it was begun; above 1 after a crash")
    note: str


class Job(Answer):
    """One retraining."""

    job_id: str
    line: str
    product: str
    name: str = Field(description="of the bundle")
    kind: JobKind
    state: JobState
    why: str
    who: str
    created_at: Moment
    started_at: Moment | None
    ended_at: Moment | None
    leased_by: str | None
    leased_until: Moment | None
    cancelled_by: str | None
    step: str = Field(description="now; empty before the first")
    done: Total
    total: Total = Field(description="of the step's items; 0 where they cannot be counted")
    bundle_id: str | None
    outcome: str
    steps: tuple[StepState, ...] = Field((), description="empty in lists")


class JobLine(Answer):
    """One line of a job's log."""

    id: Total
    at: Moment
    level: str
    text: str


class NewJob(Request):
    """A retraining that a person asks for."""

    line: Name
    product: Name
    kind: JobKind
    comment: Why


class Compared(Answer):
    """Champion and challenger on the same parts."""

    parts: Total
    goods: Total
    defects: Total
    champion: Interval | None = Field(description="image AUROC; none where one judged no such part")
    challenger: Interval | None
    difference: Interval | None = Field(description="challenger minus champion, paired bootstrap")
    champion_false_rejects: Total
    challenger_false_rejects: Total
    champion_escapes: Total = Field(
        description="without what holds surely more good parts than it promises"
    )
    challenger_escapes: Total
    p_value: Figure = Field(description="McNemar's exact test of the verdicts that are right")


class Together(Answer):
    """How much worse a challenger may be, on golden and recent pictures, each counted once."""

    goods: Total
    defects: Total = Field(description="real ones; generated ones are left out")
    difference: Interval | None = Field(
        description="of AUROC; none where ranks tell nothing: a class is missing, or neither "
        "ranks any defect below a good part"
    )
    more_escapes: Figure = Field(
        description="one-sided 95 % limit of the share of defects that pass, beyond the champion's"
    )
    more_false_rejects: Figure = Field(
        description="the same limit of the share of good parts that do not pass"
    )


class Comparison(Answer):
    """Why a challenger may, or may not, take the champion's place."""

    better: bool
    not_worse: bool = Field(description="shown; else a person decides, unless it is worse")
    worse: bool = Field(default=False, description="surely, on one set at least; it is not offered")
    together: Together | None = Field(None, description="none without champion")
    frozen: Compared | None = Field(description="on the golden test split; none without champion")
    recent: Compared | None = Field(description="on reviewed parts neither has seen; none: too few")
    words: str


class ChallengerState(StrEnum):
    """How far a challenger has come."""

    HELD = "held"  # waits for a person
    SHADOW = "shadow"  # stations score with it, and decide with the champion
    ROLLOUT = "rollout"  # judges on some stations of the line
    PROMOTED = "promoted"  # judges on the line
    WITHDRAWN = "withdrawn"


OPEN = (ChallengerState.HELD, ChallengerState.SHADOW, ChallengerState.ROLLOUT)
"""A challenger in one of these may still take the champion's place."""


class ShadowReport(Answer):
    """What shadow scoring found so far."""

    parts: Total
    disagreements: Total
    let_pass: Total = Field(0, description="of these, parts it would pass and the champion did not")
    reviewed: Total = Field(description="disagreements people decided and nobody disputes")
    challenger_right: Total
    champion_right: Total
    defects_challenger_right: Total = Field(0, description="of these, defects it alone would hold")
    defects_champion_right: Total = Field(0, description="defects that it would let pass")
    let_pass_reviewed: Total = Field(
        0, description="of what it would let pass, be they sure or not"
    )
    faults: Total = Field(description="parts it could not judge; no disagreements")
    not_passed: Total = Field(0, description="parts it judged and would not pass")
    champion_not_passed: Total = Field(
        0, description="of the same, those the champion did not pass"
    )
    latency_p99_ms: Figure | None = Field(description="of the processor, in one thread")
    since: Moment | None


class Challenger(Answer):
    """A bundle on its way to a line."""

    id: Total
    line: str
    name: str
    bundle_id: str
    champion_id: str
    state: ChallengerState
    since: Moment
    created_at: Moment
    comparison: Comparison
    words: str
    shadow: ShadowReport
    stations: tuple[str, ...] = Field(description="on which it judges, in the order they came")
    waiting: tuple[str, ...] = Field(description="stations of the line it has not come to yet")


class NewStage(Request):
    """What a person does with a challenger."""

    state: Literal[ChallengerState.SHADOW, ChallengerState.ROLLOUT, ChallengerState.WITHDRAWN]
    comment: Why


class PolicyWords(Answer):
    """What the policy says of one product now, in words."""

    line: str
    product: str
    at: Moment
    due: JobKind | None
    words: str = Field(description="why something is due, or why nothing is, and when it may be")
    allowed: Literal["nothing", "refit", "retrain", "shadow", "promote"]


class NewForgotten(Request):
    """A picture that must never teach anything again."""

    sha256: Sha256
    comment: Why


class Forgotten(Answer):
    """A picture that was forgotten, and what had come from it."""

    sha256: str
    at: Moment
    who: str
    why: str
    bundles: tuple[str, ...] = Field(description="bundles it taught, which are not offered again")
    vectors: Total = Field(description="vectors of their banks that came from it")
    thresholds: tuple[str, ...] = Field(
        (), description="threshold records in force that were fitted with it; to be fitted again"
    )


class Shadow(Request):
    """What a challenger said of a frame that the champion decided; sent by stations."""

    event_id: Name
    camera: Name
    bundle_id: BundleId
    score: Finite | None
    verdict: Verdict
    champion: Verdict
    latency_ms: DurationMs
    at: Moment


class ShadowsStored(Answer):
    """How many were taken."""

    stored: Total

"""The retraining loop of a small plant as the hub answers it: alarms, jobs, challengers."""

from datetime import timedelta

from inspection.core.records import Interval
from inspection.hub.wire.retraining import (
    Advice,
    Alarm,
    Cause,
    Challenger,
    ChallengerState,
    Compared,
    Comparison,
    Forgotten,
    Job,
    JobKind,
    JobLine,
    JobState,
    Monitored,
    PolicyWords,
    ShadowReport,
    Step,
    StepState,
)
from tests.dashboard.drawn import AT, BUNDLE

JOB, CHALLENGER = "d" * 64, "e" * 64
PICTURE = "f" * 64


def alarm(number: int = 1, cause: Cause = Cause.LIGHT, **more) -> Alarm:
    """One alarm that stands."""
    values = {
        "id": number,
        "line": "line-1",
        "product": "plate",
        "camera": "top",
        "bundle_id": BUNDLE,
        "cause": cause,
        "raised_at": AT,
        "cleared_at": None,
        "why_cleared": "",
        "since": AT - timedelta(hours=3),
        "effect": -2.4,
        "p_value": 0.0003,
        "words": "The picture is 12 grey levels darker. Look at the lamp.",
        "advice": Advice.ADJUST,
    }
    return Alarm.model_validate(values | more)


def monitored(cause: Cause = Cause.LIGHT, **more) -> Monitored:
    """One monitor with two days of blocks that fall."""
    blocks = tuple((AT - timedelta(hours=48 - 4 * n), 0.3 - 0.25 * n) for n in range(12))
    values = {
        "line": "line-1",
        "product": "plate",
        "camera": "top",
        "bundle_id": BUNDLE,
        "cause": cause,
        "reference": 500,
        "blocks": blocks,
        "standing": None,
        "limit": 1.0,
        "note": "",
    }
    return Monitored.model_validate(values | more)


def policy(**more) -> PolicyWords:
    """A product of which nothing is due."""
    values = {
        "line": "line-1",
        "product": "plate",
        "at": AT,
        "due": None,
        "words": "12 of 50 reviews since the last training; next by the clock on Sunday 02:00.",
        "allowed": "retrain",
    }
    return PolicyWords.model_validate(values | more)


def job(job_id: str = JOB, state: JobState = JobState.RUNNING, **more) -> Job:
    """A retraining in its second step."""
    over = state not in {JobState.WAITING, JobState.RUNNING}
    values = {
        "job_id": job_id,
        "line": "line-1",
        "product": "plate",
        "name": "plate",
        "kind": JobKind.RETRAIN,
        "state": state,
        "why": "50 reviews since the last training",
        "who": "policy",
        "created_at": AT,
        "started_at": AT,
        "ended_at": AT + timedelta(minutes=4, seconds=5) if over else None,
        "leased_by": "pc-1 4711",
        "leased_until": AT,
        "cancelled_by": None,
        "step": "train",
        "done": 50,
        "total": 100,
        "bundle_id": None,
        "outcome": "",
        "steps": (step(Step.ASSEMBLE), step(Step.TRAIN, ended_at=None, tries=2)),
    }
    return Job.model_validate(values | more)


def step(name: Step, **more) -> StepState:
    """One step that took a minute."""
    values = {
        "step": name,
        "digest": "9" * 64,
        "started_at": AT,
        "ended_at": AT + timedelta(minutes=1),
        "tries": 1,
        "note": "",
    }
    return StepState.model_validate(values | more)


def line_of_log(number: int, text: str = "epoch ended") -> JobLine:
    """One line of a log."""
    return JobLine(id=number, at=AT, level="INFO", text=text)


def compared(**more) -> Compared:
    """The same parts, judged by both."""
    values = {
        "parts": 120,
        "goods": 80,
        "defects": 40,
        "champion": Interval(value=0.95, low=0.9, high=0.98),
        "challenger": Interval(value=0.97, low=0.93, high=0.99),
        "difference": Interval(value=0.02, low=-0.01, high=0.05),
        "champion_false_rejects": 6,
        "challenger_false_rejects": 3,
        "champion_escapes": 2,
        "challenger_escapes": 1,
        "p_value": 0.34,
    }
    return Compared.model_validate(values | more)


def challenger(
    number: int = 1, state: ChallengerState = ChallengerState.HELD, **more
) -> Challenger:
    """A bundle that waits for a person."""
    values = {
        "id": number,
        "line": "line-1",
        "name": "plate",
        "bundle_id": CHALLENGER,
        "champion_id": BUNDLE,
        "state": state,
        "since": AT,
        "created_at": AT,
        "comparison": Comparison(
            better=False,
            not_worse=True,
            frozen=compared(),
            recent=compared(parts=30, goods=24, defects=6),
            words="Not worse on either set.",
        ),
        "words": "The policy holds it for a person.",
        "shadow": shadow(parts=0, disagreements=0, reviewed=0, challenger_right=0),
        "stations": (),
        "waiting": ("station-1",),
    }
    return Challenger.model_validate(values | more)


def shadow(**more) -> ShadowReport:
    """What a day in the shadow showed."""
    values = {
        "parts": 800,
        "disagreements": 12,
        "reviewed": 9,
        "challenger_right": 7,
        "champion_right": 2,
        "faults": 0,
        "latency_p99_ms": 41.0,
        "since": AT,
    }
    return ShadowReport.model_validate(values | more)


def forgotten(**more) -> Forgotten:
    """A picture that had taught a bundle."""
    values = {
        "sha256": PICTURE,
        "at": AT,
        "who": "engineer-1",
        "why": "a hand is in it",
        "bundles": (BUNDLE,),
        "vectors": 17,
    }
    return Forgotten.model_validate(values | more)

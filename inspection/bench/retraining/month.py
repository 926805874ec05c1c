"""One simulated month of a line that changes, with the whole loop running beside it.

The hub, its queue, the monitors, the policy, training, gate, shadow and rollout are the product's
own; made up are the parts, the people and the clock. A training takes no time of that clock, but
what it makes is only found by the next look.
"""

from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import numpy as np

from inspection.bench.retraining.calendar import BEGIN, DAYS, HOUR, condition_at, hours
from inspection.bench.retraining.clock import SetClock, TimedHub, open_timed_hub
from inspection.bench.retraining.line import LINE, NAME, PRODUCT, STATION, Judged, SimulatedLine
from inspection.bench.retraining.parts import Store
from inspection.bench.retraining.people import Maintenance, Reviewers
from inspection.bench.retraining.truth import Rival, judge_rivals
from inspection.hub import jobs, monitors
from inspection.hub.models import add_bundle, choose, list_choices
from inspection.hub.settings import HubConfig, ReviewSettings
from inspection.hub.stations import enrol
from inspection.hub.wire.line import NewStation
from inspection.hub.wire.models import Choice, NewChoice
from inspection.hub.wire.retraining import Alarm, Job
from inspection.retraining.job import run_job
from inspection.retraining.scheduler import tick
from inspection.retraining.settings import (
    Allowed,
    Policy,
    RetrainedProduct,
    RetrainingConfig,
    Rollout,
    Triggers,
)
from inspection.retraining.steps import perform

PREVALENCE, REVIEW_ERROR = 0.03, 0.02
PASS_SHARE = 0.3  # of PASS parts the reviewers see
DECISIONS = 7  # of each of two reviewers per hour, on a line of 13 parts
LEASE_S = 3600
UPDATE_BELOW = 0.9  # of all pictures; beside the reviewed ones the first set is small here

POLICY = Policy(
    allowed=Allowed.PROMOTE,
    triggers=Triggers(cron=None, reviews=None, age_days=None),
    rollout=Rollout(shadow_parts=40, shadow_h=1.0, stage_parts=15, watch_parts=200),
    pause_h=1.0,
)


@dataclass(frozen=True)
class Start:
    """What every seed begins with."""

    store: Store
    bundle: Path
    manifest: Path
    train: Path
    export: Path
    parts_per_hour: int


@dataclass(frozen=True)
class Month:
    """What happened."""

    seed: int
    judged: tuple[Judged, ...]
    alarms: tuple[Alarm, ...]
    jobs: tuple[Job, ...]
    choices: tuple[Choice, ...]
    cleaned_at: datetime | None
    decided: int
    wrong: int
    faults: tuple[str, ...]
    rivals: tuple[Rival, ...]


@dataclass
class _Running:
    """A month under way."""

    start: Start
    hub: TimedHub
    config: RetrainingConfig
    line: SimulatedLine
    reviewers: Reviewers
    hand: Maintenance = field(default_factory=Maintenance)
    faults: list[str] = field(default_factory=list)

    def hour(self, begin: datetime, rng: np.random.Generator) -> None:
        """Let the line, the people and the loop work for an hour."""
        condition = condition_at(begin, self.hand.cleaned_at)
        parts = self.start.store.draw(rng, condition.batch, self.start.parts_per_hour, PREVALENCE)
        self.hub.clock.now = begin
        self.line.judge(parts, condition, begin)
        self.hub.clock.now = begin + HOUR
        self.line.report(begin + HOUR)
        self.reviewers.work(self.hub, LINE, self.line.truth, DECISIONS)
        self.hand.hear(monitors.list_alarms(self.hub, LINE, standing=True), begin + HOUR)
        self.faults += tick(self.hub, self.config).faults
        for job_id in jobs.ready(self.hub, 1):
            leased = jobs.lease(self.hub, "month", LEASE_S, job_id)
            if leased is not None:
                run_job(self.hub, self.config, leased, perform)


def live(start: Start, folder: Path, seed: int, days: int = DAYS) -> Month:
    """Live through one month in an empty folder."""
    hub = open_timed_hub(
        HubConfig(
            database=f"sqlite:///{folder}/hub.sqlite",
            artefacts=str(folder / "artefacts"),
            cache_dir=folder / "cache",
            review=ReviewSettings(pass_share=PASS_SHARE),
        ),
        SetClock(BEGIN - HOUR),
    )
    rng = np.random.default_rng(seed)
    month = _Running(
        start,
        hub,
        _config(start, folder),
        SimulatedLine(hub),
        Reviewers(np.random.default_rng([seed, 1]), REVIEW_ERROR),
    )
    try:
        enrol(hub, NewStation(station=STATION, line=LINE), "month")
        row = add_bundle(hub, start.bundle, "month")
        choose(hub, LINE, NewChoice(bundle_id=row.bundle_id, comment="the first"), "month")
        for begin in hours(days):
            month.hour(begin, rng)
        choices = list_choices(hub, LINE)
        return Month(
            seed=seed,
            judged=tuple(month.line.judged),
            alarms=monitors.list_alarms(hub, LINE, standing=False),
            jobs=jobs.list_jobs(hub, 1000),
            choices=choices,
            cleaned_at=month.hand.cleaned_at,
            decided=month.reviewers.decided,
            wrong=month.reviewers.wrong,
            faults=tuple(month.faults),
            rivals=judge_rivals(hub, choices, start.store, month.hand.cleaned_at),
        )
    finally:
        hub.close()


def _config(start: Start, folder: Path) -> RetrainingConfig:
    product = RetrainedProduct(
        line=LINE,
        product=PRODUCT,
        bundle=NAME,
        manifest=start.manifest,
        train=start.train,
        export=start.export,
    )
    return RetrainingConfig(
        work_dir=folder / "work", policy=POLICY, products=(product,), update_below=UPDATE_BELOW
    )

"""configs/retraining.yaml: which products are trained again, when, on what, and what may follow."""

import re
from datetime import time
from enum import StrEnum
from pathlib import Path
from typing import Literal, Self
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import Field, StrictBool, StrictFloat, StrictInt, field_validator, model_validator

from inspection.core.config import Settings

EXECUTOR = r"^(local|dask://[^/]+:\d+)$"
Day = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
LOCAL = "local"
DAYS: tuple[Day, ...] = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")


class Allowed(StrEnum):
    """What may happen without a person; each includes those before it."""

    NOTHING = "nothing"
    REFIT = "refit"  # thresholds from reviewed parts
    RETRAIN = "retrain"  # a new bundle is made and held for a person
    SHADOW = "shadow"  # and scored beside the champion
    PROMOTE = "promote"  # and takes its place, station by station

    def includes(self, other: "Allowed") -> bool:
        """Say whether what `other` allows is allowed, too."""
        order = list(Allowed)
        return order.index(self) >= order.index(other)


class Blackout(Settings):
    """A time of the week in which nothing is begun and nothing is rolled out."""

    days: tuple[Day, ...] = Field(DAYS, min_length=1, description="on which it begins")
    begin: time = Field(description="local time, like 06:00")
    end: time = Field(description="local time; before or at begin: on the next day")

    @field_validator("begin", "end", mode="before")
    @classmethod
    def _is_on_the_wall(cls, value: object) -> object:
        read = time.fromisoformat(value) if isinstance(value, str) else value  # raises ValueError
        if not isinstance(read, time) or read.tzinfo is not None:
            raise ValueError(
                f"found {value}; wanted a time on the wall like 06:00; the policy names the zone"
            )
        return read


class Triggers(Settings):
    """What makes a training due; any of them does. Null leaves one out."""

    cron: str | None = Field(
        "0 2 * * sun", description="five fields: minute hour day month weekday"
    )
    reviews: StrictInt | None = Field(
        50, ge=1, description="parts decided good or defective since the last training"
    )
    drift: StrictBool = Field(
        default=True,
        description="an alarm whose advice is to train or to fit thresholds, or a material of "
        "which twice as many good parts are reviewed as the last training counted",
    )
    overkill: StrictBool = Field(
        default=True,
        description="surely more good parts do not pass than promised, or thresholds rest on few",
    )
    goods: StrictInt = Field(
        30, ge=5, description="reviewed good parts a training by drift or overkill needs to learn"
    )
    age_days: StrictInt | None = Field(90, ge=1, description="of the bundle that judges, days")

    @field_validator("cron")
    @classmethod
    def _is_cron(cls, value: str | None) -> str | None:
        if value is not None:
            # where the configuration is only described, nothing of the hub is installed
            from apscheduler.triggers.cron import CronTrigger

            try:
                CronTrigger.from_crontab(value)
            except ValueError as error:
                raise ValueError(
                    f"found '{value}' ({error}); wanted five fields: minute hour day month weekday"
                ) from error
        return value


class Rollout(Settings):
    """How a challenger takes the champion's place, and when it is taken back."""

    shadow_parts: StrictInt = Field(500, ge=1, description="scored in the shadow at least")
    shadow_h: StrictFloat = Field(24.0, ge=0, description="in the shadow at least, hours")
    disagreements: StrictFloat = Field(
        0.05, ge=0, le=1, description="share of parts it may judge otherwise, unless reviewed"
    )
    first_share: StrictFloat = Field(
        0.25, gt=0, le=1, description="of the line's stations that get it first, one at least"
    )
    stage_parts: StrictInt = Field(200, ge=1, description="judged on each stage before the next")
    fault_share: StrictFloat = Field(
        0.01, ge=0, le=1, description="of FAULT parts above the champion's that take it back"
    )
    latency_factor: StrictFloat = Field(
        1.5, ge=1, description="of the champion's 99th percentile that takes it back"
    )
    overkill_factor: StrictFloat = Field(
        2.0, ge=1, description="of the champion's share not passed that takes it back"
    )
    watch_parts: StrictInt = Field(2000, ge=1, description="watched after the last stage")


class Policy(Settings):
    """When something is due, and what may happen by itself."""

    allowed: Allowed = Field(
        Allowed.RETRAIN, description="nothing, refit, retrain, shadow or promote"
    )
    triggers: Triggers = Triggers()
    rollout: Rollout = Rollout()
    pause_h: StrictFloat = Field(20.0, ge=0, description="between two trainings at least, hours")
    blackouts: tuple[Blackout, ...] = Field((), description="times in which nothing is begun")
    timezone: str = Field("UTC", description="of cron and blackouts, IANA name")

    @field_validator("timezone")
    @classmethod
    def _is_known(cls, value: str) -> str:
        try:
            ZoneInfo(value)
        except (ZoneInfoNotFoundError, ValueError) as error:
            raise ValueError(
                f"'{value}' is no time zone; wanted a name like Europe/Berlin"
            ) from error
        return value


class LocalSettings(Settings):
    """Training on the hub's own machine."""

    threads: StrictInt | None = Field(None, ge=1, description="null takes every core")
    memory_mb: StrictInt = Field(8000, ge=500, description="a job beyond it is ended and fails, MB")


class RetrainedProduct(Settings):
    """One product on one line."""

    line: str = Field(description="where it is judged")
    product: str = Field(description="its code, as events have it")
    bundle: str = Field(description="name of its bundles")
    manifest: Path = Field(description="of inspection dataset check; the first set")
    train: Path = Field(description="configuration of its training")
    export: Path | None = Field(None, description="of its export; null has all defaults")
    policy: Policy | None = Field(None, description="its own; null has the common one")


class RetrainingConfig(Settings):
    """The whole file."""

    work_dir: Path = Field(Path("demo/retraining"), description="folder of the jobs")
    executor: str = Field(
        LOCAL,
        description="local, or dask://HOST:PORT of a scheduler; its workers see work_dir, too",
    )
    local: LocalSettings = LocalSettings()
    jobs_at_once: StrictInt = Field(
        24, ge=1, description="of the hub on a cluster; local does one after another"
    )
    every_min: StrictInt = Field(10, ge=1, description="between two looks at the policy, minutes")
    lease_s: StrictInt = Field(
        120, ge=5, description="a job whose worker was not heard of so long is taken over, s"
    )
    champion_parts: StrictInt = Field(
        20, ge=2, description="reviewed parts neither bundle has seen, to compare them on at least"
    )
    update_below: StrictFloat = Field(
        0.2,
        ge=0,
        le=1,
        description="share of new pictures up to which PatchCore's bank is updated, not trained",
    )
    policy: Policy = Policy()
    products: tuple[RetrainedProduct, ...] = Field((), description="what is trained again")

    @field_validator("executor")
    @classmethod
    def _is_known(cls, value: str) -> str:
        if not re.match(EXECUTOR, value):
            raise ValueError(f"found '{value}'; wanted local or dask://HOST:PORT")
        return value

    @model_validator(mode="after")
    def _names_each_once(self) -> Self:
        for what in ("product", "bundle"):  # what judges, and tries to, goes by line and bundle
            places = [f"{getattr(one, what)} on {one.line}" for one in self.products]
            if twice := sorted({place for place in places if places.count(place) > 1}):
                raise ValueError(
                    f"products: the {what} {twice[0]} stands twice; wanted each {what} of a line "
                    "once"
                )
        return self

    def policy_of(self, product: RetrainedProduct) -> Policy:
        """Give the product's own policy, or the common one."""
        return product.policy or self.policy

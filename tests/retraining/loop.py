"""A line whose plates are trained again: its configuration, reviewed parts and jobs that ended."""

from pathlib import Path

import yaml
from sqlalchemy import insert

from inspection.bench.redness import make_bundle
from inspection.core.records import Label, Manifest, ManifestEntry, Split, write_record
from inspection.hub import jobs
from inspection.hub.hub import Hub
from inspection.hub.loop_tables import alarms
from inspection.hub.models import add_bundle, choose
from inspection.hub.reviews import decide
from inspection.hub.wire.models import NewChoice
from inspection.hub.wire.people import Me, Role
from inspection.hub.wire.retraining import Job, JobKind, JobState
from inspection.hub.wire.review import Decision, NewReview
from inspection.metrics.causes import Cause
from inspection.retraining.facts import request_of
from inspection.retraining.settings import RetrainedProduct, RetrainingConfig
from tests.hub.parts import part, store
from tests.retraining.plant import KNOWN, know_bundle

ANN = Me(account="ann", role=Role.REVIEWER)
FIT = 10


def make_config(folder: Path, products: int = 1, **changes: object) -> RetrainingConfig:
    """Write the files of so many products, plate, plate-1, …; give the configuration."""
    (folder / "train.yaml").write_text(yaml.safe_dump({"seed": 1}))
    entries = tuple(_entry(number) for number in range(FIT))
    write_record(folder / "set.json", Manifest(root=".", layout="plain", entries=entries))
    values = {
        "work_dir": folder / "jobs",
        "policy": {"triggers": {"cron": None, "reviews": 3}},
        "products": [
            {
                "line": "line-1",
                "product": f"plate-{number}" if number else "plate",
                "bundle": f"plate-{number}" if number else "plate",
                "manifest": folder / "set.json",
                "train": folder / "train.yaml",
            }
            for number in range(products)
        ],
    }
    return RetrainingConfig.model_validate(values | changes)


def judge_with(hub: Hub, folder: Path) -> str:
    """Let a bundle judge the plates; give its id."""
    row = add_bundle(hub, make_bundle(folder, name="plate"), "test")
    choose(hub, "line-1", NewChoice(bundle_id=row.bundle_id, comment="first"), "test")
    return row.bundle_id


def review(hub: Hub, *numbers: int, decision: Decision = Decision.GOOD) -> None:
    """Store plates, captured a second after one another, and decide on them."""
    know_bundle(hub)
    store(hub, *(part(number, 1.5) for number in numbers))
    for number in numbers:
        decide(hub, f"part-{number}", NewReview(decision=decision, revision=0), ANN)


def end_job(hub: Hub, product: RetrainedProduct, kind: JobKind, state: JobState, **ends) -> Job:
    """Ask for a job as the policy would, and end it."""
    job = jobs.ask(hub, request_of(hub, product, kind), "policy", "due")
    jobs.finish(hub, jobs.lease(hub, "pc", 60, job.job_id), state, "ended", **ends)
    return jobs.get_job(hub, job.job_id)


def raise_alarm(hub: Hub, cause: Cause, **changes: object) -> None:
    """Let a cause of drift stand for the plates, since now unless said otherwise."""
    know_bundle(hub)
    row = {
        "line": "line-1",
        "product": "plate",
        "camera": "top",
        "bundle_id": KNOWN,
        "cause": cause,
        "raised_at": hub.now(),
        "effect": 3.0,
        "p_value": 0.001,
        "words": "It has moved.",
    }
    with hub.database.writing() as connection:
        connection.execute(insert(alarms).values(row | changes))


def _entry(number: int) -> ManifestEntry:
    return ManifestEntry(
        path=f"{number}.png",
        sha256=f"{number:064x}",
        height_px=64,
        width_px=80,
        mode="RGB",
        label=Label.GOOD,
        group=str(number),
        split=Split.FIT,
    )

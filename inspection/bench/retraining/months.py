"""Simulates a month for several seeds, judges what happened, and draws the first."""

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import yaml
from pydantic import TypeAdapter

from inspection.bench.command import timed_command
from inspection.bench.frame import Goal, Table, begin_report, write_report
from inspection.bench.retraining.calendar import (
    BATCH_ON,
    BEGIN,
    DAYS,
    DIMS_FOR,
    DIMS_ON,
    SMEAR_ON,
    hours,
)
from inspection.bench.retraining.line import WHOLE
from inspection.bench.retraining.month import PASS_SHARE, POLICY, PREVALENCE, Month, Start, live
from inspection.bench.retraining.parts import PRODUCT, Batch, Drawn, fill_store
from inspection.bench.retraining.picture import draw_month
from inspection.bundles.bundle import open_bundle
from inspection.core.decision import Verdict
from inspection.core.folders import write_whole
from inspection.core.imaging import load_image
from inspection.core.progress import follow
from inspection.hub.wire.retraining import Cause
from inspection.metrics.consequences import wilson
from inspection.station.look import look_at
from inspection.station.recipes.bundle_judge import BundleJudge
from inspection.station.settings import GuardSettings
from inspection.synthetic.dataset import Counts, make_dataset

TARGET = 0.05  # false-reject rate that is promised
SEEDS, PARTS_PER_HOUR = 20, 13
STORED_GOODS, STORED_PER_FLAW = 900, 25
COUNTS = Counts(train_good=400, test_good=150, per_defect=25)
DAY = timedelta(days=1)
MONTH = TypeAdapter(Month)
HEIGHT_PX, WIDTH_PX = 320, 448  # of the pictures: reduced, a plate hides its scratches
BANK, CANDIDATES, CALIBRATION = 2_000, 40_000, 100  # smaller than the default: trained many times


@dataclass(frozen=True)
class Change:
    """One thing that changes on the line."""

    name: str
    cause: Cause
    begin: int
    """Day."""
    whole: int
    """Day from which it is there in full."""
    end: int
    """Day before which its alarms count as its own."""


CHANGES = (
    Change("light", Cause.LIGHT, DIMS_ON, DIMS_ON + DIMS_FOR, BATCH_ON),
    Change("texture", Cause.TEXTURE, BATCH_ON, BATCH_ON, SMEAR_ON),
    Change("smear", Cause.FOCUS, SMEAR_ON, SMEAR_ON, DAYS),
)


def run(out: Path, *, seeds: int = SEEDS, days: int = DAYS, work: Path | None = None) -> Path:
    """Simulate and write `retraining_month.json`, `.md` and `.svg` into `out`.

    Args:
        out: folder of the report.
        seeds: months.
        days: of each.
        work: keeps the store of parts, the first bundle and every month that this commit has lived
            through, so that a run that was cut off goes on; none keeps none.

    Raises:
        InspectionError: the first bundle does not pass its gate.
    """
    settings = {"seeds": seeds, "days": days, "parts per hour": PARTS_PER_HOUR}
    report = begin_report("retraining_month", settings)
    with TemporaryDirectory() as place:
        folder = work or Path(place)
        start = prepare(folder)
        months = simulate(start, folder / report.origin.git_revision, seeds, days)
        still = stand_still(start, seeds, days)
    draw_month(months[0], out / "retraining_month.svg", TARGET)
    return write_report(
        out,
        report.model_copy(
            update={
                "goals": judge(months, still),
                "tables": (by_change(months), promoted(months), escaped(months, still)),
                "notes": notes(months),
            }
        ),
    )


def prepare(work: Path) -> Start:
    """Make the parts, the first set and its bundle, unless they are there."""
    work.mkdir(parents=True, exist_ok=True)
    store = fill_store(work / "store", STORED_GOODS, STORED_PER_FLAW)
    manifest, train, export = work / "set.json", work / "train.yaml", work / "export.yaml"
    bundle = work / str(PRODUCT)
    start = Start(store, bundle, manifest, train, export, PARTS_PER_HOUR)
    if bundle.is_dir():
        return start
    make_dataset(work / "set", PRODUCT, 5, COUNTS)
    fit = yaml.safe_load(Path("configs/train-imagenet.yaml").read_text(encoding="utf-8"))
    fit["patchcore"] |= {"bank_size": BANK, "candidates": CANDIDATES}
    fit["geometry"] |= {"height_px": HEIGHT_PX, "width_px": WIDTH_PX}
    train.write_text(yaml.safe_dump(fit), encoding="utf-8")
    rate = {"false_reject_rate": TARGET, "calibration_images": CALIBRATION}
    export.write_text(yaml.safe_dump(rate), encoding="utf-8")
    checked = ("--false-reject-rate", str(TARGET), "--out", manifest)
    timed_command(["dataset", "check", work / "set", *checked])
    timed_command(["train", train, "--data", manifest, "--out", work / "run"])
    timed_command(["export", work / "run", "--out", bundle, "--config", export])
    timed_command(["gate", bundle])
    return start


def simulate(start: Start, kept: Path, seeds: int, days: int) -> list[Month]:
    """Live every month that is not kept yet, one at a time on each core.

    Each sees its own core only: the threads of two that share two cores wait for one another.
    """
    kept.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        pools = [
            stack.enter_context(
                ProcessPoolExecutor(
                    1,
                    mp_context=get_context("spawn"),  # a fork would take OpenVINO's threads along
                    max_tasks_per_child=1,
                    initializer=os.sched_setaffinity,
                    initargs=(0, {core}),
                )
            )
            for core in sorted(os.sched_getaffinity(0))
        ]
        pending = [
            pools[seed % len(pools)].submit(
                _live, start, kept / f"{seed} of {days} days.json", seed, days
            )
            for seed in range(1, seeds + 1)
        ]
        return [one.result() for one in follow(pending, "months")]


def _live(start: Start, kept: Path, seed: int, days: int) -> Month:
    if kept.is_file():
        return MONTH.validate_json(kept.read_bytes())
    with TemporaryDirectory() as folder:
        month = live(start, Path(folder), seed, days)
    write_whole(kept, MONTH.dump_json(month))
    return month


def stand_still(start: Start, seeds: int, days: int) -> tuple[int, int]:
    """Count escapes, of all defects, in as many months on a line on which nothing changes."""
    bundle = open_bundle(start.bundle)
    judge_of = BundleJudge(bundle, WHOLE, bundle.card.band)

    @cache
    def verdict(path: Path) -> Verdict:
        return look_at(load_image(path), judge_of, GuardSettings()).verdict

    bad = [
        verdict(one.path)
        for seed in range(1, seeds + 1)
        for one in _drawn(start, np.random.default_rng(seed), days)
        if one.defect is not None
    ]
    return sum(one is Verdict.PASS for one in bad), len(bad)


def _drawn(start: Start, rng: np.random.Generator, days: int) -> Iterator[Drawn]:
    for _ in hours(days):
        yield from start.store.draw(rng, Batch.USUAL, start.parts_per_hour, PREVALENCE)


def judge(months: Sequence[Month], still: tuple[int, int]) -> tuple[Goal, ...]:
    """Hold what happened against what was promised."""
    pairs = [(month, change) for month in months for change in CHANGES]
    named = sum(is_named(month, change) for month, change in pairs)
    back = sum(is_back(month, change) for month, change in pairs)
    worse = sum(one.is_worse for month in months for one in month.rivals)
    missed, before = wilson(*escapes(months)), wilson(*still)
    return (
        Goal.at_least("changes whose cause was named", 1.0, named / len(pairs), ""),
        Goal.at_least("changes after which false rejects were back", 1.0, back / len(pairs), ""),
        Goal.at_most("promotions of a worse bundle", 0, worse, "promotions"),
        Goal.at_most(
            "escapes, lower limit over upper limit without drift", 1.0, missed[0] / before[1], "×"
        ),
    )


def is_named(month: Month, change: Change) -> bool:
    """Say whether an alarm of the cause was raised while the change was the last one."""
    since, until = BEGIN + change.begin * DAY, BEGIN + change.end * DAY
    return any(one.cause is change.cause and since <= one.raised_at < until for one in month.alarms)


def is_back(month: Month, change: Change) -> bool:
    """Say whether the false-reject rate is no more surely above target a day after the change."""
    begin = BEGIN + (change.whole + 1) * DAY
    wrong, goods = false_rejects(month, begin, begin + DAY)
    return wilson(wrong, goods)[0] <= TARGET


def false_rejects(month: Month, begin: datetime, end: datetime) -> tuple[int, int]:
    """Count good parts that did not pass, of all good parts of a time."""
    goods = [one for one in month.judged if one.defect is None and begin <= one.at < end]
    return sum(one.verdict is not Verdict.PASS for one in goods), len(goods)


def escapes(months: Sequence[Month]) -> tuple[int, int]:
    """Count defects that passed, of all defects."""
    bad = [one for month in months for one in month.judged if one.defect is not None]
    return sum(one.verdict is Verdict.PASS for one in bad), len(bad)


def by_change(months: Sequence[Month]) -> Table:
    """Say of each change in how many months it was named and mended, and how soon."""
    rows = []
    for change in CHANGES:
        took_h = sorted(
            (alarm.raised_at - BEGIN - change.begin * DAY) / timedelta(hours=1)
            for month in months
            for alarm in month.alarms
            if alarm.cause is change.cause
            and change.begin * DAY <= alarm.raised_at - BEGIN < change.end * DAY
        )
        rates = [_pooled(months, change.whole + after) for after in range(4)]
        rows.append(
            (
                change.name,
                sum(is_named(month, change) for month in months),
                took_h[len(took_h) // 2] if took_h else None,
                *rates,
                sum(is_back(month, change) for month in months),
            )
        )
    return Table(
        title="Changes of the line: false rejects of the day it was there in full, and after",
        columns=(
            *("change", "months named", "median hours to the alarm"),
            *("day 0", "day 1", "day 2", "day 3", "months back a day after"),
        ),
        rows=tuple(rows),
    )


def _pooled(months: Sequence[Month], day: int) -> float | None:
    begin = BEGIN + day * DAY
    counted = [false_rejects(month, begin, begin + DAY) for month in months]
    goods = sum(of for _, of in counted)
    return sum(wrong for wrong, _ in counted) / goods if goods else None


def promoted(months: Sequence[Month]) -> Table:
    """List every promotion, judged on parts as they came then."""
    rows = tuple(
        (month.seed, (one.at - BEGIN) / DAY, one.champion, one.challenger, str(one.drop))
        for month in months
        for one in month.rivals
    )
    columns = ("seed", "day", "AUROC of the champion", "of the challenger", "drop")
    return Table(title="Promotions", columns=columns, rows=rows)


def escaped(months: Sequence[Month], still: tuple[int, int]) -> Table:
    """Compare escapes with those of a line that does not change."""
    rows = tuple(
        (name, missed, bad, missed / max(bad, 1), *wilson(missed, bad))
        for name, (missed, bad) in (
            ("changing, with the loop", escapes(months)),
            ("unchanging, the first bundle", still),
        )
    )
    columns = ("line", "escapes", "defects", "share", "low", "high")
    return Table(title="Escapes", columns=columns, rows=rows)


def notes(months: Sequence[Month]) -> tuple[str, ...]:
    """Say what else is worth knowing."""
    decided = sum(month.decided for month in months)
    wrong = sum(month.wrong for month in months)
    other = sum(
        not any(
            one.cause is change.cause
            and change.begin * DAY <= one.raised_at - BEGIN < change.end * DAY
            for change in CHANGES
        )
        for month in months
        for one in month.alarms
    )
    jobs = Counter(f"{job.kind} {job.state}" for month in months for job in month.jobs)
    faults = sorted({fault for month in months for fault in month.faults})
    rollout = POLICY.rollout
    return (
        f"Drift and overkill alone begin jobs, which take no time of the month; of what passes "
        f"reviewers see {PASS_SHARE:.0%}; {rollout.shadow_parts} parts and {rollout.shadow_h:g} h "
        f"in the shadow, {rollout.stage_parts} and {rollout.watch_parts} parts in the rollout.",
        f"{wrong} of {decided} decisions were wrong.",
        f"{other} alarms were of another cause, or at another time, than a change.",
        "Jobs: " + ", ".join(f"{count} {what}" for what, count in sorted(jobs.items())) + ".",
        *(f"put off: {fault}" for fault in faults[:5]),
    )

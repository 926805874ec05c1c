"""Measures the incremental update of PatchCore's bank against the full retrain it stands for.

Both go from a manifest to a gated bundle, each in one fresh process. Twice: 50 new pictures enter,
and one picture is forgotten.
"""

import json
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from inspection.bench.command import timed_command
from inspection.bench.fit import REAL, find_dataset
from inspection.bench.frame import Goal, Table, begin_report, working_in, write_report
from inspection.bench.ours import require_gate
from inspection.core.errors import InspectionError
from inspection.core.gate import GateRecord
from inspection.core.records import Interval, Label, Manifest, Split, read_manifest, write_record
from inspection.export.bank import Traced, trace, vectors_of
from inspection.metrics.image import paired_auroc_drop
from inspection.synthetic.dataset import Counts

SEED = 0  # of the choice of new pictures and of the bootstrap
MOST_AUROC_AWAY, LEAST_RATIO = 0.005, 10.0
COUNTS = Counts(train_good=762, test_good=190, per_defect=65)
COLUMNS = ("case", "AUROC full", "AUROC update", "full − update", "low", "high")


@dataclass(frozen=True)
class Options:
    """What is measured."""

    dataset: str = REAL
    """magnetic_tile, or a generated product."""
    counts: Counts = COUNTS
    """Size of a generated set."""
    new: int = 50
    """Pictures of fit that the bundle to update has not seen."""
    train_config: Path = Path("configs/train-imagenet.yaml")
    export_config: Path = Path("configs/export.yaml")


@dataclass(frozen=True)
class Made:
    """A gated bundle and the seconds of its making."""

    bundle: Path
    gate: GateRecord
    total_s: float
    steps_s: dict[str, float] = field(default_factory=dict)


def run(out: Path, *, options: Options | None = None, work: Path | None = None) -> Path:
    """Make every bundle and write `retraining_update.json` and `retraining_update.md`.

    Args:
        out: folder of the evidence.
        options: what is measured.
        work: folder that keeps the bundles; none throws them away.

    Raises:
        DatasetError: the data set is absent.
        InspectionError: a step failed.
    """
    with working_in(work) as folder:
        return _run(out, options or Options(), folder)


def _run(out: Path, options: Options, work: Path) -> Path:
    report = begin_report("retraining_update", vars(options))
    images = find_dataset(options.dataset, work / "images", options.counts)
    timed_command(["dataset", "check", images, "--out", work / "all.json", "--accept-problems"])
    whole = read_manifest(work / "all.json")
    base = _without(whole, draw_new(whole, options.new), work / "base.json")
    champion = _whole(options, base, work / "champion")
    full = _whole(options, work / "all.json", work / "full")
    updated = _updated(options, champion.bundle, work / "all.json", work / "updated")
    worst = most_traced(trace(full.bundle))
    rest = _without(whole, {worst}, work / "rest.json")
    anew = _whole(options, rest, work / "anew")
    forgot = _updated(options, full.bundle, rest, work / "forgot")
    cases = {
        f"{options.new} new pictures": (full, updated),
        "one picture forgotten": (anew, forgot),
    }
    goals = [goal for case, pair in cases.items() for goal in judge(case, *pair)]
    left = vectors_of(forgot.bundle, worst)
    goals.append(Goal.at_most("vectors left of the forgotten picture", 0, left, ""))
    rows = tuple(_row(case, *pair) for case, pair in cases.items())
    accuracy = Table(title="Image AUROC on the test split", columns=COLUMNS, rows=rows)
    changes = {"goals": tuple(goals), "tables": (accuracy, _seconds(cases))}
    notes = (
        f"Champion of the first case, without the new pictures: AUROC {champion.gate.auroc}.",
        f"The forgotten picture had given {vectors_of(full.bundle, worst)} vectors, the most.",
        f"An update's gate judges every test part with the graph that ships and asks FP32 on "
        f"{updated.gate.compared or 'all'} of them; a full retrain's asks FP32 on all.",
        "Ratios are of whole wall times, from the start of Python to the gate's record.",
    )
    return write_report(out, report.model_copy(update={**changes, "notes": notes}))


def draw_new(manifest: Manifest, count: int) -> set[str]:
    """Draw the sha256 of some pictures of fit."""
    fitted = manifest.of(Split.FIT)
    drawn = np.random.default_rng(SEED).permutation(len(fitted))[:count]
    return {fitted[place].sha256 for place in drawn}


def most_traced(traced: list[Traced]) -> str:
    """Give the picture that most vectors came from; of equals the first by hash."""
    hashes, counts = np.unique([one.sha256 for one in traced], return_counts=True)
    return str(hashes[counts.argmax()])


def judge(case: str, full: Made, updated: Made) -> tuple[Goal, ...]:
    """Hold accuracy and time of an update against the full retrain's."""
    away = abs(difference(full.gate, updated.gate).value)
    ratio = full.total_s / updated.total_s
    made_s = sum(seconds for step, seconds in full.steps_s.items() if step != "gate")
    alone = made_s / updated.steps_s["update"]
    return (
        Goal.at_most(f"{case}: AUROC away from the full retrain", MOST_AUROC_AWAY, away, ""),
        Goal.at_least(
            f"{case}: full retrain over update, both to the gate's end", LEAST_RATIO, ratio
        ),
        Goal.at_least(f"{case}: train and export over update, without gates", LEAST_RATIO, alone),
    )


def difference(full: GateRecord, updated: GateRecord) -> Interval:
    """Give the AUROC of the full retrain minus that of the update, paired bootstrap.

    Raises:
        InspectionError: they were not judged on the same parts.
    """
    if [row.path for row in full.rows] != [row.path for row in updated.rows]:
        raise InspectionError("both bundles must be gated on the same parts; use one test split")
    return paired_auroc_drop(reference=_scores(full), shipped=_scores(updated), seed=SEED)


def _scores(gate: GateRecord) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    good, defect = (
        np.array([row.score for row in gate.rows if row.label is label])
        for label in (Label.GOOD, Label.DEFECT)
    )
    return good, defect


def _without(manifest: Manifest, gone: set[str], path: Path) -> Path:
    """Write a manifest without some pictures of fit."""
    kept = tuple(
        entry
        for entry in manifest.entries
        if entry.split is not Split.FIT or entry.sha256 not in gone
    )
    write_record(path, manifest.model_copy(update={"entries": kept}))
    return path


def _whole(options: Options, manifest: Path, out: Path) -> Made:
    return _made("whole", options.train_config, options.export_config, manifest, out)


def _updated(options: Options, champion: Path, manifest: Path, out: Path) -> Made:
    return _made("updated", champion, options.export_config, manifest, out)


def _made(program: str, *arguments: Path) -> Made:
    """Run one of the programs beside this module in a fresh process; its last argument is out."""
    command = [sys.executable, "-m", f"inspection.bench.retraining.{program}"]
    started = time.perf_counter()
    done = subprocess.run(  # noqa: S603 - our own program, no shell
        [*command, *map(str, arguments)], capture_output=True, text=True, check=False
    )
    total_s = time.perf_counter() - started
    if done.returncode:
        said = done.stderr.strip().splitlines()[-1:] or ["nothing was said"]
        raise InspectionError(f"{program}: ended with {done.returncode}: {said[0]}")
    bundle = arguments[-1] / "bundle"
    steps_s = json.loads(done.stdout.splitlines()[-1])
    return Made(bundle, require_gate(bundle)[1], total_s, steps_s)


def _row(case: str, full: Made, updated: Made) -> tuple[str | float, ...]:
    away = difference(full.gate, updated.gate)
    values = full.gate.auroc.value, updated.gate.auroc.value
    return case, *values, away.value, away.low, away.high


def _seconds(cases: dict[str, tuple[Made, Made]]) -> Table:
    rows: list[tuple[str | float, ...]] = []
    for case, pair in cases.items():
        for way, made in zip(("full", "update"), pair, strict=True):
            rows += [(case, way, step, seconds) for step, seconds in made.steps_s.items()]
            start_s = made.total_s - sum(made.steps_s.values())
            rows += [(case, way, "start of Python", start_s), (case, way, "all", made.total_s)]
    columns = ("case", "way", "step", "seconds")
    return Table(title="Wall time", columns=columns, rows=tuple(rows))

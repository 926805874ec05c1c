"""Tries every Anomalib image model on generated parts: which keep their score in INT8, how fast.

Each model is a process of its own with a time limit, so that one that hangs, dies or eats the
memory costs its own row only; the row says so.
"""

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from inspection.bench.command import last_words, told
from inspection.bench.frame import Cell, Goal, Table, begin_report, write_report
from inspection.bench.ours import make_manifest
from inspection.bench.parity.one import LIMITS, PICTURES, Measured, Outcome
from inspection.bench.parity.small import image_models
from inspection.core.errors import ConfigError, InspectionError
from inspection.core.progress import follow
from inspection.core.records import read_record
from inspection.synthetic.dataset import Counts, Product, make_dataset

ONE = [sys.executable, "-m", "inspection.bench.parity.one"]
PARTS = Counts(train_good=32, test_good=40, per_defect=8)
LEAST_RUN = 0.5  # of the models, below which something broke that they share
FURTHER = Counts(train_good=8, test_good=0, per_defect=0)
COLUMNS = (
    *("model", "in INT8", "speed-up", "p05–p95", "FP32 ms", "INT8 ms", "score correlation"),
    *("AUROC FP32", "AUROC lost", "95 %", "FP32 in ONNX Runtime", "input px", "weights"),
    "fit s",
)


@dataclass(frozen=True)
class Options:
    """How large the trial is."""

    only: tuple[str, ...] = ()
    """Class names; () is all."""
    parts: Counts = PARTS
    rounds: int = 20
    limit_s: float = 240
    """Longest that one model may take."""


def run(out: Path, *, options: Options | None = None) -> Path:
    """Try the models and write `parity.json` and `parity.md` into `out`.

    Raises:
        ConfigError: a model of that name is not exported by the installed Anomalib.
    """
    options = options or Options()
    models = choose_models(options.only)
    said = {"product": Product.PLATE, **options.parts.model_dump(), "rounds": options.rounds}
    report = begin_report("parity", {**said, "limit_s": options.limit_s, "models": len(models)})
    with tempfile.TemporaryDirectory() as folder:
        make_trial(Path(folder), options.parts)
        outcomes = [try_model(name, Path(folder), options) for name in follow(models, "models")]
    changes = {
        "goals": _goals(outcomes, models),
        "tables": tables(outcomes),
        "notes": _notes(options),
    }
    return write_report(out, report.model_copy(update=changes))


def choose_models(only: Sequence[str]) -> tuple[str, ...]:
    """Give the models of these names, or all.

    Raises:
        ConfigError: Anomalib exports none of that name.
    """
    known = image_models()
    if unknown := sorted(set(only) - set(known)):
        raise ConfigError(f"only: found {', '.join(unknown)}; wanted some of {', '.join(known)}")
    return tuple(name for name in known if not only or name in only)


def make_trial(folder: Path, parts: Counts) -> None:
    """Generate the set all models see, its manifest, and further pictures of other products."""
    make_manifest(folder, Product.PLATE, parts)
    for product in (Product.FABRIC, Product.BOARD):
        root = make_dataset(folder / product, product, 0, FURTHER)
        (folder / PICTURES).mkdir(exist_ok=True)
        (root / "train" / "good").rename(folder / PICTURES / product)


def try_model(model: str, folder: Path, options: Options) -> Outcome:
    """Try one model in a process of its own; whatever happens to it is the outcome."""
    with tempfile.TemporaryDirectory(dir=folder) as work:
        path, said = Path(work) / "outcome.json", Path(work) / "said.txt"
        command = [*ONE, model, str(folder), str(path), str(options.rounds)]
        # what a model fetches or finds by itself, it fetches here
        caches = {"XDG_CACHE_HOME": work, "TORCH_HOME": work, "TMPDIR": work}
        with said.open("wb") as stream:
            process = subprocess.Popen(  # noqa: S603 - our own module, no shell
                command,
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=stream,
                env={**os.environ, **caches},
                start_new_session=True,
            )
            ended = _wait(process, options.limit_s)
        if ended is None:
            return Outcome(model=model, reason=f"took longer than {options.limit_s:g} s")
        try:
            return read_record(path, Outcome)
        except InspectionError:
            why = f"its process ended with {ended}: {last_words(said)}"
            return Outcome(model=model, reason=why)


def _wait(process: subprocess.Popen[bytes], limit_s: float) -> int | None:
    """Wait for a process; one that takes too long is killed with all it started."""
    try:
        return process.wait(limit_s)
    except subprocess.TimeoutExpired:
        return None
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def tables(outcomes: Sequence[Outcome]) -> tuple[Table, ...]:
    """Give a row to every model: measured ones by their speed-up, then the others by name."""
    measured = [(one.model, one.measured) for one in outcomes if one.measured]
    measured.sort(key=lambda row: (bool(row[1].lost), -row[1].speed.median))
    failed = tuple((one.model, told(one.reason)) for one in outcomes if not one.measured)
    return (
        Table(
            title="Models that export", columns=COLUMNS, rows=tuple(_row(*row) for row in measured)
        ),
        Table(title="Models that do not", columns=("model", "reason"), rows=failed),
    )


def _row(model: str, found: Measured) -> tuple[Cell, ...]:
    drop = found.auroc_drop
    weights = sorted({f"{one.name} ({one.source})" for one in found.weights})
    return (
        model,
        f"**no**: {found.lost}" if found.lost else "keeps its score",
        found.speed.median,
        f"{found.speed.p05:.2f}–{found.speed.p95:.2f}",
        found.fp32_ms,
        found.int8_ms,
        found.score_correlation,
        found.auroc,
        drop.value,
        f"{drop.low:.3f} to {drop.high:.3f}",
        told(found.onnx_reason) if found.onnx is None else found.onnx,
        f"{found.input_px[0]}×{found.input_px[1]}",
        ", ".join(weights) or "its own, from random",
        found.fit_s,
    )


def _goals(outcomes: Sequence[Outcome], models: Sequence[str]) -> tuple[Goal, ...]:
    silent = sum(1 for one in outcomes if not one.measured and not one.reason)
    rows = [row for table in tables(outcomes) for row in table.rows]
    missing = len({*models} - {str(row[0]) for row in rows})
    measured = sum(1 for one in outcomes if one.measured) / max(1, len(models))
    return (
        Goal.at_most("image models of the installed Anomalib without a row", 0, missing, ""),
        Goal.at_least(
            "models that export and run in INT8, of those tried", LEAST_RUN, measured, ""
        ),
        Goal.at_most("rows that fail without a reason", 0, silent, ""),
    )


def _notes(options: Options) -> tuple[str, ...]:
    return (
        "Small inputs, few parts, little training, and random weights where nothing else comes "
        "along: this says which graphs survive INT8 and what it buys, not how good a model is. An "
        "AUROC near 0.5 is that of a model that has learnt nothing yet.",
        f"'Keeps its score' means the gate's own limits, on the {options.parts.test_good} good and "
        f"{6 * options.parts.per_defect} defective test parts: scores of INT8 and FP32 correlate "
        f"by {LIMITS.score_correlation} and more, and image AUROC drops by {LIMITS.auroc_drop} at "
        "most. A real export falls back to FP16 where a map model's INT8 does not.",
        "FP32 in ONNX Runtime: how its scores of the FP32 graph, translated by inspection bundle "
        "export, correlate with OpenVINO's. Well below 1, one of both computes it wrongly, and "
        "INT8 may stand beside a wrong reference.",
        "FP32 is pinned to float32. Both graphs take uint8 pixels and are timed in processes of "
        "their own, in turn.",
        "Weights: 'shipped' are those of our own backbone, 'random' mean nothing on real parts; "
        "teachers, autoencoders and discriminators that a model brings itself start at random.",
    )

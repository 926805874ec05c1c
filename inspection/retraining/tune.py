"""Compares models on a product and recommends one within a latency budget on this CPU.

Each is made in a process of its own, which gives all its memory back; then all are timed side by
side, and the best within the budget are put to their gates until one passes.
"""

import logging
import shutil
from functools import partial
from pathlib import Path

from pydantic import Field

from inspection.bundles.bundle import open_bundle
from inspection.bundles.seal import read_gate, verify_bundle
from inspection.core.errors import InspectionError
from inspection.core.gate import GateRecord
from inspection.core.parts import load_part
from inspection.core.progress import follow
from inspection.core.records import (
    Manifest,
    Record,
    Split,
    hash_json,
    read_manifest,
    read_record,
    write_record,
    write_text,
)
from inspection.core.tables import csv_lines
from inspection.export.build import export_bundle
from inspection.export.gate import gate_bundle
from inspection.report.charts import Point, draw_pareto
from inspection.retraining.alone import do_alone
from inspection.retraining.candidates import Candidate, TuneConfig
from inspection.retraining.measuring import DEFECTS_FROM, measure
from inspection.retraining.race import Took, race
from inspection.retraining.ranking import Measured, Row, ask_gates, explain, rank, recommend
from inspection.training.fit import train

logger = logging.getLogger(__name__)

RUN, BUNDLE, MEASURED, REPORT = "run", "bundle", "measured.json", "tune.json"
TIMED_PARTS = 16  # calibrate normals that are judged round and round to time a candidate


class TuneReport(Record):
    """What was compared, and what is recommended."""

    manifest_sha256: str
    latency_ms: float
    rows: tuple[Row, ...] = Field(description="most accurate first, then those that failed")
    recommended: str | None = Field(description="the best whose gate passed it; none when none did")
    words: str
    gate: GateRecord | None = Field(description="of the recommended one, on the test split")


def tune(config: TuneConfig, manifest_path: Path, out: Path) -> TuneReport:
    """Train, export and measure every candidate, and gate the best until a gate passes one.

    What an earlier call with the same candidate, export and manifest finished is taken as it is.
    Writes `tune.json`, `tune.csv` and `pareto.svg` into `out`, beside one folder per candidate.

    Args:
        config: the candidates and the budget.
        manifest_path: of the product.
        out: folder; may hold what an earlier call left.

    Raises:
        DatasetError: the manifest has no calibrate part.
    """
    manifest = read_manifest(manifest_path)
    manifest.of(Split.CALIBRATE)
    folders = {one.name: folder_of(one, config, manifest, out) for one in config.candidates}
    measured: dict[str, Measured | str] = {}
    for candidate in follow(config.candidates, "candidates"):
        try:
            folder = folders[candidate.name]
            measured[candidate.name] = _measured(candidate, config, manifest_path, folder)
        except InspectionError as error:
            logger.warning("candidate failed", extra={"candidate": candidate.name})
            measured[candidate.name] = str(error)
    good = [name for name, one in measured.items() if isinstance(one, Measured)]
    rows = rank(measured, _timed({name: folders[name] / BUNDLE for name in good}, manifest))
    rows, gate = ask_gates(rows, config.latency_ms, lambda name: _gate(folders[name] / BUNDLE))
    chosen = recommend(rows, config.latency_ms)
    report = TuneReport(
        manifest_sha256=manifest.sha256,
        latency_ms=config.latency_ms,
        rows=rows,
        recommended=None if chosen is None else chosen.name,
        words=explain(rows, chosen, config.latency_ms, gate),
        gate=gate,
    )
    write_record(out / REPORT, report)
    write_text(out / "tune.csv", _csv(rows))
    if any(row.measured for row in rows):
        write_text(out / "pareto.svg", draw_pareto(_points(report), config.latency_ms))
    return report


def folder_of(candidate: Candidate, config: TuneConfig, manifest: Manifest, out: Path) -> Path:
    """Name a candidate's folder by all that decides what comes of it."""
    made_from = {
        "train": candidate.train.model_dump(mode="json"),
        "export": config.export.model_dump(mode="json"),
        "defects": (DEFECTS_FROM, config.defects_per_normal),
        "manifest": manifest.sha256,
    }
    return out / f"{candidate.name}-{hash_json(made_from)[:12]}"


def _measured(
    candidate: Candidate, config: TuneConfig, manifest_path: Path, folder: Path
) -> Measured:
    """Give what is known of a candidate, after having what is left of its work done.

    Raises:
        TrainingError: the process that did it died, or a library raised an error of its own.
    """
    known = folder / MEASURED
    if not known.exists():
        work = partial(make, candidate, config, manifest_path, folder)
        do_alone(work, f"candidate '{candidate.name}'")
    return read_record(known, Measured)


def make(candidate: Candidate, config: TuneConfig, manifest_path: Path, folder: Path) -> None:
    """Train, export and measure one candidate in its folder, as far as that is not done.

    Raises:
        InspectionError: as the steps do.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / BUNDLE).exists():
        if not (folder / RUN).exists():
            train(candidate.train, manifest_path, folder / RUN)
        export_bundle(folder / RUN, config.export, folder / BUNDLE)
    bundle = open_bundle(folder / BUNDLE, allow_refused=True)
    found = measure(bundle, read_manifest(manifest_path), config.defects_per_normal)
    write_record(folder / MEASURED, found)
    shutil.rmtree(folder / RUN, ignore_errors=True)  # what is needed of it is in the bundle


def _timed(folders: dict[str, Path], manifest: Manifest) -> dict[str, Took]:
    """Time bundles side by side on calibrate normals."""
    bundles = {name: open_bundle(one, allow_refused=True) for name, one in folders.items()}
    entries = manifest.of(Split.CALIBRATE)[:TIMED_PARTS]
    return race(bundles, [load_part(manifest, entry) for entry in entries]) if bundles else {}


def _gate(bundle: Path) -> GateRecord:
    """Put a bundle to its gate, unless it was."""
    return read_gate(bundle, verify_bundle(bundle)) or gate_bundle(bundle)


def _csv(rows: tuple[Row, ...]) -> str:
    columns = (
        *("name", "auroc", "recall", "aupro", "p50_ms", "p50_low_ms", "p50_high_ms", "p95_ms"),
        *("megabytes", "best", "failed", "refused"),
    )
    table: list[tuple[object, ...]] = [columns]
    for row in rows:
        one, took = row.measured, row.took
        numbers: tuple[object, ...] = ("",) * (len(columns) - 4)
        if one and took:
            median = took.p50_ms
            accuracy = one.auroc.value, one.recall.value, one.aupro.value
            times = median.value, median.low, median.high, took.p95_ms
            numbers = *accuracy, *times, one.megabytes
        table.append((row.name, *numbers, row.best, row.failed, row.refused))
    return csv_lines(table)


def _points(report: TuneReport) -> list[Point]:
    return [
        Point(
            row.name,
            row.took.p50_ms.value,
            row.measured.auroc,
            row.best,
            chosen=row.name == report.recommended,
        )
        for row in report.rows
        if row.measured and row.took
    ]

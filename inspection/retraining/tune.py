"""Compares models on a product and recommends one within a latency budget on this CPU.

They are ranked on held-out normals and defects generated on them. The best of many on the test
split would look better than it is, so that is read once, by the gate of the recommended one.
"""

import csv
import io
import logging
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from pydantic import Field, StrictInt

from inspection.bundles.bundle import GRAPH, Bundle, open_bundle
from inspection.bundles.seal import read_gate, verify_bundle
from inspection.core.config import Settings
from inspection.core.decision import smooth
from inspection.core.defects import generate_defect
from inspection.core.errors import InspectionError
from inspection.core.gate import GateRecord
from inspection.core.geometry import roi_px
from inspection.core.imaging import Mask, Rgb
from inspection.core.parts import load_part
from inspection.core.progress import follow
from inspection.core.records import (
    Interval,
    Manifest,
    Record,
    Split,
    hash_json,
    read_manifest,
    read_record,
    write_record,
    write_text,
)
from inspection.export.build import export_bundle
from inspection.export.gate import gate_bundle
from inspection.metrics.image import auroc_interval, recall_at
from inspection.metrics.pixel import PixelEvidence, score_edges
from inspection.report.charts import Point, draw_pareto
from inspection.retraining.candidates import Candidate, TuneConfig
from inspection.training.fit import train

logger = logging.getLogger(__name__)

SEED = 0  # of bootstraps and of the first generated defects
RUN, BUNDLE, MEASURED, REPORT = "run", "bundle", "measured.json", "tune.json"
WARM_UP = 20  # parts judged before the first that is timed
MEGABYTE = 1e6


class Measured(Record):
    """What a candidate showed on calibrate normals and the defects generated on them."""

    auroc: Interval
    recall: Interval = Field(description="at the promised false-reject rate")
    aupro: Interval
    p50_ms: float = Field(description="of a whole part, resizing included")
    megabytes: float = Field(description="of the graph that ships")
    precision: str
    normals: StrictInt
    defects: StrictInt


class Row(Settings):
    """One candidate, and why it has no numbers if it has none."""

    name: str
    measured: Measured | None
    failed: str = Field(description="why; empty when it was measured")
    best: bool = Field(
        description="no other is at least as accurate and faster, or as fast and more accurate"
    )


class TuneReport(Record):
    """What was compared, and what is recommended."""

    manifest_sha256: str
    latency_ms: float
    rows: tuple[Row, ...] = Field(description="most accurate first, then those that failed")
    recommended: str | None
    words: str
    gate: GateRecord | None = Field(description="of the recommended one, on the test split")


def tune(config: TuneConfig, manifest_path: Path, out: Path) -> TuneReport:
    """Train, export and measure every candidate, and gate the recommended one.

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
    measured: dict[str, Measured | str] = {}
    for candidate in follow(config.candidates, "candidates"):
        folder = folder_of(candidate, config, manifest, out)
        try:
            measured[candidate.name] = _measured(candidate, config, manifest_path, folder)
        except InspectionError as error:
            logger.warning("candidate failed", extra={"candidate": candidate.name})
            measured[candidate.name] = str(error)
    rows = rank(measured)
    chosen = recommend(rows, config.latency_ms)
    gate = None
    if chosen is not None:
        candidate = next(one for one in config.candidates if one.name == chosen.name)
        gate = _gate(folder_of(candidate, config, manifest, out) / BUNDLE)
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
        "defects": config.defects_per_normal,
        "manifest": manifest.sha256,
    }
    return out / f"{candidate.name}-{hash_json(made_from)[:12]}"


def rank(measured: dict[str, Measured | str]) -> tuple[Row, ...]:
    """Lay candidates in order: the most accurate first, of equals the fastest; failures last."""
    good = {name: one for name, one in measured.items() if isinstance(one, Measured)}
    order = sorted(good, key=lambda name: (-good[name].auroc.value, good[name].p50_ms))
    rows = []
    fastest = np.inf
    for name in order:
        rows.append(
            Row(name=name, measured=good[name], failed="", best=good[name].p50_ms < fastest)
        )
        fastest = min(fastest, good[name].p50_ms)
    failed = [
        Row(name=name, measured=None, failed=one, best=False)
        for name, one in measured.items()
        if isinstance(one, str)
    ]
    return (*rows, *failed)


def recommend(rows: tuple[Row, ...], latency_ms: float) -> Row | None:
    """Give the most accurate candidate within the budget; none when none keeps it."""
    return next((row for row in rows if row.measured and row.measured.p50_ms <= latency_ms), None)


def explain(
    rows: tuple[Row, ...], chosen: Row | None, latency_ms: float, gate: GateRecord | None
) -> str:
    """Say what is recommended and why, and what the numbers do not know."""
    ranked = [row.measured for row in rows if row.measured]
    if chosen is None or chosen.measured is None or gate is None:
        found = (
            f"the fastest takes {min(one.p50_ms for one in ranked):.1f} ms"
            if ranked
            else ("every candidate failed")
        )
        return (
            f"Nothing can be recommended: {found}, the budget is {latency_ms:g} ms. Try smaller "
            "inputs or banks, or allow more."
        )
    mine = chosen.measured
    level = sum(one.auroc.high >= mine.auroc.value for one in ranked) - 1
    passed = "passed its gate" if gate.passed else f"was REFUSED ({'; '.join(gate.refusals)})"
    return (
        f"{chosen.name}: the most accurate of those within {latency_ms:g} ms, image AUROC "
        f"{mine.auroc} at {mine.p50_ms:.1f} ms per part. {level} others have an interval that "
        f"reaches it. Ranked on {mine.normals} calibrate parts and {mine.defects} generated "
        "defects, which may be easier or harder than real ones. It alone was put to the gate, on "
        f"{gate.evidence}: it {passed}, image AUROC {gate.auroc}, recall {gate.recall}. Choosing "
        "again by these last numbers would make them too good to be true."
    )


def _measured(
    candidate: Candidate, config: TuneConfig, manifest_path: Path, folder: Path
) -> Measured:
    """Give what is known of a candidate, after doing what is left of its work."""
    known = folder / MEASURED
    if known.exists():
        return read_record(known, Measured)
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / RUN).exists():
        train(candidate.train, manifest_path, folder / RUN)
    if not (folder / BUNDLE).exists():
        export_bundle(folder / RUN, config.export, folder / BUNDLE)
    bundle = open_bundle(folder / BUNDLE, allow_refused=True)
    found = measure(bundle, read_manifest(manifest_path), config.defects_per_normal)
    write_record(known, found)
    shutil.rmtree(folder / RUN)  # what is needed of it is in the bundle
    return found


def measure(bundle: Bundle, manifest: Manifest, defects_per_normal: int) -> Measured:
    """Judge calibrate normals and defects generated on them.

    Args:
        bundle: opened; its gate is not asked.
        manifest: of the product.
        defects_per_normal: on each.

    Raises:
        InspectionError: a score is not finite.
    """
    scores: dict[bool, list[float]] = {False: [], True: []}
    times_ms, maps, masks = [], [], []
    for pixels, mask in _parts(manifest, defects_per_normal):
        started = time.perf_counter()
        judged = bundle.judge(pixels)
        times_ms.append((time.perf_counter() - started) * 1e3)
        scores[bool(mask.any())].append(judged.score)
        maps.append(smooth(judged.score_map, bundle.card.score))
        masks.append(mask)
    good, defect = np.array(scores[False]), np.array(scores[True])
    auroc = auroc_interval(good, defect, SEED)  # refuses scores that are not finite
    pixels_of = PixelEvidence(score_edges(maps))
    for score_map, mask in zip(maps, masks, strict=True):
        top, left, bottom, right = roi_px(bundle.card.geometry.roi, *mask.shape)
        pixels_of.add(score_map, mask[top:bottom, left:right], bundle.card.geometry.map_shift)
    graph = bundle.path / GRAPH
    return Measured(
        auroc=auroc,
        recall=recall_at(defect, bundle.card.band.review_above),
        aupro=pixels_of.aupro(SEED),
        p50_ms=float(np.median(times_ms[WARM_UP:] or times_ms)),
        megabytes=sum(one.stat().st_size for one in (graph, graph.with_suffix(".bin"))) / MEGABYTE,
        precision=bundle.card.precision,
        normals=len(good),
        defects=len(defect),
    )


def _parts(manifest: Manifest, defects_per_normal: int) -> Iterator[tuple[Rgb, Mask]]:
    """Give every calibrate part as it is, then with each of its defects."""
    entries = manifest.of(Split.CALIBRATE)
    for entry in follow(entries, "normals"):
        pixels = load_part(manifest, entry)
        yield pixels, np.zeros(pixels.shape[:2], np.bool_)
    for seed in follow(range(SEED, SEED + defects_per_normal), "generated defects"):
        for number, entry in enumerate(entries):
            part = generate_defect(load_part(manifest, entry), seed, number)
            yield part.pixels, part.mask


def _gate(bundle: Path) -> GateRecord:
    """Put a bundle to its gate, unless it was."""
    return read_gate(bundle, verify_bundle(bundle)) or gate_bundle(bundle)


def _csv(rows: tuple[Row, ...]) -> str:
    columns = ("name", "auroc", "recall", "aupro", "p50_ms", "megabytes", "best", "failed")
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(columns)
    for row in rows:
        one = row.measured
        numbers = (
            (one.auroc.value, one.recall.value, one.aupro.value, one.p50_ms, one.megabytes)
            if one
            else ("",) * 5
        )
        table.writerow((row.name, *numbers, row.best, row.failed))
    return text.getvalue()


def _points(report: TuneReport) -> list[Point]:
    return [
        Point(
            row.name,
            row.measured.p50_ms,
            row.measured.auroc,
            row.best,
            chosen=row.name == report.recommended,
        )
        for row in report.rows
        if row.measured
    ]

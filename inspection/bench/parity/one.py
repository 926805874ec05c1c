"""Trains, exports and measures one Anomalib model; a process of its own, which may hang or die."""

import argparse
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import openvino
from numpy.typing import NDArray

from inspection.bench.frame import Ratio
from inspection.bench.lane import Competitor, race_graphs
from inspection.bench.ours import OPEN_LIMITS
from inspection.bench.parity.small import SMALL, Small, small_config
from inspection.bundles.bundle import map_part
from inspection.bundles.graph import Graph, openvino_core
from inspection.bundles.saving import save_graph
from inspection.core.decision import part_score
from inspection.core.errors import BundleError, InspectionError
from inspection.core.geometry import prepare
from inspection.core.parts import FitTiles, load_part
from inspection.core.records import (
    Interval,
    Label,
    Manifest,
    Record,
    RunRecord,
    Split,
    Weights,
    read_manifest,
    write_record,
)
from inspection.core.settings import ExportConfig, GateLimits
from inspection.export.build import build_graphs
from inspection.export.evidence import Correlation
from inspection.export.graph import Graphs
from inspection.metrics.image import auroc, paired_auroc_drop
from inspection.portability.runtime import OnnxGraph
from inspection.portability.translate import to_onnx
from inspection.training.fit import train
from inspection.training.models import LIBRARY_ERRORS

PICTURES, MANIFEST = "pictures", "manifest.json"
EXPORT = ExportConfig(calibration_images=16, gate=OPEN_LIMITS)  # INT8 is judged here, not chosen
LIMITS = GateLimits()
NAMES = "FP32", "INT8"


class Measured(Record):
    """What INT8 keeps of a model's score on the test parts, and what it is worth."""

    input_px: tuple[int, int]
    weights: tuple[Weights, ...]
    fit_s: float
    auroc: float
    """Of FP32."""
    auroc_drop: Interval
    score_correlation: float
    map_correlation: float
    fp32_ms: float
    int8_ms: float
    speed: Ratio
    onnx: float | None
    """Correlation of FP32's scores in ONNX Runtime with those in OpenVINO: a second opinion on the
    reference. None where the graph has no ONNX form."""
    onnx_reason: str = ""

    @property
    def lost(self) -> str:
        """Why it does not keep its score, by the limits of any gate; empty where it does."""
        missed = []
        if self.score_correlation < LIMITS.score_correlation:
            missed.append(f"scores correlate below {LIMITS.score_correlation}")
        if self.auroc_drop.value > LIMITS.auroc_drop:
            missed.append(f"AUROC drops by more than {LIMITS.auroc_drop}")
        return " and ".join(missed)


class Outcome(Record):
    """What became of one model: measured, or the reason why not."""

    model: str
    measured: Measured | None = None
    reason: str = ""


def measure(model: str, folder: Path, rounds: int) -> Measured:
    """Train a model shortly, export it as any model is, and hold INT8 against FP32.

    Args:
        model: its class name.
        folder: with the generated set, its manifest and further pictures.
        rounds: of the race.

    Raises:
        InspectionError: it cannot be trained, converted or judged.
    """
    small = SMALL.get(model, Small())
    given = (small.prepare(),) if small.prepare else ()
    config = small_config(model, folder / PICTURES)
    manifest = read_manifest(folder / MANIFEST)
    with tempfile.TemporaryDirectory() as work:
        run = Path(work) / "run"
        started = time.perf_counter()
        record = train(config, folder / MANIFEST, run)
        fit_s = time.perf_counter() - started
        tiles = FitTiles(manifest, config.geometry)
        graphs = build_graphs(run, record, EXPORT, tiles)
    labels, scores, maps = _judge(graphs, record, manifest)
    onnx, onnx_reason = _second_opinion(graphs.reference, scores[0], record, manifest)
    times = race_graphs(
        {
            name: Competitor(graph, tiles[0][None])
            for name, graph in zip(NAMES, _pair(graphs), strict=True)
        },
        rounds,
    )
    pair = [(row[~labels], row[labels]) for row in scores]
    return Measured(
        input_px=(config.geometry.height_px, config.geometry.width_px),
        weights=(*given, *record.weights),
        fit_s=round(fit_s, 1),
        auroc=auroc(*pair[0]),
        auroc_drop=paired_auroc_drop(reference=pair[0], shipped=pair[1], seed=0),
        score_correlation=_correlation(*scores),
        map_correlation=maps,
        fp32_ms=times.lane("FP32").p50_ms,
        int8_ms=times.lane("INT8").p50_ms,
        speed=times.ratio(fast="INT8", slow="FP32"),
        onnx=onnx,
        onnx_reason=onnx_reason,
    )


def _pair(graphs: Graphs) -> tuple[openvino.Model, openvino.Model]:
    return graphs.reference, graphs.shipped


def _judge(
    graphs: Graphs, record: RunRecord, manifest: Manifest
) -> tuple[NDArray[np.bool_], NDArray[np.float64], float]:
    """Judge every test part by both graphs.

    Returns:
        Which parts are defective (n,), scores (2, n) of FP32 and INT8, correlation of the maps.

    Raises:
        InspectionError: a score is not finite.
    """
    geometry, rule = record.config.geometry, record.config.score
    entries = manifest.of(Split.TEST)
    compiled = [Graph(graph) for graph in _pair(graphs)]
    scores, maps = np.empty((2, len(entries))), Correlation()
    for number, entry in enumerate(entries):
        pixels = load_part(manifest, entry)
        both = [map_part(graph, pixels, geometry) for graph in compiled]
        scores[:, number] = [part_score(one, rule, geometry) for one in both]
        maps.add(*both)
    for name, row in zip(NAMES, scores, strict=True):
        if broken := int((~np.isfinite(row)).sum()):
            raise InspectionError(f"{broken} of {row.size} scores of {name} are not finite")
    return np.array([e.label is Label.DEFECT for e in entries]), scores, maps.value


def _second_opinion(
    graph: openvino.Model, scores: NDArray[np.float64], record: RunRecord, manifest: Manifest
) -> tuple[float | None, str]:
    """Judge the test parts by the FP32 graph in ONNX Runtime, too.

    Returns:
        Correlation of its scores with these (n,); or none, and why.
    """
    config, found = record.config, []
    with tempfile.TemporaryDirectory() as work:
        path = Path(work) / "model.xml"
        save_graph(graph, path)  # as a bundle keeps it
        try:
            path.with_suffix(".onnx").write_bytes(
                to_onnx(openvino_core().read_model(path)).SerializeToString()
            )
            runtime = OnnxGraph(path.with_suffix(".onnx"))
            for entry in manifest.of(Split.TEST):
                (tile,) = prepare(load_part(manifest, entry), config.geometry)
                found.append(part_score(runtime(tile)[0], config.score, config.geometry))
        except BundleError as error:
            return None, str(error)
    return _correlation(np.array(found), scores), ""


def _correlation(first: NDArray[np.float64], second: NDArray[np.float64]) -> float:
    correlation = Correlation()
    correlation.add(first, second)
    return correlation.value


def main() -> None:
    """Try one model and write what became of it; what is no refusal ends in a traceback."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("model")
    parser.add_argument("folder", type=Path, help="with set, manifest and further pictures")
    parser.add_argument("out", type=Path, help="JSON to write")
    parser.add_argument("rounds", type=int)
    given = parser.parse_args()
    try:
        found = measure(given.model, given.folder, given.rounds)
        outcome = Outcome(model=given.model, measured=found)
    except (InspectionError, *LIBRARY_ERRORS) as error:
        sys.stderr.write(f"{error}\n")
        outcome = Outcome(model=given.model, reason=f"{type(error).__name__}: {error}")
    write_record(given.out, outcome)


if __name__ == "__main__":
    main()

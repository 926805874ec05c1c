"""Chooses the precision of a graph that gives its score map itself: STFPM and all other models."""

from collections.abc import Sequence

import numpy as np
import openvino

from inspection.bundles.bundle import compile_graph
from inspection.core.defects import generate_defects
from inspection.core.imaging import Rgb
from inspection.core.settings import ExportConfig
from inspection.export.graph import Graphs
from inspection.export.quantize import quantise

PROBES = 24  # fit tiles, each also with a generated defect, on which INT8 is compared with FP32


def map_graphs(model: openvino.Model, config: ExportConfig, sample: Sequence[Rgb]) -> Graphs:
    """Quantise where the scores survive it, and say so; the tail stays FP32.

    INT8 is kept when the largest map values of fit tiles with and without generated defects
    correlate with FP32's by at least the gate's limit; otherwise the graph ships as FP16 and its
    precision says so.

    Args:
        model: FP32 graph whose first output is `score_map`.
        config: of the export.
        sample: uint8 (H, W, 3) fit tiles for NNCF's ranges and for the comparison.
    """
    reference = score_only(model)
    if config.precision != "int8":
        return Graphs(score_only(model), reference, config.precision.upper(), "as configured")
    shipped = score_only(quantise(model, sample))
    correlation = _score_correlation(shipped, reference, sample[:PROBES])
    limit = config.gate.score_correlation
    note = f"INT8 scores on fit and generated defects correlate with FP32 by {correlation:.4f}"
    if correlation >= limit:
        return Graphs(shipped, reference, "INT8, FP32 tail", note)
    note = f"{note}, below {limit}; shipped as FP16"
    return Graphs(score_only(model), reference, "FP16", note)


def score_only(model: openvino.Model) -> openvino.Model:
    """Drop every output of a graph but its score map, reshaped to (1, 1, h, w)."""
    copy = model.clone()
    result = copy.output("score_map").get_node()
    return openvino.Model([result], copy.get_parameters(), "score_map")


def _score_correlation(
    shipped: openvino.Model, reference: openvino.Model, tiles: Sequence[Rgb]
) -> float:
    probes = [*tiles, *(part.pixels for part in generate_defects(tiles, seed=0))]
    scores = np.array([_largest(graph, probes) for graph in (shipped, reference)])
    if not np.isfinite(scores).all() or np.ptp(scores, axis=1).min() == 0:
        return 0.0
    return float(np.corrcoef(scores)[0, 1])


def _largest(graph: openvino.Model, tiles: Sequence[Rgb]) -> list[float]:
    request = compile_graph(graph).create_infer_request()
    values = []
    for tile in tiles:
        request.infer({0: tile[None]})
        values.append(float(request.get_output_tensor(0).data.max()))
    return values

"""Chooses the precision of a graph that gives its score map itself: STFPM and all other models."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import openvino

from inspection.bundles.graph import compile_graph
from inspection.core.decision import ScoreRule, smooth
from inspection.core.defects import generate_defects
from inspection.core.imaging import Rgb
from inspection.core.records import Interval, PixelNorm
from inspection.core.settings import ExportConfig, GateLimits
from inspection.export.evidence import Correlation
from inspection.export.graph import Graphs
from inspection.export.quantize import quantise
from inspection.metrics.image import paired_auroc_drop

PROBES = 100  # fit tiles, each also with a generated defect, on which INT8 is compared with FP32


@dataclass(frozen=True)
class Comparison:
    """INT8 against FP32 on fit tiles and generated defects: what the gate will look at."""

    score_correlation: float
    map_correlation: float
    auroc_drop: Interval
    feature_correlation: float
    """Of the weakest feature map; 1 where the graph names none."""

    def meets(self, limits: GateLimits) -> bool:
        """Say whether all of them keep the gate's limits, as the gate will read them."""
        return (
            self.score_correlation >= limits.score_correlation
            and self.map_correlation >= limits.least_map_correlation(estimated=False)
            and self.auroc_drop.value <= limits.auroc_drop
            and self.feature_correlation >= limits.feature_correlation
        )

    def __str__(self) -> str:
        """Say it in one line."""
        return (
            f"INT8 scores on fit and generated defects correlate with FP32 by "
            f"{self.score_correlation:.4f}, maps by {self.map_correlation:.4f}, the weakest "
            f"feature map by {self.feature_correlation:.4f}, AUROC drop {self.auroc_drop}"
        )


def map_graphs(
    model: openvino.Model,
    pixels: PixelNorm,
    config: ExportConfig,
    sample: Sequence[Rgb],
    rule: ScoreRule,
) -> Graphs:
    """Quantise where the scores survive it, and say so; the tail stays FP32.

    INT8 is kept when it keeps the gate's limits on fit tiles with and without generated defects:
    correlation of scores and of every feature map with FP32, and AUROC. Otherwise the graph ships
    as FP16 and its precision says so.

    Args:
        model: FP32 graph whose first output is `score_map`.
        pixels: how it normalises its input.
        config: of the export.
        sample: uint8 (H, W, 3) fit tiles for NNCF's ranges and for the comparison.
        rule: how the map becomes a score.
    """
    reference = score_only(model)
    if config.precision != "int8":
        return Graphs(score_only(model), reference, config.precision.upper(), "as configured")
    # a student differs from its teacher where ranges seen on normals alone would clip
    defects = [part.pixels for part in generate_defects(sample, seed=1)]
    small = quantise(model, pixels, [*sample, *defects])
    comparison = compare(small, model, sample[:PROBES], rule)
    if comparison.meets(config.gate):
        return Graphs(score_only(small), reference, "INT8, FP32 tail", str(comparison))
    note = f"{comparison}; below the gate's limits, so shipped as FP16"
    return Graphs(score_only(model), reference, "FP16", note)


def score_only(model: openvino.Model) -> openvino.Model:
    """Drop every output of a graph but its score map, reshaped to (1, 1, h, w)."""
    copy = model.clone()
    result = copy.output("score_map").get_node()
    return openvino.Model([result], copy.get_parameters(), "score_map")


def compare(
    small: openvino.Model, model: openvino.Model, tiles: Sequence[Rgb], rule: ScoreRule
) -> Comparison:
    """Compare two graphs with the same outputs, `score_map` first.

    Args:
        small: the INT8 graph.
        model: the FP32 graph.
        tiles: uint8 (H, W, 3) fit tiles, good; each is looked at with a generated defect too.
        rule: how the map becomes a score.
    """
    probes = [*tiles, *(part.pixels for part in generate_defects(tiles, seed=0))]
    requests = [compile_graph(graph).create_infer_request() for graph in (small, model)]
    names = [output.any_name for output in model.outputs]
    scores, map_correlation = np.empty((2, len(probes))), Correlation()
    features = {name: Correlation() for name in names if name.startswith("feature.")}
    for number, tile in enumerate(probes):
        maps = []
        for request in requests:
            request.infer({0: tile[None]})
            maps.append(smooth(request.get_tensor("score_map").data[0, 0], rule))
        scores[:, number] = [smoothed.max() for smoothed in maps]
        map_correlation.add(*maps)
        for name, correlation in features.items():
            correlation.add(*(request.get_tensor(name).data for request in requests))
    overall = Correlation()
    overall.add(*scores)
    drop = Interval(value=0, low=0, high=0)
    if np.isfinite(scores).all():
        found, wanted = ((row[: len(tiles)], row[len(tiles) :]) for row in scores)
        drop = paired_auroc_drop(reference=wanted, shipped=found, seed=0)
    weakest = min((correlation.value for correlation in features.values()), default=1.0)
    return Comparison(overall.value, map_correlation.value, drop, weakest)

"""Runs the shipped graph and its FP32 reference side by side and gathers what they gave."""

import time
import zlib
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from inspection.bundles.bundle import GRAPH, REFERENCE, map_part
from inspection.bundles.graph import Graph, compile_graph, openvino_core
from inspection.core.decision import smooth
from inspection.core.gate import Latency
from inspection.core.geometry import Geometry, prepare, roi_px
from inspection.core.imaging import Map, Mask, Rgb
from inspection.core.parts import HeldOut
from inspection.core.progress import follow
from inspection.core.records import Card, Label

INNER = ("feature.", "pooled.")  # tensor names of the feature maps inside a graph
Floats = NDArray[np.float32] | NDArray[np.float64]
PROBED = 32  # parts whose feature maps are compared: each gives some hundred thousand values
TIMED_RUNS = 200
WARM_RUNS = 20


class Correlation:
    """Pearson correlation of two streams of values, gathered part by part in float64."""

    def __init__(self) -> None:
        self._sums = np.zeros(6)  # n, Σa, Σb, Σa², Σb², Σab

    def add(self, first: Floats, second: Floats) -> None:
        """Take two arrays of one shape."""
        a, b = first.astype(np.float64).ravel(), second.astype(np.float64).ravel()
        with np.errstate(invalid="ignore"):  # infinity has no product; `value` says 0 then
            self._sums += np.array([a.size, a.sum(), b.sum(), a @ a, b @ b, a @ b])

    @property
    def value(self) -> float:
        """The correlation; 0 where one side is constant or not finite, which no gate passes."""
        n, a, b, aa, bb, ab = self._sums
        if not n or not np.isfinite(self._sums).all():
            return 0.0
        spread = (aa - a * a / n) * (bb - b * b / n)
        if not np.isfinite(spread) or spread <= 0:
            return 0.0
        return float((ab - a * b / n) / np.sqrt(spread))


@dataclass(frozen=True)
class PackedMask:
    """A mask small enough to keep one of every part; of 20 megapixels it takes some kilobytes."""

    shape_hw: tuple[int, int]
    packed: bytes

    @classmethod
    def of(cls, mask: Mask) -> Self:
        """Pack a bool H×W mask."""
        bits = zlib.compress(np.packbits(mask).tobytes(), level=1)
        return cls((mask.shape[0], mask.shape[1]), bits)

    def unpack(self) -> Mask:
        """Give it back, bool H×W."""
        height, width = self.shape_hw
        bits = np.frombuffer(zlib.decompress(self.packed), np.uint8)
        return np.unpackbits(bits, count=height * width).reshape(height, width).astype(np.bool_)


@dataclass
class Evidence:
    """What the shipped graph gave on all parts, in order, and the reference on some or all."""

    labels: list[Label] = field(default_factory=list)
    defects: list[str | None] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)
    maps: list[Map] = field(default_factory=list)
    reference_maps: dict[int, Map] = field(default_factory=dict)
    """By the number of the part; of those parts that are compared."""
    times_ms: tuple[list[float], list[float]] = field(default_factory=lambda: ([], []))
    """Of the shipped graph on each part, and of the reference on those compared."""
    masks: list[PackedMask | None] = field(default_factory=list)
    """Of the area the score map covers."""
    map_correlation: Correlation = field(default_factory=Correlation)
    features: dict[str, Correlation] = field(default_factory=dict)


class FeatureProbe:
    """A graph with its inner feature maps as further outputs."""

    def __init__(self, path: Path) -> None:
        model = openvino_core().read_model(path)
        self.names = sorted(
            {
                name
                for node in model.get_ordered_ops()
                for port in node.outputs()
                for name in port.get_tensor().get_names()
                if name.startswith(INNER)
            }
        )
        if self.names:
            model.add_outputs(self.names)
        self._compiled = compile_graph(model)
        self._request = self._compiled.create_infer_request()

    def __call__(self, tile: Rgb) -> dict[str, NDArray[np.float32]]:
        """Give every feature map of one prepared uint8 (H, W, 3) tile by its name."""
        self._request.infer({0: tile[None]})
        return {name: np.array(self._request.get_tensor(name).data) for name in self.names}


def gather(folder: Path, card: Card, parts: HeldOut, compared: Collection[int]) -> Evidence:
    """Score every part with the shipped graph of a bundle, and those compared with both.

    Of these, up to `PROBED` evenly chosen ones compare the feature maps, too.

    Args:
        folder: the bundle.
        card: its card.
        parts: to score.
        compared: numbers of parts that the FP32 reference scores, too.
    """
    shipped, reference = Graph(folder / GRAPH), Graph(folder / REFERENCE)
    probes = FeatureProbe(folder / GRAPH), FeatureProbe(folder / REFERENCE)
    probed = frozenset(sorted(compared)[:: max(1, -(-len(compared) // PROBED))])
    evidence = Evidence()
    for number in follow(range(len(parts)), "gate"):
        part = parts[number]
        first, took_ms = _timed_map(shipped, part.pixels, card.geometry)
        evidence.maps.append(first)
        evidence.times_ms[0].append(took_ms)
        evidence.labels.append(part.label)
        evidence.defects.append(part.defect)
        evidence.paths.append(part.path)
        evidence.masks.append(_in_roi(part.mask, card))
        if number in compared:
            second, took_ms = _timed_map(reference, part.pixels, card.geometry)
            evidence.reference_maps[number] = second
            evidence.times_ms[1].append(took_ms)
            evidence.map_correlation.add(smooth(first, card.score), smooth(second, card.score))
        if number in probed:
            _compare_features(evidence, probes, prepare(part.pixels, card.geometry)[0])
    return evidence


def _timed_map(graph: Graph, pixels: Rgb, geometry: Geometry) -> tuple[Map, float]:
    """Give the map of a part and the milliseconds it took."""
    started = time.perf_counter()
    found = map_part(graph, pixels, geometry)
    return found, (time.perf_counter() - started) * 1e3


def _compare_features(
    evidence: Evidence, probes: tuple[FeatureProbe, FeatureProbe], tile: Rgb
) -> None:
    found, wanted = (probe(tile) for probe in probes)
    for name, feature in wanted.items():
        correlation = evidence.features.setdefault(name, Correlation())
        if name in found:
            correlation.add(found[name], feature)


def _in_roi(mask: Mask | None, card: Card) -> PackedMask | None:
    """Cut a mask to the area the score map covers."""
    if mask is None:
        return None
    top, left, bottom, right = roi_px(card.geometry.roi, mask.shape[0], mask.shape[1])
    return PackedMask.of(mask[top:bottom, left:right])


def time_graphs(folder: Path, pixels: Rgb, geometry: Geometry) -> tuple[Latency, Latency]:
    """Time both graphs of a bundle in turn on one whole part, all its tiles, after a warm-up."""
    graphs = Graph(folder / GRAPH), Graph(folder / REFERENCE)
    times = np.empty((2, TIMED_RUNS))
    for run in range(-WARM_RUNS, TIMED_RUNS):
        for number, graph in enumerate(graphs):
            times[number, run] = _timed_map(graph, pixels, geometry)[1]  # negative are rewritten
    shipped, reference = (sum_up(row) for row in times)
    return shipped, reference


def sum_up(times_ms: ArrayLike) -> Latency:
    """Give the percentiles of (n,) milliseconds."""
    p50, p95, p99 = (round(float(v), 3) for v in np.percentile(np.asarray(times_ms), (50, 95, 99)))
    return Latency(p50_ms=p50, p95_ms=p95, p99_ms=p99)

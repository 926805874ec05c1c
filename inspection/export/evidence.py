"""Runs the shipped graph and its FP32 reference side by side and gathers what they gave."""

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import openvino
from numpy.typing import NDArray

from inspection.bundles.bundle import GRAPH, REFERENCE, Graph, compile_graph, map_part
from inspection.core.decision import smooth
from inspection.core.defects import generate_defects
from inspection.core.geometry import prepare, roi_px
from inspection.core.imaging import Map, Mask, Rgb
from inspection.core.parts import load_part, load_part_mask
from inspection.core.progress import follow
from inspection.core.records import (
    Card,
    Label,
    Latency,
    Manifest,
    ManifestEntry,
    Split,
)

INNER = ("feature.", "pooled.")  # tensor names of the feature maps inside a graph
Floats = NDArray[np.float32] | NDArray[np.float64]
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
class TestPart:
    """One part put to the gate: pixels, label, and the defect's mask where one is known."""

    path: str
    label: Label
    defect: str | None
    pixels: Rgb
    mask: Mask | None


@dataclass
class Evidence:
    """What both graphs gave on the same parts, in the same order."""

    labels: list[Label] = field(default_factory=list)
    defects: list[str | None] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)
    maps: list[Map] = field(default_factory=list)
    reference_maps: list[Map] = field(default_factory=list)
    masks: list[Mask | None] = field(default_factory=list)
    map_correlation: Correlation = field(default_factory=Correlation)
    features: dict[str, Correlation] = field(default_factory=dict)


class FeatureProbe:
    """A graph with its inner feature maps as further outputs."""

    def __init__(self, path: Path) -> None:
        model = openvino.Core().read_model(path)
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


def gather(folder: Path, card: Card, parts: Iterator[TestPart], count: int) -> Evidence:
    """Score `count` parts with both graphs of a bundle."""
    shipped, reference = Graph(folder / GRAPH), Graph(folder / REFERENCE)
    probes = FeatureProbe(folder / GRAPH), FeatureProbe(folder / REFERENCE)
    evidence = Evidence()
    for _, part in zip(follow(range(count), "gate"), parts, strict=False):
        first = map_part(shipped, part.pixels, card.geometry)
        second = map_part(reference, part.pixels, card.geometry)
        evidence.map_correlation.add(smooth(first, card.score), smooth(second, card.score))
        evidence.maps.append(first)
        evidence.reference_maps.append(second)
        evidence.labels.append(part.label)
        evidence.defects.append(part.defect)
        evidence.paths.append(part.path)
        evidence.masks.append(part.mask)
        _compare_features(evidence, probes, prepare(part.pixels, card.geometry)[0])
    return evidence


def _compare_features(
    evidence: Evidence, probes: tuple[FeatureProbe, FeatureProbe], tile: Rgb
) -> None:
    found, wanted = (probe(tile) for probe in probes)
    for name, feature in wanted.items():
        correlation = evidence.features.setdefault(name, Correlation())
        if name in found:
            correlation.add(found[name], feature)


def test_parts(manifest: Manifest, card: Card) -> tuple[Iterator[TestPart], int, bool]:
    """Give the parts of the test split, their number, and whether defects had to be generated.

    Without a real defect, every held-out normal (test, or calibrate without one) is judged as it is
    and once more with a generated defect.
    """
    held_out = [entry for entry in manifest.entries if entry.split is Split.TEST]
    if any(entry.label is Label.DEFECT for entry in held_out):
        real = (_real_part(manifest, entry, card) for entry in held_out)
        return real, len(held_out), False
    normals = held_out or list(manifest.of(Split.CALIBRATE))
    return _generated_parts(manifest, normals, card), 2 * len(normals), True


def _real_part(manifest: Manifest, entry: ManifestEntry, card: Card) -> TestPart:
    pixels = load_part(manifest, entry)
    mask = load_part_mask(manifest, entry)
    if mask is None and entry.label is Label.GOOD:
        mask = np.zeros(pixels.shape[:2], np.bool_)
    return TestPart(entry.path, entry.label, entry.defect, pixels, _in_roi(mask, card))


def _generated_parts(
    manifest: Manifest, normals: list[ManifestEntry], card: Card
) -> Iterator[TestPart]:
    pixels = (load_part(manifest, entry) for entry in normals)
    for entry, part in zip(normals, generate_defects(pixels, seed=0), strict=True):
        good = load_part(manifest, entry)
        clean = np.zeros(good.shape[:2], np.bool_)
        yield TestPart(entry.path, Label.GOOD, None, good, _in_roi(clean, card))
        kind = f"generated {part.kind.value}"
        yield TestPart(entry.path, Label.DEFECT, kind, part.pixels, _in_roi(part.mask, card))


def _in_roi(mask: Mask | None, card: Card) -> Mask | None:
    """Cut a mask to the area the score map covers."""
    if mask is None:
        return None
    top, left, bottom, right = roi_px(card.geometry.roi, mask.shape[0], mask.shape[1])
    return mask[top:bottom, left:right]


def time_graphs(folder: Path, tile: Rgb) -> tuple[Latency, Latency]:
    """Time the shipped graph and its reference in turn, one part at a time, after a warm-up."""
    graphs = Graph(folder / GRAPH), Graph(folder / REFERENCE)
    times = np.empty((2, TIMED_RUNS))
    for run in range(-WARM_RUNS, TIMED_RUNS):
        for number, graph in enumerate(graphs):
            started = time.perf_counter()
            graph(tile)
            times[number, run] = (
                time.perf_counter() - started
            ) * 1e3  # negative runs are rewritten
    shipped, reference = (_latency(row) for row in times)
    return shipped, reference


def _latency(times_ms: NDArray[np.float64]) -> Latency:
    p50, p95, p99 = (round(float(v), 3) for v in np.percentile(times_ms, (50, 95, 99)))
    return Latency(p50_ms=p50, p95_ms=p95, p99_ms=p99)

"""Opens a sealed bundle and judges parts with it: slow once, fast often. Never loads torch."""

import functools
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import openvino
from safetensors import SafetensorError
from safetensors.numpy import load_file

from inspection.bundles.seal import read_gate, verify_bundle
from inspection.core.decision import Judgement, judge_map
from inspection.core.errors import (
    BundleCorrupt,
    BundleError,
    GateRefused,
    ImageError,
    InspectionError,
)
from inspection.core.geometry import Geometry, assemble, prepare
from inspection.core.imaging import Map, Rgb, load_image
from inspection.core.records import Card, GateRecord, read_record

CARD, GRAPH, REFERENCE, GOLDEN = "card.json", "model.xml", "reference.xml", "golden"
GOLDEN_TOLERANCE = 0.02  # of the map's largest value: CPUs differ in the order of additions only


@dataclass(frozen=True)
class Golden:
    """How far one golden frame's map is from the one in the bundle, relative to its maximum."""

    name: str
    difference: float

    @property
    def reproduced(self) -> bool:
        """True when this CPU computes the map that was expected."""
        return self.difference <= GOLDEN_TOLERANCE


class Graph:
    """A compiled graph: uint8 (H, W, 3) in, float32 map out; not for two threads at once."""

    def __init__(self, path: Path, threads: int = 0) -> None:
        try:
            self.compiled = compile_graph(openvino_core().read_model(path), threads)
        except RuntimeError as error:
            raise BundleError(f"{path}: OpenVINO cannot load it ({error})") from error
        self._request = self.compiled.create_infer_request()

    def __call__(self, tile: Rgb) -> Map:
        """Give the raw float32 (h, w) map of one prepared uint8 (H, W, 3) tile."""
        self._request.infer({0: tile[None]}, share_inputs=True)
        return np.array(self._request.get_output_tensor(0).data[0, 0])


@functools.cache
def openvino_core() -> openvino.Core:
    """Give the one core of this package.

    Each core brings its own CPU plugin, and each plugin its own stack for signal handlers. When
    the older of two goes first, the younger puts the freed stack back, and the next signal, Ctrl-C
    or a shutdown, is a segmentation fault (OpenVINO 2026.4).
    """
    return openvino.Core()


def compile_graph(model: openvino.Model, threads: int = 0) -> openvino.CompiledModel:
    """Compile for one part at a time, in float32 where it is not INT8, so that CPUs agree.

    Args:
        model: any graph.
        threads: processor cores to use; 0 leaves it to OpenVINO.
    """
    hints = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32"}
    if threads:
        hints["INFERENCE_NUM_THREADS"] = str(threads)
    return openvino_core().compile_model(model, "CPU", hints)


class Bundle:
    """An opened bundle: `judge` a part, or only `score_map` it."""

    def __init__(
        self, path: Path, bundle_id: str, card: Card, gate: GateRecord | None, graph: Graph
    ) -> None:
        self.path, self.bundle_id, self.card, self.gate = path, bundle_id, card, gate
        self._graph = graph

    def score_map(self, pixels: Rgb) -> Map:
        """Give the raw float32 (h, w) map of a part's ROI; pixels are uint8 H×W×3 RGB.

        Raises:
            ImageError: the pixels are anything else.
        """
        return map_part(self._graph, pixels, self.card.geometry)

    def judge(self, pixels: Rgb) -> Judgement:
        """Judge one part; pixels are uint8 H×W×3 RGB.

        Raises:
            ImageError: the pixels are anything else.
        """
        return judge_map(
            self.score_map(pixels),
            band=self.card.band,
            rule=self.card.score,
            geometry=self.card.geometry,
            part_hw=(pixels.shape[0], pixels.shape[1]),
        )

    def selftest(self) -> tuple[Golden, ...]:
        """Compare the map of each golden frame on this CPU with the one in the bundle.

        Raises:
            BundleCorrupt: a golden frame or its map is gone, damaged or of another size.
        """
        folder = self.path / GOLDEN
        try:
            expected = load_file(folder / "maps.safetensors")
            return tuple(self._compare(name, expected[name]) for name in self.card.golden)
        except (OSError, KeyError, ValueError, SafetensorError, ImageError) as error:
            raise BundleCorrupt(
                f"{folder}: no selftest ({error}); copy the bundle again"
            ) from error

    def _compare(self, name: str, expected: Map) -> Golden:
        found = self.score_map(load_image(self.path / GOLDEN / f"{name}.png"))
        if found.shape != expected.shape:
            raise ValueError(f"map of '{name}' is {expected.shape}; wanted {found.shape}")
        scale = max(float(np.abs(expected).max()), 1e-12)
        return Golden(name, float(np.abs(found - expected).max()) / scale)


def map_part(graph: Graph, pixels: Rgb, geometry: Geometry) -> Map:
    """Give the raw float32 (h, w) map of a part's ROI; pixels are uint8 H×W×3 RGB."""
    maps = np.stack([graph(tile) for tile in prepare(pixels, geometry)])
    return assemble(maps, geometry, pixels.shape[0], pixels.shape[1])


def open_bundle(
    path: Path | str,
    *,
    trusted_keys: tuple[str, ...] = (),
    allow_refused: bool = False,
    threads: int = 0,
) -> Bundle:
    """Verify and load a bundle.

    Args:
        path: the bundle's folder.
        trusted_keys: public keys whose bundles may run here; empty trusts every signature.
        allow_refused: open also what the gate refused or never saw, for inspection at a desk.
        threads: processor cores to use; 0 leaves it to OpenVINO.

    Raises:
        BundleCorrupt: a byte differs from what was signed.
        GateRefused: the bundle did not pass its gate.
        BundleError: no bundle, an unknown signer, a newer card, or a graph that cannot be loaded.
    """
    folder = Path(path)
    bundle_id = verify_bundle(folder, trusted_keys)
    card = read_card(folder)
    gate = read_gate(folder, bundle_id, trusted_keys)
    if not allow_refused:
        _require_passed(folder, gate)
    graph = Graph(folder / GRAPH, threads)
    _require_fitting(folder / GRAPH, graph, card.geometry)
    return Bundle(folder, bundle_id, card, gate, graph)


def read_card(folder: Path) -> Card:
    """Read the card of a bundle.

    Raises:
        BundleError: missing, damaged, or from a newer version of this program.
    """
    try:
        return read_record(folder / CARD, Card)
    except InspectionError as error:
        raise BundleError(str(error)) from error


def _require_fitting(path: Path, graph: Graph, geometry: Geometry) -> None:
    """Refuse at opening, not at each part, a graph that does not take what its card prepares."""
    taken, given = graph.compiled.input(0), graph.compiled.output(0)
    found = f"{taken.element_type.to_string()} {taken.partial_shape}"
    wanted = f"u8 [1,{geometry.height_px},{geometry.width_px},3]"
    if found != wanted or not str(given.partial_shape).startswith("[1,1,"):
        raise BundleError(
            f"{path}: takes {found} and gives {given.partial_shape}; the card wants {wanted} and "
            "[1,1,h,w]; export again"
        )


def _require_passed(folder: Path, gate: GateRecord | None) -> None:
    if gate is None:
        raise GateRefused(f"{folder}: was never put to the gate; run inspection gate {folder}")
    if not gate.passed:
        raise GateRefused(
            f"{folder}: the gate refused it ({'; '.join(gate.refusals)}); "
            "train or export again, or look at inspection report"
        )

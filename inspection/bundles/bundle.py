"""Opens a sealed bundle and judges parts with it: slow once, fast often. Never loads torch."""

import functools
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from queue import SimpleQueue
from typing import Literal, NamedTuple

import numpy as np
import openvino
from safetensors import SafetensorError
from safetensors.numpy import load_file

from inspection.bundles.priority import lowest_priority
from inspection.bundles.seal import read_gate, verify_bundle
from inspection.core.decision import Band, Judgement, judge_map
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


@dataclass(frozen=True)
class Compiling:
    """How OpenVINO compiles a graph for this CPU."""

    mode: Literal["latency", "throughput"] = "latency"
    """latency: one frame at a time on all threads; throughput: one frame per thread."""
    threads: int = 0
    """Processor threads to use; 0 leaves it to OpenVINO."""
    cache_dir: Path | None = None
    """Folder of compiled graphs, one folder per bundle in it; none keeps none."""
    gently: bool = False
    """Compile at the lowest priority, where the system allows it, because parts are under way."""

    @property
    def waits_for_one(self) -> bool:
        """Whether several threads work on one frame, so that preparing it may use them, too."""
        return self.mode == "latency" and self.threads > 1

    @property
    def hints(self) -> dict[str, str]:
        """The properties as OpenVINO names them: float32 where it is not INT8, so CPUs agree."""
        hints = {"PERFORMANCE_HINT": self.mode.upper(), "INFERENCE_PRECISION_HINT": "f32"}
        if self.threads:
            hints["INFERENCE_NUM_THREADS"] = str(self.threads)
        if self.threads and self.mode == "throughput":
            hints["NUM_STREAMS"] = str(self.threads)
        if self.cache_dir:
            hints["CACHE_DIR"] = str(self.cache_dir)
        return hints


class Graph:
    """A compiled graph: uint8 (H, W, 3) in, float32 map out; for several threads at once.

    It holds as many infer requests as OpenVINO can work on at once: one for latency, one per
    thread for throughput. A further thread waits for a free one.
    """

    def __init__(self, path: Path, compiling: Compiling = Compiling()) -> None:
        self.compiling = compiling
        try:
            self.compiled = compile_graph(openvino_core().read_model(path), compiling)
        except RuntimeError as error:
            raise BundleError(f"{path}: OpenVINO cannot load it ({error})") from error
        self._free: SimpleQueue[openvino.InferRequest] = SimpleQueue()
        at_once = self.compiled.get_property("OPTIMAL_NUMBER_OF_INFER_REQUESTS")
        for _ in range(max(1, at_once)):  # without one every frame would wait for ever
            self._free.put(self.compiled.create_infer_request())

    def __call__(self, tile: Rgb) -> Map:
        """Give the raw float32 (h, w) map of one prepared uint8 (H, W, 3) tile."""
        request = self._free.get()
        try:
            request.infer({0: tile[None]}, share_inputs=True)
            return np.array(request.get_output_tensor(0).data[0, 0])
        finally:
            self._free.put(request)

    def warm_up(self) -> None:
        """Use every infer request once, because the first use of each is the slowest."""
        _, height, width, channels = self.compiled.input(0).shape
        for _ in range(self._free.qsize()):
            self(np.zeros((height, width, channels), np.uint8))


@functools.cache
def openvino_core() -> openvino.Core:
    """Give the one core of this package.

    Each core brings its own CPU plugin, and each plugin its own stack for signal handlers. When
    the older of two goes first, the younger puts the freed stack back, and the next signal, Ctrl-C
    or a shutdown, is a segmentation fault (OpenVINO 2026.4).
    """
    return openvino.Core()


def compile_graph(
    model: openvino.Model, compiling: Compiling = Compiling()
) -> openvino.CompiledModel:
    """Compile any graph for this CPU."""
    with lowest_priority() if compiling.gently else nullcontext():
        return openvino_core().compile_model(model, "CPU", compiling.hints)


class Bundle:
    """An opened bundle: `judge` a part, or only `score_map` it; for several threads at once."""

    def __init__(
        self, path: Path, bundle_id: str, card: Card, gate: GateRecord | None, graph: Graph
    ) -> None:
        self.path, self.bundle_id, self.card, self.gate = path, bundle_id, card, gate
        self._graph = graph
        self._pool = ThreadPoolExecutor(1, "prepare") if graph.compiling.waits_for_one else None

    def score_map(self, pixels: Rgb) -> Map:
        """Give the raw float32 (h, w) map of a part's ROI; pixels are uint8 H×W×3 RGB.

        Raises:
            ImageError: the pixels are anything else.
        """
        return map_part(self._graph, pixels, self.card.geometry)

    def prepare(self, pixels: Rgb) -> Rgb:
        """Give the model inputs of a part, uint8 (tiles, h, w, 3); pixels are uint8 H×W×3 RGB.

        Raises:
            ImageError: the pixels are anything else.
        """
        return prepare(pixels, self.card.geometry, self._pool)

    def judge_tiles(
        self, tiles: Rgb, part_hw: tuple[int, int], band: Band | None = None
    ) -> Judgement:
        """Judge one part by its model inputs.

        Args:
            tiles: as `prepare` gives them.
            part_hw: height and width of the whole part, px.
            band: thresholds to hold it against; none takes the card's.
        """
        return judge_map(
            map_tiles(self._graph, tiles, self.card.geometry, part_hw),
            band=band or self.card.band,
            rule=self.card.score,
            geometry=self.card.geometry,
            part_hw=part_hw,
        )

    def judge(self, pixels: Rgb) -> Judgement:
        """Judge one part; pixels are uint8 H×W×3 RGB.

        Raises:
            ImageError: the pixels are anything else.
        """
        return self.judge_tiles(self.prepare(pixels), (pixels.shape[0], pixels.shape[1]))

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
    tiles = prepare(pixels, geometry)
    return map_tiles(graph, tiles, geometry, (pixels.shape[0], pixels.shape[1]))


def map_tiles(graph: Graph, tiles: Rgb, geometry: Geometry, part_hw: tuple[int, int]) -> Map:
    """Give the raw float32 (h, w) map of a part's ROI from its uint8 (tiles, h, w, 3) inputs."""
    return assemble(np.stack([graph(tile) for tile in tiles]), geometry, *part_hw)


def open_bundle(
    path: Path | str,
    *,
    trusted_keys: tuple[str, ...] = (),
    allow_refused: bool = False,
    compiling: Compiling = Compiling(),
) -> Bundle:
    """Verify and load a bundle, ready for its first part.

    Args:
        path: the bundle's folder.
        trusted_keys: public keys whose bundles may run here; empty trusts every signature.
        allow_refused: open also what the gate refused or never saw, for inspection at a desk.
        compiling: how OpenVINO uses the processor.

    Raises:
        BundleCorrupt: a byte differs from what was signed.
        GateRefused: the bundle did not pass its gate.
        BundleError: no bundle, an unknown signer, a newer card, or a graph that cannot be loaded.
    """
    folder = Path(path)
    bundle_id, card, gate = read_released(folder, trusted_keys, allow_refused=allow_refused)
    if compiling.cache_dir:
        compiling = replace(compiling, cache_dir=compiling.cache_dir / bundle_id)
    graph = Graph(folder / GRAPH, compiling)
    _require_fitting(folder / GRAPH, graph, card.geometry)
    graph.warm_up()
    return Bundle(folder, bundle_id, card, gate, graph)


class Released(NamedTuple):
    """What stands in a bundle whose every byte was verified."""

    bundle_id: str
    card: Card
    gate: GateRecord | None


def read_released(
    folder: Path, trusted_keys: tuple[str, ...] = (), *, allow_refused: bool = False
) -> Released:
    """Verify a bundle and read what it says of itself, without loading its graph.

    Raises:
        BundleCorrupt, GateRefused, BundleError: as for `open_bundle`.
    """
    bundle_id = verify_bundle(folder, trusted_keys)
    card = read_card(folder)
    gate = read_gate(folder, bundle_id, trusted_keys)
    if not allow_refused:
        _require_passed(folder, gate)
    return Released(bundle_id, card, gate)


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

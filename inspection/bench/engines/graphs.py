"""Makes one trained model into the same graph for every engine."""

import warnings
from dataclasses import dataclass
from pathlib import Path

import openvino
import torch
from torch import Tensor, nn
from torch.nn import functional

from inspection.bench.ours import OPEN_LIMITS
from inspection.bundles.graph import openvino_core
from inspection.bundles.saving import save_graph
from inspection.core.parts import FitTiles
from inspection.core.records import RunRecord, read_manifest
from inspection.core.settings import ExportConfig, PatchcoreConfig, TrainConfig
from inspection.export.build import build_graphs
from inspection.export.graph import Vectors
from inspection.portability.translate import to_onnx
from inspection.training.fit import fit_run
from inspection.training.models import FeatureGraph, MapGraph

EXPORT = ExportConfig(gate=OPEN_LIMITS)  # INT8 races, however well it does; the table says how


@dataclass(frozen=True)
class Made:
    """Files of one model: each graph for each engine."""

    record: RunRecord
    note: str
    openvino: dict[str, Path]
    """By precision, INT8 and FP32."""
    onnx: dict[str, Path]
    torch: Path
    """FP32."""


class PatchcoreGraph(nn.Module):
    """The whole FP32 PatchCore in torch: features, embedding, distance to the whole bank.

    Args:
        features: uint8 N×H×W×3 → one map per layer.
        bank: float32 (n, d).
        settings: of the training.
    """

    bank: Tensor
    lengths: Tensor

    def __init__(self, features: FeatureGraph, bank: Vectors, settings: PatchcoreConfig) -> None:
        super().__init__()
        self.features, self.settings = features, settings
        self.register_buffer("bank", torch.from_numpy(bank))
        self.register_buffer("lengths", torch.from_numpy(bank).square().sum(1))

    def forward(self, pixels: Tensor) -> Tensor:
        """Give the raw map, 1×1×h×w."""
        maps = self.features(pixels)
        side, weights = self.settings.pool, self.settings.layer_weights or (1.0,) * len(maps)
        pooled = [functional.avg_pool2d(one, side, 1, side // 2) for one in maps]
        size = pooled[0].shape[-2:]
        layers = [
            functional.interpolate(one * weight, size=size, mode="bilinear", align_corners=False)
            for one, weight in zip(pooled, weights, strict=True)
        ]
        query = torch.cat(layers, 1).flatten(2)[0].T  # (h·w, d)
        products = query @ self.bank.T
        nearest = (self.lengths - 2 * products).amin(1) + query.square().sum(1)
        return nearest.clamp(min=0).sqrt().reshape(1, 1, *size)


class FirstOutput(nn.Module):
    """Gives the first output of a graph of several."""

    def __init__(self, graph: nn.Module) -> None:
        super().__init__()
        self.graph = graph

    def forward(self, pixels: Tensor) -> Tensor:
        """Give the map."""
        found: Tensor = self.graph(pixels)[0]
        return found


def make_graphs(config: TrainConfig, manifest: Path, folder: Path) -> Made:
    """Train a model and write its graphs for OpenVINO, ONNX and torch into a folder.

    Raises:
        InspectionError: it cannot be trained, exported or translated.
    """
    fitted = fit_run(config, manifest, folder / "run")
    tiles = FitTiles(read_manifest(manifest), fitted.record.config.geometry)
    graphs = build_graphs(folder / "run", fitted.record, EXPORT, tiles)
    made: dict[str, Path] = {}
    translated: dict[str, Path] = {}
    for precision, graph in (("INT8", graphs.shipped), ("FP32", graphs.reference)):
        made[precision], translated[precision] = _written(graph, folder / precision)
    module: nn.Module = FirstOutput(fitted.graph)
    if graphs.bank is not None and isinstance(fitted.graph, FeatureGraph):
        settings = fitted.record.config.patchcore
        module = PatchcoreGraph(fitted.graph, graphs.bank.reference, settings)
    traced = folder / "graph.pt"
    _trace(module, fitted.graph, tiles, traced)
    return Made(fitted.record, f"{graphs.precision}: {graphs.note}", made, translated, traced)


def _written(graph: openvino.Model, stem: Path) -> tuple[Path, Path]:
    """Write a graph for OpenVINO and as ONNX."""
    made, translated = stem.with_suffix(".xml"), stem.with_suffix(".onnx")
    save_graph(graph, made)
    model = to_onnx(openvino_core().read_model(made))
    translated.write_bytes(model.SerializeToString())
    return made, translated


def _trace(module: nn.Module, graph: FeatureGraph | MapGraph, tiles: FitTiles, path: Path) -> None:
    graph.eval()
    with torch.inference_mode(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the input's size is static; TorchScript is called old
        example = torch.from_numpy(tiles[0][None])
        traced = torch.jit.trace(module.eval(), example, check_trace=False)  # type: ignore[no-untyped-call]
        torch.jit.freeze(traced).save(str(path))

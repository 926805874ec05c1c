"""Our side of every race, built by the project's own training, export and gate code.

The one place of the benches that calls them.
"""

import shutil
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import numpy as np
import openvino
import torch

from inspection.bench.command import timed_command
from inspection.bundles.bundle import CARD, GOLDEN, GRAPH, read_card
from inspection.bundles.graph import openvino_core
from inspection.bundles.seal import read_gate, seal_bundle, verify_bundle, write_gate
from inspection.core.errors import GateRefused
from inspection.core.gate import GateRecord
from inspection.core.geometry import prepare
from inspection.core.imaging import Rgb, load_image
from inspection.core.parts import FitTiles
from inspection.core.records import (
    Card,
    Manifest,
    RunRecord,
    Split,
    Weights,
    read_manifest,
    write_record,
)
from inspection.core.settings import BackboneConfig, ExportConfig, GateLimits, TrainConfig
from inspection.data.check import check_dataset
from inspection.export.build import build_graphs
from inspection.export.graph import Search, add_embedding, add_search
from inspection.synthetic.dataset import Counts, Product, make_dataset
from inspection.training.fit import train
from inspection.training.frames import FitData
from inspection.training.models import FeatureGraph, build_model, input_norm, to_openvino
from inspection.training.weights import declared_weights

OPEN_LIMITS = GateLimits(  # speed is measured here, not accuracy: the gate lets the bundle through
    feature_correlation=0,
    map_correlation=0,
    estimated_map_correlation=0,
    score_correlation=0,
    auroc_drop=1,
    auroc_least=0,
    false_reject_factor=1e6,
)


@dataclass(frozen=True)
class Built:
    """A graph as it would ship, with what stands on its card."""

    model: openvino.Model
    precision: str
    note: str
    weights: tuple[Weights, ...]
    tile: Rgb
    """A prepared fit tile, uint8 (H, W, 3), to judge in the race."""


def make_manifest(folder: Path, product: Product, counts: Counts, seed: int = 0) -> Path:
    """Generate a set below a folder and give its manifest."""
    root = make_dataset(folder / "images", product, seed, counts)
    path = folder / "manifest.json"
    write_record(path, check_dataset(root).manifest)
    return path


def export_and_gate(folder: Path, manifest: Path) -> Path:
    """Train on MobileNetV2, export INT8 and gate, by commands; any weights, no limit of the gate.

    Returns:
        The bundle below `folder`.
    """
    train_config, export_config = folder / "train.yaml", folder / "export.yaml"
    backbone = BackboneConfig(
        name="mobilenetv2_100", layers=("blocks.2", "blocks.4"), allow_random_weights=True
    )
    write_record(train_config, TrainConfig(backbone=backbone))
    write_record(export_config, ExportConfig(false_reject_rate=0.2, gate=OPEN_LIMITS))
    run_folder, bundle = folder / "run", folder / "bundle"
    timed_command(["train", train_config, "--data", manifest, "--out", run_folder])
    timed_command(["export", run_folder, "--out", bundle, "--config", export_config])
    timed_command(["gate", bundle])
    return bundle


def renew(bundle: Path, out: Path, hours: int) -> Path:
    """Copy a bundle as if it had been made some hours later, sealed and gated anew."""
    shutil.copytree(bundle, out)
    card, gate = read_card(bundle), read_gate(bundle, verify_bundle(bundle))
    if gate is None:
        raise GateRefused(f"{bundle}: was never put to the gate; wanted one a station opens")
    later = card.origin.created_at + timedelta(hours=hours)
    origin = card.origin.model_copy(update={"created_at": later})
    write_record(out / CARD, card.model_copy(update={"origin": origin}))
    seal_bundle(out)
    write_gate(out, gate.model_copy(update={"bundle_id": verify_bundle(out)}))
    return out


def build_shipped(
    config: TrainConfig, export: ExportConfig, manifest_path: Path, run: Path
) -> Built:
    """Train and build the shipped graph, without thresholds, seal or gate."""
    record: RunRecord = train(config, manifest_path, run)
    tiles = FitTiles(read_manifest(manifest_path), config.geometry)
    graphs = build_graphs(run, record, export, tiles)
    return Built(graphs.shipped, graphs.precision, graphs.note, record.weights, tiles[0])


class FloatGraphs:
    """Fits PatchCores on tiles already read; what candidates share is converted once."""

    def __init__(self, tiles: FitTiles) -> None:
        self._tiles = tiles
        self._features: dict[BackboneConfig, openvino.Model] = {}

    def fit(self, config: TrainConfig) -> openvino.Model:
        """Fit one and give its FP32 graph, which compares every patch with the whole bank.

        The bank holds the vectors that training saw, so that no tile is read twice.
        """
        norm = input_norm(config)
        with declared_weights(config.backbone):
            model = build_model(config, self._tiles)
        data = FitData(
            self._tiles, norm, batch_size=config.batch_size, seed=config.seed, shuffle=False
        )
        model.eval()
        with torch.inference_mode():
            for batch in data.train_dataloader():
                model.training_step(batch)
            model.fit()
        if config.backbone not in self._features:
            self._features[config.backbone] = to_openvino(FeatureGraph(model, norm), config)
        features = self._features[config.backbone].clone()
        search = Search(
            pool=config.patchcore.pool,
            layer_weights=config.patchcore.layer_weights or (1.0,) * len(features.outputs),
            coarse=0,
            dimensions=0,
            refine=1,
            int8=False,
        )
        bank = model.model.memory_bank.numpy()
        return add_search(add_embedding(features, search), bank, search)


def require_gate(bundle: Path) -> tuple[Card, GateRecord]:
    """Read the card of a bundle and what the gate said of it, passed or not.

    Raises:
        GateRefused: the gate never saw it.
    """
    gate = read_gate(bundle, verify_bundle(bundle))
    if gate is None:
        raise GateRefused(f"{bundle}: was never put to the gate; run inspection gate {bundle}")
    return read_card(bundle), gate


def read_shipped(bundle: Path) -> tuple[openvino.Model, Rgb]:
    """Read the shipped graph of a bundle, and a prepared tile of its first golden frame.

    Returns:
        The graph and a uint8 (H, W, 3) tile.
    """
    card = read_card(bundle)
    pixels = load_image(bundle / GOLDEN / f"{card.golden[0]}.png")
    tile = np.asarray(prepare(pixels, card.geometry)[0])
    return openvino_core().read_model(bundle / GRAPH), tile


def without_test(manifest: Manifest) -> Manifest:
    """Give a manifest that does not know the test split, so that nobody can read it by mistake."""
    kept = tuple(entry for entry in manifest.entries if entry.split is not Split.TEST)
    return manifest.model_copy(update={"entries": kept})

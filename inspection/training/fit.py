"""Fits one model on the fit split and leaves a run folder for export."""

import logging
import time
from dataclasses import dataclass
from pathlib import Path

import lightning
from anomalib.models import EfficientAd
from anomalib.models.components import AnomalibModule
from lightning.pytorch.callbacks import RichProgressBar

from inspection.bundles.saving import save_arrays, save_graph
from inspection.core.errors import TrainingError
from inspection.core.folders import new_folder
from inspection.core.origin import describe_origin
from inspection.core.parts import FitTiles
from inspection.core.records import (
    RunRecord,
    Split,
    hash_file,
    read_manifest,
    write_record,
)
from inspection.core.settings import TrainConfig
from inspection.training.frames import FitData, InputNorm
from inspection.training.models import (
    LIBRARY_ERRORS,
    FeatureGraph,
    MapGraph,
    build_model,
    input_norm,
    resolve_config,
    to_openvino,
)
from inspection.training.patchcore import BankPatchcore
from inspection.training.quiet import interruptible, quiet_libraries
from inspection.training.weights import declared_weights

PACKAGES = ("anomalib", "lightning", "numpy", "openvino", "opencv-python-headless", "timm", "torch")


@dataclass(frozen=True)
class Fitted:
    """A finished run, and the torch module its graph was converted from."""

    record: RunRecord
    graph: FeatureGraph | MapGraph


def train(config: TrainConfig, manifest_path: Path, out: Path) -> RunRecord:
    """Fit `config.model` on the fit split; the run folder is written whole or not at all.

    Returns:
        The record that stands in `out/run.json`.

    Raises:
        TrainingError, DatasetError: as for `fit_run`.
    """
    return fit_run(config, manifest_path, out).record


def fit_run(config: TrainConfig, manifest_path: Path, out: Path) -> Fitted:
    """Fit `config.model` on the fit split; the run folder is written whole or not at all.

    Returns:
        The record that stands in `out/run.json`, beside `manifest.json`, `graph.xml`, `graph.bin`
        (FP32, uint8 1×H×W×3 in) and, for PatchCore, `bank.npz` (which cells are the bank); and the
        module, in memory only.

    Raises:
        TrainingError: weights, model or data do not allow fitting, or `out` exists.
        DatasetError: the manifest or one of its images is wrong.
    """
    started = time.perf_counter()
    config = resolve_config(config)
    manifest = read_manifest(manifest_path)
    manifest.of(Split.FIT)
    with new_folder(out) as folder, quiet_libraries():
        lightning.seed_everything(config.seed, verbose=False)
        tiles = FitTiles(manifest, config.geometry)
        with declared_weights(config.backbone) as log:
            model = build_model(config, tiles, log)
            log.require_file_used()
            norm = input_norm(config)
            if not config.is_day0:  # nothing is fitted
                _fit(model, _data(config, model, tiles, norm), config)
        patchcore = isinstance(model, BankPatchcore)
        graph = FeatureGraph(model, norm) if patchcore else MapGraph(model, norm)
        save_graph(to_openvino(graph, config), folder / "graph.xml")
        if patchcore:
            index = {"tile": model.bank_tile.numpy(), "cell": model.bank_cell.numpy()}
            save_arrays(index, folder / "bank.npz")
        write_record(folder / "manifest.json", manifest)
        record = RunRecord(
            config=config,
            pixels=norm.record,
            graph="features" if patchcore else "map",
            manifest_sha256=manifest.sha256,
            weights=tuple(log.loaded),
            origin=describe_origin(PACKAGES),
            duration_s=round(time.perf_counter() - started, 3),
            files={path.name: hash_file(path) for path in sorted(folder.iterdir())},
        )
        write_record(folder / "run.json", record)
    return Fitted(record, graph)


def _data(config: TrainConfig, model: AnomalibModule, tiles: FitTiles, norm: InputNorm) -> FitData:
    """Load PatchCore's tiles in order, the others' shuffled, EfficientAD's one by one."""
    single = isinstance(model, EfficientAd)
    return FitData(
        tiles,
        norm,
        batch_size=1 if single else config.batch_size,
        seed=config.seed,
        shuffle=not isinstance(model, BankPatchcore),
    )


def _fit(model: AnomalibModule, data: FitData, config: TrainConfig) -> None:
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    needs_validation = isinstance(model, EfficientAd)  # for the quantiles of its maps
    arguments = {
        "max_epochs": config.epochs,
        "accelerator": config.accelerator,
        "devices": 1,
        "logger": False,
        "enable_checkpointing": False,
        "enable_model_summary": False,
        "num_sanity_val_steps": 0,
        "limit_val_batches": 1.0 if needs_validation else 0,
        "callbacks": [RichProgressBar(console_kwargs={"stderr": True}, leave=False)],
        **model.trainer_arguments,
    }
    try:
        with interruptible():
            lightning.Trainer(**arguments).fit(model, datamodule=data)
    except LIBRARY_ERRORS as error:
        raise TrainingError(
            f"{config.model}: fitting failed: {error}; if this is about sizes, try another "
            "geometry: some models need square inputs, or sides that their patches divide"
        ) from error
    model.cpu()

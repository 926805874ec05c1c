"""Turns a run into a signed bundle: quantise, fill the bank, calibrate, seal; the gate comes after.

Reads the run folder that training left, never training's code. The same run, pictures and settings
give the same bundle id on the same machine, when the date is fixed, see `core.origin`.
"""

import shutil
from pathlib import Path

import numpy as np
import openvino

from inspection.bundles.graph import openvino_core
from inspection.core.errors import InspectionError, TrainingError
from inspection.core.folders import link_or_copy, new_folder
from inspection.core.imaging import Rgb
from inspection.core.parts import FitTiles
from inspection.core.progress import follow
from inspection.core.records import (
    Card,
    Manifest,
    RunRecord,
    Split,
    hash_file,
    read_manifest,
    read_record,
    write_record,
)
from inspection.core.settings import ExportConfig
from inspection.export.bank import BANK, read_bank_index
from inspection.export.finish import GraphsRecord, Source, finish, save_graphs
from inspection.export.graph import Graphs
from inspection.export.maps import map_graphs
from inspection.export.patchcore import embed, fill_banks, patchcore_graphs
from inspection.export.quantize import quantise

GRAPHS = "graphs.json"  # in a folder of graphs that wait for their calibration


def export_bundle(run: Path, config: ExportConfig, out: Path) -> Card:
    """Write the bundle of a run, whole or not at all, signed, not yet gated.

    Returns:
        The card that stands in `out/card.json`.

    Raises:
        TrainingError: the run folder is damaged.
        DatasetError: the manifest's images are gone or changed.
        CalibrationMissing: too few calibrate normals for the promised false-reject rate.
    """
    record, manifest = read_run(run), read_manifest(run / "manifest.json")
    manifest.of(Split.CALIBRATE)
    with new_folder(out) as folder:
        built = write_graphs(run, record, manifest, config, folder)
        return finish(folder, _made_from(record), manifest, config, built, out.name)


def export_graphs(run: Path, config: ExportConfig, out: Path) -> None:
    """Build only the graphs of a run, whole or not at all; `calibrate_graphs` goes on from there.

    Raises:
        TrainingError, DatasetError: as for `export_bundle`.
    """
    record, manifest = read_run(run), read_manifest(run / "manifest.json")
    with new_folder(out) as folder:
        write_record(folder / GRAPHS, write_graphs(run, record, manifest, config, folder))


def calibrate_graphs(run: Path, graphs: Path, config: ExportConfig, out: Path, name: str) -> Card:
    """Make graphs the bundle that `export_bundle` would have made in one go.

    Args:
        run: they were built from.
        graphs: what `export_graphs` left.
        config: of the export, the same.
        out: folder to make.
        name: of the bundle.

    Raises:
        TrainingError, DatasetError, CalibrationMissing: as for `export_bundle`.
    """
    record, manifest = read_run(run), read_manifest(run / "manifest.json")
    built = read_record(graphs / GRAPHS, GraphsRecord)
    with new_folder(out) as folder:
        shutil.copytree(
            graphs,
            folder,
            ignore=shutil.ignore_patterns(GRAPHS),
            copy_function=link_or_copy,
            dirs_exist_ok=True,
        )
        return finish(folder, _made_from(record), manifest, config, built, name)


def read_run(run: Path) -> RunRecord:
    """Read a run's record and check its files.

    Raises:
        TrainingError: no run, unfinished, or a file differs from the record.
    """
    try:
        record = read_record(run / "run.json", RunRecord)
    except InspectionError as error:
        raise TrainingError(f"{run}: no finished run here ({error})") from error
    for name, wanted in record.files.items():
        path = run / name
        if not path.is_file() or hash_file(path) != wanted:
            raise TrainingError(f"{path}: is missing or differs from run.json; train again")
    return record


def read_features(run: Path) -> openvino.Model:
    """Read the FP32 graph of a run: uint8 1×H×W×3 in, its feature maps or its score map out."""
    return openvino_core().read_model(run / "graph.xml")


def write_graphs(
    run: Path, record: RunRecord, manifest: Manifest, config: ExportConfig, folder: Path
) -> GraphsRecord:
    """Build the shipped graph and its FP32 reference from a run into a folder."""
    tiles = FitTiles(manifest, record.config.geometry)
    graphs = build_graphs(run, record, config, tiles)
    return save_graphs(graphs, tiles, folder)


def _made_from(record: RunRecord) -> Source:
    return Source(record.config, record.weights, record.sha256)


def build_graphs(run: Path, record: RunRecord, config: ExportConfig, tiles: FitTiles) -> Graphs:
    """Build the shipped graph and its FP32 reference from a run."""
    model = read_features(run)
    sample = _sample(tiles, config.calibration_images, record.config.seed)
    if record.graph == "map":
        return map_graphs(model, record.pixels, config, sample, record.config.score)
    # the shipped bank holds what the quantised features give
    small = quantise(model, record.pixels, sample) if config.precision == "int8" else model
    pair = embed(model.clone(), small, record.config.patchcore)
    bank = fill_banks(pair, read_bank_index(run / BANK), tiles)
    return patchcore_graphs(pair, bank, config, tiles)


def _sample(tiles: FitTiles, count: int, seed: int) -> list[Rgb]:
    order = np.random.default_rng(seed).permutation(len(tiles))[:count]
    return [tiles[int(number)] for number in follow(np.sort(order), "reading fit")]

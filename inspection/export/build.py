"""Turns a run into a signed bundle: quantise, fill the bank, calibrate, seal; the gate comes after.

Reads the run folder that training left, never training's code.
"""

from pathlib import Path

import numpy as np
from PIL import Image

from inspection.bundles.bundle import CARD, GOLDEN, GRAPH, MAPS, REFERENCE, map_tiles
from inspection.bundles.graph import Graph, openvino_core
from inspection.bundles.saving import save_arrays, save_graph
from inspection.bundles.seal import seal_bundle
from inspection.core.decision import part_score
from inspection.core.errors import InspectionError, TrainingError
from inspection.core.folders import new_folder
from inspection.core.geometry import prepare
from inspection.core.guards import GuardMeasure, learn, measure
from inspection.core.imaging import Map, Rgb
from inspection.core.origin import describe_origin
from inspection.core.parts import FitTiles, load_part
from inspection.core.progress import follow
from inspection.core.records import (
    Card,
    Manifest,
    RunRecord,
    Split,
    hash_file,
    hash_json,
    read_manifest,
    read_record,
    write_record,
)
from inspection.core.settings import ExportConfig
from inspection.export.bank import read_bank_index
from inspection.export.calibrate import fit_band
from inspection.export.graph import Graphs
from inspection.export.maps import map_graphs
from inspection.export.patchcore import BankSource, patchcore_graphs
from inspection.export.place import measure_shift

PACKAGES = ("nncf", "numpy", "openvino", "opencv-python-headless")


def export_bundle(run: Path, config: ExportConfig, out: Path) -> Card:
    """Write the bundle of a run, whole or not at all, signed, not yet gated.

    Returns:
        The card that stands in `out/card.json`.

    Raises:
        TrainingError: the run folder is damaged.
        DatasetError: the manifest's images are gone or changed.
        CalibrationMissing: too few calibrate normals for the promised false-reject rate.
    """
    record = read_run(run)
    manifest = read_manifest(run / "manifest.json")
    manifest.of(Split.CALIBRATE)
    tiles = FitTiles(manifest, record.config.geometry)
    with new_folder(out) as folder:
        graphs = build_graphs(run, record, config, tiles)
        half = graphs.precision == "FP16"
        save_graph(graphs.shipped, folder / GRAPH, half=half)
        save_graph(graphs.reference, folder / REFERENCE)
        card = _calibrate(folder, record, manifest, config, graphs)
        write_record(folder / "manifest.json", manifest)
        write_record(folder / CARD, card)
        seal_bundle(folder)
    return card


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


def build_graphs(run: Path, record: RunRecord, config: ExportConfig, tiles: FitTiles) -> Graphs:
    """Build the shipped graph and its FP32 reference from a run."""
    model = openvino_core().read_model(run / "graph.xml")
    sample = _sample(tiles, config.calibration_images, record.config.seed)
    if record.graph == "map":
        return map_graphs(model, record.pixels, config, sample, record.config.score)
    index = read_bank_index(run / "bank.npz")
    return patchcore_graphs(model, record, config, BankSource(index, tiles, sample))


def _sample(tiles: FitTiles, count: int, seed: int) -> list[Rgb]:
    order = np.random.default_rng(seed).permutation(len(tiles))[:count]
    return [tiles[int(number)] for number in follow(np.sort(order), "reading fit")]


def _calibrate(
    folder: Path, record: RunRecord, manifest: Manifest, config: ExportConfig, graphs: Graphs
) -> Card:
    """Score the calibrate split with the graph as saved and describe the bundle."""
    graph, settings = Graph(folder / GRAPH), record.config
    scores: list[float] = []
    measures: list[GuardMeasure] = []
    sizes_hw: list[tuple[int, int]] = []
    golden: dict[str, Map] = {}
    (folder / GOLDEN).mkdir()
    for entry in follow(manifest.of(Split.CALIBRATE), "calibrating"):
        pixels = load_part(manifest, entry)
        part_hw = pixels.shape[0], pixels.shape[1]
        tiles = prepare(pixels, settings.geometry)
        score_map = map_tiles(graph, tiles, settings.geometry, part_hw)
        scores.append(part_score(score_map, settings.score, settings.geometry))
        measures.append(measure(tiles))
        sizes_hw.append(part_hw)
        if len(golden) < config.golden_frames:
            name = f"{len(golden):02d}"
            golden[name] = score_map
            Image.fromarray(pixels).save(folder / GOLDEN / f"{name}.png")
    save_arrays(golden, folder / GOLDEN / MAPS)
    calibration = fit_band(scores, config)
    normals = (load_part(manifest, entry) for entry in manifest.of(Split.CALIBRATE))
    shift = measure_shift(graph, normals, settings.geometry)
    return Card(
        name=folder.name.removeprefix(".").removesuffix(".partial"),
        run_sha256=hash_json(record.model_dump(mode="json")),
        manifest_sha256=manifest.sha256,
        model=settings.model,
        precision=graphs.precision,
        graph_note=graphs.note,
        estimated=graphs.estimated,
        geometry=settings.geometry.model_copy(update={"map_shift": shift}),
        score=settings.score,
        band=calibration.band,
        certificate=calibration.certificate,
        calibrate_scores=calibration.scores,
        weights=record.weights,
        origin=describe_origin(PACKAGES),
        export=config,
        golden=tuple(golden),
        guards=learn(measures, sizes_hw),
    )

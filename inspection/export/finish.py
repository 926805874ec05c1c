"""Makes a bundle of graphs that are there: calibrates, describes and seals them."""

from dataclasses import dataclass
from pathlib import Path

from PIL import Image
from pydantic import StrictBool

from inspection.bundles.bundle import CARD, GOLDEN, GRAPH, MAPS, REFERENCE, map_tiles
from inspection.bundles.graph import Graph
from inspection.bundles.saving import save_arrays, save_graph
from inspection.bundles.seal import seal_bundle
from inspection.core.decision import Band, Verdict, decide, part_score
from inspection.core.defects import generate_defect
from inspection.core.geometry import prepare
from inspection.core.guards import GuardLimits, GuardMeasure, learn, measure
from inspection.core.image_statistics import ImageStatistics, measure_image, refer
from inspection.core.imaging import Map, load_image
from inspection.core.origin import describe_origin
from inspection.core.parts import FitTiles, load_part
from inspection.core.progress import follow
from inspection.core.records import Card, Manifest, Record, Split, Weights, write_record
from inspection.core.settings import ExportConfig, TrainConfig
from inspection.export.bank import save_bank
from inspection.export.calibrate import fit_band, guess_band
from inspection.export.graph import Graphs
from inspection.export.place import measure_shift
from inspection.export.whitening import add_whitened

GOLDEN_SEED, GOLDEN_TRIES = 27, 8  # of the generated defects on golden frames
PACKAGES = ("nncf", "numpy", "openvino", "opencv-python-headless")


@dataclass(frozen=True)
class Source:
    """What the graphs of a bundle were made from."""

    train: TrainConfig
    weights: tuple[Weights, ...]
    run_sha256: str
    map_shift: tuple[float, float] | None = None
    """Cells, where it is known already; none is measured."""
    updated_from: str | None = None
    limits: GuardLimits | None = None
    """Of guards that learn the light only; none learns all anew."""


class GraphsRecord(Record):
    """What was built, before it is calibrated."""

    precision: str
    note: str
    estimated: StrictBool


def save_graphs(graphs: Graphs, tiles: FitTiles, folder: Path) -> GraphsRecord:
    """Write both graphs, what ships with its embedding, and the bank of one that has one."""
    shipped = add_whitened(graphs.shipped, tiles)
    save_graph(shipped, folder / GRAPH, half=graphs.precision == "FP16")
    save_graph(graphs.reference, folder / REFERENCE)
    if graphs.bank is not None:
        save_bank(graphs.bank, folder)
    return GraphsRecord(precision=graphs.precision, note=graphs.note, estimated=graphs.estimated)


def finish(
    folder: Path,
    source: Source,
    manifest: Manifest,
    config: ExportConfig,
    built: GraphsRecord,
    name: str,
) -> Card:
    """Calibrate the graphs of a folder, describe and seal them."""
    card = _calibrate(folder, source, manifest, config, built, name)
    write_record(folder / "manifest.json", manifest)
    write_record(folder / CARD, card)
    seal_bundle(folder)
    return card


def _calibrate(
    folder: Path,
    source: Source,
    manifest: Manifest,
    config: ExportConfig,
    built: GraphsRecord,
    name: str,
) -> Card:
    """Score the calibrate split with the graph as saved and describe the bundle."""
    graph, settings = Graph(folder / GRAPH), source.train
    scores: list[float] = []
    measures: list[GuardMeasure] = []
    pictures: list[ImageStatistics] = []
    sizes_hw: list[tuple[int, int]] = []
    golden: dict[str, Map] = {}
    (folder / GOLDEN).mkdir()
    for entry in follow(manifest.of(Split.CALIBRATE), "calibrating"):
        pixels = load_part(manifest, entry)
        part_hw = pixels.shape[0], pixels.shape[1]
        tiles = prepare(pixels, settings.geometry)
        score_map = map_tiles(graph, tiles, settings.geometry, part_hw)
        if not entry.outdated:
            scores.append(part_score(score_map, settings.score, settings.geometry))
        measures.append(measure(tiles))
        pictures.append(measure_image(tiles, settings.geometry.tile_columns))
        sizes_hw.append(part_hw)
        if len(golden) < config.golden_frames:
            number = f"{len(golden):02d}"
            golden[number] = score_map
            Image.fromarray(pixels).save(folder / GOLDEN / f"{number}.png")
    calibration = (guess_band if settings.is_day0 else fit_band)(scores, config)
    defects = _golden_defects(folder / GOLDEN, graph, settings, calibration.band, golden)
    shift = source.map_shift
    if shift is None:
        normals = (load_part(manifest, entry) for entry in manifest.of(Split.CALIBRATE))
        shift = measure_shift(graph, normals, settings.geometry)
    return Card(
        name=name,
        run_sha256=source.run_sha256,
        manifest_sha256=manifest.sha256,
        model=settings.model,
        precision=built.precision,
        graph_note=built.note,
        estimated=built.estimated,
        geometry=settings.geometry.model_copy(update={"map_shift": shift}),
        score=settings.score,
        band=calibration.band,
        certificate=calibration.certificate,
        calibrate_scores=calibration.scores,
        weights=source.weights,
        origin=describe_origin(PACKAGES),
        export=config,
        train=settings,
        updated_from=source.updated_from,
        golden=tuple(golden),
        golden_defects=defects,
        guards=learn(measures, sizes_hw, source.limits),
        statistics=refer(pictures),
    )


def _golden_defects(
    folder: Path, graph: Graph, settings: TrainConfig, band: Band, golden: dict[str, Map]
) -> dict[str, float]:
    """Put generated defects on the golden frames and keep, of each, the first that is REJECT.

    A station judges them, too: thresholds under which they would pass are beyond the card's limits.
    A model that rejects none of them has none.

    Args:
        folder: of the golden frames; the maps of all are written there.
        graph: that ships.
        settings: of the fit.
        band: the card's.
        golden: map of each golden frame, by name.

    Returns:
        The raw score of each golden defect, by name.
    """
    maps, scores = dict(golden), dict[str, float]()
    for place, name in enumerate(golden):
        normal, broken = load_image(folder / f"{name}.png"), f"{name}-defect"
        for number in range(GOLDEN_TRIES):
            pixels = generate_defect(normal, GOLDEN_SEED + place, number).pixels
            tiles, part_hw = prepare(pixels, settings.geometry), (pixels.shape[0], pixels.shape[1])
            score_map = map_tiles(graph, tiles, settings.geometry, part_hw)
            score = part_score(score_map, settings.score, settings.geometry)
            if decide(score, band) is Verdict.REJECT:
                maps[broken], scores[broken] = score_map, score
                Image.fromarray(pixels).save(folder / f"{broken}.png")
                break
    save_arrays(maps, folder / MAPS)
    return scores

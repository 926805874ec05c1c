"""Takes new pictures into the bank of a PatchCore bundle, or old ones out, without fitting anew.

The backbone stays as it is, quantised and not, so only the new pictures are looked at: the vectors
of the others are in the bundle. Thresholds are fitted again, on all calibrate parts.
"""

from pathlib import Path
from typing import TypeVar

import numpy as np
import openvino
from numpy.typing import NDArray
from openvino import opset13 as ops

from inspection.bundles.bundle import GRAPH, REFERENCE, read_released
from inspection.bundles.graph import openvino_core
from inspection.core.errors import TrainingError, UpdateImpossible
from inspection.core.folders import new_folder
from inspection.core.parts import FitTiles
from inspection.core.records import Card, Manifest, Split, read_manifest, read_record
from inspection.core.settings import ExportConfig, TrainConfig
from inspection.export.bank import fill_bank, read_bank
from inspection.export.finish import Source, finish, save_graphs
from inspection.export.graph import Bank, BankIndex
from inspection.export.merge import merge
from inspection.export.patchcore import Pair, embed, patchcore_graphs

AnyT = TypeVar("AnyT", np.int64, np.float32)


def update_bundle(
    champion: Path,
    manifest_path: Path,
    config: ExportConfig,
    out: Path,
    *,
    light_only: bool = False,
) -> Card:
    """Write a bundle like another whose bank follows a changed fit split; signed, not yet gated.

    Vectors of pictures that no longer stand in fit leave the bank, so that is how one is forgotten;
    pictures that are new in fit enter it within its budget. What a forgotten picture leaves is its
    share in the INT8 ranges of the backbone, a largest value per layer; training anew clears that.

    Args:
        champion: the bundle, which passed its gate and keeps its bank.
        manifest_path: of the changed set.
        config: of the export, of the same precision.
        out: folder to make.
        light_only: of what judges, only the guards' limits of the light change.

    Returns:
        The card that stands in `out/card.json`.

    Raises:
        BundleError: the champion is damaged or did not pass.
        UpdateImpossible: it has no bank that can be updated, another precision is wanted, nothing
            would be left in the bank, or more than the light's limits would change.
        DatasetError: images are gone or changed.
        TrainingError: features of new pictures are not finite.
        CalibrationMissing: too few calibrate normals for the promised false-reject rate.
    """
    released = read_released(champion)
    bundle_id, card = released.bundle_id, released.card
    train = _require_updatable(champion, card, config)
    # of the known set only names are needed: its pictures may lie on another machine
    known = read_record(champion / "manifest.json", Manifest)
    manifest = read_manifest(manifest_path)
    manifest.of(Split.CALIBRATE)
    tiles = FitTiles(manifest, train.geometry)
    features, small = (
        cut_features(champion / name, train.backbone.layers) for name in (REFERENCE, GRAPH)
    )
    pair = embed(features, small, train.patchcore)
    whole = read_bank(champion)
    kept = carry(whole, known, manifest, train.geometry.tiles)
    if light_only:
        _require_same(champion, card, len(whole) - len(kept), (known, manifest))
    fresh = _new_tiles(known, tiles)
    bank = _merged(pair, kept, draw_candidates(tiles, fresh, _size(pair), train), tiles, train)
    graphs = patchcore_graphs(pair, bank, config, tiles)
    entered = int(np.isin(bank.index.tile, fresh).sum())
    words = (
        f"; updated from {bundle_id[:12]}, whose backbone it has: {entered:,} vectors of "
        f"{len(fresh) // train.geometry.tiles:,} new pictures, {len(whole) - len(kept):,} left "
        "with pictures that are gone"
    )
    source = Source(
        train,
        card.weights,
        card.run_sha256,
        card.geometry.map_shift,
        updated_from=bundle_id,
        limits=card.guards if light_only else None,
    )
    with new_folder(out) as folder:
        built = save_graphs(graphs, tiles, folder)
        built = built.model_copy(update={"note": built.note + words})
        return finish(folder, source, manifest, config, built, card.name)


def cut_features(path: Path, layers: tuple[str, ...]) -> openvino.Model:
    """Cut a bundle's graph off behind its backbone.

    Returns:
        A graph with one output `feature.LAYER`, (1, c, h, w), per layer.

    Raises:
        UpdateImpossible: it names no such feature.
    """
    model = openvino_core().read_model(path)
    named = {
        name: port
        for node in model.get_ordered_ops()
        for port in node.outputs()
        for name in port.get_names()
    }
    wanted = [f"feature.{layer}" for layer in layers]
    if missing := [name for name in wanted if name not in named]:
        raise UpdateImpossible(f"{path}: names no {', '.join(missing)}; train and export again")
    results = [ops.result(named[name]) for name in wanted]
    # a clone has no node of what was cut off, which would count as a consumer of the features
    return openvino.Model(results, model.get_parameters(), "features").clone()


def carry(bank: Bank, known: Manifest, manifest: Manifest, per_part: int) -> Bank:
    """Give the part of a bank whose pictures are still in fit, numbered by the new manifest.

    Args:
        bank: of the bundle.
        known: its manifest.
        manifest: the new one.
        per_part: tiles of a part.
    """
    places = {entry.sha256: place for place, entry in enumerate(manifest.of(Split.FIT))}
    moved = np.array([places.get(entry.sha256, -1) for entry in known.of(Split.FIT)], np.int64)
    image, tile = np.divmod(bank.index.tile, per_part)
    kept = moved[image] >= 0
    index = BankIndex((moved[image] * per_part + tile)[kept], bank.index.cell[kept])
    return Bank(index, bank.shipped[kept], bank.reference[kept])


def draw_candidates(
    tiles: FitTiles, chosen: list[int], size_hw: tuple[int, int], train: TrainConfig
) -> BankIndex:
    """Draw cells of some tiles, of each as many as training drew.

    The draw depends on the seed and the picture only, not on its place in the manifest.

    Args:
        tiles: of the whole fit split.
        chosen: their numbers.
        size_hw: rows and columns of a map.
        train: how many, and the seed.
    """
    per_tile = -(-train.patchcore.candidates // len(tiles))
    drawn = []
    for number in chosen:
        image, tile = divmod(number, train.geometry.tiles)
        words = [train.seed, int(tiles.entries[image].sha256[:16], 16), tile]
        cells = tiles.judged_cells(number, *size_hw)
        drawn.append(np.random.default_rng(words).permutation(cells)[:per_tile])
    counts = [len(cells) for cells in drawn]
    cells = np.concatenate([np.empty(0, np.int64), *drawn])
    return BankIndex(np.repeat(np.array(chosen, np.int64), counts), cells)


def _require_updatable(champion: Path, card: Card, config: ExportConfig) -> TrainConfig:
    if card.train is None:
        raise UpdateImpossible(f"{champion}: its card does not say how it was fitted; train again")
    if config.precision != card.export.precision:
        raise UpdateImpossible(
            f"precision: found {config.precision}; the backbone of {champion} is "
            f"{card.export.precision} and stays so in an update; train again to change it"
        )
    return card.train


def _require_same(champion: Path, card: Card, left: int, sets: tuple[Manifest, Manifest]) -> None:
    """Refuse new limits of the light where bank, thresholds or other limits would change, too.

    Args:
        champion: the bundle.
        card: its card.
        left: how many vectors would leave its bank.
        sets: its own and the new one.
    """
    before, now = (
        {one.sha256 for one in data.of(Split.CALIBRATE) if not one.outdated} for data in sets
    )
    if left or before != now:
        raise UpdateImpossible(
            f"{champion}: {left:,} vectors of its bank and {len(before ^ now):,} parts that set "
            "its thresholds are of pictures that are forgotten or no longer good; wanted none, for "
            "new guards leave both as they are; ask for a retraining"
        )
    if card.guards is None:
        raise UpdateImpossible(
            f"{champion}: its card has no guards' limits, and new guards keep all but the light's; "
            "ask for a retraining"
        )


def _new_tiles(known: Manifest, tiles: FitTiles) -> list[int]:
    """Number the tiles of pictures that a bundle was not fitted on."""
    seen = {entry.sha256 for entry in known.of(Split.FIT)}
    per_part = tiles.geometry.tiles
    return [
        number
        for number in range(len(tiles))
        if tiles.entries[number // per_part].sha256 not in seen
    ]


def _size(pair: Pair) -> tuple[int, int]:
    shape = pair.shipped.output(0).get_partial_shape().to_shape()
    return int(shape[2]), int(shape[3])


def _merged(
    pair: Pair, kept: Bank, candidates: BankIndex, tiles: FitTiles, train: TrainConfig
) -> Bank:
    """Choose by what ships; only the candidates that enter are looked at by the reference, too."""
    vectors = fill_bank(pair.shipped, candidates, tiles)
    if not np.isfinite(vectors).all():
        raise TrainingError("new pictures: their features are not finite; train again")
    if not len(kept) + len(vectors):
        raise UpdateImpossible("fit split: no vector is left in the bank; add good parts")
    rows = merge(kept.shipped, vectors, train.patchcore.bank_size)
    enters = rows >= len(kept)
    chosen = rows[enters] - len(kept)
    index = BankIndex(candidates.tile[chosen], candidates.cell[chosen])
    entering = Bank(index, vectors[chosen], fill_bank(pair.reference, index, tiles))
    rows[enters] = len(kept) + np.arange(len(chosen))

    def laid(old: NDArray[AnyT], new: NDArray[AnyT]) -> NDArray[AnyT]:
        return np.concatenate([old, new])[rows]

    return Bank(
        BankIndex(
            laid(kept.index.tile, entering.index.tile), laid(kept.index.cell, entering.index.cell)
        ),
        laid(kept.shipped, entering.shipped),
        laid(kept.reference, entering.reference),
    )

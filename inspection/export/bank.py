"""Fills PatchCore's bank with the features of the graph that will ship, cell by chosen cell.

Training chose which cells of which fit tiles form the bank; their vectors are read again from each
graph, so that the INT8 bank holds INT8 features and both banks hold the same places. A bundle keeps
both banks in a file of its own: the graph that ships rounds its bank to INT8, and vectors read back
from it would be rounded once more by every update.
"""

from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import openvino
from numpy.typing import NDArray

from inspection.bundles.bundle import read_card
from inspection.bundles.graph import compile_graph
from inspection.bundles.saving import load_arrays, save_arrays
from inspection.core.errors import BundleError, TrainingError, UpdateImpossible
from inspection.core.parts import FitTiles
from inspection.core.progress import follow
from inspection.core.records import Split, read_manifest
from inspection.export.distances import squares, to_nearest
from inspection.export.graph import (
    EXACT,
    Bank,
    BankIndex,
    Correction,
    Search,
    Vectors,
    principal_directions,
)

BANK = "bank.npz"  # of a run: which cells; of a bundle: their vectors, too
CORRECTION_TILES = 24  # 24,576 patches at 256 px: two numbers need no more


class Traced(NamedTuple):
    """Which picture a bank vector came from, by the hash of its bytes, and where in it."""

    sha256: str
    tile: int
    """Of the part, in the order of `geometry.prepare`."""
    cell: int
    """Row · width + column of the tile's map."""


def read_bank_index(path: Path) -> BankIndex:
    """Read which cells form the bank.

    Raises:
        TrainingError: damaged or not a bank index.
    """
    try:
        stored = load_arrays(path)
        return BankIndex(stored["tile"], stored["cell"])
    except (OSError, ValueError, KeyError) as error:
        raise TrainingError(f"{path}: no bank index ({error}); train again") from error


def save_bank(bank: Bank, folder: Path) -> None:
    """Keep both banks of a bundle and where their vectors come from."""
    arrays: dict[str, NDArray[Any]] = {
        "tile": bank.index.tile,
        "cell": bank.index.cell,
        "shipped": bank.shipped,
        "reference": bank.reference,
    }
    save_arrays(arrays, folder / BANK)


def read_bank(folder: Path) -> Bank:
    """Read what `save_bank` kept in a bundle.

    Raises:
        UpdateImpossible: its model has no bank, or it was made before banks were kept.
        BundleError: damaged.
    """
    path = folder / BANK
    if not path.exists():
        raise UpdateImpossible(
            f"{folder}: keeps no bank; wanted a PatchCore whose vectors can be traced; train again"
        )
    try:
        stored = load_arrays(path)
        index = BankIndex(stored["tile"], stored["cell"])
        return Bank(index, stored["shipped"], stored["reference"])
    except (OSError, ValueError, KeyError) as error:
        raise BundleError(f"{path}: no bank ({error}); copy the bundle again") from error


def trace(bundle: Path) -> list[Traced]:
    """Say of each bank vector of a bundle which picture it came from, in the bank's order.

    Raises:
        BundleError: as for `read_bank`.
    """
    index = read_bank(bundle).index
    fitted = read_manifest(bundle / "manifest.json").of(Split.FIT)
    per_part = read_card(bundle).geometry.tiles
    places = zip(index.tile.tolist(), index.cell.tolist(), strict=True)
    return [
        Traced(fitted[number // per_part].sha256, number % per_part, cell)
        for number, cell in places
    ]


def vectors_of(bundle: Path, sha256: str) -> int:
    """Count the bank vectors of a bundle that came from one picture.

    Raises:
        BundleError: as for `read_bank`.
    """
    return Counter(one.sha256 for one in trace(bundle))[sha256]


def fill_bank(embedding: openvino.Model, index: BankIndex, tiles: FitTiles) -> Vectors:
    """Read the vectors of the bank's cells from a graph that gives an embedding (1, d, h, w).

    Returns:
        float32 (n, d), in the order of the index.
    """
    compiled = compile_graph(embedding)
    request = compiled.create_infer_request()
    depth = compiled.output(0).get_shape()[1]
    bank = np.empty((len(index.tile), depth), np.float32)
    for tile in follow(np.unique(index.tile), "bank"):
        request.infer({0: tiles[int(tile)][None]})
        columns = request.get_output_tensor(0).data.reshape(depth, -1)  # (d, h·w)
        chosen = index.tile == tile
        bank[chosen] = columns[:, index.cell[chosen]].T
    return bank


def fit_correction(
    embedding: openvino.Model, bank: Vectors, index: BankIndex, tiles: FitTiles, search: Search
) -> Correction:
    """Fit how the distance to the whole bank follows from that of the search's first stage.

    A straight line by least squares over the patches of a few fit parts, each compared only with
    vectors of other parts, as a new part would be.
    """
    compiled = compile_graph(embedding)
    depth = compiled.output(0).get_shape()[1]
    per_part = tiles.geometry.tiles
    numbers = np.linspace(0, len(tiles) - 1, min(len(tiles), CORRECTION_TILES)).astype(int)
    centre = bank.mean(0)
    centred = bank - centre
    directions = principal_directions(centred, search.dimensions)
    coarse = centred if directions is None else centred @ directions
    lengths = squares(centred)
    first = np.arange(len(bank)) < (search.coarse or len(bank))
    pairs = []
    for number in np.unique(numbers):
        columns = compiled({0: tiles[int(number)][None]})[0].reshape(depth, -1)
        patches = columns.T - centre
        other = index.tile // per_part != number // per_part
        if not (other & first).any():
            continue
        own = squares(patches)
        near = to_nearest(patches, centred[other], (own, lengths[other]))
        chosen = other & first
        small = patches if directions is None else patches @ directions
        rough = to_nearest(small, coarse[chosen], (own, lengths[chosen]))
        pairs.append((np.sqrt(rough), np.sqrt(near)))
    if not pairs:
        return EXACT
    rough_distance, distance = (np.concatenate(values) for values in zip(*pairs, strict=True))
    slope, offset = np.polyfit(rough_distance, distance, 1)
    return Correction(float(offset), float(slope))

"""Fills PatchCore's bank with the features of the graph that will ship, cell by chosen cell.

Training chose which cells of which fit tiles form the bank; their vectors are read again from each
graph, so that the INT8 bank holds INT8 features and both banks hold the same places.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import openvino
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file

from inspection.bundles.bundle import compile_graph
from inspection.core.errors import TrainingError
from inspection.core.parts import FitTiles
from inspection.core.progress import follow
from inspection.export.graph import Vectors


@dataclass(frozen=True)
class BankIndex:
    """Where each bank vector comes from: tile number and cell number, both int64 (n,)."""

    tile: NDArray[np.int64]
    cell: NDArray[np.int64]


def read_bank_index(path: Path) -> BankIndex:
    """Read which cells form the bank.

    Raises:
        TrainingError: damaged or not a bank index.
    """
    try:
        stored = load_file(path)
        return BankIndex(stored["tile"], stored["cell"])
    except (OSError, SafetensorError, KeyError) as error:
        raise TrainingError(f"{path}: no bank index ({error}); train again") from error


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

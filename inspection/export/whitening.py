"""Adds the output `embedding` to a graph: how its backbone sees the whole picture, in few numbers.

Spatial means of the feature maps, along the directions in which normals differ most, each scaled to
deviation 1: a normal is about standard normal, and a batch of another look lies elsewhere. Nothing
is decided by it; a station records it for the monitors of drift.
"""

import math

import numpy as np
import openvino
from numpy.typing import NDArray
from openvino import Output
from openvino import opset13 as ops

from inspection.bundles.graph import compile_graph
from inspection.core.image_statistics import EMBEDDING_MOST
from inspection.core.parts import FitTiles
from inspection.core.progress import follow

OUTPUT = "embedding"
PARTS_PER_DIRECTION = 8  # least; with fewer a direction is that of single parts
PARTS_MOST = PARTS_PER_DIRECTION * EMBEDDING_MOST  # normals it is fitted on
NOISE = 1e-5  # deviation of a direction relative to the first: below is what rounding makes
KINDS = "pooled.", "feature."
"""Tensor names of feature maps. What is pooled is float32 behind all that is quantised, so that a
further consumer does no harm, see design §5; the gate compares every feature all the same."""

Vectors = NDArray[np.float64]  # (n, d)


def add_whitened(model: openvino.Model, tiles: FitTiles) -> openvino.Model:
    """Give a graph the further output `embedding`, (1, k), k up to 16.

    Args:
        model: a graph with the one output `score_map`, on uint8 (1, H, W, 3).
        tiles: of the fit normals; the mean over the tiles of a normal part has mean 0 and
            deviation 1.

    Returns:
        The same model where it has no feature maps, they are not finite, or normals do not differ.
    """
    features = _features(model)
    if not features:
        return model
    means = [ops.reduce_mean(one, np.array([2, 3]), keep_dims=False) for one in features]
    joined = ops.concat(means, 1) if len(means) > 1 else means[0]  # (1, d)
    seen = _part_means(openvino.Model([ops.result(joined)], model.get_parameters()), tiles)
    if not np.isfinite(seen).all():
        return model  # no gate lets it pass
    centre = seen.mean(axis=0)
    directions = whitening(seen - centre)
    if not directions.size:
        return model
    centred = ops.subtract(joined, centre.astype(np.float32)[None])
    embedding = ops.matmul(
        centred, ops.constant(directions.astype(np.float32)), transpose_a=False, transpose_b=False
    )
    embedding.output(0).get_tensor().set_names({OUTPUT})
    results = [*model.get_results(), ops.result(embedding)]
    return openvino.Model(results, model.get_parameters(), model.get_friendly_name())


def whitening(centred: Vectors) -> Vectors:
    """Give the directions along which normals vary most, over their deviations; (d, k).

    Args:
        centred: float64 (n, d), mean 0.
    """
    _, spreads, directions = np.linalg.svd(centred, full_matrices=False)  # descending
    count = min(EMBEDDING_MOST, max(1, len(centred) // PARTS_PER_DIRECTION))
    deviations = spreads[:count] / np.sqrt(len(centred))
    kept = deviations > max(NOISE * deviations[0], np.finfo(np.float32).tiny)
    return np.asarray((directions[:count][kept] / deviations[kept, None]).T)


def _features(model: openvino.Model) -> list[Output]:
    """Find the feature maps to summarise, by name: all pooled ones, else the coarsest."""
    named = {
        name: port
        for node in model.get_ordered_ops()
        for port in node.outputs()
        for name in port.get_names()
        if name.startswith(KINDS) and len(port.get_partial_shape()) == 4  # others are no maps
    }
    pooled = [name for name in sorted(named) if name.startswith(KINDS[0])]
    if pooled or not named:
        return [named[name] for name in pooled]
    cells = {name: math.prod(port.get_shape()[2:]) for name, port in named.items()}
    # the mean of a fine map costs some per cent of the graph; what it shows, the coarse one knows
    return [named[name] for name in sorted(named) if cells[name] == min(cells.values())]


def _part_means(graph: openvino.Model, tiles: FitTiles) -> Vectors:
    """Give what a graph (1, d) gives of some fit parts, mean over the tiles of each; (n, d)."""
    compiled, per_part = compile_graph(graph), tiles.geometry.tiles
    parts = len(tiles) // per_part
    numbers = np.unique(np.linspace(0, parts - 1, min(parts, PARTS_MOST)).astype(int))
    seen = [
        [compiled(tiles[int(part) * per_part + tile][None])[0][0] for tile in range(per_part)]
        for part in follow(numbers, "embedding")
    ]
    return np.asarray(np.mean(seen, axis=1, dtype=np.float64))

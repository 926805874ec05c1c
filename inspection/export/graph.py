"""Builds PatchCore's score graph on top of its feature maps, in OpenVINO operations.

The search is |q|² - 2·q·b + |b|² with exact float32 terms around one product; only the product may
run in INT8, because the terms cancel. It is written as 1×1 convolutions over slices of the bank:
each slice's product stays in the cache until its minimum is taken.
"""

from dataclasses import dataclass

import numpy as np
import openvino
from numpy.typing import NDArray
from openvino import Node
from openvino import opset13 as ops

Vectors = NDArray[np.float32]  # (n, d)

SLICE_CELLS = 1 << 18  # vectors × cells per product: what stays in the cache, see reports/LOG.md
SLICE_LEAST, SLICE_MOST = 512, 4096  # vectors per product
HEADROOM = 1.1  # INT8 range of the query over the largest bank value; defects lie further out
LEVELS = 256


@dataclass(frozen=True)
class Search:
    """How patches are compared with the bank."""

    pool: int  # side of the average pooling, cells
    layer_weights: tuple[float, ...]
    coarse: int  # the first vectors of the bank, compared with every patch; 0 is all
    refine: int  # worst patches compared with the whole bank
    int8: bool


@dataclass(frozen=True)
class Correction:
    """Expected distance to the whole bank from the distance to its coarse beginning."""

    offset: float
    slope: float


EXACT = Correction(0.0, 1.0)


@dataclass(frozen=True)
class Graphs:
    """What ships, what it is compared with, and in words how precise it is and why."""

    shipped: openvino.Model
    reference: openvino.Model
    precision: str
    note: str


def add_embedding(features: openvino.Model, search: Search) -> openvino.Model:
    """Pool, upsample and join the feature maps of a graph into one embedding.

    Args:
        features: a graph with one output `feature.LAYER`, (1, c, h, w), per layer, finest first.
        search: pooling and layer weights.

    Returns:
        A graph on the same input with one output `embedding`, (1, d, h, w); the pooled map of each
        layer inside it carries the tensor name `pooled.LAYER`.
    """
    sources = [result.input_value(0) for result in features.get_results()]
    names = [
        next(n for n in out.get_names() if n.startswith("feature.")) for out in features.outputs
    ]
    size = np.array(_shape(sources[0])[2:])
    layers = []
    for source, name, weight in zip(sources, names, search.layer_weights, strict=True):
        half = search.pool // 2
        pooled = ops.avg_pool(
            source,
            [1, 1],
            [half, half],
            [half, half],
            [search.pool, search.pool],
            exclude_pad=False,
        )
        pooled.output(0).get_tensor().set_names({name.replace("feature.", "pooled.", 1)})
        scaled = ops.multiply(pooled, np.float32(weight)) if weight != 1 else pooled
        if _shape(scaled)[2:] != list(size):
            scaled = ops.interpolate(
                scaled,
                size,
                "linear_onnx",
                "sizes",
                axes=np.array([2, 3]),
                coordinate_transformation_mode="half_pixel",
            )
        layers.append(scaled)
    joined = ops.concat(layers, 1) if len(layers) > 1 else layers[0]
    joined.output(0).get_tensor().add_names({"embedding"})
    return openvino.Model([ops.result(joined)], features.get_parameters(), "embedding")


def add_search(
    embedding: openvino.Model, bank: Vectors, search: Search, correction: Correction = EXACT
) -> openvino.Model:
    """Turn a graph that gives an embedding (1, d, h, w) into one that gives its `score_map`.

    Every patch is compared with the first `search.coarse` vectors (a greedy coreset's beginning is
    itself a coreset); the `search.refine` patches that lie furthest from them are compared with the
    whole bank. The distances of the others are corrected to what the whole bank would give.

    Returns:
        A graph with the output `score_map`, float32 (1, 1, h, w): Euclidean distance to the bank.
    """
    source = embedding.get_results()[0].input_value(0)
    _, depth, height, width = _shape(source)
    centre = bank.mean(0, dtype=np.float64).astype(np.float32)
    centred = bank - centre  # smaller numbers lose less in the product
    query = ops.subtract(source, centre.reshape(1, depth, 1, 1))
    coarse = centred[: search.coarse] if search.coarse else centred
    distance = _nearest(query, coarse, int8=search.int8)  # (1, 1, h, w)
    if len(coarse) < len(bank):
        count = min(search.refine, height * width)
        distance = _refine(query, distance, centred, count, correction, int8=search.int8)
    shaped = ops.reshape(distance, np.array([1, 1, height, width]), special_zero=False)
    shaped.output(0).get_tensor().set_names({"score_map"})
    return openvino.Model([ops.result(shaped)], embedding.get_parameters(), "patchcore")


def _nearest(query: Node, bank: Vectors, *, int8: bool) -> Node:
    """Distance (1, 1, h, w) of each column of query (1, d, h, w) to the nearest of (n, d)."""
    cells = int(np.prod(_shape(query)[2:]))
    size = int(np.clip(SLICE_CELLS // cells, SLICE_LEAST, SLICE_MOST))
    quantised = _fake_quantise(query, bank) if int8 else query
    minima = [
        ops.reduce_min(
            _product(quantised, bank[start : start + size], int8=int8), [1], keep_dims=True
        )
        for start in range(0, len(bank), size)
    ]
    nearest = (
        minima[0]
        if len(minima) == 1
        else ops.reduce_min(ops.concat(minima, 1), [1], keep_dims=True)
    )
    length = ops.reduce_sum(ops.multiply(query, query), [1], keep_dims=True)
    return ops.sqrt(ops.relu(ops.add(nearest, length)))


def _shape(node: Node | openvino.Output) -> list[int]:
    output = node.output(0) if isinstance(node, Node) else node
    return [int(side) for side in output.get_partial_shape().to_shape()]


def _product(query: Node, bank: Vectors, *, int8: bool) -> Node:
    """-2·q·b + |b|² as a 1×1 convolution, (1, n, h, w); bank is (n, d)."""
    kernel = (-2 * bank).reshape(*bank.shape, 1, 1)
    weights = _int8_weights(kernel) if int8 else ops.constant(kernel)
    product = ops.convolution(query, weights, [1, 1], [0, 0], [0, 0], [1, 1])
    lengths = np.square(bank, dtype=np.float64).sum(1).astype(np.float32)
    return ops.add(product, lengths.reshape(1, -1, 1, 1))


def _fake_quantise(query: Node, bank: Vectors) -> Node:
    """Mark the query as INT8 over the range of the centred bank, symmetric."""
    high = np.float32(np.abs(bank).max() * HEADROOM)
    low = np.float32(-high * 128 / 127)
    return ops.fake_quantize(query, low, high, low, high, LEVELS)


def _int8_weights(kernel: Vectors) -> Node:
    """Store a kernel (n, d, 1, 1) as INT8 with one scale per bank vector."""
    scale = np.abs(kernel).max(axis=(1, 2, 3), keepdims=True) / 127
    scale = np.where(scale == 0, 1, scale).astype(np.float32)
    rounded = np.clip(np.round(kernel / scale), -127, 127).astype(np.int8)
    return ops.multiply(ops.convert(ops.constant(rounded), np.float32), scale)


def _refine(
    query: Node, distance: Node, bank: Vectors, count: int, correction: Correction, *, int8: bool
) -> Node:
    """Compare the `count` worst patches with the whole bank; (1, 1, h, w) in, (h·w,) out."""
    depth = bank.shape[1]
    flat = ops.reshape(distance, np.array([-1]), special_zero=False)  # (h·w,)
    worst = ops.topk(flat, np.int64(count), 0, "max", "none", index_element_type="i32").output(1)
    columns = ops.reshape(query, np.array([depth, -1]), special_zero=False)  # (d, h·w)
    picked = ops.gather(columns, worst, np.int64(1))  # (d, count)
    picked = ops.reshape(picked, np.array([1, depth, 1, count]), special_zero=False)
    exact = ops.reshape(_nearest(picked, bank, int8=int8), np.array([count]), special_zero=False)
    scaled = ops.multiply(flat, np.float32(correction.slope))
    expected = ops.relu(ops.add(scaled, np.float32(correction.offset)))
    return ops.scatter_elements_update(expected, worst, exact, np.int64(0))

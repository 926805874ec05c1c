"""Builds PatchCore's score graph on top of its feature maps, in OpenVINO operations.

The search is |q|² - 2·q·b + |b|² with exact float32 terms around one product; only the product may
run in INT8, because the terms cancel, or be taken in fewer dimensions, because what is left out of
it is still in the lengths. It is written as 1×1 convolutions over slices of the bank: each slice's
product stays in the cache until its minimum is taken.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import openvino
from numpy.typing import NDArray
from openvino import Node, Output
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
    dimensions: int  # principal directions of the bank that comparison is made in; 0 is all
    refine: int  # worst patches compared with the whole bank in all dimensions
    int8: bool

    def is_exact(self, bank: Vectors) -> bool:
        """Say whether every patch is compared with the whole bank (n, d) in all dimensions."""
        count, depth = bank.shape
        return not 0 < self.coarse < count and not 0 < self.dimensions < depth


@dataclass(frozen=True)
class Correction:
    """Expected distance to the whole bank from the distance to its coarse beginning."""

    offset: float
    slope: float


EXACT = Correction(0.0, 1.0)


@dataclass(frozen=True)
class _Part:
    """One layer of a centred query."""

    small: Node  # (1, d, h', w'), as the layer has it
    query: Node  # (1, d, h, w), the same upsampled to the finest layer's size
    columns: slice  # where it stands in the embedding


@dataclass(frozen=True)
class BankIndex:
    """Where each bank vector comes from: tile number and cell number, both int64 (n,)."""

    tile: NDArray[np.int64]
    cell: NDArray[np.int64]


@dataclass(frozen=True)
class Bank:
    """The vectors both graphs compare with, of the same cells in the same order."""

    index: BankIndex
    shipped: Vectors
    reference: Vectors

    def __len__(self) -> int:
        return len(self.index.tile)


@dataclass(frozen=True)
class Graphs:
    """What ships, what it is compared with, and in words how precise it is and why."""

    shipped: openvino.Model
    reference: openvino.Model
    precision: str
    note: str
    estimated: bool = False
    """Whether quiet cells of the shipped map are estimates of the two-stage search."""
    bank: Bank | None = None


def add_embedding(features: openvino.Model, search: Search) -> openvino.Model:
    """Pool, upsample and join the feature maps of a graph into one embedding.

    Args:
        features: a graph with one output `feature.LAYER`, (1, c, h, w), per layer, finest first.
        search: pooling and layer weights.

    Returns:
        A graph on the same input with one output `patches`, (1, d, h, w); the pooled map of each
        layer inside it carries the tensor name `pooled.LAYER`.
    """
    sources = [result.input_value(0) for result in features.get_results()]
    names = [
        next(n for n in out.get_names() if n.startswith("feature.")) for out in features.outputs
    ]
    size = _shape(sources[0])[2:]
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
        layers.append(_upsample(scaled, size))
    joined = ops.concat(layers, 1) if len(layers) > 1 else layers[0]
    joined.output(0).get_tensor().add_names({"patches"})
    return openvino.Model([ops.result(joined)], features.get_parameters(), "embedding")


def add_search(
    embedding: openvino.Model, bank: Vectors, search: Search, correction: Correction = EXACT
) -> openvino.Model:
    """Turn a graph that gives an embedding (1, d, h, w) into one that gives its `score_map`.

    Every patch is compared with the first `search.coarse` vectors (a greedy coreset's beginning is
    itself a coreset) in `search.dimensions`; the `search.refine` patches that lie furthest from
    them are compared with the whole bank in all dimensions. The distances of the others are
    corrected to what that would give.

    Returns:
        A graph with the output `score_map`, float32 (1, 1, h, w): Euclidean distance to the bank.
    """
    source = embedding.get_results()[0].input_value(0)
    size = _shape(source)[2:]
    centre = bank.mean(0, dtype=np.float64).astype(np.float32)
    centred = bank - centre  # smaller numbers lose less in the product
    parts = _parts(source, centre)
    coarse = centred[: search.coarse] if search.coarse else centred
    directions = principal_directions(centred, search.dimensions)
    distance = _nearest(parts, coarse, directions, int8=search.int8)  # (1, 1, h, w)
    if not search.is_exact(bank):
        count = min(search.refine, size[0] * size[1])
        distance = _refine(parts, distance, centred, count, correction, int8=search.int8)
    shaped = ops.reshape(distance, np.array([1, 1, *size]), special_zero=False)
    shaped.output(0).get_tensor().set_names({"score_map"})
    return openvino.Model([ops.result(shaped)], embedding.get_parameters(), "patchcore")


def principal_directions(centred: Vectors, count: int) -> Vectors | None:
    """Give the `count` orthonormal directions (d, count) along which (n, d) varies most.

    Returns:
        None where they would be all there are.
    """
    if not 0 < count < centred.shape[1]:
        return None
    wide = centred.astype(np.float64)
    _, vectors = np.linalg.eigh(wide.T @ wide)  # ascending
    return vectors[:, ::-1][:, :count].astype(np.float32)


def _parts(source: Output, centre: Vectors) -> list[_Part]:
    """Take an embedding (1, d, h, w) apart into its centred layers (d,), smallest form first."""
    size, joined = _shape(source)[2:], source.get_node()
    layers = [source]
    if joined.get_type_name() == "Concat":
        layers = [port.get_source_output() for port in joined.inputs()]
    parts, begin = [], 0
    for layer in layers:
        depth = _shape(layer)[1]
        columns = slice(begin, begin + depth)
        upsampled = layer.get_node().get_type_name() == "Interpolate"
        small = layer.get_node().input_value(0) if upsampled else layer
        small = ops.subtract(small, centre[columns].reshape(1, depth, 1, 1))
        parts.append(_Part(small, _upsample(small, size), columns))
        begin += depth
    return parts


def _upsample(node: Node, size: Sequence[int]) -> Node:
    """Bring (1, d, h', w') to (1, d, *size) bilinearly, as Anomalib does."""
    if _shape(node)[2:] == list(size):
        return node
    return ops.interpolate(
        node,
        np.array(size),
        "linear_onnx",
        "sizes",
        axes=np.array([2, 3]),
        coordinate_transformation_mode="half_pixel",
    )


def _nearest(
    parts: Sequence[_Part], bank: Vectors, directions: Vectors | None = None, *, int8: bool
) -> Node:
    """Distance (1, 1, h, w) of each column of a query to the nearest of the centred bank (n, d).

    With directions (d, p) the product, and only it, is taken along them.
    """
    size = _shape(parts[0].query)[2:]
    if directions is None:
        vectors, factor = bank, _join([part.query for part in parts])
    else:
        vectors = bank @ directions
        factor = _project(parts, bank, directions, int8=int8)
    factor = _fake_quantise(factor, vectors) if int8 else factor
    lengths = np.square(bank, dtype=np.float64).sum(1).astype(np.float32)
    per_slice = int(np.clip(SLICE_CELLS // (size[0] * size[1]), SLICE_LEAST, SLICE_MOST))
    minima = []
    for start in range(0, len(bank), per_slice):
        chosen = slice(start, start + per_slice)
        product = _convolve(factor, -2 * vectors[chosen], int8=int8)
        shifted = ops.add(product, lengths[chosen].reshape(1, -1, 1, 1))
        minima.append(ops.reduce_min(shifted, [1], keep_dims=True))
    nearest = _join(minima)
    if len(minima) > 1:
        nearest = ops.reduce_min(nearest, [1], keep_dims=True)
    for part in parts:
        length = ops.reduce_l2(part.query, np.array([1]), keep_dims=True)
        nearest = ops.add(nearest, ops.multiply(length, length))
    return ops.sqrt(ops.relu(nearest))


def _project(parts: Sequence[_Part], bank: Vectors, directions: Vectors, *, int8: bool) -> Node:
    """Project a query onto directions (d, p), each layer before it is upsampled; (1, p, h, w)."""
    total = None
    for part in parts:
        small = _fake_quantise(part.small, bank[:, part.columns]) if int8 else part.small
        along = _convolve(small, directions[part.columns].T, int8=int8)
        along = _upsample(along, _shape(part.query)[2:])
        total = along if total is None else ops.add(total, along)
    return total


def _join(nodes: Sequence[Node]) -> Node:
    return ops.concat(list(nodes), 1) if len(nodes) > 1 else nodes[0]


def _shape(node: Node | Output) -> list[int]:
    output = node.output(0) if isinstance(node, Node) else node
    return [int(side) for side in output.get_partial_shape().to_shape()]


def _convolve(factor: Node, rows: Vectors, *, int8: bool) -> Node:
    """Multiply rows (n, d) with every column of (1, d, h, w), as a 1×1 convolution."""
    kernel = rows.reshape(*rows.shape, 1, 1)
    weights = int8_weights(kernel)[0] if int8 else ops.constant(np.ascontiguousarray(kernel))
    return ops.convolution(factor, weights, [1, 1], [0, 0], [0, 0], [1, 1])


def _fake_quantise(query: Node, bank: Vectors) -> Node:
    """Mark the query as INT8 over the range of the centred bank, symmetric."""
    high = np.float32(np.abs(bank).max() * HEADROOM)
    low = np.float32(-high * 128 / 127)
    return ops.fake_quantize(query, low, high, low, high, LEVELS)


def int8_weights(kernel: NDArray[np.float32]) -> tuple[Node, NDArray[np.float32]]:
    """Store a kernel (n, …) as INT8 with one scale per first index; the node, and its values."""
    axes = tuple(range(1, kernel.ndim))
    scale = np.abs(kernel).max(axis=axes, keepdims=True) / 127
    scale = np.where(scale == 0, 1, scale).astype(np.float32)
    rounded = np.clip(np.round(kernel / scale), -127, 127).astype(np.int8)
    node = ops.multiply(ops.convert(ops.constant(rounded), np.float32), scale)
    return node, rounded * scale


def _refine(
    parts: Sequence[_Part],
    distance: Node,
    bank: Vectors,
    count: int,
    correction: Correction,
    *,
    int8: bool,
) -> Node:
    """Compare the `count` worst patches with the whole bank; (1, 1, h, w) in, (h·w,) out."""
    flat = ops.reshape(distance, np.array([-1]), special_zero=False)  # (h·w,)
    worst = ops.topk(flat, np.int64(count), 0, "max", "none", index_element_type="i32").output(1)
    picked = []
    for part in parts:
        depth = _shape(part.query)[1]
        last = ops.transpose(part.query, np.array([0, 2, 3, 1]))  # as OpenVINO keeps it: no copy
        rows = ops.reshape(last, np.array([-1, depth]), special_zero=False)  # (h·w, d)
        chosen = ops.gather(rows, worst, np.int64(0))  # (count, d)
        chosen = ops.reshape(chosen, np.array([1, 1, count, depth]), special_zero=False)
        chosen = ops.transpose(chosen, np.array([0, 3, 1, 2]))
        picked.append(_Part(chosen, chosen, part.columns))
    exact = ops.reshape(_nearest(picked, bank, int8=int8), np.array([count]), special_zero=False)
    scaled = ops.multiply(flat, np.float32(correction.slope))
    expected = ops.relu(ops.add(scaled, np.float32(correction.offset)))
    return ops.scatter_elements_update(expected, worst, exact, np.int64(0))

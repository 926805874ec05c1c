"""Lets first convolutions run in INT8 on the camera's own numbers, which are integers already.

With the normalisation n(x) = (g·x - m) / s and a kernel W,

    conv(W, n(x)) = g·conv(W/s, x) - sum(W/s·m)

if x is padded with m/g, which is what zero was. Only the kernel is rounded to INT8, and the padding
to whole levels; the sum is taken over the rounded kernel, so that no brightness leaks.
"""

from collections.abc import Iterable

import numpy as np
import openvino
from numpy.typing import NDArray
from openvino import Node
from openvino import opset13 as ops

from inspection.bundles.graph import compile_graph
from inspection.core.imaging import Rgb
from inspection.core.records import PixelNorm
from inspection.export.graph import int8_weights

CONVOLUTIONS = {"Convolution", "GroupConvolution"}
TINT = (0, 37, 91)  # grey levels added to each channel; 255 goes on to 0
TOLERANCE = 1e-3  # normalised values are of the order of one


def integer_stems(model: openvino.Model, norm: PixelNorm, tile: Rgb) -> openvino.Model:
    """Replace every first convolution that reads the normalised pixels themselves.

    Args:
        model: a graph with uint8 1×H×W×3 input; unchanged.
        norm: how it normalises them.
        tile: uint8 (H, W, 3), to see whether a convolution reads just that; one that reads
            anything else (padded, cut, normalised again) stays as it is.
    """
    copy = model.clone()
    tile = tile + np.array(TINT, np.uint8)  # a grey part would not tell the order of its colours
    wanted = normalise(tile, norm)
    for stem in first_convolutions(copy):
        if _reads(copy, stem, tile, wanted):
            stem.output(0).replace(_integer_stem(copy.get_parameters()[0], stem, norm).output(0))
    copy.validate_nodes_and_infer_types()
    return openvino.Model(copy.get_results(), copy.get_parameters(), copy.get_friendly_name())


def normalise(tile: Rgb, norm: PixelNorm) -> NDArray[np.float32]:
    """Normalise uint8 (H, W, 3) as the graph does; float32 (1, 3, H, W)."""
    gain = norm.grey_level / (tile.mean() + 1) if norm.grey_level else 1.0
    scaled = (tile * gain - np.array(norm.mean)) / np.array(norm.std)
    return np.asarray(np.moveaxis(scaled, 2, 0)[None], np.float32)


def first_convolutions(model: openvino.Model) -> list[Node]:
    """Give the convolutions that no other convolution comes before."""
    nodes = [node for node in model.get_ordered_ops() if is_a(node, CONVOLUTIONS)]
    return [
        node
        for node in nodes
        if not any(is_a(earlier, CONVOLUTIONS) for earlier in before(_sources(node)).values())
    ]


def before(ends: Iterable[Node]) -> dict[str, Node]:
    """Give these nodes and everything they are computed from, by name.

    By name, because comparing two nodes builds a comparison node instead.
    """
    found: dict[str, Node] = {}
    stack = list(ends)
    while stack:
        node = stack.pop()
        if node.get_friendly_name() not in found:
            found[node.get_friendly_name()] = node
            stack += _sources(node)
    return found


def is_a(node: Node, kinds: set[str]) -> bool:
    """Say whether a node is of one of these types."""
    return node.get_type_name() in kinds


def _sources(node: Node) -> list[Node]:
    return [port.get_source_output().get_node() for port in node.inputs()]


def _reads(model: openvino.Model, stem: Node, tile: Rgb, wanted: NDArray[np.float32]) -> bool:
    """Say whether a plain convolution with a constant kernel reads the normalised pixels."""
    plain = is_a(stem, {"Convolution"}) and set(stem.get_attributes()["dilations"]) == {1}
    if not plain or not _is_constant(stem.input_value(1).get_node()):
        return False
    source = openvino.Model([ops.result(stem.input_value(0))], model.get_parameters(), "source")
    found = compile_graph(source)(tile[None])[0]
    return found.shape == wanted.shape and bool(np.allclose(found, wanted, atol=TOLERANCE))


def _is_constant(node: Node) -> bool:
    return is_a(node, {"Constant"})


def _integer_stem(pixels: Node, stem: Node, norm: PixelNorm) -> Node:
    attributes = stem.get_attributes()
    mean, std = (
        np.array(values, np.float32).reshape(1, 3, 1, 1) for values in (norm.mean, norm.std)
    )
    kernel = stem.input_value(1).get_node().get_data().astype(np.float32) / std
    weights, rounded = int8_weights(kernel)
    level = ops.constant(mean.reshape(1, 1, 1, 3))
    gain = None
    if norm.grey_level:
        brightness = ops.reduce_mean(
            ops.convert(pixels, np.float32), np.array([1, 2, 3]), keep_dims=True
        )
        gain = ops.divide(np.float32(norm.grey_level), ops.add(brightness, np.float32(1)))
        level = ops.divide(level, gain)
    level = ops.convert(ops.round(ops.minimum(level, np.float32(255))), np.uint8)
    padded = pixels
    for axis, before_it, after_it in zip(
        (1, 2), attributes["pads_begin"], attributes["pads_end"], strict=True
    ):
        padded = _bordered(padded, level, axis, before_it, after_it)
    # This range says to OpenVINO that the numbers are INT8 already; it computes nothing.
    low, high = np.float32(0), np.float32(255)
    integers = ops.fake_quantize(ops.convert(padded, np.float32), low, high, low, high, 256)
    forward = ops.transpose(integers, np.array([0, 3, 1, 2]))
    product = ops.convolution(forward, weights, attributes["strides"], [0, 0], [0, 0], [1, 1])
    scaled = product if gain is None else ops.multiply(product, gain)
    return ops.subtract(scaled, (rounded * mean).sum((1, 2, 3)).reshape(1, -1, 1, 1))


def _bordered(pixels: Node, level: Node, axis: int, begin: int, end: int) -> Node:
    """Pad (1, H, W, 3) along one axis with a colour (1, 1, 1, 3), which OpenVINO's Pad cannot."""
    borders = []
    for count in (begin, end):
        shape = [int(side) for side in pixels.output(0).get_partial_shape().to_shape()]
        shape[axis] = count
        borders.append([ops.broadcast(level, np.array(shape))] if count else [])
    parts = [*borders[0], pixels, *borders[1]]
    return ops.concat(parts, axis) if len(parts) > 1 else pixels

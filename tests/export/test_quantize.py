"""What NNCF leaves in float32: the stem, the tail, and pooling of features."""

from pathlib import Path

import numpy as np
import openvino
import pytest
from openvino import Node
from openvino import opset13 as ops

from inspection.bundles.graph import compile_graph
from inspection.core.parts import FitTiles
from inspection.core.records import read_manifest
from inspection.export.quantize import float_nodes, quantise
from tests.training.tiny import GEOMETRY, PLAIN


def named(node: Node, name: str) -> Node:
    """Give a node its name."""
    node.set_friendly_name(name)
    return node


def convolve(source: Node, name: str, channels: tuple[int, int], stride: int = 1) -> Node:
    """A 3×3 convolution with made-up weights, most of them positive: it follows brightness."""
    rng = np.random.default_rng(len(name))
    kernel = (rng.normal(0.5, 0.4, (channels[1], channels[0], 3, 3)) / 9).astype(np.float32)
    steps = [stride, stride]
    return named(ops.convolution(source, kernel, steps, [1, 1], [1, 1], [1, 1]), name)


def small_network(*, with_features: bool) -> openvino.Model:
    """uint8 → normalise → stem → two blocks; features pooled and joined, or a map from a MatMul."""
    pixels = ops.parameter([1, 16, 24, 3], np.uint8)
    real = named(ops.convert(pixels, np.float32), "real")
    light = named(ops.multiply(ops.transpose(real, [0, 3, 1, 2]), np.float32(1 / 255)), "light")
    stem = convolve(light, "stem", (3, 8), 2)
    first = named(ops.relu(convolve(named(ops.relu(stem), "stem relu"), "first", (8, 8))), "fine")
    second = named(ops.relu(convolve(first, "second", (8, 8), 2)), "deep")
    pooled = named(
        ops.avg_pool(
            second, [1, 1], [1, 1], [1, 1], [3, 3], exclude_pad=False, rounding_type="floor"
        ),
        "pool",
    )
    tail = named(ops.multiply(pooled, pooled), "tail")
    results = [ops.result(tail)]
    results[0].output(0).get_tensor().set_names({"score_map"})
    if with_features:
        for node, name in ((first, "feature.fine"), (second, "feature.deep")):
            results.append(ops.result(node))
            node.output(0).get_tensor().set_names({name})
    return openvino.Model(results, [pixels], "small")


def test_everything_up_to_the_first_convolution_stays_float():
    """Quantising the input again costs a third of the whole error."""
    kept = float_nodes(small_network(with_features=True))
    assert {"real", "light", "stem"} <= kept
    assert not {"first", "second"} & kept


def test_tail_behind_the_features_stays_float():
    """Where terms cancel, nothing is quantised."""
    assert {"pool", "tail"} <= float_nodes(small_network(with_features=True))
    assert not {"fine", "deep"} & float_nodes(small_network(with_features=True))


def test_tail_behind_the_last_product_stays_float_without_features():
    """A model without named features is quantised up to its last convolution only."""
    kept = float_nodes(small_network(with_features=False))
    assert {"stem", "deep", "pool", "tail"} <= kept
    assert not {"first", "second"} & kept


def test_every_first_convolution_is_a_stem():
    """A teacher and a student beside it each keep their own stem."""
    pixels = ops.parameter([1, 3, 16, 24], np.float32)
    sides = []
    for side in ("teacher", "student"):
        stem = convolve(pixels, f"{side} stem", (3, 4))
        sides.append(convolve(named(ops.relu(stem), side), f"{side} block", (4, 4)))
    model = openvino.Model([ops.result(ops.subtract(*sides))], [pixels], "pair")
    kept = float_nodes(model)
    assert {"teacher stem", "student stem"} <= kept
    assert not {"teacher block", "student block"} & kept


def quantised_inputs(model: openvino.Model) -> set[str]:
    """Types of the nodes that read a FakeQuantize, weights aside."""
    return {
        port.get_node().get_type_name()
        for node in model.get_ordered_ops()
        if node.get_type_name() == "FakeQuantize" and "Constant" not in _source_types(node)
        for port in node.output(0).get_target_inputs()
    }


def _source_types(node: Node) -> str:
    return node.input_value(0).get_node().get_type_name()


@pytest.fixture(scope="module")
def quantised(manifest: Path) -> tuple[openvino.Model, openvino.Model, FitTiles]:
    """The small network, its INT8 form and the tiles its ranges come from."""
    geometry = GEOMETRY.model_copy(update={"height_px": 32, "width_px": 48})
    tiles = FitTiles(read_manifest(manifest), geometry)
    model = small_network(with_features=True)
    model.reshape([1, 32, 48, 3])
    return model, quantise(model, PLAIN, [tiles[number] for number in range(len(tiles))]), tiles


def test_only_convolutions_read_int8(quantised):
    """INT8 stands before the convolutions (the first one's pixels, moved), never the pooling."""
    _, small, _ = quantised
    assert quantised_inputs(small) == {"Convolution", "Transpose"}


def test_original_graph_is_unchanged(quantised):
    """Quantising gives a new graph; the FP32 one still is one."""
    model, small, _ = quantised
    types = [node.get_type_name() for node in model.get_ordered_ops()]
    assert "FakeQuantize" not in types
    assert "FakeQuantize" in [node.get_type_name() for node in small.get_ordered_ops()]


def test_int8_features_and_map_stay_close(quantised):
    """On the tiles it was calibrated with, each output correlates with FP32 by 0.99 or more."""
    model, small, tiles = quantised
    wanted, found = (
        [compile_graph(graph)(tiles[number][None]) for number in range(4)]
        for graph in (model, small)
    )
    for output in range(3):
        pair = [np.concatenate([one[output].ravel() for one in side]) for side in (wanted, found)]
        assert np.corrcoef(pair)[0, 1] > 0.99


def test_output_names_survive(quantised):
    """The gate and the search find the features by name afterwards."""
    _, small, _ = quantised
    assert [output.any_name for output in small.outputs] == [
        "score_map",
        "feature.fine",
        "feature.deep",
    ]

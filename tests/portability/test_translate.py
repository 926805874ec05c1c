"""Every translated operation computes in ONNX Runtime what it computes in OpenVINO."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import openvino
import pytest
from openvino import Node, Output
from openvino import opset8 as old_ops
from openvino import opset13 as ops

from inspection.bundles.graph import compile_graph
from inspection.core.errors import BundleError
from inspection.export.graph import int8_weights
from inspection.portability.runtime import OnnxGraph
from inspection.portability.translate import KNOWN, to_onnx

Build = Callable[[Node], Node | Output]
SHAPE = (1, 4, 6, 10)  # (1, c, h, w)


def values(*shape: int, seed: int = 0) -> np.ndarray:
    """Draw float32 values around zero."""
    return np.random.default_rng(seed).normal(0, 2, shape).astype(np.float32)


def graph_of(build: Build, shape: tuple[int, ...] = SHAPE) -> openvino.Model:
    """Make a graph of one input and one output."""
    given = ops.parameter(list(shape), np.float32)
    given.output(0).get_tensor().set_names({"x"})
    built = build(given)
    end = built if isinstance(built, Output) else built.output(0)
    end.get_tensor().set_names({"y"})
    return openvino.Model([ops.result(end)], [given], "graph")


def both(model: openvino.Model, folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """Run a graph in OpenVINO and, translated, in ONNX Runtime; of random values."""
    path = folder / "model.onnx"
    translated = to_onnx(model)
    onnx.checker.check_model(translated, full_check=True)
    path.write_bytes(translated.SerializeToString())
    x = values(*model.input(0).get_shape(), seed=1)
    return compile_graph(model)({0: x})[0][0], OnnxGraph(path)(x[0])


def convolution(x: Node) -> Node:
    return ops.convolution(x, values(5, 4, 3, 3), [2, 1], [1, 0], [1, 2], [1, 2])


def same(mode: str) -> Build:
    def build(x: Node) -> Node:
        kernel = values(5, 4, 4, 3)
        return ops.convolution(x, kernel, [2, 3], [0, 0], [0, 0], [1, 2], auto_pad=mode)

    return build


def grouped(x: Node) -> Node:
    return ops.group_convolution(x, values(2, 3, 2, 3, 3), [1, 1], [1, 1], [1, 1], [1, 1])


def transposed(x: Node) -> Node:
    return ops.convolution_backprop_data(
        x, values(4, 3, 2, 2), [2, 2], pads_begin=[0, 0], pads_end=[0, 0], dilations=[1, 1]
    )


def with_bias(x: Node) -> Node:
    return ops.add(convolution(x), values(1, 5, 1, 1))


def shared_convolution(x: Node) -> Node:
    one = convolution(x)
    return ops.multiply(ops.add(one, values(1, 5, 1, 1)), one)


def matmul(x: Node) -> Node:
    return ops.matmul(x, values(1, 4, 7, 6), transpose_a=True, transpose_b=True)


def int8_matmul(x: Node) -> Node:
    return ops.matmul(x, int8_weights(values(7, 10))[0], transpose_a=False, transpose_b=True)


def int8_convolution(x: Node) -> Node:
    low, high = np.float32(-8 * 128 / 127), np.float32(8)
    marked = ops.fake_quantize(x, low, high, low, high, 256)
    kernel = int8_weights(values(5, 4, 1, 1))[0]
    product = ops.convolution(marked, kernel, [1, 1], [0, 0], [0, 0], [1, 1])
    return ops.add(product, values(1, 5, 1, 1))


def int8_groups(x: Node) -> Node:
    kernel, _ = int8_weights(values(4, 1, 3, 3))
    parts = ops.reshape(kernel, np.array([4, 1, 1, 3, 3]), special_zero=False)
    return ops.group_convolution(x, parts, [1, 1], [1, 1], [1, 1], [1, 1])


def attention(x: Node) -> Node:
    return ops.scaled_dot_product_attention(x, x, x, np.zeros((6, 6), np.float32))


def masked_attention(x: Node) -> Node:
    return ops.scaled_dot_product_attention(x, x, x, values(6, 6), np.float32(0.3))


def scatter(x: Node) -> Node:
    flat = ops.reshape(x, np.array([-1]), special_zero=False)
    worst = ops.topk(flat, np.int64(7), 0, "max", "none", index_element_type="i32")
    return ops.scatter_elements_update(flat, worst.output(1), values(7), np.int64(0))


def strided(x: Node) -> Node:
    begin, end, step = np.array([0, 1, -1, 2]), np.array([0, 3, -6, 9]), np.array([1, 1, -2, 3])
    return old_ops.strided_slice(
        x, begin, end, step, begin_mask=[1, 0, 0, 0], end_mask=[1, 0, 0, 1],
        shrink_axis_mask=[0, 1, 0, 0],
    )  # fmt: skip


def new_axis(x: Node) -> Node:
    zero = np.array([0])
    return old_ops.strided_slice(x, zero, zero, np.array([1]), [0], [0], new_axis_mask=[1])


def int8_transposed_groups(x: Node) -> Node:
    """Scales of each group's outputs, which ONNX cannot say with its two axes made one."""
    kernel = ops.constant(np.ones((2, 2, 3, 2, 2), np.int8))
    scale = np.array([0.1, 0.2, 0.3], np.float32).reshape(1, 1, 3, 1, 1)
    weights = ops.multiply(ops.convert(kernel, "f32"), ops.constant(scale))
    return ops.group_convolution_backprop_data(
        x, weights, [2, 2], pads_begin=[0, 0], pads_end=[0, 0], dilations=[1, 1]
    )


def resized(mode: str, place: str) -> Build:
    def build(x: Node) -> Node:
        return ops.interpolate(
            x, np.array([9, 15]), mode, "sizes", axes=np.array([2, 3]),
            coordinate_transformation_mode=place, nearest_mode="floor", cube_coeff=-0.5,
        )  # fmt: skip

    return build


def scaled(x: Node) -> Node:
    return ops.interpolate(
        x, np.array([1.7, 1.3], np.float32), "linear_onnx", "scales", axes=np.array([2, 3])
    )


def rest(x: Node) -> Node:
    return ops.interpolate(
        x, np.array([1.75, 0.55], np.float32), "linear_onnx", "scales", axes=np.array([2, 3])
    )


def quantised_by_channel(x: Node) -> Node:
    high = np.array([1, 2, 3, 4], np.float32).reshape(1, 4, 1, 1)
    low = -high * np.float32(128 / 127)
    return ops.fake_quantize(x, low, high, low, high, 256)


BUILDS: dict[str, Build] = {
    "convolution": convolution,
    "same size, more above": same("same_upper"),
    "same size, more below": same("same_lower"),
    "no padding": same("valid"),
    "groups": grouped,
    "transposed convolution": transposed,
    "convolution with bias": with_bias,
    "convolution used twice": shared_convolution,
    "matmul": matmul,
    "INT8 matmul": int8_matmul,
    "INT8 groups": int8_groups,
    "attention": attention,
    "masked attention": masked_attention,
    "top k and scatter": scatter,
    "strided slice": strided,
    "linear": resized("linear_onnx", "half_pixel"),
    "aligned": resized("linear_onnx", "align_corners"),
    "nearest": resized("nearest", "asymmetric"),
    "cubic": resized("cubic", "pytorch_half_pixel"),
    "by scales": scaled,
    "by scales that leave a rest": rest,
    "slice": lambda x: ops.slice(x, np.array([1]), np.array([9]), np.array([2]), np.array([3])),
    "split": lambda x: ops.variadic_split(x, np.int64(3), np.array([3, 7])).output(1),
    "concat": lambda x: ops.concat([x, ops.abs(x)], 1),
    "gather": lambda x: ops.gather(x, np.array([3, 0, -1]), np.int64(1)),
    "transpose": lambda x: ops.transpose(x, np.array([0, 2, 3, 1])),
    "squeeze": lambda x: ops.squeeze(x, np.array([0])),
    "tile": lambda x: ops.tile(x, np.array([2, 1])),
    "broadcast": lambda x: ops.broadcast(x, np.array([1, 4, 6, 10])),
    "reflected": lambda x: ops.pad(x, np.array([0, 0, 2, 1]), np.array([0, 0, 1, 3]), "reflect"),
    "padded": lambda x: ops.pad(
        x, np.array([0, 0, 2, 1]), np.array([0, 0, 1, 3]), "constant", np.float32(3)
    ),
    "average": lambda x: ops.avg_pool(x, [1, 1], [1, 1], [1, 1], [3, 3], exclude_pad=False),
    "average without border": lambda x: ops.avg_pool(
        x, [2, 2], [1, 1], [1, 1], [3, 3], exclude_pad=True
    ),
    "average by ceiling": lambda x: ops.avg_pool(
        x, [2, 2], [0, 0], [0, 0], [3, 3], exclude_pad=True, rounding_type="ceil"
    ),
    "maximum": lambda x: old_ops.max_pool(x, [2, 2], [1, 1], [1, 1], [1, 1], [3, 3]),
    "adaptive average": lambda x: old_ops.adaptive_avg_pool(x, np.array([3, 5])),
    "uneven average": lambda x: old_ops.adaptive_avg_pool(x, np.array([4, 13])),
    "sum": lambda x: ops.reduce_sum(x, np.array([1, -1]), keep_dims=True),
    "mean": lambda x: ops.reduce_mean(x, np.array([2, 3]), keep_dims=False),
    "length": lambda x: ops.reduce_l2(x, np.array([1]), keep_dims=True),
    "softmax": lambda x: ops.softmax(x, 1),
    "layer norm": lambda x: ops.mvn(
        x, np.array([-1]), normalize_variance=True, eps=1e-5, eps_mode="inside_sqrt"
    ),
    "instance norm": lambda x: ops.mvn(
        x, np.array([1]), normalize_variance=True, eps=1e-3, eps_mode="outside_sqrt"
    ),
    "sum of no axes": lambda x: ops.reduce_sum(x, np.array([], np.int64), keep_dims=True),
    "mean of no axes": lambda x: ops.reduce_mean(x, np.array([], np.int64), keep_dims=True),
    "new axis only": new_axis,
    "normalised": lambda x: ops.normalize_l2(x, np.array([1]), 1e-3, "add"),
    "gelu": lambda x: ops.gelu(x, "erf"),
    "gelu by tanh": lambda x: ops.gelu(x, "tanh"),
    "swish": lambda x: ops.swish(x),
    "prelu": lambda x: ops.prelu(x, values(4)),
    "elu": lambda x: ops.elu(x, 0.7),
    "clamp": lambda x: ops.clamp(x, -0.5, 1.5),
    "round": lambda x: ops.round(x, "half_to_even"),
    "modulo": lambda x: ops.floor_mod(x, np.float32(1.5)),
    "remainder": lambda x: ops.mod(x, np.float32(1.5)),
    "squared difference": lambda x: ops.squared_difference(x, values(1, 4, 1, 1)),
    "select": lambda x: ops.select(ops.greater(x, np.float32(0)), x, ops.exp(x)),
    "sums": lambda x: ops.cum_sum(x, np.int64(2), exclusive=True, reverse=True),
    "batch norm": lambda x: ops.batch_norm_inference(
        x, values(4), values(4, seed=1), values(4, seed=2), np.abs(values(4, seed=3)), 1e-3
    ),
    "einsum": lambda x: ops.einsum([x, ops.abs(x)], "bchw,bdhw->bcd"),
    "signed levels": lambda x: fake_quantised(x, -4 * 128 / 127, 4),
    "unsigned levels": lambda x: fake_quantised(x, 0, 6),
    "shifted levels": lambda x: fake_quantised(x, -51 / 255 * 5, 204 / 255 * 5),
    "sixteen levels": lambda x: fake_quantised(x, -3, 3, levels=16),
    "zero between levels": lambda x: fake_quantised(x, -1.005, 3),
    "other range behind": lambda x: ops.fake_quantize(
        x, np.float32(-2), np.float32(2), np.float32(0), np.float32(8), 256
    ),
    "levels of each channel": quantised_by_channel,
}


def fake_quantised(x: Node, low: float, high: float, levels: int = 256) -> Node:
    ends = np.float32(low), np.float32(high)
    return ops.fake_quantize(x, *ends, *ends, levels)


@pytest.mark.parametrize("name", BUILDS)
def test_operation_computes_the_same(name: str, tmp_path: Path):
    """Same values in, same values out, but for the order of additions."""
    wanted, found = both(graph_of(BUILDS[name]), tmp_path)
    assert found.shape == wanted.shape
    assert np.abs(wanted).max() > 0.1
    # a runtime may take the other side of a product with INT8 weights as INT8, too
    least = 0.02 * np.abs(wanted).max() if name.startswith("INT8") else 2e-5
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=least)


def test_int8_convolution_is_int8_in_onnx_and_its_bias_is_within(tmp_path: Path):
    """Weights stay INT8 with their scales; a runtime finds quantiser, convolution, bias."""
    model = graph_of(int8_convolution)
    wanted, found = both(model, tmp_path)
    np.testing.assert_allclose(found, wanted, atol=0.02 * np.abs(wanted).max())
    translated = to_onnx(model)
    kinds = [node.op_type for node in translated.graph.node]
    assert sorted(kinds) == [
        *("Conv", "DequantizeLinear", "DequantizeLinear", "Identity", "QuantizeLinear")
    ]
    conv = next(node for node in translated.graph.node if node.op_type == "Conv")
    assert len(conv.input) == 3
    kernel = int8_weights(values(5, 4, 1, 1))[0].input_value(0).get_node().input_value(0)
    stored = [onnx.numpy_helper.to_array(one) for one in translated.graph.initializer]
    (int8,) = [one for one in stored if one.shape == (5, 4, 1, 1)]
    assert int8.dtype == np.int8
    assert np.array_equal(int8, kernel.get_node().get_data())


def test_constants_come_out_once_computed():
    """What does not depend on the input is a constant of the model, however it was written."""
    model = graph_of(
        lambda x: ops.multiply(x, ops.sqrt(ops.add(values(1, 4, 1, 1) ** 2, np.float32(1))))
    )
    assert [node.op_type for node in to_onnx(model).graph.node] == ["Mul", "Identity"]


def test_unknown_operations_are_all_named():
    """A graph that cannot be translated is refused before anything is written."""
    model = graph_of(lambda x: ops.hsigmoid(ops.softsign(x)))
    assert not {"HSigmoid", "SoftSign"} & KNOWN.keys()
    with pytest.raises(BundleError, match="operations HSigmoid, SoftSign: have no ONNX form here"):
        to_onnx(model)


def test_an_unknown_operation_behind_many_others_is_named():
    """However long the graph is."""

    def build(x: Node) -> Node:
        for _ in range(3_000):
            x = ops.abs(x)
        return ops.softsign(x)

    with pytest.raises(BundleError, match="operations SoftSign: have no ONNX form here"):
        to_onnx(graph_of(build))


@pytest.mark.parametrize(
    ("build", "complaint"),
    [
        (lambda x: ops.round(x, "half_away_from_zero"), "Round '.*': rounds by half_away"),
        (resized("nearest", "tf_half_pixel_for_nn"), "resizes by nearest, tf_half_pixel"),
        (lambda x: ops.pad(x, [0, 0, 1, 1], [0, 0, 1, 1], "symmetric"), "pads by symmetric"),
        (lambda x: ops.topk(x, np.int64(3), 3, "max", "index"), "TopK '.*': sorts by index"),
        (
            lambda x: ops.reduce_l1(x, np.array([], np.int64), keep_dims=True),
            "ReduceL1 '.*': has no axes",
        ),
        (int8_transposed_groups, "INT8 weights with scales along axis 2"),
    ],
    ids=["rounding", "resizing", "padding", "order", "no axes", "scales"],
)
def test_meaning_that_onnx_lacks_is_refused(build: Build, complaint: str):
    """Nothing is translated into something that is nearly the same."""
    with pytest.raises(BundleError, match=complaint):
        to_onnx(graph_of(build))


def test_open_shape_is_refused():
    """A graph of a bundle judges one picture of one size."""
    given = ops.parameter([-1, 3], np.float32, name="x")
    with pytest.raises(BundleError, match="shapes are not static"):
        to_onnx(openvino.Model([ops.result(ops.abs(given))], [given], "graph"))

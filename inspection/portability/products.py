"""Translates products and pools: convolutions, matrices, attention, averages, maxima of windows."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inspection.portability.constants import Int8
from inspection.portability.operation import Operation, Translate

CONVOLUTIONS = ("Convolution", "GroupConvolution")


def _convolution(operation: Operation) -> list[str]:
    return [_convolved(operation, [])]


def _convolved(operation: Operation, bias: Sequence[str]) -> str:
    groups = operation.shape(1)[0] if _grouped(operation) else 1
    settings = {**_windows(operation, _sides(operation)), "group": groups}
    weights = _weights(operation, joined=2 if _grouped(operation) else 1)
    return operation.add("Conv", [operation.name(0), weights, *bias], settings)


def _add(operation: Operation) -> list[str]:
    """Translate Add; a bias goes into the convolution before it, whose own node nobody needs then.

    ONNX's runtimes run a quantised convolution as one operation only so.
    """
    for number in (0, 1):
        node = operation.source(number).get_node()
        bias = operation.constants.value(operation.source(1 - number))
        if bias is None or node.get_type_name() not in CONVOLUTIONS:
            continue
        channels = operation.given_shape[1]
        alone = len(node.output(0).get_target_inputs()) == 1
        if alone and bias.ndim == len(operation.given_shape) and bias.shape[1] == bias.size:
            values = np.broadcast_to(bias.reshape(-1), channels)
            before = replace(operation, node=node)
            return [_convolved(before, [operation.writer.constant(values)])]
    return [operation.add("Add", operation.names())]


def _transposed_convolution(operation: Operation) -> list[str]:
    if operation.inputs > 2:
        raise operation.refused("has a size of its output as input; wanted padding that gives it")
    groups = operation.shape(1)[0] if _grouped(operation) else 1
    if str(operation.attributes.get("auto_pad", "explicit")).lower() != "explicit":
        raise operation.refused("pads by itself; wanted explicit padding")
    settings = {**_windows(operation, _sides(operation)), "group": groups}
    settings["output_padding"] = [*operation.attributes["output_padding"]]
    weights = _weights(operation, joined=2 if _grouped(operation) else 1)
    return [operation.add("ConvTranspose", [operation.name(0), weights], settings)]


def _sides(operation: Operation) -> tuple[int, ...]:
    """Give the sides of a kernel."""
    return operation.shape(1)[3 if _grouped(operation) else 2 :]


def _grouped(operation: Operation) -> bool:
    return operation.kind.startswith("Group")


def _weights(operation: Operation, joined: int) -> str:
    """Give a kernel as ONNX has it, its first `joined` axes made one."""
    shape = operation.shape(1)
    wanted = (int(np.prod(shape[:joined])), *shape[joined:])
    weights = operation.constants.int8(operation.source(1))
    if weights is None:
        values = operation.constants.value(operation.source(1))
        if values is None:
            return operation.reshaped(operation.name(1), wanted)
        return operation.writer.constant(values.reshape(wanted))
    axis, scale = max(0, weights.axis - (joined - 1)), weights.scale
    if joined > 1 and scale.ndim and weights.axis >= joined:
        raise operation.refused(
            f"has INT8 weights with scales along axis {weights.axis}; wanted them along one of the "
            f"first {joined}, which ONNX joins"
        )
    if joined > 1 and scale.ndim:  # scales of a group, or of each of its channels
        along = [1] * len(shape)
        along[weights.axis] = -1
        factors = np.broadcast_to(
            scale.reshape(along), (*shape[:joined], *[1] * (len(shape) - joined))
        )
        scale = factors.reshape(-1)
    return operation.dequantised(Int8(weights.values.reshape(wanted), scale, axis))


def _windows(operation: Operation, kernel: Sequence[int]) -> dict[str, Any]:
    """Give strides, dilations and padding of a window of these sides that slides."""
    given, count = operation.attributes, len(kernel)
    strides = [*given["strides"]]
    dilations = [*given.get("dilations", [1] * count)]
    mode = str(given.get("auto_pad", "explicit")).lower()
    if mode in {"same_upper", "same_lower"}:
        pads = _same(operation.shape(0)[2:], kernel, strides, dilations, upper=mode == "same_upper")
    elif mode == "valid":
        pads = [0] * 2 * count
    else:
        pads = [*given["pads_begin"], *given["pads_end"]]
    return {"strides": strides, "pads": pads, "dilations": dilations}


def _same(
    sides: Sequence[int],
    kernel: Sequence[int],
    strides: Sequence[int],
    dilations: Sequence[int],
    *,
    upper: bool,
) -> list[int]:
    """Pad so that the output has as many cells as strides fit in; what is odd goes to one end."""
    begins, ends = [], []
    for side, width, stride, dilation in zip(sides, kernel, strides, dilations, strict=True):
        reach = (-(-side // stride) - 1) * stride + dilation * (width - 1) + 1
        total = max(0, reach - side)
        less, more = total // 2, total - total // 2
        begins.append(less if upper else more)
        ends.append(more if upper else less)
    return begins + ends


def _pool(operation: Operation) -> list[str]:
    given, maximum = operation.attributes, operation.kind == "MaxPool"
    kernel = [*given["kernel"]]
    settings = {**_windows(operation, kernel), "kernel_shape": kernel}
    settings["ceil_mode"] = int(str(given.get("rounding_type", "floor")).lower() != "floor")
    if not maximum:
        settings["count_include_pad"] = int(not given["exclude-pad"])
        settings.pop("dilations", None)  # AveragePool has them since opset 19; ours have none
    elif operation.node.get_output_size() > 1 and operation.node.output(1).get_target_inputs():
        raise operation.refused("its places of the maxima are used; wanted its values only")
    return [operation.add("MaxPool" if maximum else "AveragePool", [operation.name(0)], settings)]


def _adaptive_average(operation: Operation) -> list[str]:
    """Average windows that part an axis as evenly as can be; uneven ones are a product.

    Cell i of n covers cells floor(i·m / n) to ceil((i + 1)·m / n) of m, as torch has it.
    """
    before, after = operation.shape(0)[2:], operation.given_shape[2:]
    if not any(side % count for side, count in zip(before, after, strict=True)):
        sides = [side // count for side, count in zip(before, after, strict=True)]
        settings = {"kernel_shape": sides, "strides": sides}
        return [operation.add("AveragePool", [operation.name(0)], settings)]
    if len(before) > 2:
        raise operation.refused(f"pools {before} to {after}; wanted two axes at most")
    matrices = [_averages(*pair) for pair in zip(before, after, strict=True)]
    found = operation.add("MatMul", [operation.name(0), operation.writer.constant(matrices[-1].T)])
    if len(matrices) > 1:
        found = operation.add("MatMul", [operation.writer.constant(matrices[0]), found])
    return [found]


def _averages(side: int, count: int) -> NDArray[np.float32]:
    """Give the matrix (count, side) that averages the windows of an axis."""
    matrix = np.zeros((count, side), np.float32)
    for cell, row in enumerate(matrix):
        first, last = cell * side // count, -(-(cell + 1) * side // count)
        row[first:last] = 1 / (last - first)
    return matrix


def _matmul(operation: Operation) -> list[str]:
    given = operation.attributes
    names = [
        _factor(operation, number, transposed=bool(given[f"transpose_{letter}"]))
        for number, letter in enumerate("ab")
    ]
    return [operation.add("MatMul", names)]


def _factor(operation: Operation, number: int, *, transposed: bool) -> str:
    rank = len(operation.shape(number))
    if not transposed or rank < 2:
        return operation.name(number)
    weights = operation.constants.int8(operation.source(number))
    if weights is not None:
        return operation.dequantised(weights.transposed())
    return operation.add("Transpose", [operation.name(number)], {"perm": _turned(rank)})


def _turned(rank: int) -> list[int]:
    return [*range(rank - 2), rank - 1, rank - 2]


def _attention(operation: Operation) -> list[str]:
    """softmax(q·kᵀ · scale + mask) · v (Vaswani et al. 2017), scale 1/√d where none is given."""
    if operation.attributes.get("causal") or operation.inputs > 5:
        raise operation.refused("is causal or has a sink; wanted plain attention")
    add, (query, key, value) = operation.add, (operation.name(number) for number in range(3))
    scale = operation.scalar(operation.shape(0)[-1] ** -0.5)
    if operation.inputs > 4:
        scale = operation.name(4)
    turned = add("Transpose", [key], {"perm": _turned(len(operation.shape(1)))})
    product = add("MatMul", [add("Mul", [query, scale]), turned])
    if operation.inputs > 3 and not _is_nothing(operation.constants.value(operation.source(3))):
        product = add("Add", [product, operation.name(3)])
    return [add("MatMul", [add("Softmax", [product], {"axis": -1}), value])]


def _is_nothing(mask: NDArray[Any] | None) -> bool:
    return mask is not None and not mask.any()


def _einsum(operation: Operation) -> list[str]:
    equation = {"equation": operation.attributes["equation"]}
    return [operation.add("Einsum", operation.names(), equation)]


def _batch_norm(operation: Operation) -> list[str]:
    settings = {"epsilon": operation.attributes["epsilon"]}
    return [operation.add("BatchNormalization", operation.names(), settings)]


def _grid_sample(operation: Operation) -> list[str]:
    given = operation.attributes
    settings = {
        "mode": str(given["mode"]).lower(),
        "padding_mode": str(given["padding_mode"]).lower(),
        "align_corners": int(given["align_corners"]),
    }
    return [operation.add("GridSample", operation.names(), settings)]


PRODUCTS: Mapping[str, Translate] = {
    **dict.fromkeys(CONVOLUTIONS, _convolution),
    "Add": _add,
    **dict.fromkeys(
        ("ConvolutionBackpropData", "GroupConvolutionBackpropData"), _transposed_convolution
    ),
    **dict.fromkeys(("AvgPool", "MaxPool"), _pool),
    "AdaptiveAvgPool": _adaptive_average,
    "BatchNormInference": _batch_norm,
    "Einsum": _einsum,
    "GridSample": _grid_sample,
    "MatMul": _matmul,
    "ScaledDotProductAttention": _attention,
}

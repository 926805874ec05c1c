"""Translates operations on each value by itself, on sums of values, and on their order."""

import math
from collections.abc import Mapping

import numpy as np
from onnx import helper

from inspection.portability.operation import Operation, Translate

RENAMED = {  # the same inputs, the same meaning
    **{kind: kind for kind in ("Abs", "Cos", "Erf", "Exp", "Floor", "Log", "Sigmoid", "Sign")},
    **{kind: kind for kind in ("Sin", "Sqrt", "Tan", "Tanh", "Equal", "Greater", "Less")},
    **{"Ceiling": "Ceil", "Negative": "Neg", "ReLU": "Relu", "Relu": "Relu"},
    **{"SoftPlus": "Softplus", "HSwish": "HardSwish", "LogicalNot": "Not", "LogicalAnd": "And"},
    **{"LogicalOr": "Or", "LogicalXor": "Xor", "Subtract": "Sub", "Multiply": "Mul"},
    **{"Power": "Pow", "Maximum": "Max", "Minimum": "Min", "GreaterEqual": "GreaterOrEqual"},
    **{"LessEqual": "LessOrEqual", "Select": "Where"},
}
REDUCED = {
    f"Reduce{kind}": f"Reduce{kind}" for kind in ("Max", "Min", "Mean", "Prod", "L1", "L2", "Sum")
}
ROUNDED = {"half_to_even": "Round"}


def _renamed(operation: Operation) -> list[str]:
    return [operation.add(RENAMED[operation.kind], operation.names())]


def _divide(operation: Operation) -> list[str]:
    if not np.issubdtype(operation.dtype(0), np.floating):
        raise operation.refused("divides whole numbers; OpenVINO and ONNX round them differently")
    return [operation.add("Div", operation.names())]


def _round(operation: Operation) -> list[str]:
    mode = str(operation.attributes["mode"]).lower()
    if mode not in ROUNDED:
        raise operation.refused(f"rounds by {mode}; wanted half_to_even, as ONNX does")
    return [operation.add("Round", operation.names())]


def _floor_mod(operation: Operation) -> list[str]:
    if not np.issubdtype(operation.dtype(0), np.floating):
        return [operation.add("Mod", operation.names())]
    first, second = operation.names()
    whole = operation.add("Floor", [operation.add("Div", [first, second])])
    return [operation.add("Sub", [first, operation.add("Mul", [whole, second])])]


def _mod(operation: Operation) -> list[str]:
    return [operation.add("Mod", operation.names(), {"fmod": 1})]


def _squared_difference(operation: Operation) -> list[str]:
    difference = operation.add("Sub", operation.names())
    return [operation.add("Mul", [difference, difference])]


def _clamp(operation: Operation) -> list[str]:
    limits = [operation.scalar(operation.attributes[name]) for name in ("min", "max")]
    return [operation.add("Clip", [operation.name(0), *limits])]


def _convert(operation: Operation) -> list[str]:
    wanted = operation.node.get_element_type().to_dtype()
    kind = helper.np_dtype_to_tensor_dtype(np.dtype(wanted))
    return [operation.add("Cast", [operation.name(0)], {"to": kind})]


def _identity(operation: Operation) -> list[str]:
    return [operation.name(0)]


def _gelu(operation: Operation) -> list[str]:
    """Give x / 2 · (1 + erf(x / √2)), or its approximation by tanh."""
    given, add = operation.name(0), operation.add
    if str(operation.attributes["approximation_mode"]).upper().endswith("ERF"):
        inner = add("Erf", [add("Div", [given, operation.scalar(math.sqrt(2))])])
    else:
        cube = add("Mul", [add("Mul", [given, given]), given])
        bent = add("Add", [given, add("Mul", [cube, operation.scalar(0.044715)])])
        inner = add("Tanh", [add("Mul", [bent, operation.scalar(math.sqrt(2 / math.pi))])])
    product = add("Mul", [given, add("Add", [inner, operation.scalar(1)])])
    return [add("Mul", [product, operation.scalar(0.5)])]


def _swish(operation: Operation) -> list[str]:
    given = operation.name(0)
    inner = operation.add("Mul", [given, operation.name(1)]) if operation.inputs > 1 else given
    return [operation.add("Mul", [given, operation.add("Sigmoid", [inner])])]


def _prelu(operation: Operation) -> list[str]:
    slope, rank = operation.array(1), len(operation.shape(0))
    if slope.ndim == 1 and rank > 1:  # one for each channel
        slope = slope.reshape(-1, *(1,) * (rank - 2))
    return [operation.add("PRelu", [operation.name(0), operation.writer.constant(slope)])]


def _elu(operation: Operation) -> list[str]:
    return [operation.add("Elu", [operation.name(0)], {"alpha": operation.attributes["alpha"]})]


def _reduced(operation: Operation) -> list[str]:
    kind, keep = REDUCED[operation.kind], int(operation.attributes["keep_dims"])
    axes = operation.integers(1)
    if not axes and kind in {"ReduceL1", "ReduceL2"}:
        raise operation.refused("has no axes; wanted one at least, for its meaning is not sure")
    if not axes:  # OpenVINO reduces nothing then, ONNX everything
        return [operation.name(0)]
    if kind == "ReduceSum":
        chosen = operation.writer.constant(np.array(axes, np.int64))
        return [operation.add(kind, [operation.name(0), chosen], {"keepdims": keep})]
    return [operation.add(kind, [operation.name(0)], {"axes": axes, "keepdims": keep})]


def _softmax(operation: Operation) -> list[str]:
    axis = {"axis": int(operation.attributes["axis"])}
    return [operation.add(operation.kind, [operation.name(0)], axis)]


def _mvn(operation: Operation) -> list[str]:
    """Bring mean to 0 and deviation to 1 along axes."""
    shape, given = operation.shape(0), operation.attributes
    axes = sorted(axis % len(shape) for axis in operation.integers(1))
    inside = str(given["eps_mode"]).lower().endswith("inside_sqrt")
    if given["normalize_variance"] and inside and axes == [*range(axes[0], len(shape))]:
        ones = operation.writer.constant(np.ones(shape[axes[0] :], operation.dtype(0)))
        settings = {"axis": axes[0], "epsilon": given["eps"]}
        return [operation.add("LayerNormalization", [operation.name(0), ones], settings)]
    add, mean = operation.add, {"axes": axes, "keepdims": 1}
    centred = add("Sub", [operation.name(0), add("ReduceMean", [operation.name(0)], mean)])
    if not given["normalize_variance"]:
        return [centred]
    variance, least = add("ReduceMean", [add("Mul", [centred, centred])], mean), given["eps"]
    if inside:
        deviation = add("Sqrt", [add("Add", [variance, operation.scalar(least)])])
    else:
        deviation = add("Add", [add("Sqrt", [variance]), operation.scalar(least)])
    return [add("Div", [centred, deviation])]


def _normalise_l2(operation: Operation) -> list[str]:
    """Give x / sqrt(Σx² + eps), or over the root of the larger of both."""
    add, given, least = (
        operation.add,
        operation.name(0),
        operation.scalar(operation.attributes["eps"]),
    )
    axes = operation.writer.constant(np.array(operation.integers(1), np.int64))
    squares = add("ReduceSum", [add("Mul", [given, given]), axes], {"keepdims": 1})
    mode = "Max" if str(operation.attributes["eps_mode"]).lower().endswith("max") else "Add"
    return [add("Div", [given, add("Sqrt", [add(mode, [squares, least])])])]


def _top_k(operation: Operation) -> list[str]:
    given = operation.attributes
    if str(given["sort"]).lower().endswith("index"):
        raise operation.refused("sorts by index; wanted value or none, as ONNX's TopK does")
    count = operation.writer.constant(np.array(operation.integers(1), np.int64))
    settings = {
        "axis": int(given["axis"]),
        "largest": int(str(given["mode"]).lower().endswith("max")),
        "sorted": int(not str(given["sort"]).lower().endswith("none")),
    }
    values, places = operation.writer.add("TopK", [operation.name(0), count], settings, outputs=2)
    wanted = operation.node.output(1).get_element_type().to_dtype()
    kind = helper.np_dtype_to_tensor_dtype(np.dtype(wanted))
    return [values, operation.add("Cast", [places], {"to": kind})]


def _cumulated(operation: Operation) -> list[str]:
    axis = operation.writer.constant(np.array(operation.integers(1)[0], np.int64))
    settings = {name: int(operation.attributes[name]) for name in ("exclusive", "reverse")}
    return [operation.add("CumSum", [operation.name(0), axis], settings)]


ELEMENTWISE: Mapping[str, Translate] = {
    **dict.fromkeys(RENAMED, _renamed),
    **dict.fromkeys(REDUCED, _reduced),
    "Clamp": _clamp,
    "Convert": _convert,
    "CumSum": _cumulated,
    "Divide": _divide,
    "Elu": _elu,
    "FloorMod": _floor_mod,
    "Gelu": _gelu,
    "Identity": _identity,
    "LogSoftmax": _softmax,
    "MVN": _mvn,
    "Mod": _mod,
    "NormalizeL2": _normalise_l2,
    "PRelu": _prelu,
    "Round": _round,
    "Softmax": _softmax,
    "SquaredDifference": _squared_difference,
    "Swish": _swish,
    "TopK": _top_k,
}

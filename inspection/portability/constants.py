"""Knows what of a graph is constant, and which constants are INT8 with a scale."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import openvino
from numpy.typing import NDArray
from openvino import Node, Output

Key = tuple[str, int]


@dataclass(frozen=True)
class Int8:
    """INT8 numbers that stand for values · scale, with one scale or one along one axis."""

    values: NDArray[np.int8]
    scale: NDArray[np.float32]
    """() or (n,)."""
    axis: int
    """Along which the scales lie; 0 where there is one for all."""

    def transposed(self) -> "Int8":
        """Exchange the last two axes."""
        axes = [*range(self.values.ndim)]
        axes[-2:] = axes[:-3:-1]
        return Int8(self.values.transpose(axes), self.scale, axes[self.axis])


class Constants:
    """Evaluates whatever does not depend on the input; shapes are static, so they do not."""

    def __init__(self) -> None:
        self._known: dict[Key, NDArray[Any] | None] = {}

    def value(self, output: Output) -> NDArray[Any] | None:
        """Give the values of an output; none where they depend on the input."""
        key = _key(output)
        if key not in self._known:
            for number, values in enumerate(self._evaluated(output.get_node())):
                self._known[key[0], number] = values
        return self._known[key]

    def int8(self, output: Output) -> Int8 | None:
        """Give INT8 numbers and scale, if that is how the values of an output are kept."""
        node = output.get_node()
        if self.value(output) is None or node.get_type_name() not in {"Multiply", "Reshape"}:
            return None
        if node.get_type_name() == "Reshape":
            inner = self.int8(node.input_value(0))
            return _reshaped(inner, tuple(output.get_shape())) if inner else None
        source, scale = (node.input_value(number) for number in (0, 1))
        if source.get_node().get_type_name() != "Convert":
            return None
        values = self.value(source.get_node().input_value(0))
        factors = self.value(scale)
        if values is None or factors is None or values.dtype != np.int8:
            return None
        return _scaled(values, factors)

    def _evaluated(self, node: Node) -> list[NDArray[Any] | None]:
        kind, count = node.get_type_name(), node.get_output_size()
        if kind == "Parameter":
            return [None] * count
        if kind == "Constant":
            return [node.get_data()]
        if kind == "ShapeOf":
            return [np.array(node.input_value(0).get_shape(), node.get_element_type().to_dtype())]
        given = [self.value(node.input_value(number)) for number in range(node.get_input_size())]
        inputs = [openvino.Tensor(np.array(one)) for one in given if one is not None]
        if len(inputs) < len(given) or not given:
            return [None] * count
        outputs = [
            openvino.Tensor(port.get_element_type(), port.get_shape()) for port in node.outputs()
        ]
        if not node.evaluate(outputs, inputs):
            return [None] * count
        return [np.array(tensor.data) for tensor in outputs]


def _key(output: Output) -> Key:
    return output.get_node().get_friendly_name(), output.get_index()


def _scaled(values: NDArray[np.int8], factors: NDArray[Any]) -> Int8 | None:
    """Say along which axis factors, broadcast to the values, lie; none where along several."""
    shape = (1,) * (values.ndim - factors.ndim) + factors.shape
    axes = [axis for axis, side in enumerate(shape) if side > 1]
    if len(axes) > 1:
        return None
    scale = factors.astype(np.float32).reshape(-1 if axes else ())
    return Int8(values, scale, axes[0] if axes else 0)


def _reshaped(weights: Int8, shape: tuple[int, ...]) -> Int8 | None:
    """Give weights another shape, where their scales stay along one axis."""
    if not weights.scale.ndim:
        return Int8(weights.values.reshape(shape), weights.scale, 0)
    before = weights.values.shape
    inner = int(np.prod(before[weights.axis + 1 :]))
    for axis, side in enumerate(shape):
        if side == before[weights.axis] and int(np.prod(shape[axis + 1 :])) == inner:
            return Int8(weights.values.reshape(shape), weights.scale, axis)
    return None

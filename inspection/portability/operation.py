"""One operation of an OpenVINO graph, as those who translate it see it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from openvino import Node, Output

from inspection.core.errors import BundleError
from inspection.portability.constants import Constants, Int8
from inspection.portability.writer import Writer


@dataclass(frozen=True)
class Operation:
    """An operation whose inputs are in the ONNX graph already."""

    node: Node
    writer: Writer
    constants: Constants
    tensors: Mapping[tuple[str, int], str]
    """Names in the ONNX graph of outputs that depend on the input."""

    @property
    def kind(self) -> str:
        """Its type, as OpenVINO names it."""
        return str(self.node.get_type_name())

    @property
    def inputs(self) -> int:
        """How many inputs it has."""
        return int(self.node.get_input_size())

    def source(self, number: int) -> Output:
        """Give where an input comes from."""
        return self.node.input_value(number)

    def name(self, number: int) -> str:
        """Give the name of an input; a constant comes into the graph by it."""
        source = self.source(number)
        weights = self.constants.int8(source)
        if weights is not None:
            return self.dequantised(weights)
        values = self.constants.value(source)
        if values is not None:
            return self.writer.constant(values)
        return self.tensors[source.get_node().get_friendly_name(), source.get_index()]

    def names(self) -> list[str]:
        """Give the names of all inputs."""
        return [self.name(number) for number in range(self.inputs)]

    def array(self, number: int) -> NDArray[Any]:
        """Give the values of an input that must be constant.

        Raises:
            BundleError: it is not.
        """
        values = self.constants.value(self.source(number))
        if values is None:
            raise self.refused(f"its input {number} depends on the picture; wanted a constant")
        return values

    def integers(self, number: int) -> list[int]:
        """Give the whole numbers of an input that must be constant."""
        return [int(value) for value in self.array(number).reshape(-1)]

    def shape(self, number: int) -> tuple[int, ...]:
        """Give the shape of an input."""
        return tuple(self.source(number).get_shape())

    def dtype(self, number: int) -> np.dtype[Any]:
        """Give the type of an input's values."""
        dtype: np.dtype[Any] = np.dtype(self.source(number).get_element_type().to_dtype())
        return dtype

    @property
    def given_shape(self) -> tuple[int, ...]:
        """The shape of its first output."""
        return tuple(self.node.output(0).get_shape())

    @property
    def attributes(self) -> dict[str, Any]:
        """What it is set to."""
        return dict(self.node.get_attributes())

    def add(
        self, kind: str, inputs: Sequence[str], attributes: Mapping[str, Any] | None = None
    ) -> str:
        """Add a node of one output and give its name."""
        return self.writer.add(kind, inputs, attributes)[0]

    def scalar(self, value: float) -> str:
        """Add a number of its first input's type."""
        return self.writer.constant(np.array(value, self.dtype(0)))

    def reshaped(self, name: str, shape: Sequence[int]) -> str:
        """Bring a tensor into a shape."""
        return self.add("Reshape", [name, self.writer.constant(np.array(shape, np.int64))])

    def dequantised(self, weights: Int8) -> str:
        """Add INT8 numbers and what makes floats of them."""
        zeros = np.zeros(weights.scale.shape, np.int8)
        inputs = [self.writer.constant(one) for one in (weights.values, weights.scale, zeros)]
        return self.add("DequantizeLinear", inputs, {"axis": weights.axis})

    def refused(self, why: str) -> BundleError:
        """Say why it cannot be translated."""
        return BundleError(f"{self.kind} '{self.node.get_friendly_name()}': {why}")


Translate = Callable[[Operation], list[str]]
"""Adds what an operation does to the ONNX graph; gives the names of its outputs."""

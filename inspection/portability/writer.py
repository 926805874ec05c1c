"""Collects the nodes and constants of an ONNX graph and makes a model of what its outputs need."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import DTypeLike, NDArray
from onnx import helper, numpy_helper

OPSET, IR_VERSION = 17, 8  # LayerNormalization came with 17; the older both, the more read them
PRODUCER = "inspection"


@dataclass(frozen=True)
class Port:
    """An input or output of the model: name, type of its values, shape."""

    name: str
    dtype: DTypeLike
    shape: tuple[int, ...]

    @property
    def proto(self) -> onnx.ValueInfoProto:
        """The same as ONNX says it."""
        kind = helper.np_dtype_to_tensor_dtype(np.dtype(self.dtype))
        return helper.make_tensor_value_info(self.name, kind, self.shape)


class Writer:
    """An ONNX graph that grows; tensors are known by name."""

    def __init__(self) -> None:
        self._nodes: list[onnx.NodeProto] = []
        self._constants: dict[str, onnx.TensorProto] = {}

    def add(
        self,
        kind: str,
        inputs: Sequence[str],
        attributes: Mapping[str, Any] | None = None,
        outputs: int = 1,
    ) -> list[str]:
        """Add a node and give the names of its outputs."""
        number = len(self._nodes)
        names = [f"{kind}_{number}_{output}" for output in range(outputs)]
        node = helper.make_node(kind, list(inputs), names, f"{kind}_{number}", **attributes or {})
        self._nodes.append(node)
        return names

    def constant(self, values: NDArray[Any]) -> str:
        """Add a constant and give its name."""
        name = f"constant_{len(self._constants)}"
        self._constants[name] = numpy_helper.from_array(np.array(values, order="C"), name)
        return name

    def finish(
        self, inputs: Sequence[Port], outputs: Sequence[Port], tensors: Sequence[str]
    ) -> onnx.ModelProto:
        """Give the model; what no output needs is left out.

        Args:
            inputs: of the model; nodes know them by their names.
            outputs: of the model.
            tensors: what they are called in here, one for each output.
        """
        results = [
            helper.make_node("Identity", [tensor], [port.name])
            for tensor, port in zip(tensors, outputs, strict=True)
        ]
        kept, needed = list(reversed(results)), set(tensors)
        for node in reversed(self._nodes):
            if needed.intersection(node.output):
                kept.append(node)
                needed.update(node.input)
        graph = helper.make_graph(
            kept[::-1],
            PRODUCER,
            [port.proto for port in inputs],
            [port.proto for port in outputs],
            [values for name, values in self._constants.items() if name in needed],
        )
        model = helper.make_model(
            graph, producer_name=PRODUCER, opset_imports=[helper.make_opsetid("", OPSET)]
        )
        model.ir_version = IR_VERSION
        return model

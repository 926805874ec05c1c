"""Translates an OpenVINO graph of static shapes into an ONNX model, operation by operation.

OpenVINO reads ONNX and cannot write it. What is translated is the graph of the bundle itself, so
that its bank, its search and its INT8 levels are the very same; nothing is trained or quantised
anew, and no run and no torch is needed.
"""

from collections.abc import Mapping

import numpy as np
import onnx
import openvino

from inspection.core.errors import BundleError
from inspection.portability.constants import Constants
from inspection.portability.elementwise import ELEMENTWISE
from inspection.portability.operation import Operation, Translate
from inspection.portability.products import PRODUCTS
from inspection.portability.quantised import fake_quantize
from inspection.portability.shapes import SHAPES
from inspection.portability.writer import Port, Writer

KNOWN: Mapping[str, Translate] = {
    **ELEMENTWISE,
    **SHAPES,
    **PRODUCTS,
    "FakeQuantize": fake_quantize,
}


def to_onnx(model: openvino.Model) -> onnx.ModelProto:
    """Translate a graph with named inputs and outputs.

    Raises:
        BundleError: an operation has no translation, all such are named; or a shape is not static.
    """
    if model.is_dynamic():
        raise BundleError("the graph's shapes are not static; wanted those of one picture")
    _require_known(model)
    writer, constants, tensors = Writer(), Constants(), dict[tuple[str, int], str]()
    for node in model.get_ordered_ops():
        kind, name = node.get_type_name(), node.get_friendly_name()
        if kind == "Parameter":
            tensors[name, 0] = node.output(0).get_any_name()
        elif kind != "Result" and constants.value(node.output(0)) is None:
            outputs = KNOWN[kind](Operation(node, writer, constants, tensors))
            tensors |= {(name, number): output for number, output in enumerate(outputs)}
    ends = [result.input_value(0) for result in model.get_results()]
    return writer.finish(
        [_port(port) for port in model.inputs],
        [_port(port) for port in model.outputs],
        [tensors[end.get_node().get_friendly_name(), end.get_index()] for end in ends],
    )


def _port(port: openvino.Output) -> Port:
    dtype = np.dtype(port.get_element_type().to_dtype())
    return Port(port.get_any_name(), dtype, tuple(port.get_shape()))


def _require_known(model: openvino.Model) -> None:
    """Refuse a graph with operations that have no translation, all at once."""
    constants = Constants()
    strange = {
        node.get_type_name()
        for node in model.get_ordered_ops()
        if node.get_type_name() != "Result"
        and constants.value(node.output(0)) is None  # of all, in order: it need not look back far
        and node.get_type_name() not in {*KNOWN, "Parameter"}
    }
    if strange:
        raise BundleError(
            f"operations {', '.join(sorted(strange))}: have no ONNX form here; wanted others; "
            "judge by OpenVINO, or ask for them"
        )

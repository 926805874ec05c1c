"""Small ONNX graphs with the outputs that frameworks' exports have."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

OPSET = 17
CELL_PX = 8


def save(path: Path, nodes, stored, outputs, shape) -> Path:
    """Save a graph of one picture."""
    graph = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, shape)],
        [
            helper.make_tensor_value_info(name, kind, shape)
            for name, (kind, shape) in outputs.items()
        ],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in stored.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=9)
    onnx.checker.check_model(model)
    onnx.save(model, path)
    return path


def same_always(path: Path, wanted: Mapping[str, np.ndarray], shape=(1, 3, 128, 160)) -> Path:
    """Give these outputs whatever the picture shows."""
    nodes = [
        helper.make_node("ReduceMean", ["images"], ["mean"], keepdims=0),
        helper.make_node("Mul", ["mean", "zero"], ["nothing"]),
    ]
    stored: dict[str, np.ndarray] = {"zero": np.float32(0)}
    kinds = {}
    for name, values in wanted.items():
        whole = values.dtype.kind == "i"
        stored[f"{name}.always"] = values.astype(np.int64 if whole else np.float32)
        added = "nothing"
        if whole:
            nodes.append(helper.make_node("Cast", ["nothing"], [f"{name}.0"], to=TensorProto.INT64))
            added = f"{name}.0"
        nodes.append(helper.make_node("Add", [f"{name}.always", added], [name]))
        kinds[name] = (TensorProto.INT64 if whole else TensorProto.FLOAT, values.shape)
    return save(path, nodes, stored, kinds, shape)


def colours(path: Path, shape=(1, 3, 128, 160), size_hw=(128, 160)) -> Path:
    """Find cells of 8 px that are red, green or blue, as YOLOv8 tells it; of pixels from 0 to 1."""
    kernel = np.zeros((3, 3, CELL_PX, CELL_PX), np.float32)
    for colour in range(3):
        kernel[colour] = -0.5
        kernel[colour, colour] = 1
    y, x = np.mgrid[: size_hw[0] // CELL_PX, : size_hw[1] // CELL_PX].reshape(2, -1)
    centre = (np.stack([x, y]) + 0.5) * CELL_PX
    boxes = np.concatenate([centre, np.full_like(centre, CELL_PX)])[None].astype(np.float32)
    stored = {
        "kernel": kernel * 10 / CELL_PX**2,
        "bias": np.full(3, -5, np.float32),
        "boxes": boxes,
        "list": np.array([1, 3, -1]),
    }
    nodes = [
        helper.make_node("Conv", ["images", "kernel", "bias"], ["map"], strides=[CELL_PX] * 2),
        helper.make_node("Sigmoid", ["map"], ["sure"]),
        helper.make_node("Reshape", ["sure", "list"], ["scores"]),
        helper.make_node("Concat", ["boxes", "scores"], ["output0"], axis=1),
    ]
    return save(
        path, nodes, stored, {"output0": (TensorProto.FLOAT, (1, 7, boxes.shape[2]))}, shape
    )

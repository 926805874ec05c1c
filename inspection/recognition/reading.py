"""Reads a foreign detector's graph and puts the pixels' preparation into it."""

from pathlib import Path

import numpy as np
import openvino
from openvino import opset13 as ops

from inspection.bundles.graph import openvino_core
from inspection.core.errors import BundleError, ConfigError
from inspection.detectors.detector import PIXELS
from inspection.detectors.layout import Picture


def read_graph(
    path: Path, picture: Picture, size_hw: tuple[int, int] | None
) -> tuple[openvino.Model, tuple[int, int]]:
    """Read a model and let it take uint8 (1, H, W, 3) RGB.

    Args:
        path: .onnx or .xml.
        picture: what the model takes.
        size_hw: height and width of its input; none takes the model's own.

    Returns:
        The model, and height and width of its input, px.

    Raises:
        BundleError: OpenVINO cannot read it, or it has not one input of a picture.
        ConfigError: its size is open and none is given, or another one is fixed.
    """
    try:
        model = openvino_core().read_model(path)
    except RuntimeError as error:
        raise BundleError(f"{path}: OpenVINO cannot read it ({error}); export it again") from error
    ranks = [port.partial_shape.rank for port in model.inputs]
    if len(ranks) != 1 or ranks[0].is_dynamic or ranks[0].get_length() not in (3, 4):
        shapes = ", ".join(str(port.partial_shape) for port in model.inputs)
        raise BundleError(
            f"{path}: inputs {shapes}; wanted one picture, with or without a batch's axis; export "
            "it without others"
        )
    input_hw = _size(path, model, picture, size_hw)
    _name_outputs(model)
    return with_pixels(model, picture, input_hw), input_hw


def _size(
    path: Path, model: openvino.Model, picture: Picture, size_hw: tuple[int, int] | None
) -> tuple[int, int]:
    shape = model.input().partial_shape
    batch = [1] * (shape.rank.get_length() - 3)
    first = len(batch) + (picture.channels == "first")
    open_ = [shape[first + i].is_dynamic for i in (0, 1)]
    own = [None if shape[first + i].is_dynamic else shape[first + i].get_length() for i in (0, 1)]
    if any(open_) and size_hw is None:
        raise ConfigError(f"{path}: the size of its input is open; name it by --size HEIGHTxWIDTH")
    chosen = size_hw or (own[0] or 0, own[1] or 0)
    if any(mine not in (None, given) for mine, given in zip(own, chosen, strict=True)):
        raise ConfigError(
            f"{path}: takes {own[0]}×{own[1]} px, height by width; --size says "
            f"{chosen[0]}×{chosen[1]}; leave it out"
        )
    wanted = [*batch, 3, *chosen] if picture.channels == "first" else [*batch, *chosen, 3]
    try:
        model.reshape(openvino.PartialShape(wanted))
    except RuntimeError as error:
        raise BundleError(
            f"{path}: takes {shape}, no {wanted}; mend picture.channels or the size ({error})"
        ) from error
    return chosen


def _name_outputs(model: openvino.Model) -> None:
    for number, port in enumerate(model.outputs):
        if not port.get_names():
            port.get_tensor().set_names({f"output{number}"})


def with_pixels(
    model: openvino.Model, picture: Picture, input_hw: tuple[int, int]
) -> openvino.Model:
    """Let a graph of normalised images take uint8 (1, H, W, 3) RGB: normalise and turn within."""
    pixels = ops.parameter([1, *input_hw, 3], np.uint8, PIXELS)
    pixels.get_output_tensor(0).set_names({PIXELS})
    seen = ops.convert(pixels, np.float32)
    if picture.colours == "bgr":
        seen = ops.gather(seen, np.array([2, 1, 0]), 3)
    seen = ops.divide(
        ops.subtract(seen, np.array(picture.mean, np.float32)), np.array(picture.std, np.float32)
    )
    old = model.get_parameters()[0]
    if picture.channels == "first":
        seen = ops.transpose(seen, np.array([0, 3, 1, 2]))
    if old.get_partial_shape().rank.get_length() == 3:
        seen = ops.squeeze(seen, np.array([0]))
    if old.get_element_type() != openvino.Type.f32:
        seen = ops.convert(seen, old.get_element_type().to_string())
    old.output(0).replace(seen.output(0))
    read = openvino.Model(model.get_results(), [pixels], "detector")
    read.validate_nodes_and_infer_types()
    return read

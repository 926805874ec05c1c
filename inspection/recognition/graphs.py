"""Turns a trained network into OpenVINO graphs that take pixels and give raw outputs."""

import warnings
from dataclasses import dataclass

import numpy as np
import openvino
import torch
from torch import nn
from torch.jit import TracerWarning  # type: ignore[attr-defined]

from inspection.core.errors import TrainingError
from inspection.detectors.layout import Picture
from inspection.detectors.regions import LEVELS, REGIONS, Regions
from inspection.recognition.networks.network import Taken, TakenHead
from inspection.recognition.reading import with_pixels
from inspection.training.quiet import quiet_libraries


@dataclass(frozen=True)
class Graphs:
    """The graphs of a detector."""

    first: openvino.Model
    """Takes uint8 (1, H, W, 3) RGB."""
    heads: dict[str, openvino.Model]


def convert(taken: Taken, input_hw: tuple[int, int]) -> Graphs:
    """Convert all graphs of a network, FP32, every size fixed.

    Raises:
        TrainingError: it uses an operation that OpenVINO cannot convert.
    """
    first = convert_first(taken.first, taken, input_hw)
    shapes = {port.get_any_name(): tuple(port.shape) for port in first.outputs}
    heads = {
        name: _convert_head(head, taken.regions, taken.regions.heads[name], shapes)
        for name, head in (taken.heads or {}).items()
        if taken.regions
    }
    return Graphs(first, heads)


def convert_first(module: nn.Module, taken: Taken, input_hw: tuple[int, int]) -> openvino.Model:
    """Convert what takes normalised images, and let it take pixels.

    Raises:
        TrainingError: it uses an operation that OpenVINO cannot convert.
    """
    model = _converted(module, (torch.zeros(1, 3, *input_hw),), taken.names)
    picture: Picture = taken.layout.picture
    return with_pixels(model, picture, input_hw)


def _convert_head(
    head: TakenHead, regions: Regions, rows: int, shapes: dict[str, tuple[int, ...]]
) -> openvino.Model:
    features = [torch.zeros(shapes[name]) for name in regions.features]
    whole = torch.tensor([[0.0, 0.0, 64.0, 64.0]]).repeat(rows, 1)
    levels = torch.from_numpy(np.eye(len(features), dtype=np.float32)[np.zeros(rows, int)])
    model = _converted(head.module, (*features, whole, levels), head.names)
    for port, name in zip(model.inputs, (*regions.features, REGIONS, LEVELS), strict=True):
        port.get_tensor().set_names({name})
    return model


def _converted(
    module: nn.Module, example: tuple[torch.Tensor, ...], names: tuple[str, ...]
) -> openvino.Model:
    module.eval()
    with quiet_libraries(), torch.inference_mode(), warnings.catch_warnings():
        warnings.simplefilter("ignore", TracerWarning)  # sizes are fixed
        try:
            model = openvino.convert_model(
                module,
                example_input=example if len(example) > 1 else example[0],
                input=[list(one.shape) for one in example],
            )
        except (
            RuntimeError,
            ValueError,
            TypeError,
            openvino.frontend.OpConversionFailure,
        ) as error:
            raise TrainingError(
                f"{type(module).__name__}: cannot be converted to OpenVINO ({error}); choose "
                "another network or backbone"
            ) from error
    for port, name in zip(model.outputs, names, strict=True):
        port.get_tensor().set_names({name})
    return model

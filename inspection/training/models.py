"""Builds any Anomalib image model by name and turns what was fitted into one OpenVINO graph.

The only place that knows Anomalib's constructors. Its pre-processor, post-processor, evaluator and
visualizer are switched off: normalisation is in our graph, thresholds are beside it.
"""

import difflib
import inspect
import warnings
from collections.abc import Callable
from typing import Any, cast

import anomalib.models
import numpy as np
import openvino
import torch
from anomalib.models.components import AnomalibModule, TimmFeatureExtractor
from anomalib.models.image.stfpm.torch_model import STFPMModel
from anomalib.models.image.winclip.torch_model import BACKBONE as WINCLIP_BACKBONE
from anomalib.models.image.winclip.torch_model import WinClipModel
from lightning.fabric.utilities.exceptions import MisconfigurationException
from openvino import opset13 as ops
from openvino.frontend import OpConversionFailure
from openvino.frontend.pytorch import ConversionExtension
from torch import Tensor, nn
from torch.jit import TracerWarning  # type: ignore[attr-defined]
from torch.nn import functional

from inspection.core.errors import TrainingError
from inspection.core.parts import FitTiles
from inspection.core.settings import BackboneConfig, TrainConfig
from inspection.training.efficientad import LocalEfficientAd
from inspection.training.frames import InputNorm
from inspection.training.options import (
    constructor_options,
    normalisation,
    require_known,
    resolve_backbone,
    takes_layers,
)
from inspection.training.patchcore import BankPatchcore
from inspection.training.weights import WeightsLog
from inspection.training.winclip_map import WinClipEmbedding, WinClipMap

LIBRARY_ERRORS = (  # what Anomalib, Lightning, timm and OpenVINO raise on what they cannot do
    ArithmeticError,
    AssertionError,
    AttributeError,
    ImportError,
    LookupError,
    MisconfigurationException,
    OpConversionFailure,
    OSError,
    RuntimeError,
    TypeError,
    ValueError,
)


def resolve_config(config: TrainConfig) -> TrainConfig:
    """Write the chosen model's own backbone where the configuration names none.

    Raises:
        TrainingError: there is no such model.
    """
    kind = model_class(config.model)
    if kind is anomalib.models.Patchcore:
        return config
    if kind is anomalib.models.WinClip and "name" not in config.backbone.model_fields_set:
        backbone = config.backbone.model_copy(update={"name": WINCLIP_BACKBONE})
        return config.model_copy(update={"backbone": backbone})
    return resolve_backbone(config, kind)


def build_model(
    config: TrainConfig, tiles: FitTiles, log: WeightsLog | None = None
) -> AnomalibModule:
    """Build the model the configuration names.

    Args:
        config: of the training, resolved.
        tiles: of the fit split.
        log: takes the weights that a model loads by itself; none for PatchCore.

    Raises:
        TrainingError: the name or an option is unknown to Anomalib, or it cannot be built so.
    """
    kind = model_class(config.model)
    log = log or WeightsLog(config.backbone)
    if kind is anomalib.models.WinClip:
        from inspection.training.winclip import (
            build_winclip,
        )  # needs open_clip, which others do not
    try:
        if kind is anomalib.models.Patchcore:
            model = BankPatchcore(config, tiles)
        elif kind is anomalib.models.WinClip:
            require_known(config, kind)
            model = build_winclip(config, tiles, input_norm(config), log)
        elif kind is anomalib.models.EfficientAd:
            options = constructor_options(config, kind)
            model = LocalEfficientAd(log, options)
        else:
            model = kind(**constructor_options(config, kind))
    except LIBRARY_ERRORS as error:
        raise TrainingError(f"{config.model}: cannot be built: {error}") from error
    model.pre_processor = None
    _require_layers(model, kind, config.backbone)
    return model


def _require_layers(
    model: AnomalibModule, kind: type[AnomalibModule], backbone: BackboneConfig
) -> None:
    """Refuse layers that Anomalib dropped with a mere warning, or would name in the wrong order."""
    named = kind is anomalib.models.Patchcore or "layers" in backbone.model_fields_set
    if not (named and takes_layers(kind)):
        return  # some count their layers instead of naming them
    extractors = [part for part in model.modules() if isinstance(part, TimmFeatureExtractor)]
    for extractor in (part for part in extractors if part.backbone == backbone.name):
        lost = [layer for layer in backbone.layers if layer not in extractor.layers]
        if lost:
            info = extractor.feature_extractor.feature_info.info
            raise TrainingError(
                f"backbone.layers: {backbone.name} has no {', '.join(lost)}; "
                f"it has {', '.join(layer['module'] for layer in info)}"
            )
        if list(extractor.idx) != sorted(set(extractor.idx)):
            raise TrainingError(
                f"backbone.layers: found {', '.join(backbone.layers)}; wanted each once, in the "
                "order of the network, finest first"
            )


def model_class(name: str) -> type[AnomalibModule]:
    """Find an Anomalib image model by its class name, letter case aside.

    Raises:
        TrainingError: there is none; near names are suggested.
    """
    known = {
        key.lower(): value
        for key, value in vars(anomalib.models).items()
        if inspect.isclass(value) and issubclass(value, AnomalibModule)
    }
    if name.lower() in known:
        return cast("type[AnomalibModule]", known[name.lower()])
    near = difflib.get_close_matches(name.lower(), known, n=1)
    hint = f"; did you mean '{known[near[0]].__name__}'?" if near else ""
    names = ", ".join(sorted(kind.__name__ for kind in known.values()))
    raise TrainingError(f"model: '{name}' is no Anomalib image model{hint} (there are {names})")


def input_norm(config: TrainConfig) -> InputNorm:
    """Give the normalisation the model was designed for, as a module of the graph."""
    per_image = config.backbone.normalise == "per_image"
    step = normalisation(model_class(config.model))
    mean, std = (step.mean, step.std) if step else ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
    return InputNorm(mean, std, per_image=per_image)


class FeatureGraph(nn.Module):
    """PatchCore's part of the graph that is learnt by nobody: uint8 N×H×W×3 → feature maps."""

    def __init__(self, model: BankPatchcore, norm: InputNorm) -> None:
        super().__init__()
        self.norm, self.extractor = norm, model.model.feature_extractor
        self.names = [f"feature.{layer}" for layer in model.model.layers]

    def forward(self, pixels: Tensor) -> tuple[Tensor, ...]:
        """Give one float32 N×C×h×w map per layer."""
        return tuple(self.extractor(self.norm(pixels)).values())


class MapGraph(nn.Module):
    """Any fitted model as uint8 N×H×W×3 → (raw score map N×1×h×w, its feature maps …)."""

    def __init__(self, model: AnomalibModule, norm: InputNorm) -> None:
        super().__init__()
        self.norm = norm
        self.model = _lean(model.model)
        self.names = ["score_map"]
        self._seen: dict[str, Tensor] = {}
        for name, module in self.model.named_modules():
            if isinstance(module, TimmFeatureExtractor | WinClipEmbedding):
                module.register_forward_hook(self._keep(name))

    def _keep(self, name: str) -> Callable[..., None]:
        def hook(_module: nn.Module, _inputs: object, output: dict[str, Tensor]) -> None:
            if not isinstance(output, dict):
                return
            self._seen |= {f"feature.{name}.{layer}": value for layer, value in output.items()}

        return hook

    def forward(self, pixels: Tensor) -> tuple[Tensor, ...]:
        """Give the map, then the features; a model without a map gives its score as a 1×1 map."""
        self._seen.clear()
        output = self.model(self.norm(pixels).contiguous())  # some models take views
        self.names = ["score_map", *self._seen]
        score_map = output if isinstance(output, Tensor) else output.anomaly_map
        if score_map is None:
            score_map = output.pred_score.reshape(-1, 1, 1, 1)
        if score_map.ndim == 3:
            score_map = score_map.unsqueeze(1)
        return (score_map, *self._seen.values())


def _lean(fitted: nn.Module) -> nn.Module:
    """Give a form of a fitted model that makes its map at its own resolution, where we have one."""
    if isinstance(fitted, STFPMModel):
        return StfpmMap(fitted)
    return WinClipMap(fitted) if isinstance(fitted, WinClipModel) else fitted


class StfpmMap(nn.Module):
    """STFPM's distance at the resolution of its finest layer instead of the full image.

    Wang et al., "Student-Teacher Feature Pyramid Matching" (2021), equation 4: half the squared
    distance of the normalised features, which is one minus their cosine; layers are multiplied.
    """

    def __init__(self, fitted: STFPMModel) -> None:
        super().__init__()
        self.teacher_model, self.student_model = fitted.teacher_model, fitted.student_model

    def forward(self, image: Tensor) -> Tensor:
        """Give the raw map, N×1×h×w."""
        teacher, student = self.teacher_model(image), self.student_model(image)
        size = next(iter(teacher.values())).shape[-2:]
        layers = [
            (1 - functional.cosine_similarity(wanted, student[name], dim=1, eps=1e-8)).unsqueeze(1)
            for name, wanted in teacher.items()
        ]
        product = layers[0]
        for layer in layers[1:]:
            product = product * functional.interpolate(
                layer, size=size, mode="bilinear", align_corners=False
            )
        return product


def to_openvino(graph: FeatureGraph | MapGraph, config: TrainConfig) -> openvino.Model:
    """Convert a fitted graph at batch 1, with its outputs named.

    Raises:
        TrainingError: the model uses an operation OpenVINO cannot convert.
    """
    size = [1, config.geometry.height_px, config.geometry.width_px, 3]
    example = torch.zeros(size, dtype=torch.uint8)
    extensions = [
        ConversionExtension("aten::cosine_similarity", _cosine_similarity),
        ConversionExtension("aten::mse_loss", _squared_error),
    ]
    graph.eval()
    with torch.inference_mode(), warnings.catch_warnings():
        warnings.simplefilter("ignore", TracerWarning)  # the input's size is static
        try:
            outputs = graph(example)  # names of hooked features are known after one pass
        except LIBRARY_ERRORS as error:
            raise TrainingError(
                f"{config.model}: cannot judge after fitting: {error}; it may need more fit images "
                "than there are, or another input size"
            ) from error
        _require_map(graph, tuple(outputs[0].shape), config)
        try:
            converted = openvino.convert_model(
                graph, example_input=example, input=size, extension=extensions
            )
        except LIBRARY_ERRORS as error:
            raise TrainingError(
                f"{config.model}: cannot be converted to OpenVINO: {error}"
            ) from error
    for output, name in zip(converted.outputs, graph.names, strict=True):
        output.get_tensor().set_names({name})
    converted.inputs[0].get_tensor().set_names({"pixels"})
    return converted


def _require_map(
    graph: FeatureGraph | MapGraph, shape: tuple[int, ...], config: TrainConfig
) -> None:
    """Refuse a model that gives anything but one map for one part."""
    if isinstance(graph, MapGraph) and (len(shape) != 4 or shape[:2] != (1, 1)):
        raise TrainingError(
            f"{config.model}: gives {shape} for one part of {config.geometry.height_px}×"
            f"{config.geometry.width_px} px; wanted (1, 1, h, w); try a square geometry"
        )


def _squared_error(context: Any) -> Any:
    """Give OpenVINO what it lacks: the squared error of two tensors, value by value."""
    reduction = context.get_values_from_const_input(2)
    if reduction != 0:
        raise OpConversionFailure(f"aten::mse_loss: reduction is {reduction}; wanted 0, none")
    return ops.squared_difference(context.get_input(0), context.get_input(1)).outputs()


def _cosine_similarity(context: Any) -> Any:
    """Give OpenVINO what it lacks: the cosine of two tensors along one axis, as torch does it."""
    first, second = context.get_input(0), context.get_input(1)
    axis = np.array([context.get_values_from_const_input(2)], np.int64)
    least = np.float32(context.get_values_from_const_input(3))
    dot = ops.reduce_sum(ops.multiply(first, second), axis)
    lengths = [ops.reduce_l2(side, axis) for side in (first, second)]
    return ops.divide(dot, ops.maximum(ops.multiply(*lengths), least)).outputs()

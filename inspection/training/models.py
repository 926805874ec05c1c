"""Builds any Anomalib image model by name and turns what was fitted into one OpenVINO graph.

The only place that knows Anomalib's constructors. Its pre-processor, post-processor, evaluator and
visualizer are switched off: normalisation is in our graph, thresholds are beside it.
"""

import difflib
import inspect
from collections.abc import Callable
from typing import Any, cast

import anomalib.models
import openvino
import torch
from anomalib.models.components import AnomalibModule, TimmFeatureExtractor
from anomalib.models.image.stfpm.torch_model import STFPMModel
from torch import Tensor, nn
from torch.nn import functional
from torchvision.transforms.v2 import Compose, Normalize

from inspection.core.errors import TrainingError
from inspection.core.parts import FitTiles
from inspection.core.settings import TrainConfig
from inspection.training.frames import InputNorm
from inspection.training.patchcore import BankPatchcore

OFF = ("pre_processor", "post_processor", "evaluator", "visualizer")
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


def build_model(config: TrainConfig, tiles: FitTiles) -> AnomalibModule:
    """Build the model the configuration names.

    Raises:
        TrainingError: the name or an option is unknown to Anomalib.
    """
    kind = model_class(config.model)
    if kind is anomalib.models.Patchcore:
        return BankPatchcore(config, tiles)
    accepted = inspect.signature(kind).parameters
    options: dict[str, Any] = {name: False for name in OFF if name in accepted}
    if "backbone" in accepted:
        options["backbone"] = config.backbone.name
    if "layers" in accepted:
        options["layers"] = list(config.backbone.layers)
    unknown = sorted(set(config.model_options) - set(accepted))
    if unknown:
        raise TrainingError(
            f"model_options: {config.model} does not take {', '.join(unknown)}; "
            f"it takes {', '.join(sorted(set(accepted) - set(OFF)))}"
        )
    options |= {
        key: list(value) if isinstance(value, tuple) else value
        for key, value in config.model_options.items()
    }
    try:
        return kind(**options)
    except (OSError, ValueError, KeyError, RuntimeError, TypeError) as error:
        raise TrainingError(f"{config.model}: cannot be built: {error}") from error


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
    kind = model_class(config.model)
    size = (config.geometry.height_px, config.geometry.width_px)
    processor = kind.configure_pre_processor(image_size=size)
    transform = getattr(processor, "transform", None)
    steps = transform.transforms if isinstance(transform, Compose) else [transform]
    for step in steps:
        if isinstance(step, Normalize):
            return InputNorm(step.mean, step.std, per_image=per_image)
    return InputNorm((0.0, 0.0, 0.0), (1.0, 1.0, 1.0), per_image=per_image)


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
        self.model = StfpmMap(model.model) if isinstance(model.model, STFPMModel) else model.model
        self.names = ["score_map"]
        self._seen: list[Tensor] = []
        for name, module in self.model.named_modules():
            if isinstance(module, TimmFeatureExtractor):
                module.register_forward_hook(self._keep(name))

    def _keep(self, name: str) -> Callable[..., None]:
        def hook(_module: nn.Module, _inputs: object, output: dict[str, Tensor]) -> None:
            if not isinstance(output, dict):
                return
            for layer, value in output.items():
                self._seen.append(value)
                if (full := f"feature.{name}.{layer}") not in self.names:
                    self.names.append(full)

        return hook

    def forward(self, pixels: Tensor) -> tuple[Tensor, ...]:
        """Give the map, then the features; a model without a map gives its score as a 1×1 map."""
        self._seen.clear()
        output = self.model(self.norm(pixels))
        score_map = output if isinstance(output, Tensor) else output.anomaly_map
        if score_map is None:
            score_map = output.pred_score.reshape(-1, 1, 1, 1)
        if score_map.ndim == 3:
            score_map = score_map.unsqueeze(1)
        return (score_map, *self._seen)


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
        product = torch.ones(())
        for name, wanted in teacher.items():
            cosine = functional.cosine_similarity(wanted, student[name], dim=1, eps=1e-8)
            layer = (1 - cosine).unsqueeze(1)
            if layer.shape[-2:] != size:
                layer = functional.interpolate(
                    layer, size=size, mode="bilinear", align_corners=False
                )
            product = product * layer
        return product


def to_openvino(graph: FeatureGraph | MapGraph, config: TrainConfig) -> openvino.Model:
    """Convert a fitted graph at batch 1, with its outputs named.

    Raises:
        TrainingError: the model uses an operation OpenVINO cannot convert.
    """
    size = [1, config.geometry.height_px, config.geometry.width_px, 3]
    example = torch.zeros(size, dtype=torch.uint8)
    graph.eval()
    try:
        with torch.inference_mode():
            graph(example)  # names of hooked features are known after one pass
            converted = openvino.convert_model(graph, example_input=example, input=size)
    except (RuntimeError, ValueError, TypeError, NotImplementedError) as error:
        raise TrainingError(f"{config.model}: cannot be converted to OpenVINO: {error}") from error
    for output, name in zip(converted.outputs, graph.names, strict=True):
        output.get_tensor().set_names({name})
    converted.inputs[0].get_tensor().set_names({"pixels"})
    return converted

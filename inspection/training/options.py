"""Turns the configuration into the constructor arguments of an Anomalib model.

What the configuration leaves open is the model's own default, and is written into the record.
"""

import inspect
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from anomalib.models.components import AnomalibModule
from anomalib.pre_processing import PreProcessor
from torchvision.transforms.v2 import Compose, Normalize, Resize

from inspection.core.errors import TrainingError
from inspection.core.settings import BackboneConfig, TrainConfig

OFF = ("pre_processor", "post_processor", "evaluator", "visualizer")
BACKBONE = ("backbone", "encoder_name")  # what Anomalib's models call the backbone's name
LAYERS = ("layers", "layer")  # … and its feature layers
ELSEWHERE = {  # options that have their own place in the configuration
    **dict.fromkeys(BACKBONE, "backbone.name"),
    **dict.fromkeys(LAYERS, "backbone.layers"),
    "few_shot_source": "k_shot and show parts of the fit split",
}
PICTURES = {  # options that name a folder of further pictures; Anomalib would fetch them itself
    "imagenet_dir": "Imagenette, https://s3.amazonaws.com/fast-ai-imageclas/imagenette2.tgz",
    "dtd_dir": "the textures of https://www.robots.ox.ac.uk/~vgg/data/dtd",
    "anomaly_source_path": "the textures of https://www.robots.ox.ac.uk/~vgg/data/dtd",
}
Parameters = Mapping[str, inspect.Parameter]


def resolve_backbone(config: TrainConfig, kind: type[AnomalibModule]) -> TrainConfig:
    """Write the model's own backbone and layers where the configuration names none."""
    accepted, given = _parameters(kind), config.backbone.model_fields_set
    own: dict[str, Any] = {}
    name = next((accepted[key].default for key in BACKBONE if key in accepted), None)
    if "name" not in given and isinstance(name, str):
        own["name"] = name
    layers = next((accepted[key].default for key in LAYERS if key in accepted), None)
    layers = (layers,) if isinstance(layers, str) else tuple(layers or ())
    if "layers" not in given and layers and all(isinstance(layer, str) for layer in layers):
        own["layers"] = layers
    return config.model_copy(update={"backbone": config.backbone.model_copy(update=own)})


def constructor_options(config: TrainConfig, kind: type[AnomalibModule]) -> dict[str, Any]:
    """Give the arguments with which the configured model is built.

    Raises:
        TrainingError: an option is unknown to the model, stands elsewhere in the configuration, or
            names a folder that is missing.
    """
    accepted = _parameters(kind)
    require_known(config, kind)
    options: dict[str, Any] = {name: False for name in OFF if name in accepted}
    if "pre_processor" in accepted:  # switched off once built; models read their input size there
        options["pre_processor"] = _sized(config, kind)
    options |= _backbone_options(config, accepted)
    options |= {
        key: list(value) if isinstance(value, tuple) else value
        for key, value in config.model_options.items()
    }
    if "input_shape" in accepted:
        options.setdefault("input_shape", (config.geometry.height_px, config.geometry.width_px))
    _require_pictures(config.model, options, accepted)
    return options


def takes_layers(kind: type[AnomalibModule]) -> bool:
    """Say whether a model looks at feature layers of one's choice."""
    return bool(_parameters(kind).keys() & set(LAYERS))


def normalisation(kind: type[AnomalibModule]) -> Normalize | None:
    """Find the normalisation a model was designed for; none leaves pixels in [0, 1]."""
    transform = getattr(kind.configure_pre_processor(), "transform", None)
    steps = transform.transforms if isinstance(transform, Compose) else [transform]
    return next((step for step in steps if isinstance(step, Normalize)), None)


def _sized(config: TrainConfig, kind: type[AnomalibModule]) -> PreProcessor:
    size = (config.geometry.height_px, config.geometry.width_px)
    normalise = normalisation(kind)
    steps = [Resize(size, antialias=True)] + ([normalise] if normalise else [])
    return PreProcessor(transform=Compose(steps))


def _backbone_options(config: TrainConfig, accepted: Parameters) -> dict[str, Any]:
    """Pass on what was chosen; what a model cannot take is refused unless it is the default."""
    options: dict[str, Any] = {}
    given, backbone = config.backbone.model_fields_set, config.backbone
    name = next((key for key in BACKBONE if key in accepted), None)
    if "name" in given and name:
        options[name] = backbone.name
    elif "name" in given and backbone.name != BackboneConfig().name:
        raise TrainingError(f"backbone.name: {config.model} takes no backbone; leave it out")
    layers = next((key for key in LAYERS if key in accepted), None)
    if "layers" in given and layers:
        options[layers] = _as_counted(backbone.layers, accepted[layers])
    elif "layers" in given and backbone.layers != BackboneConfig().layers:
        raise TrainingError(f"backbone.layers: {config.model} takes no layers; leave them out")
    if layers == "layer" and "layers" in given:
        if len(backbone.layers) != 1:
            found = ", ".join(backbone.layers)
            raise TrainingError(f"backbone.layers: found {found}; {config.model} takes one layer")
        options[layers] = backbone.layers[0]
    return options


def _as_counted(layers: Sequence[str], parameter: inspect.Parameter) -> list[str] | list[int]:
    """Give layers as numbers to a model that counts its blocks instead of naming them.

    Raises:
        TrainingError: one is no number.
    """
    if "int" not in str(parameter.annotation):
        return list(layers)
    if unnumbered := [layer for layer in layers if not layer.isdecimal()]:
        raise TrainingError(
            f"backbone.layers: found {', '.join(unnumbered)}; wanted numbers of blocks, such as "
            f"those of the default, {parameter.default}"
        )
    return [int(layer) for layer in layers]


def require_known(config: TrainConfig, kind: type[AnomalibModule]) -> None:
    """Refuse options of a model that it does not take, or that stand elsewhere.

    Raises:
        TrainingError: names them.
    """
    accepted = _parameters(kind)
    for key in sorted(config.model_options.keys() & ELSEWHERE.keys()):
        raise TrainingError(f"model_options.{key}: has its own place; set {ELSEWHERE[key]}")
    free = set(accepted) - {*OFF, *ELSEWHERE}
    unknown = sorted(set(config.model_options) - free)
    if unknown:
        raise TrainingError(
            f"model_options: {config.model} does not take {', '.join(unknown)}; "
            f"it takes {', '.join(sorted(free)) or 'none'}"
        )


def _require_pictures(model: str, options: Mapping[str, Any], accepted: Parameters) -> None:
    for key in sorted(PICTURES.keys() & accepted.keys()):
        folder = options.get(key, accepted[key].default)
        if folder is None:
            continue
        given = key in options
        if not given or not Path(folder).is_dir() or not any(Path(folder).iterdir()):
            found = f"{folder} is no folder with pictures" if given else "is missing"
            raise TrainingError(
                f"model_options.{key}: {found}; {model} learns from further pictures besides good "
                f"parts: unpack {PICTURES[key]} or pictures of your own, in sub-folders, and name "
                "the folder"
            )


def _parameters(kind: type[AnomalibModule]) -> Parameters:
    return inspect.signature(kind).parameters

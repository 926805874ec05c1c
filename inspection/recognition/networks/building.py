"""Builds the network that a configuration names, with the weights it declares."""

from collections.abc import Callable

from inspection.core.errors import ConfigError
from inspection.core.records import Weights
from inspection.core.settings import BackboneConfig
from inspection.recognition.networks.centermask import CenterMask
from inspection.recognition.networks.dense import Fcos, Retina
from inspection.recognition.networks.maskrcnn import MaskRcnn
from inspection.recognition.networks.network import Network
from inspection.recognition.networks.pyramid import Pyramid
from inspection.recognition.settings import NetworkSettings
from inspection.training.weights import declared_weights


def build_network(
    settings: NetworkSettings, types: int, input_hw: tuple[int, int]
) -> tuple[Network, tuple[Weights, ...]]:
    """Build a network for so many types; say which weights it begins with.

    Args:
        settings: which network.
        types: how many there are to tell.
        input_hw: height and width of the input, px.

    Raises:
        TrainingError: its weights are not found, or timm has no such backbone.
        ConfigError: the hub has no such checkpoint, or transformers is not installed.
    """
    if settings.checkpoint:
        network, loaded = _load_huggingface(settings.checkpoint, types, input_hw)
        return network, (loaded,)
    backbone = BackboneConfig(
        name=settings.backbone,
        weights=settings.weights,
        allow_random_weights=settings.allow_random_weights,
    )
    with declared_weights(backbone) as log:
        network = _build(settings, types)
        log.require_file_used()
    return network, tuple(log.loaded)


def _load_huggingface(
    checkpoint: str, types: int, input_hw: tuple[int, int]
) -> tuple[Network, Weights]:
    try:
        from inspection.recognition.networks.huggingface import load_huggingface
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"{error.name} is not installed; network.name 'huggingface' needs it: "
            'pip install "inspection[refine]"'
        ) from error
    return load_huggingface(checkpoint, types, input_hw)


def _build(settings: NetworkSettings, types: int) -> Network:
    if settings.name == "maskrcnn":
        return MaskRcnn(Pyramid(settings.backbone, settings.channels, finest=4), types)
    pyramid = Pyramid(settings.backbone, settings.channels)
    kinds: dict[str, Callable[[Pyramid, int], Network]] = {
        "centermask": CenterMask,
        "fcos": Fcos,
        "retinanet": Retina,
    }
    return kinds[settings.name](pyramid, types)

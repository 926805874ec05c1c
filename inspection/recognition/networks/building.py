"""Builds the network that a configuration names, with the weights it declares."""

from collections.abc import Callable

from inspection.core.records import Weights
from inspection.core.settings import BackboneConfig
from inspection.recognition.networks.centermask import CenterMask
from inspection.recognition.networks.dense import Fcos, Retina
from inspection.recognition.networks.maskrcnn import MaskRcnn
from inspection.recognition.networks.network import Network
from inspection.recognition.networks.pyramid import Pyramid
from inspection.recognition.settings import NetworkSettings
from inspection.training.weights import declared_weights


def build_network(settings: NetworkSettings, types: int) -> tuple[Network, tuple[Weights, ...]]:
    """Build a network for so many types; say which weights it begins with.

    Raises:
        TrainingError: its weights are not found, or timm has no such backbone.
    """
    backbone = BackboneConfig(
        name=settings.backbone,
        weights=settings.weights,
        allow_random_weights=settings.allow_random_weights,
    )
    with declared_weights(backbone) as log:
        network = _build(settings, types)
        log.require_file_used()
    return network, tuple(log.loaded)


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

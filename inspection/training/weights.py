"""Finds backbone weights in a declared order and records which were used, with their hash.

The order: the file named in the configuration, the folder named by INSPECTION_WEIGHTS, weights
shipped with the package, the hub (timm's own download and cache), and only when allowed, random.
"""

import hashlib
import logging
import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, cast
from urllib.parse import urlparse

import timm
import torch
from safetensors import SafetensorError
from torch import nn

from inspection.core.errors import TrainingError
from inspection.core.records import Weights, hash_file
from inspection.core.settings import BackboneConfig

logger = logging.getLogger(__name__)

FOLDER_VARIABLE = "INSPECTION_WEIGHTS"
SHIPPED = Path(__file__).parent / "shipped"
HUB = "https://huggingface.co"  # timm's default; HF_ENDPOINT overrides it


@dataclass
class WeightsLog:
    """Which weights were loaded while a model was built, in order."""

    loaded: list[Weights] = field(default_factory=list)

    def add(self, weights: Weights) -> None:
        """Record weights once."""
        if weights not in self.loaded:
            self.loaded.append(weights)
            if weights.source == "random":
                logger.warning("random weights: %s", weights)


@contextmanager
def declared_weights(backbone: BackboneConfig) -> Iterator[WeightsLog]:
    """Make every pretrained timm model built inside take its weights in the declared order.

    Anomalib's models call `timm.create_model(pretrained=True)` themselves; this is the one place
    where they can be given local weights, so the function is replaced while they are built.

    Raises:
        TrainingError: from within, when no weights are found and random ones are not allowed.
    """
    log, create = WeightsLog(), timm.create_model

    def create_declared(model_name: str, pretrained: bool = False, **options: Any) -> nn.Module:
        if not pretrained:
            return cast("nn.Module", create(model_name, pretrained=False, **options))
        named_here = model_name.split(".")[0] == backbone.name.split(".")[0]
        return _load(create, model_name, options, backbone if named_here else None, log)

    timm.create_model = create_declared
    try:
        yield log
    finally:
        timm.create_model = create


def _load(
    create: Callable[..., nn.Module],
    name: str,
    options: dict[str, Any],
    backbone: BackboneConfig | None,
    log: WeightsLog,
) -> nn.Module:
    found = find_weights(name, backbone.weights if backbone else None)
    options = {key: value for key, value in options.items() if value is not None}
    if found:
        path, source = found
        model = _from_file(create, name, options, path)
        log.add(Weights(name=path.name, source=source, sha256=hash_file(path)))
        return model
    if hub_reachable():
        model = _from_hub(create, name, options)
        log.add(Weights(name=name, source="hub", sha256=hash_state(model)))
        return model
    if backbone is None or not backbone.allow_random_weights:
        raise TrainingError(_nothing_found(name))
    model = create(name, pretrained=False, **options)
    log.add(Weights(name=name, source="random", sha256=hash_state(model)))
    return model


def find_weights(
    name: str, configured: str | None
) -> tuple[Path, Literal["file", "folder", "shipped"]] | None:
    """Find a local safetensors file for a timm model.

    Args:
        name: timm model name; a file `<name>.safetensors` or `<name>.<tag>.safetensors` fits.
        configured: the file named in the configuration, which must exist.

    Raises:
        TrainingError: the named file is missing or no safetensors, or two files in a folder fit.
    """
    if configured:
        path = Path(configured).expanduser()
        if not path.is_file() or path.suffix != ".safetensors":
            raise TrainingError(
                f"backbone.weights: {path} is no safetensors file; name one or leave it out"
            )
        return path, "file"
    folder = os.environ.get(FOLDER_VARIABLE)
    if folder and (path_in := _single(Path(folder), name)):
        return path_in, "folder"
    shipped = _single(SHIPPED, name)
    return (shipped, "shipped") if shipped else None


def _single(folder: Path, name: str) -> Path | None:
    stem = name.split(".")[0]
    fits = sorted({*folder.glob(f"{stem}.safetensors"), *folder.glob(f"{stem}.*.safetensors")})
    exact = [path for path in fits if path.stem == name]
    fits = exact or fits
    if len(fits) > 1:
        names = ", ".join(path.name for path in fits)
        raise TrainingError(f"{folder}: {names} all fit '{name}'; name one in backbone.weights")
    return fits[0] if fits else None


def _from_file(
    create: Callable[..., nn.Module], name: str, options: dict[str, Any], path: Path
) -> nn.Module:
    seed = 0
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        fresh = create(name, pretrained=False, **options).state_dict()
        torch.manual_seed(seed)
        try:
            overlay = {"file": str(path)}
            model = create(name, pretrained=True, pretrained_cfg_overlay=overlay, **options)
        except (SafetensorError, OSError, RuntimeError) as error:
            raise TrainingError(f"{path}: cannot be loaded into {name}: {error}") from error
    untouched = [
        key
        for key, value in model.state_dict().items()
        if value.ndim > 1 and torch.equal(value, fresh[key])
    ]
    if untouched:
        raise TrainingError(
            f"{path}: has no weights for {len(untouched)} tensors of {name} "
            f"({', '.join(untouched[:3])} …); name the file that was made for this model"
        )
    return model


def _from_hub(create: Callable[..., nn.Module], name: str, options: dict[str, Any]) -> nn.Module:
    try:
        return create(name, pretrained=True, **options)
    except (OSError, RuntimeError) as error:
        raise TrainingError(f"{name}: the hub gave no weights ({error})") from error


def hub_reachable() -> bool:
    """Say whether the hub's name resolves; asked first, because its client retries for a minute."""
    if os.environ.get("HF_HUB_OFFLINE", "0") not in {"0", ""}:
        return False
    host = urlparse(os.environ.get("HF_ENDPOINT", HUB)).hostname or ""
    try:
        socket.getaddrinfo(host, 443)
    except OSError:
        return False
    return True


def hash_state(model: nn.Module) -> str:
    """Hash the tensors of a model by sha256, in the order of their names."""
    digest = hashlib.sha256()
    for key, value in sorted(model.state_dict().items()):
        digest.update(key.encode())
        digest.update(value.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def _nothing_found(name: str) -> str:
    return (
        f"{name}: no weights found; looked at backbone.weights, the folder {FOLDER_VARIABLE} "
        f"({os.environ.get(FOLDER_VARIABLE, 'not set')}), the package and the hub (not reachable); "
        f"put {name}.safetensors into a folder and name it in {FOLDER_VARIABLE}, or set "
        "backbone.allow_random_weights for a trial"
    )

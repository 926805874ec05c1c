"""Finds backbone weights in a declared order and records which were used, with their hash.

The order: the file named in the configuration, the folder named by INSPECTION_WEIGHTS, weights
shipped with the package, the hub (its cache first, then its download), and only when allowed,
random. The same order holds for models of timm and of torchvision.
"""

import difflib
import hashlib
import logging
import os
import socket
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, cast
from urllib.parse import urlparse

import timm
import torch
from anomalib.data.utils import download
from huggingface_hub import try_to_load_from_cache
from safetensors import SafetensorError, safe_open
from torch import nn
from torchvision.models import WeightsEnum

from inspection.core.errors import TrainingError
from inspection.core.records import Weights, hash_file
from inspection.core.settings import BackboneConfig
from inspection.core.shipped import BACKBONE
from inspection.networks import formulanet as _formulanet  # noqa: F401  # timm learns its name
from inspection.training import vision

logger = logging.getLogger(__name__)

FOLDER_VARIABLE = "INSPECTION_WEIGHTS"
HUB = "https://huggingface.co"  # timm's default; HF_ENDPOINT overrides it
CONNECT_S = 5.0  # longest wait for the hub's answer; its own client retries for a minute


@dataclass
class WeightsLog:
    """Which weights were loaded while a model was built, in order."""

    backbone: BackboneConfig
    loaded: list[Weights] = field(default_factory=list)

    def require_file_used(self) -> None:
        """Refuse a configured file that nothing took its weights from.

        Raises:
            TrainingError: `backbone.weights` names a file, and the model built no such backbone.
        """
        if self.backbone.weights and all(weights.source != "file" for weights in self.loaded):
            built = ", ".join(weights.name for weights in self.loaded) or "no pretrained model"
            raise TrainingError(
                f"backbone.weights: {self.backbone.weights} was not used; the model built {built}, "
                f"no {self.backbone.name}; put the file into the folder {FOLDER_VARIABLE} names"
            )

    def add(self, weights: Weights) -> None:
        """Record weights once."""
        if weights not in self.loaded:
            self.loaded.append(weights)
            if weights.source == "random":
                logger.warning("random weights: %s", weights)


@contextmanager
def declared_weights(backbone: BackboneConfig) -> Iterator[WeightsLog]:
    """Make every pretrained timm or torchvision model built inside take its declared weights.

    Anomalib's models call `timm.create_model(pretrained=True)` and torchvision's builders
    themselves; these two are the places where they can be given local weights, so both functions
    are replaced while the models are built and fitted. What Anomalib would download by itself,
    with no record of it, is refused.

    Raises:
        TrainingError: from within, when no weights are found and random ones are not allowed.
    """
    log, create, fetch = WeightsLog(backbone), timm.create_model, WeightsEnum.get_state_dict
    retrieve = download.urlretrieve

    def create_declared(model_name: str, pretrained: bool = False, **options: Any) -> nn.Module:
        _require_known(model_name)
        if not pretrained:
            return cast("nn.Module", create(model_name, pretrained=False, **options))
        return _load(create, model_name, options, log)

    def fetch_declared(weights: WeightsEnum, *_: Any, **__: Any) -> dict[str, torch.Tensor]:
        return _load_vision(fetch, weights, log)

    timm.create_model, WeightsEnum.get_state_dict = create_declared, fetch_declared
    download.urlretrieve = _refuse_download
    try:
        yield log
    finally:
        timm.create_model, WeightsEnum.get_state_dict = create, fetch
        download.urlretrieve = retrieve


def _refuse_download(url: str, filename: Path, **_: object) -> None:
    """Stand in for the download of Anomalib's own files."""
    raise TrainingError(f"{filename}: is missing; fetch it there yourself from {url}; train again")


def _load(
    create: Callable[..., nn.Module], name: str, options: dict[str, Any], log: WeightsLog
) -> nn.Module:
    options = {key: value for key, value in options.items() if value is not None}
    found = find_weights(name, _configured(name, log.backbone))
    if found:
        path, source = found
        model = _from_file(create, name, options, path)
        log.add(Weights(name=path.name, source=source, sha256=hash_file(path)))
        return model
    if cached := _hub_cache(name):
        model = _from_file(create, name, options, cached)
        log.add(Weights(name=name, source="hub", sha256=hash_state(model.state_dict())))
        return model
    if hub_reachable():
        model = _from_hub(create, name, options)
        log.add(Weights(name=name, source="hub", sha256=hash_state(model.state_dict())))
        return model
    if not log.backbone.allow_random_weights:
        raise TrainingError(_nothing_found(name))
    model = create(name, pretrained=False, **options)
    log.add(Weights(name=name, source="random", sha256=hash_state(model.state_dict())))
    return model


def _load_vision(
    fetch: Callable[..., dict[str, torch.Tensor]], weights: WeightsEnum, log: WeightsLog
) -> dict[str, torch.Tensor]:
    """Give the state of a torchvision model from the first declared place that has one."""
    name = vision.builder_name(weights)
    found = find_weights(name, _configured(name, log.backbone))
    if found:
        path, source = found
        state = vision.read_state(path, name)
        log.add(Weights(name=path.name, source=source, sha256=hash_file(path)))
        return state
    if vision.is_cached(weights) or (not _offline() and reachable(weights.url)):
        try:
            state = fetch(weights, progress=False, check_hash=True)
        except (OSError, RuntimeError) as error:
            raise TrainingError(f"{name}: {weights.url} gave no weights ({error})") from error
        log.add(Weights(name=f"torchvision {name}", source="hub", sha256=hash_state(state)))
        return state
    if not log.backbone.allow_random_weights:
        raise TrainingError(_nothing_found(name))
    state = vision.fresh_state(name)
    log.add(Weights(name=f"torchvision {name}", source="random", sha256=hash_state(state)))
    return state


def _configured(name: str, backbone: BackboneConfig) -> str | None:
    """Give the configured file for the backbone it was configured for, and for no other model."""
    return backbone.weights if name.split(".")[0] == backbone.name.split(".")[0] else None


def _require_known(name: str) -> None:
    """Refuse a name timm does not know; names with a colon or a slash are the hub's own."""
    bare = name.split(".")[0]
    if ":" in name or "/" in name or timm.is_model(bare):
        return
    near = difflib.get_close_matches(bare, timm.list_models(), n=1)
    hint = f"; did you mean '{near[0]}'?" if near else ""
    raise TrainingError(f"backbone: '{name}' is no timm model{hint}")


def find_weights(
    name: str, configured: str | None
) -> tuple[Path, Literal["file", "folder", "shipped"]] | None:
    """Find a local safetensors file for a timm model.

    Args:
        name: model name; a file `<name>.safetensors` or `<name>.<tag>.safetensors` fits.
        configured: the file named in the configuration, which must exist.

    Raises:
        TrainingError: the named file or the folder is missing, or two files in a folder fit.
    """
    if configured:
        path = Path(configured).expanduser()
        if not path.is_file() or path.suffix != ".safetensors":
            raise TrainingError(
                f"backbone.weights: {path} is no safetensors file; name one or leave it out"
            )
        return path, "file"
    if folder := os.environ.get(FOLDER_VARIABLE):
        place = Path(folder).expanduser()
        if not place.is_dir():
            raise TrainingError(f"{FOLDER_VARIABLE}: {place} is no folder; name one or unset it")
        if path_in := _single(place, name):
            return path_in, "folder"
    shipped = _single(BACKBONE, name)
    return (shipped, "shipped") if shipped else None


def _single(folder: Path, name: str) -> Path | None:
    fits = sorted({*folder.glob(f"{name}.safetensors"), *folder.glob(f"{name}.*.safetensors")})
    exact = [path for path in fits if path.stem == name]
    fits = exact or fits
    if len(fits) > 1:
        names = ", ".join(path.name for path in fits)
        raise TrainingError(f"{folder}: {names} all fit '{name}'; name one in backbone.weights")
    return fits[0] if fits else None


def _from_file(
    create: Callable[..., nn.Module], name: str, options: dict[str, Any], path: Path
) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        fresh = create(name, pretrained=False, **options)
        torch.manual_seed(0)
        try:
            plain = create(name, pretrained=False)
            native = _is_native(path, name, plain)
            torch.manual_seed(0)
            overlay = {"file": str(path)}
            model = create(name, pretrained=True, pretrained_cfg_overlay=overlay, **options)
        except (SafetensorError, OSError, RuntimeError) as error:
            raise TrainingError(f"{path}: cannot be loaded into {name}: {error}") from error
    if not native:
        _require_touched(path, name, model, fresh)
    return model


def _is_native(path: Path, name: str, plain: nn.Module) -> bool:
    """Say whether a file is in timm's own format, and refuse it if it is not of this model.

    Files in a foreign format, which timm converts while it loads, share no name with the model.

    Raises:
        TrainingError: it lacks tensors of the model or has those of another.
    """
    with safe_open(path, framework="pt") as file:
        found = {key: len(file.get_slice(key).get_shape()) for key in file.keys()}  # noqa: SIM118
    head = getattr(plain, "pretrained_cfg", {}).get("classifier") or ()
    heads = (head,) if isinstance(head, str) else tuple(head)
    wanted = {key for key in plain.state_dict() if not key.endswith("num_batches_tracked")}
    if not wanted & found.keys():
        return False
    missing = sorted(key for key in wanted - found.keys() if not key.startswith(heads))
    others = sorted(
        key for key in found.keys() - wanted if key.endswith(".weight") and found[key] > 1
    )
    if missing:
        raise TrainingError(_wrong_file(path, name, "has no weights for", missing))
    if others:
        raise TrainingError(_wrong_file(path, name, "is of another model, with", others))
    return True


def _require_touched(path: Path, name: str, model: nn.Module, fresh: nn.Module) -> None:
    """Refuse a model whose large tensors are still the ones it was born with."""
    born = dict(fresh.named_parameters())
    heads = ("fc.", "head.", "classifier.")
    untouched = [
        key
        for key, value in model.named_parameters()
        if value.ndim > 1 and not key.startswith(heads) and torch.equal(value, born[key])
    ]
    if untouched:
        raise TrainingError(_wrong_file(path, name, "has no weights for", untouched))


def _wrong_file(path: Path, name: str, problem: str, tensors: list[str]) -> str:
    some = ", ".join(tensors[:3]) + " …" * (len(tensors) > 3)
    return (
        f"{path}: {problem} {len(tensors)} tensors ({some}); name the file that was made for {name}"
    )


def _from_hub(create: Callable[..., nn.Module], name: str, options: dict[str, Any]) -> nn.Module:
    try:
        return create(name, pretrained=True, **options)
    except (OSError, RuntimeError) as error:
        raise TrainingError(f"{name}: the hub gave no weights ({error})") from error


def _hub_cache(name: str) -> Path | None:
    """Find what an earlier download of the hub left on this machine."""
    config = timm.get_pretrained_cfg(name, allow_unregistered=True)
    found = (
        try_to_load_from_cache(config.hf_hub_id, "model.safetensors")
        if (config and config.hf_hub_id)
        else None
    )
    return Path(found) if isinstance(found, str) else None


def hub_reachable() -> bool:
    """Say whether the hub answers; asked first, because its client retries for a minute."""
    return not _offline() and reachable(os.environ.get("HF_ENDPOINT", HUB))


def reachable(url: str) -> bool:
    """Say whether the host of a URL, or the proxy that leads to it, takes a connection."""
    host = urlparse(url).hostname or ""
    proxy = urllib.request.getproxies().get(urlparse(url).scheme)
    if proxy and not urllib.request.proxy_bypass(host):
        url = proxy if "://" in proxy else f"http://{proxy}"
    parts = urlparse(url)
    port = parts.port or (80 if parts.scheme == "http" else 443)
    try:
        socket.create_connection((parts.hostname or "", port), timeout=CONNECT_S).close()
    except (OSError, UnicodeError):
        return False
    return True


def _offline() -> bool:
    return os.environ.get("HF_HUB_OFFLINE", "0").lower() not in {"0", "", "false", "no"}


def hash_state(state: dict[str, torch.Tensor]) -> str:
    """Hash tensors by sha256, in the order of their names."""
    digest = hashlib.sha256()
    for key, value in sorted(state.items()):
        digest.update(key.encode())
        digest.update(value.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def _nothing_found(name: str) -> str:
    return (
        f"{name}: no weights found; looked at backbone.weights, the folder {FOLDER_VARIABLE} "
        f"({os.environ.get(FOLDER_VARIABLE, 'not set')}), the package and the hub (not reachable); "
        f"put {name}.safetensors into a folder and name it in {FOLDER_VARIABLE}, name our own "
        "backbone, formulanet with layers fine and coarse, or set backbone.allow_random_weights "
        "for a trial"
    )

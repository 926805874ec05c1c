"""What the declared order of weights needs to know of torchvision's models."""

from pathlib import Path
from typing import cast
from urllib.parse import urlparse

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor
from torchvision import models
from torchvision.models import WeightsEnum

from inspection.core.errors import TrainingError


def builder_name(weights: WeightsEnum) -> str:
    """Give the name of the torchvision model some of its pretrained weights belong to."""
    for name in models.list_models():
        if isinstance(weights, models.get_model_weights(name)):
            return cast("str", name)
    raise TrainingError(f"{weights}: belongs to no torchvision model; update torchvision")


def fresh_state(name: str) -> dict[str, Tensor]:
    """Give the random state a torchvision model is born with."""
    return cast("dict[str, Tensor]", models.get_model(name).state_dict())


def read_state(path: Path, name: str) -> dict[str, Tensor]:
    """Read the whole state of a torchvision model from a safetensors file.

    Raises:
        TrainingError: damaged, or made for another model; the tensors are named.
    """
    try:
        state = load_file(path)
    except (SafetensorError, OSError) as error:
        raise TrainingError(f"{path}: cannot be loaded into {name}: {error}") from error
    wanted = fresh_state(name)
    for key in wanted.keys() - state.keys():
        if key.endswith("num_batches_tracked"):
            state[key] = wanted[key]
    wrong = sorted(
        key
        for key in wanted.keys() | state.keys()
        if key not in wanted or key not in state or wanted[key].shape != state[key].shape
    )
    if wrong:
        raise TrainingError(
            f"{path}: does not fit torchvision's {name} in {len(wrong)} tensors "
            f"({', '.join(wrong[:3])}{' …' * (len(wrong) > 3)}); "
            "name the file that was made for this model"
        )
    return dict(state)


def is_cached(weights: WeightsEnum) -> bool:
    """Say whether an earlier download of these weights lies in torch's own folder."""
    name = Path(urlparse(weights.url).path).name
    return (Path(torch.hub.get_dir()) / "checkpoints" / name).is_file()

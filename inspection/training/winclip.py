"""WinCLIP: Anomalib's model with a declared CLIP, ready when it is built."""

from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from anomalib.models import WinClip
from anomalib.models.image.winclip import torch_model
from torch import nn

from inspection.core.errors import TrainingError
from inspection.core.parts import FitTiles
from inspection.core.settings import TrainConfig
from inspection.training.clip import load_clip
from inspection.training.frames import InputNorm
from inspection.training.options import OFF
from inspection.training.weights import WeightsLog

PART = "object"  # the paper's word for what is not named


def build_winclip(
    config: TrainConfig, tiles: FitTiles, norm: InputNorm, log: WeightsLog
) -> WinClip:
    """Build Anomalib's WinCLIP, ready to judge: nothing is fitted.

    Args:
        config: of the training; `model_options` may name the part (`class_name`) and how many
            reference parts are shown (`k_shot`, 0 is none).
        tiles: of the fit split, the reference parts' source.
        norm: of its input.
        log: takes the weights.

    Raises:
        TrainingError: no weights, an input of another size, or more reference parts than there are.
    """
    clip = load_clip(log, norm.record)
    _require_size(config, clip)
    shots, references = _shots(config, len(tiles)), None
    if shots:
        chosen = np.linspace(0, len(tiles) - 1, shots).round().astype(int)
        pixels = np.stack([tiles[int(number)] for number in chosen])
        references = norm(torch.from_numpy(pixels)).contiguous()
    name = str(config.model_options.get("class_name", PART))
    with _loaded(clip), torch.no_grad():
        model = WinClip(class_name=name, **dict.fromkeys(OFF, False))
        model.model.setup(name, references)
    model.k_shot, model.is_setup = shots, True
    return model


@contextmanager
def _loaded(clip: nn.Module) -> Iterator[None]:
    """Let the model, which loads its CLIP itself, take the one that was declared."""
    given = torch_model.open_clip
    torch_model.open_clip = SimpleNamespace(
        create_model_and_transforms=lambda *_, **__: (clip, None, None)
    )
    try:
        yield
    finally:
        torch_model.open_clip = given


def _shots(config: TrainConfig, tiles: int) -> int:
    shots = config.model_options.get("k_shot", 0)
    if not isinstance(shots, int) or not 0 <= shots <= tiles:
        raise TrainingError(
            f"model_options.k_shot: found {shots} for {tiles} tiles of fit parts; wanted 0 to "
            f"{tiles}; show fewer, or add good parts"
        )
    return int(shots)


def _require_size(config: TrainConfig, clip: Any) -> None:
    wanted = tuple(clip.visual.image_size)
    found = config.geometry.height_px, config.geometry.width_px
    if found != wanted:
        raise TrainingError(
            f"geometry: found {found[0]}×{found[1]} px; {config.backbone.name} sees "
            f"{wanted[0]}×{wanted[1]} px; set height_px and width_px"
        )

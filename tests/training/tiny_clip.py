"""A CLIP of open_clip's own architecture, small enough for tests, in a folder as hubs hold it."""

import json
import warnings
from pathlib import Path

from safetensors.torch import save_file

from inspection.core.geometry import Geometry
from inspection.core.settings import BackboneConfig, ScoreRule, TrainConfig
from inspection.training.clip import CONFIG, STATE

NETWORK = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": 64, "layers": 2, "width": 32, "patch_size": 16, "head_width": 16},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1},
}


def write_clip(folder: Path, *, seed: int = 0) -> Path:
    """Write its configuration and random weights."""
    import open_clip
    import torch

    torch.manual_seed(seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = open_clip.CLIP(**NETWORK)
    folder.mkdir(parents=True)
    (folder / CONFIG).write_text(json.dumps({"model_cfg": NETWORK, "preprocess_cfg": {}}))
    state = {key: value.contiguous() for key, value in model.state_dict().items()}
    save_file(state, folder / STATE)
    return folder


def winclip_config(clip: Path | None, shots: int = 2, side_px: int = 64) -> TrainConfig:
    """WinCLIP on that CLIP."""
    return TrainConfig(
        model="WinClip",
        model_options={"class_name": "plate", "k_shot": shots},
        backbone=BackboneConfig(weights=None if clip is None else str(clip)),
        geometry=Geometry(height_px=side_px, width_px=side_px),
        score=ScoreRule(smooth_sigma=0.0),
        accelerator="cpu",
    )

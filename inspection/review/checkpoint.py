"""Loads promptable segmenters as Hugging Face stores them: SAM, SlimSAM, SAM 2, EdgeTAM.

Only safetensors are read; nothing is unpickled.
"""

import json
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from safetensors import SafetensorError
from torch import Tensor
from transformers import (
    EdgeTamModel,
    EdgeTamVideoInferenceSession,
    EdgeTamVideoModel,
    PreTrainedModel,
    Sam2Model,
    Sam2VideoInferenceSession,
    Sam2VideoModel,
    SamModel,
)

from inspection.core.errors import ConfigError, InspectionError
from inspection.core.imaging import Rgb
from inspection.core.records import PixelNorm, write_text
from inspection.core.shipped import SEGMENTER
from inspection.masks.sam import NEGATIVE, POSITIVE, Fit, Kind, lay_mask
from inspection.masks.segmenter import Prompt
from inspection.networks import formulanet as _formulanet  # noqa: F401  # timm learns its name
from inspection.review.hubfolder import (
    CONFIG,
    PROCESSORS,
    download,
    hash_weights,
    pixel_norm,
    quiet,
    read_json,
)

# By the model_type of config.json; of a video model only the part for single images is loaded.
MODELS: dict[str, tuple[Kind, type[PreTrainedModel]]] = {
    "sam": ("sam", SamModel),
    "sam2": ("sam2", Sam2Model),
    "sam2_video": ("sam2", Sam2Model),
    "edgetam": ("edgetam", EdgeTamModel),
    "edgetam_video": ("edgetam", EdgeTamModel),
}
# Those that carry a mask from frame to frame, and what remembers the frames.
VIDEO_MODELS: dict[str, tuple[type[PreTrainedModel], type[Any]]] = {
    "sam2_video": (Sam2VideoModel, Sam2VideoInferenceSession),
    "edgetam_video": (EdgeTamVideoModel, EdgeTamVideoInferenceSession),
}
SHIPPED = "shipped"  # the word that asks for our own
DRAWS_PROMPTS = "draws_prompts"  # our own word in config.json


@dataclass(frozen=True)
class Checkpoint:
    """A segmenter in torch, in eval mode, float32, on the CPU."""

    model: Any
    """SamModel, Sam2Model or EdgeTamModel; the latter two take and give the same."""
    kind: Kind
    name: str
    """As asked for."""
    source: Literal["folder", "shipped", "hub"]
    sha256: str
    """Of the weights: of model.safetensors, or of the hashes of its shards."""
    pixels: PixelNorm

    @property
    def side_px(self) -> int:
        """Side of the square that the model sees."""
        return int(self.model.config.prompt_encoder_config.image_size)

    @property
    def mask_px(self) -> int:
        """Side of its masks and of the mask prompt."""
        return 4 * int(self.model.prompt_encoder.image_embedding_size[0])

    @property
    def draws_prompts(self) -> bool:
        """Whether it learnt to see boxes and clicks in the mask prompt, too; ours does."""
        return bool(getattr(self.model.config, DRAWS_PROMPTS, False))

    def fit(self, image_hw: tuple[int, int]) -> Fit:
        """Say how an image of this size lies in that square: SAM pads it, the others stretch."""
        return Fit(self.side_px, image_hw, keeps_aspect=self.kind == "sam")

    def normalised(self, pixels: Rgb) -> Tensor:
        """Give what the model takes of an image, float32 (1, 3, side, side)."""
        fit = self.fit((pixels.shape[0], pixels.shape[1]))
        mean, std = (np.array(v, np.float32) for v in (self.pixels.mean, self.pixels.std))
        colours = (fit.pixels(pixels) - mean) / std
        height, width = fit.seen_hw
        colours[height:], colours[:, width:] = 0, 0
        return torch.from_numpy(colours.transpose(2, 0, 1)[None])

    def answer(
        self, embedding: Any, prompt: Prompt, image_hw: tuple[int, int]
    ) -> tuple[Tensor, Tensor]:
        """Decode one prompt as `masks.sam` does, in torch and with gradients.

        Args:
            embedding: what the model's `get_image_embeddings` made of `normalised`.
            prompt: in px of the image.
            image_hw: of the image.

        Returns:
            Logits (n, H, W) in px of the image, and the model's guesses of their IoU (n,).
        """
        fit, mask_px = self.fit(image_hw), self.mask_px
        points = fit.places(np.concatenate([prompt.positive, prompt.negative]))
        labels = [POSITIVE] * len(prompt.positive) + [NEGATIVE] * len(prompt.negative)
        given = {}
        if labels:
            given["input_points"] = torch.from_numpy(points)[None, None]
            given["input_labels"] = torch.tensor(labels)[None, None]
        if prompt.box is not None:
            corners = fit.places(np.reshape(prompt.box, (2, 2)))
            given["input_boxes"] = torch.from_numpy(corners).reshape(1, 1, 4)
        if self.draws_prompts or prompt.mask is not None:
            given["input_masks"] = torch.from_numpy(lay_mask(prompt, fit, mask_px))[None, None]
        found = self.model(image_embeddings=embedding, multimask_output=True, **given)
        rows, columns = (torch.from_numpy(matrix) for matrix in fit.enlargement(mask_px))
        return rows @ found.pred_masks[0, 0] @ columns.T, found.iou_scores[0, 0]


@dataclass(frozen=True)
class VideoCheckpoint:
    """A segmenter that remembers frames, in torch, in eval mode, float32, on the CPU."""

    model: Any
    """Sam2VideoModel or EdgeTamVideoModel; they take and give the same."""
    session: type[Any]
    """What remembers the frames of one video for it."""
    name: str
    """As asked for."""
    sha256: str
    """Of the weights, as of a `Checkpoint`."""
    pixels: PixelNorm

    @property
    def side_px(self) -> int:
        """Side of the square that the model sees; frames are stretched to it."""
        return int(self.model.config.prompt_encoder_config.image_size)


def load_video_checkpoint(name_or_folder: str) -> VideoCheckpoint:
    """Load a segmenter for frames by local folder or by its name on the hub, as `load_checkpoint`.

    Raises:
        ConfigError: no such folder or name, no network, no video model, or no safetensors.
        InspectionError: the weights are damaged or of another configuration.
    """
    _, folder = _find(name_or_folder)
    model_class, session = VIDEO_MODELS[_model_type(folder, VIDEO_MODELS)]
    sha256 = hash_weights(folder)  # first: it refuses what is pickled
    model = _load(folder, model_class)
    return VideoCheckpoint(model, session, name_or_folder, sha256, pixel_norm(folder))


def load_checkpoint(name_or_folder: str) -> Checkpoint:
    """Load a segmenter by local folder or by its name on the hub, cache first without network.

    `shipped` is the one that comes with the package.

    Raises:
        ConfigError: no such folder or name, no network, no SAM, or no weights as safetensors.
        InspectionError: the weights are damaged or of another configuration.
    """
    source, folder = _find(name_or_folder)
    kind, model_class = MODELS[_model_type(folder, MODELS)]
    sha256 = hash_weights(folder)  # first: it refuses what is pickled
    model = _load(folder, model_class)
    return Checkpoint(model, kind, name_or_folder, source, sha256, pixel_norm(folder))


def _find(name_or_folder: str) -> tuple[Literal["folder", "shipped", "hub"], Path]:
    if name_or_folder == SHIPPED:
        return "shipped", SEGMENTER
    local = Path(name_or_folder).expanduser()
    return ("folder", local) if local.is_dir() else ("hub", download(name_or_folder))


def save_checkpoint(checkpoint: Checkpoint, folder: Path) -> None:
    """Save a model, and how it normalises pixels where transformers' processors look for it."""
    with quiet():
        checkpoint.model.save_pretrained(folder)
    norm = {"image_mean": checkpoint.pixels.mean, "image_std": checkpoint.pixels.std}
    shares = {key: [level / 255 for level in levels] for key, levels in norm.items()}
    write_text(folder / PROCESSORS[1], json.dumps(shares, indent=1) + "\n")


def _model_type(folder: Path, models: Collection[str]) -> str:
    path = folder / CONFIG
    found = read_json(path).get("model_type") if path.is_file() else None
    if found not in models:
        said = f"model_type is '{found}'" if found else f"no {CONFIG} with a model_type here"
        raise ConfigError(
            f"{folder}: {said}; wanted {', '.join(models)}; name a folder that Hugging Face "
            "transformers saved such a SAM in"
        )
    return str(found)


def _load(folder: Path, model_class: type[PreTrainedModel]) -> PreTrainedModel:
    try:
        with quiet():
            model, report = model_class.from_pretrained(
                folder,
                dtype=torch.float32,
                use_safetensors=True,
                local_files_only=True,
                output_loading_info=True,
            )
    except (SafetensorError, OSError, ValueError, RuntimeError, TypeError, KeyError) as error:
        raise InspectionError(f"{folder}: cannot be loaded ({error}); download it again") from error
    if absent := sorted(report["missing_keys"]):
        some = ", ".join(absent[:3]) + " …" * (len(absent) > 3)
        raise InspectionError(
            f"{folder}: {len(absent)} tensors are missing ({some}); wanted all that its {CONFIG} "
            "tells of; download it again"
        )
    return model.eval()

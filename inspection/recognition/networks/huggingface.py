"""Networks of Hugging Face transformers: DETR and its kin, RT-DETR, D-FINE, Mask2Former and more.

They name their queries' boxes themselves and suppress nothing, so that one graph is the whole
detector. Networks for masks tell no boxes: those of the masks are taken.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import transformers
from safetensors import SafetensorError
from torch import Tensor, nn
from torchvision.ops import box_convert
from transformers import AutoConfig
from transformers.models.auto.modeling_auto import (
    MODEL_FOR_INSTANCE_SEGMENTATION_MAPPING_NAMES,
    MODEL_FOR_OBJECT_DETECTION_MAPPING_NAMES,
    MODEL_FOR_UNIVERSAL_SEGMENTATION_MAPPING_NAMES,
)

from inspection.core.errors import TrainingError
from inspection.core.records import Weights
from inspection.detectors.layout import Layout, Picture
from inspection.recognition.networks.network import Network, Taken
from inspection.recognition.samples import Target
from inspection.review.hubfolder import download, hash_weights, pixel_norm, quiet

DETECTS = (*MODEL_FOR_OBJECT_DETECTION_MAPPING_NAMES,)
DRAWS = (
    *MODEL_FOR_INSTANCE_SEGMENTATION_MAPPING_NAMES,
    *MODEL_FOR_UNIVERSAL_SEGMENTATION_MAPPING_NAMES,
)
NAMES_TYPES = ("class", "score")  # in the names of layers that have a number for each type
LIBRARY_ERRORS = (SafetensorError, OSError, ValueError, RuntimeError, TypeError, KeyError)


def load_huggingface(
    name_or_folder: str, types: int, input_hw: tuple[int, int]
) -> tuple[Network, Weights]:
    """Load a detector or an instance segmenter, with a new layer for these types.

    Args:
        name_or_folder: name at the hub, its cache first, or a local folder.
        types: how many there are to tell.
        input_hw: height and width of the input, px.

    Raises:
        ConfigError: no such name or folder, no network, or no weights as safetensors.
        TrainingError: it is neither, or cannot be loaded.
    """
    local = Path(name_or_folder).expanduser()
    folder = local if local.is_dir() else download(name_or_folder)
    draws, loader = _loader(folder)
    sha256 = hash_weights(folder)  # first: it refuses what is pickled
    try:
        with quiet():
            model, loaded = loader.from_pretrained(
                folder,
                num_labels=types,
                dtype=torch.float32,
                ignore_mismatched_sizes=True,  # the layer that names types is new
                use_safetensors=True,
                local_files_only=True,
                output_loading_info=True,
            )
    except LIBRARY_ERRORS as error:
        raise TrainingError(f"{folder}: cannot be loaded ({error}); download it again") from error
    _require_whole(folder, loaded)
    norm = pixel_norm(folder)
    picture = Picture(fit="corner", mean=norm.mean, std=norm.std)
    weights = Weights(
        name=name_or_folder,
        source="folder" if local.is_dir() else "hub",
        sha256=sha256,
    )
    kind = Segmenting if draws else Detecting
    return kind(model, types, picture, input_hw), weights


def _require_whole(folder: Path, loaded: Mapping[str, Any]) -> None:
    """Refuse what would begin with random numbers but the layer that names types."""
    unlike = {str(one[0]) for one in loaded["mismatched_keys"]}
    absent = {str(one) for one in loaded["missing_keys"]} | unlike
    lacking = sorted(
        one
        for one in absent
        if not (one.endswith("num_batches_tracked") or one.startswith("criterion."))
        and not (one in unlike and any(word in one for word in NAMES_TYPES))
    )
    if lacking:
        raise TrainingError(
            f"{folder}: {len(lacking)} of the network's weights are not in its files or are of "
            f"another shape, first {lacking[0]}; wanted all but the layer that names types; save "
            "the whole model with its own class, or name another"
        )


def _loader(folder: Path) -> tuple[bool, Any]:
    try:
        kind = AutoConfig.from_pretrained(folder, local_files_only=True).model_type
    except LIBRARY_ERRORS as error:
        raise TrainingError(
            f"{folder}: no model of transformers ({error}); name another"
        ) from error
    if kind in DETECTS:  # some can do both; boxes are what every second stage needs
        return False, transformers.AutoModelForObjectDetection
    if kind in MODEL_FOR_INSTANCE_SEGMENTATION_MAPPING_NAMES:
        return True, transformers.AutoModelForInstanceSegmentation
    if kind in DRAWS:
        return True, transformers.AutoModelForUniversalSegmentation
    raise TrainingError(
        f"{folder}: is a '{kind}'; wanted one that finds objects or draws their masks: "
        f"{', '.join(sorted({*DETECTS, *DRAWS}))}"
    )


class _HuggingFace(Network):
    """A model with how its pictures are prepared.

    Args:
        model: of transformers.
        types: how many it tells.
        picture: how pixels go in.
        input_hw: height and width of the input, px.
    """

    def __init__(
        self, model: nn.Module, types: int, picture: Picture, input_hw: tuple[int, int]
    ) -> None:
        super().__init__()
        self.model, self.types, self.picture, self._hw = model, types, picture, input_hw

    def _background(self, scores: str, outputs: "_Outputs") -> dict[str, Any]:
        """Say how scores are read: some models have one more, which means nothing is there."""
        with torch.no_grad():
            told = dict(zip(outputs.names, outputs(torch.zeros(1, 3, *self._hw)), strict=True))
        if told[scores].shape[-1] == self.types:
            return {"scores": {"output": scores, "activation": "sigmoid"}}
        return {"scores": {"output": scores, "activation": "softmax"}, "background": "last"}


class Detecting(_HuggingFace):
    """Finds objects."""

    def losses(self, images: Tensor, targets: list[Target]) -> dict[str, Tensor]:
        """Give the model's own losses; boxes are centre and size, shares of the input's sides."""
        height, width = images.shape[2:]
        sides = torch.tensor([width, height, width, height])
        labels = [
            {
                "class_labels": one["labels"],
                "boxes": box_convert(one["boxes"], "xyxy", "cxcywh") / sides.to(one["boxes"]),
            }
            for one in targets
        ]
        return {"loss": self.model(pixel_values=images.contiguous(), labels=labels).loss}

    def take_apart(self, input_hw: tuple[int, int]) -> Taken:
        """Give one graph of boxes and scores."""
        del input_hw
        outputs = _Outputs(self.model.eval(), ("pred_boxes", "logits"))
        layout = {
            "picture": self.picture,
            "boxes": {"output": "pred_boxes", "form": "cxcywh", "unit": "share"},
            "suppressed": True,
            **self._background("logits", outputs),
        }
        return Taken(outputs, outputs.names, Layout.model_validate(layout))


class Segmenting(_HuggingFace):
    """Draws a mask of each object."""

    draws_masks = True

    def losses(self, images: Tensor, targets: list[Target]) -> dict[str, Tensor]:
        """Give the model's own loss."""
        told = self.model(
            pixel_values=images.contiguous(),
            mask_labels=[one["masks"].float() for one in targets],
            class_labels=[one["labels"] for one in targets],
        )
        return {"loss": told.loss.reshape(())}

    def take_apart(self, input_hw: tuple[int, int]) -> Taken:
        """Give one graph of masks and scores."""
        del input_hw
        names = ("masks_queries_logits", "class_queries_logits")
        outputs = _Outputs(self.model.eval(), names)
        layout = {
            "picture": self.picture,
            "masks": {"output": names[0], "kind": "picture"},
            "suppressed": True,
            **self._background(names[1], outputs),
        }
        return Taken(outputs, outputs.names, Layout.model_validate(layout))


class _Outputs(nn.Module):
    def __init__(self, model: nn.Module, names: tuple[str, ...]) -> None:
        super().__init__()
        self.model, self.names = model, names

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        told = self.model(pixel_values=images)
        return tuple(getattr(told, name) for name in self.names)

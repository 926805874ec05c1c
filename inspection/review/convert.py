"""Converts a SAM, SAM 2 or EdgeTAM to OpenVINO: the encoder in INT8, the decoder in float32.

A conversion is a folder written whole or not at all; the same weights, images and versions are
converted once.
"""

import contextlib
import hashlib
import json
import logging
import sys
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

import nncf
import numpy as np
import openvino
import torch
from nncf.quantization.advanced_parameters import AdvancedQuantizationParameters, OverflowFix
from nncf.quantization.range_estimator import RangeEstimatorParametersSet
from torch import Tensor, nn

from inspection.bundles.graph import Tensors
from inspection.bundles.saving import save_graph
from inspection.core.errors import ConfigError
from inspection.core.folders import new_folder
from inspection.core.imaging import Rgb, load_image, require_rgb8
from inspection.core.origin import describe_origin
from inspection.core.records import Weights, hash_file, hash_json, write_record
from inspection.masks.opening import read_card
from inspection.masks.sam import (
    ABSENT,
    CARD,
    DECODER,
    ENCODER,
    FILES,
    SegmenterCard,
)
from inspection.review.checkpoint import Checkpoint, load_checkpoint
from inspection.review.hubfolder import quiet

PACKAGES = ("nncf", "numpy", "openvino", "torch", "transformers")
# Of a card, what its graphs do not follow from; how prompts are drawn stands in the model's config.
UNTOLD = {"weights", "origin", "key", "files", "draws_prompts"}
GRAPHS = 1  # the form of the two graphs below; another number converts everything anew
FREE = {"points": 2, "labels": 2, "guesses": 1, "guessed": 1}  # axes of prompts and tokens
HIDDEN = -1e9  # added to the logit of a token nothing may look at


class Encoder(nn.Module):
    """From uint8 pixels (1, side, side, 3) to the features the decoder takes, coarsest last."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        super().__init__()
        self.model = checkpoint.model
        norm = checkpoint.pixels
        self.mean = nn.Buffer(torch.tensor(norm.mean).view(1, 3, 1, 1))
        self.std = nn.Buffer(torch.tensor(norm.std).view(1, 3, 1, 1))

    def forward(self, pixels: Tensor, seen_hw: Tensor | None = None) -> tuple[Tensor, ...]:
        """Encode; where `seen_hw` says how much is image, the rest is 0 once normalised."""
        colours = (pixels.permute(0, 3, 1, 2).float() - self.mean) / self.std
        if seen_hw is not None:
            place = torch.arange(pixels.shape[1])
            rows, columns = place < seen_hw[0], place < seen_hw[1]
            colours = colours * (rows[:, None] & columns[None, :])
        features = self.model.get_image_embeddings(colours)
        return tuple(features) if isinstance(features, list) else (features,)


class Decoder(nn.Module):
    """From prompts and features to the logits of the masks that a prompt may mean."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        super().__init__()
        self.model, self.side_px = checkpoint.model, checkpoint.side_px
        decoder = self.model.mask_decoder
        self._own_tokens = decoder.num_mask_tokens + 1 + hasattr(decoder, "obj_score_token")
        self._hidden: list[Tensor] = []  # no attribute: a trace would want it to be a parameter
        for layer in decoder.transformer.layers:
            for attention in (layer.self_attn, layer.cross_attn_image_to_token):
                attention.register_forward_pre_hook(self._hide, with_kwargs=True)

    def forward(
        self, points: Tensor, labels: Tensor, guesses: Tensor, guessed: Tensor, *features: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Decode n prompts.

        Args:
            points: float32 (n, k, 2), x y in px of the encoder's square.
            labels: int32 (n, k) of `masks.sam`; ABSENT ones change nothing.
            guesses: float32 (n, 1, m, m), mask prompts.
            guessed: bool (n,), which of them count.
            *features: of the encoder.

        Returns:
            Logits float32 (n, c, m, m) and the model's own guesses of their IoU (n, c).
        """
        prompts, decoder = self.model.prompt_encoder, self.model.mask_decoder
        kinds = prompts.point_embed  # a table, or in SAM a list of tables of one
        tables = [kinds] if isinstance(kinds, nn.Embedding) else kinds
        meaning = torch.cat([table.weight for table in tables])[labels.clamp(min=0).long()]
        shown = prompts.shared_embedding((points + 0.5) / self.side_px) + meaning
        sparse = torch.where(labels[..., None] >= 0, shown, prompts.not_a_point_embed.weight)
        dense = torch.where(
            guessed[:, None, None, None],
            prompts.mask_embed(guesses),
            prompts.no_mask_embed.weight[:, :, None, None],
        )
        absent = nn.functional.pad((labels == ABSENT).float(), (self._own_tokens, 0))
        self._hidden[:] = [HIDDEN * absent[:, None, None, :]]
        fine = {"high_resolution_features": features[:-1]} if features[1:] else {}
        logits, sure = decoder(
            image_embeddings=features[-1].expand(labels.shape[0], -1, -1, -1),
            image_positional_embeddings=self.model.get_image_wide_positional_embeddings(),
            sparse_prompt_embeddings=sparse[:, None],
            dense_prompt_embeddings=dense,
            multimask_output=True,
            **fine,
        )[:2]
        return logits[:, 0], sure[:, 0]

    def _hide(self, _: nn.Module, args: Any, given: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        """Let no token look at those that only fill the batch; transformers would, at zeros."""
        return args, given | {"attention_similarity": self._hidden[0]}


def convert_segmenter(
    name_or_folder: str,
    cache: Path,
    images: Sequence[Rgb | Path],
    precision: Literal["int8", "fp32"] = "int8",
) -> Path:
    """Convert a checkpoint into a folder of the cache, unless it is there already.

    Args:
        name_or_folder: a folder that transformers saved, or a name on the hub.
        cache: folder of conversions.
        images: uint8 H×W×3 RGB of the parts it will see, of any size, or their files, read one at a
            time; INT8's ranges come from all of them. NNCF recommends 300; float32 needs none.
        precision: of the encoder; the decoder stays float32.

    Returns:
        The folder, for `masks.opening.open_segmenter`.

    Raises:
        ConfigError: no checkpoint of a SAM, or INT8 without images.
        ImageError: an image is anything else, or cannot be read.
        InspectionError: the checkpoint is damaged, or the folder cannot be written.
        BundleCorrupt: the folder is there, and its bytes are not those that were written.
    """
    if precision == "int8" and not images:
        raise ConfigError("convert: no images; INT8 wants some of the parts it will see, or fp32")
    for number, image in enumerate(images):
        if not isinstance(image, Path):
            require_rgb8(image, f"image {number} to calibrate on")
    checkpoint = load_checkpoint(name_or_folder)
    samples = _samples(checkpoint, images if precision == "int8" else [])
    card = _describe(checkpoint, precision, samples)
    folder = cache / f"{card.kind}-{precision}-{card.key[:16]}"
    if folder.is_dir():
        read_card(folder)
        return folder
    with new_folder(folder) as partial:
        encoder, decoder = _graphs(checkpoint)
        if precision == "int8":
            encoder = _quantise(encoder, samples)
        save_graph(encoder, partial / ENCODER)
        save_graph(decoder, partial / DECODER)
        files = {name: hash_file(partial / name) for name in FILES}
        write_record(partial / CARD, card.model_copy(update={"files": files}))
    return folder


def _samples(checkpoint: Checkpoint, images: Sequence[Rgb | Path]) -> list[Tensors]:
    """Give the encoder's inputs for each image; of a file nothing else stays in memory."""
    read = (load_image(one) if isinstance(one, Path) else one for one in images)
    return [checkpoint.fit((one.shape[0], one.shape[1])).inputs(one) for one in read]


def _describe(
    checkpoint: Checkpoint, precision: Literal["int8", "fp32"], samples: list[Tensors]
) -> SegmenterCard:
    digest = hashlib.sha256()
    for sample in samples:
        for values in sample.values():
            digest.update(values.tobytes())
    config = json.loads(checkpoint.model.config.to_json_string())
    name = Path(checkpoint.name).name if checkpoint.source == "folder" else checkpoint.name
    card = SegmenterCard(
        kind=checkpoint.kind,
        side_px=checkpoint.side_px,
        mask_px=checkpoint.mask_px,
        keeps_aspect=checkpoint.fit((1, 1)).keeps_aspect,
        draws_prompts=checkpoint.draws_prompts,
        precision=precision,
        pixels=checkpoint.pixels,
        weights=Weights(name=name, source=checkpoint.source, sha256=checkpoint.sha256),
        images_sha256=digest.hexdigest(),
        key="",
        origin=describe_origin(PACKAGES),
        files={},
    )
    told = card.model_dump(mode="json", exclude=UNTOLD)
    key = [GRAPHS, told, config, card.weights.sha256, card.origin.versions]
    return card.model_copy(update={"key": hash_json(key)})


def _graphs(checkpoint: Checkpoint) -> tuple[openvino.Model, openvino.Model]:
    """Convert both parts; static for the image, dynamic in the number of prompts and tokens."""
    side = checkpoint.side_px
    image = np.zeros((side, side, 3), np.uint8)
    example = {name: torch.from_numpy(v) for name, v in _samples(checkpoint, [image])[0].items()}
    encoder = Encoder(checkpoint).eval()
    with torch.inference_mode():
        features = encoder(**example)
    prompts = {
        "points": torch.zeros(2, 3, 2),
        "labels": torch.zeros(2, 3, dtype=torch.int32),
        "guesses": torch.zeros(2, 1, checkpoint.mask_px, checkpoint.mask_px),
        "guessed": torch.tensor([True, False]),
    }
    named = {f"feature.{i}": feature for i, feature in enumerate(features)}
    return (
        _convert(encoder, example, tuple(named)),
        _convert(Decoder(checkpoint).eval(), prompts | named, ("logits", "sure"), FREE),
    )


def _convert(
    module: nn.Module,
    inputs: Mapping[str, Tensor],
    outputs: Sequence[str],
    free: Mapping[str, int] = MappingProxyType({}),
) -> openvino.Model:
    """Convert a module with its inputs and outputs named.

    Args:
        module: torch, in eval mode.
        inputs: by name, in order; an example of each.
        outputs: names of its outputs.
        free: how many first axes of an input may have any length.
    """
    with warnings.catch_warnings(), quiet(), torch.inference_mode():
        warnings.simplefilter("ignore")  # of tracing: which branches a model took is what we want
        model = openvino.convert_model(module, example_input=tuple(inputs.values()))
    for port, name in zip(model.inputs, inputs, strict=True):
        port.get_tensor().set_names({name})
    for port, name in zip(model.outputs, outputs, strict=True):
        port.get_tensor().set_names({name})
    open_axes = {name: [-1] * free.get(name, 0) for name in inputs}
    model.reshape(
        {name: [*axes, *inputs[name].shape[len(axes) :]] for name, axes in open_axes.items()}
    )
    return model


def _quantise(encoder: openvino.Model, samples: list[Tensors]) -> openvino.Model:
    """Quantise the encoder as a transformer: attention's own products stay float32."""
    # No overflow fix, all of the range: as for the graphs of a station, see export.quantize.
    advanced = AdvancedQuantizationParameters(
        overflow_fix=OverflowFix.DISABLE,
        activations_range_estimator_params=RangeEstimatorParametersSet.MINMAX,
    )
    logging.getLogger("nncf").setLevel(logging.ERROR)
    with contextlib.redirect_stdout(sys.stderr):  # its progress bar must not stand among results
        return nncf.quantize(
            encoder,
            nncf.Dataset(samples),
            subset_size=len(samples),
            model_type=nncf.ModelType.TRANSFORMER,
            advanced_parameters=advanced,
        )

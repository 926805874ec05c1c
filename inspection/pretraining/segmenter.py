"""Trains a small segmenter on marks that formulas draw, asked as maps and reviewers ask.

It is an EdgeTAM (Zhou et al., CVPR 2025) of few channels: `formulanet` encodes, SAM's prompt
encoder and mask decoder answer.
"""

import logging
import time
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from pydantic import Field
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor
from torch.nn import functional
from transformers import EdgeTamConfig, EdgeTamModel

from inspection.core.errors import TrainingError
from inspection.core.progress import follow
from inspection.core.records import Weights, hash_file
from inspection.masks.sam import lay_tokens
from inspection.masks.segmenter import Prompt
from inspection.metrics.masks import iou
from inspection.networks.formulanet import COARSE, FINE, NAME, SECOND, STEM
from inspection.pretraining.device import fastest_device, half_precision
from inspection.pretraining.laps import Pass, tell
from inspection.pretraining.pool import draw_pool
from inspection.pretraining.scenes import TURNS, Scene, draw_prompt, draw_scenes
from inspection.pretraining.settings import SegmenterRecipe
from inspection.review.checkpoint import DRAWS_PROMPTS, Checkpoint
from inspection.review.convert import Decoder
from inspection.review.hubfolder import IMAGENET, quiet
from inspection.review.tune import mask_loss
from inspection.training.weights import find_weights

logger = logging.getLogger(__name__)
CELL_PX = 8  # of a token; masks have four times as many to a side
WIDTH, HEADS, MLP = 64, 4, 128  # of prompts and decoder
INITIAL = 0.1  # deviation of the first weights; SAM's own 0.02 suits wider layers
SLOWER = 0.2  # of the learning rate, for an encoder that was trained before
HELD_OUT = 128  # pictures that only say how well it outlines
LESSONS = 4  # asked about per picture and step, at most


class SegmenterLap(Pass):
    """Mean IoU on held-out pictures after one pass, by what was asked."""

    box: float = Field(description="the box around the mark, and nothing else")
    map: float = Field(description="a grown box, points and a blurred guess")
    click: float = Field(description="one click in the middle")


def train_segmenter(
    recipe: SegmenterRecipe,
) -> tuple[Checkpoint, tuple[SegmenterLap, ...], Weights | None]:
    """Draw the scenes and train; on a GPU where there is one, in halves where it is faster.

    Returns:
        The segmenter, on the CPU, its learning curve, and what its encoder began with.

    Raises:
        TrainingError: the file that the encoder is to begin with is missing, or another network's.
    """
    with quiet():
        torch.manual_seed(recipe.seed)
        model = build_segmenter(recipe.side_px)
        begun = _begin(model, recipe.backbone)
        chunks = draw_pool(draw_scenes, recipe.pictures + HELD_OUT, recipe.side_px, recipe.seed)
        scenes = [scene for chunk in chunks for scene in chunk]
        training = _Training(model, recipe, begun=begun is not None)
        laps = tuple(training.laps(scenes[HELD_OUT:], scenes[:HELD_OUT]))
    model.cpu().eval()
    return training.checkpoint, laps, begun


def build_segmenter(side_px: int) -> EdgeTamModel:
    """Make one with random weights.

    Args:
        side_px: of the square it sees; divisible by 16. Its masks have half as many px to a side.
    """
    backbone = {
        "model_type": "timm_wrapper",
        "architecture": NAME,
        "do_pooling": False,
        "num_classes": 2,  # of none; transformers asks for names of 1,000 otherwise
        "label_names": ["good", "defect"],
        "model_args": {"in_chans": 3, "features_only": True, "out_indices": [0, 1, 2, 3]},
    }
    config = EdgeTamConfig(
        vision_config={
            "backbone_config": backbone,
            "backbone_channel_list": [COARSE, FINE, SECOND, STEM],
            "backbone_feature_sizes": [[side_px // stride] * 2 for stride in (2, 4, CELL_PX)],
            "fpn_hidden_size": WIDTH,
            "fpn_top_down_levels": [0, 1, 2],
            "initializer_range": INITIAL,
        },
        prompt_encoder_config={
            "hidden_size": WIDTH,
            "image_size": side_px,
            "patch_size": CELL_PX,
        },
        mask_decoder_config={
            "hidden_size": WIDTH,
            "num_attention_heads": HEADS,
            "mlp_dim": MLP,
            "iou_head_hidden_dim": WIDTH,
        },
        initializer_range=INITIAL,
        **{DRAWS_PROMPTS: True},
    )
    return EdgeTamModel(config)


def _begin(model: EdgeTamModel, backbone: str | None) -> Weights | None:
    """Let the encoder begin with weights of our backbone, where there are some."""
    found = find_weights(NAME, backbone)
    if found is None:
        logger.warning("no weights of %s: the encoder begins with random ones", NAME)
        return None
    path, source = found
    try:
        model.vision_encoder.backbone.timm_model.load_state_dict(load_file(path))
    except (SafetensorError, OSError, RuntimeError) as error:
        raise TrainingError(f"{path}: cannot be loaded into {NAME}: {error}") from error
    return Weights(name=path.name, source=source, sha256=hash_file(path))


class _Training:
    """A model with all that changes while it learns."""

    def __init__(self, model: EdgeTamModel, recipe: SegmenterRecipe, *, begun: bool) -> None:
        self.device = fastest_device()
        self.model, self.recipe = model.to(self.device), recipe
        self.checkpoint = Checkpoint(model, "edgetam", NAME, "folder", "", IMAGENET)
        self.decoder, self._begun = Decoder(self.checkpoint), begun
        encoder = set(model.vision_encoder.backbone.parameters())
        others = [one for one in model.parameters() if one not in encoder]
        rates = [recipe.learning_rate * (SLOWER if begun else 1.0), recipe.learning_rate]
        self.optimizer = torch.optim.AdamW(
            [{"params": list(encoder)}, {"params": others}], weight_decay=0.01
        )
        steps = recipe.epochs * (recipe.pictures // recipe.batch_size)
        self.schedule = torch.optim.lr_scheduler.OneCycleLR(
            self.optimizer, rates, total_steps=max(2, steps)
        )
        self.rng = np.random.default_rng(recipe.seed)

    def laps(self, taught: Sequence[Scene], held_out: Sequence[Scene]) -> Iterator[SegmenterLap]:
        """Go over the scenes again and again."""
        begun, batch = time.perf_counter(), self.recipe.batch_size
        for epoch in range(1, self.recipe.epochs + 1):
            order = self.rng.permutation(self.recipe.pictures)
            steps = range(0, len(order) - batch + 1, batch)
            self.model.train()
            # What was trained before keeps its means and variances: those of few pictures vary.
            self.model.vision_encoder.backbone.train(mode=not self._begun)
            for first in follow(steps, f"epoch {epoch}"):
                self._step([taught[number] for number in order[first : first + batch]])
            seconds = time.perf_counter() - begun
            yield tell(SegmenterLap(epoch=epoch, seconds=seconds, **self._judge(held_out)))

    def _step(self, scenes: Sequence[Scene]) -> None:
        looks = [scene.look(int(self.rng.integers(TURNS))) for scene in scenes]
        images = torch.cat([self.checkpoint.normalised(pixels) for pixels, _ in looks])
        with half_precision(self.device):
            encoded = self._encode(images.to(self.device))
        features = [one.float() for one in encoded]
        losses = []
        for number, (_, lessons) in enumerate(looks):
            some = [lessons[i] for i in self.rng.permutation(len(lessons))[:LESSONS]]
            asked = [draw_prompt(one, self.rng) for one in some]
            own = [one[number : number + 1] for one in features]
            answers = zip(*self._answer(own, [one.prompt for one in asked]), asked, strict=True)
            losses += [mask_loss(logits, sure, one.mask) for logits, sure, one in answers]
        self.optimizer.zero_grad()
        torch.autograd.backward(torch.stack(losses).mean())
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        self.schedule.step()

    def _encode(self, images: Tensor) -> list[Tensor]:
        """Give features of images, finest first; what the model itself gives has no gradient."""
        found: list[Tensor] = list(self.model.get_image_features(images).fpn_hidden_states)
        found[-1] = found[-1] + self.model.no_memory_embedding
        sizes = self.model.backbone_feature_sizes
        return [
            one.permute(1, 2, 0).reshape(len(images), -1, *size)
            for one, size in zip(found, sizes, strict=True)
        ]

    def _answer(self, features: list[Tensor], asked: Sequence[Prompt]) -> tuple[Tensor, Tensor]:
        """Give the logits, n×c×side×side, and guessed IoUs, n×c, of n prompts on one image."""
        side, ours = self.recipe.side_px, self.checkpoint
        tokens = lay_tokens(
            asked, ours.fit((side, side)), ours.mask_px, ours.kind, draws=ours.draws_prompts
        )
        given = [torch.from_numpy(values).to(self.device) for values in tokens.values()]
        logits, sure = self.decoder(*given, *features)
        return functional.interpolate(logits, (side, side), mode="bilinear"), sure

    @torch.no_grad()
    def _judge(self, scenes: Sequence[Scene]) -> dict[str, float]:
        """Give the mean IoU of the masks that the model itself thinks best."""
        self.model.eval()
        found: list[list[float]] = []
        for scene in scenes:
            pixels, lessons = scene.look(0)
            features = self._encode(self.checkpoint.normalised(pixels).to(self.device))
            for lesson in lessons:
                logits, sure = self._answer(features, [Prompt(lesson.box), *lesson.fixed_prompts])
                best = (logits[torch.arange(3), sure.argmax(1)] > 0).cpu().numpy()
                found.append([iou(one, lesson.mask) for one in best])
        box, of_map, click = np.mean(found, axis=0).tolist()
        return {"box": box, "map": of_map, "click": click}

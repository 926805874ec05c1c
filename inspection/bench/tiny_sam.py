"""Makes small SAMs that find generated defects, and compares OpenVINO's masks with torch's.

A real `SamModel` and `Sam2Model` of few layers, trained for seconds, so that what INT8 does to
masks can be measured where no published checkpoint can be had. They are of no use on real parts.
"""

import functools
import itertools
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from transformers import PreTrainedModel, Sam2Config, Sam2Model, SamConfig, SamModel

from inspection.core.defects import generate_defect, perlin_noise
from inspection.core.folders import new_folder
from inspection.core.imaging import Mask, Rgb
from inspection.core.progress import follow
from inspection.masks.opening import open_segmenter
from inspection.masks.segmenter import Candidates, Prompt
from inspection.metrics.masks import iou
from inspection.review.checkpoint import Checkpoint, load_checkpoint
from inspection.review.hubfolder import IMAGENET, quiet
from inspection.review.tune import mask_loss

TinyKind = Literal["sam", "sam2"]

SIDE_PX = 128
WIDTH = 32  # channels of prompts and decoder
INITIAL = 0.1  # deviation of the first weights; SAM's own 0.02 suits wider layers
STEPS, BATCH, LEARNING_RATE = 400, 8, 1e-3
POOL = 160  # different parts in training
# Smaller or fainter defects are beyond so small a model:
LEAST_SHARE, LEAST_CONTRAST = 0.02, 32  # of the part; levels of 255, mean


@dataclass(frozen=True)
class Case:
    """A part with one defect, its mask, and how one may ask for it."""

    pixels: Rgb
    truth: Mask
    prompt: Prompt


@dataclass(frozen=True)
class Comparison:
    """What a converted segmenter gives against its checkpoint in torch, on the same prompts."""

    kind: str
    prompts: int
    iou_torch: float
    """Mean IoU of the masks that torch thinks best with its own of the same number."""
    iou_torch_least: float
    """The least of them."""
    same_best: float
    """Share of the prompts where both think the same mask best."""
    iou_truth: float
    """Mean IoU of its best masks with the defects."""
    iou_truth_torch: float
    """The same of torch's, which says whether they mean anything."""
    encode_ms: float
    """Median time to set an image."""
    click_ms: float
    """Median time to answer one prompt of an image that is set."""


@contextmanager
def _one_thread() -> Iterator[None]:
    """Keep torch to one thread: with so small a model two wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@functools.cache
def draw_cases(count: int, seed: int) -> tuple[Case, ...]:
    """Draw parts of generated texture with a generated defect; boxes and clicks in turn.

    Args:
        count: how many.
        seed: of parts, defects and prompts; that of training is 0.
    """
    rng = np.random.default_rng(seed)
    cases: list[Case] = []
    for number in itertools.count():
        good = _texture(rng)
        part = generate_defect(good, seed, number)
        change = np.abs(part.pixels.astype(np.int16) - good).max(axis=2)[part.mask].mean()
        if part.mask.mean() >= LEAST_SHARE and change >= LEAST_CONTRAST:
            prompt = _box(part.mask, rng) if len(cases) % 2 else _click(part.mask)
            cases.append(Case(part.pixels, part.mask, prompt))
        if len(cases) == count:
            break
    return tuple(cases)


@_one_thread()
def make_tiny_sam(kind: TinyKind, out: Path, steps: int = STEPS) -> None:
    """Train a small segmenter on generated defects and save it as Hugging Face does.

    Args:
        kind: sam keeps an image's aspect and pads it, sam2 stretches it.
        out: a new folder.
        steps: of 8 parts each.

    Raises:
        ConfigError: `out` is not empty.
    """
    with torch.random.fork_rng(devices=[]), quiet():
        torch.manual_seed(0)
        model = _sam() if kind == "sam" else _sam2()
        _train(model, draw_cases(POOL, seed=0), steps)
        with new_folder(out) as folder:
            model.save_pretrained(folder)


@_one_thread()
def compare(checkpoint: str, converted: Path, cases: Sequence[Case]) -> Comparison:
    """Ask a checkpoint in torch and its conversion for the same masks.

    Args:
        checkpoint: folder or name, as it was converted.
        converted: folder of the conversion.
        cases: at least one.
    """
    torch_sam, segmenter = load_checkpoint(checkpoint), open_segmenter(converted)
    alike, pairs, truths, encode_s, click_s = [], [], [], [], []
    for case in follow(cases, "comparing"):
        wanted = torch_candidates(torch_sam, case)
        started = time.perf_counter()
        image = segmenter.set_image(case.pixels)
        encoded = time.perf_counter()
        found = image.predict([case.prompt])[0]
        click_s.append(time.perf_counter() - encoded)
        encode_s.append(encoded - started)
        best = int(np.argmax(wanted.sure))
        alike.append(best == int(np.argmax(found.sure)))
        pairs.append(iou(found.masks[best], wanted.best))
        truths.append((iou(found.best, case.truth), iou(wanted.best, case.truth)))
    ours, torchs = np.mean(truths, axis=0).tolist()
    return Comparison(
        kind=torch_sam.kind,
        prompts=len(cases),
        iou_torch=float(np.mean(pairs)),
        iou_torch_least=min(pairs),
        same_best=float(np.mean(alike)),
        iou_truth=ours,
        iou_truth_torch=torchs,
        encode_ms=1e3 * float(np.median(encode_s)),
        click_ms=1e3 * float(np.median(click_s)),
    )


@torch.no_grad()
def torch_candidates(checkpoint: Checkpoint, case: Case) -> Candidates:
    """Answer a case in torch."""
    height, width = case.truth.shape
    embedding = checkpoint.model.get_image_embeddings(checkpoint.normalised(case.pixels))
    logits, sure = checkpoint.answer(embedding, case.prompt, (height, width))
    return Candidates((logits > 0).numpy(), sure.numpy())


def _texture(rng: np.random.Generator) -> Rgb:
    """Draw a coloured surface, clouded and grained, as large as the models see."""
    size_hw = SIDE_PX, SIDE_PX
    cloud = perlin_noise(size_hw, (4, 4), rng) * rng.uniform(0, 30)
    grain = perlin_noise(size_hw, (32, 32), rng) * rng.uniform(0, 15)
    colour = rng.uniform(60, 200, 3)
    return np.clip((cloud + grain)[:, :, None] + colour, 0, 255).astype(np.uint8)


def _box(mask: Mask, rng: np.random.Generator) -> Prompt:
    """Give a box around a defect, each side up to a tenth of its length too far out."""
    x, y, width, height = cv2.boundingRect(mask.astype(np.uint8))
    left, top, right, bottom = rng.uniform(0, 0.1, 4) * (width, height, width, height)
    return Prompt(box=(x - left, y - top, x + width + right, y + height + bottom))


def _click(mask: Mask) -> Prompt:
    """Click where a defect is deepest."""
    depth = cv2.distanceTransform(np.pad(mask, 1).astype(np.uint8), cv2.DIST_L2, 3)[1:-1, 1:-1]
    y, x = np.unravel_index(depth.argmax(), depth.shape)
    return Prompt(positive=np.array([[x, y]], np.float32))


def _sam() -> SamModel:
    config = SamConfig(
        vision_config={
            "hidden_size": 48,
            "output_channels": WIDTH,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "mlp_ratio": 2.0,
            "image_size": SIDE_PX,
            "patch_size": 8,
            "window_size": 7,
            "global_attn_indexes": [1],
            "num_pos_feats": WIDTH // 2,
            "initializer_range": INITIAL,
        },
        prompt_encoder_config={"hidden_size": WIDTH, "image_size": SIDE_PX, "patch_size": 8},
        mask_decoder_config=_decoder_config(),
        initializer_range=INITIAL,
    )
    # as SAM was born; transformers' own value makes places of neighbouring pixels unlike
    config.vision_config.scale = 1.0
    return SamModel(config)


def _sam2() -> Sam2Model:
    backbone = {
        "model_type": "sam2_hiera_det_model",
        "hidden_size": 24,
        "image_size": [SIDE_PX, SIDE_PX],
        "blocks_per_stage": [1, 1, 2],
        "num_query_pool_stages": 2,
        "embed_dim_per_stage": [24, 32, 48],
        "num_attention_heads_per_stage": [1, 1, 2],
        "window_size_per_stage": [8, 4, 7],
        "global_attention_blocks": [3],
        "initializer_range": INITIAL,
    }
    vision = {
        "backbone_config": backbone,
        "backbone_channel_list": [48, 32, 24],
        "backbone_feature_sizes": [[32, 32], [16, 16], [8, 8]],
        "fpn_hidden_size": WIDTH,
        "fpn_top_down_levels": [1, 2],
        "initializer_range": INITIAL,
    }
    config = Sam2Config(
        vision_config=vision,
        prompt_encoder_config={"hidden_size": WIDTH, "image_size": SIDE_PX, "patch_size": 16},
        mask_decoder_config=_decoder_config(),
        initializer_range=INITIAL,
    )
    return Sam2Model(config)


def _decoder_config() -> dict[str, int]:
    heads = {"num_attention_heads": 4, "iou_head_hidden_dim": WIDTH}
    return {"hidden_size": WIDTH, "mlp_dim": 64, **heads}


def _train(model: PreTrainedModel, cases: Sequence[Case], steps: int) -> None:
    """Train a model from scratch; each batch has one kind of prompt."""
    seen = Checkpoint(model, "sam", "tiny", "folder", "", IMAGENET)  # parts fill the square
    pixels = torch.cat([seen.normalised(case.pixels) for case in cases])
    boxed = np.array([case.prompt.box is not None for case in cases])
    optimizer = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LEARNING_RATE, total_steps=steps)
    rng = np.random.default_rng(0)
    model.train()
    for step in follow(range(steps), "training"):
        chosen = rng.choice(np.flatnonzero(boxed == step % 2), BATCH)
        batch = [cases[i] for i in chosen]
        given = model(pixel_values=pixels[chosen], multimask_output=True, **_asked(batch))
        logits = functional.interpolate(given.pred_masks[:, 0], (SIDE_PX, SIDE_PX), mode="bilinear")
        answers = zip(logits, given.iou_scores[:, 0], batch, strict=True)
        losses = [mask_loss(masks, sure, case.truth) for masks, sure, case in answers]
        optimizer.zero_grad()
        torch.autograd.backward(torch.stack(losses).mean())
        optimizer.step()
        schedule.step()


def _asked(batch: list[Case]) -> dict[str, Tensor]:
    """Give the prompts of a batch, all boxes or all clicks, as the models take them."""
    prompts = [case.prompt for case in batch]
    if prompts[0].box is not None:
        return {"input_boxes": torch.tensor([[prompt.box] for prompt in prompts])}
    clicks = np.stack([prompt.positive[None] for prompt in prompts])
    return {"input_points": torch.from_numpy(clicks)}

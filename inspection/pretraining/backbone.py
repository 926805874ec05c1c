"""Trains `formulanet` on procedural pictures until it computes what the filter bank does."""

import itertools
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from timm.data import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from torch import Tensor, nn
from torch.nn import functional

from inspection.core.progress import follow
from inspection.networks.formulanet import COARSE, FINE, FormulaNet
from inspection.pretraining.device import fastest_device, half_precision
from inspection.pretraining.filters import FilterBank
from inspection.pretraining.laps import Pass, tell
from inspection.pretraining.pictures import draw_picture
from inspection.pretraining.pool import CHUNK, draw_pool
from inspection.pretraining.settings import BackboneRecipe
from inspection.pretraining.targets import Directions, fit_directions

Drawn = tuple[NDArray[np.uint8], NDArray[np.float16], NDArray[np.float16]]
Chunk = tuple[Tensor, Tensor, Tensor]
HELD_OUT = 256  # pictures that only say how well it computes
FIRST = 2_048  # pictures that directions and variances are learnt from


class Lap(Pass):
    """How well the held out pictures are computed after one pass."""

    fine: float = Field(description="share of the variance explained, at stride 8")
    coarse: float = Field(description="the same at stride 16")


@dataclass(frozen=True)
class _Lessons:
    """Pictures with what is to be computed of them."""

    pixels: Tensor
    """uint8 N×side×side×3."""
    fine: Tensor
    """float16 N×FINE×side/8×side/8."""
    coarse: Tensor

    def batch(self, chosen: Tensor, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
        images = normalised(as_images(self.pixels[chosen].numpy()))
        return (
            images.to(device, memory_format=torch.channels_last),
            self.fine[chosen].float().to(device),
            self.coarse[chosen].float().to(device),
        )


def train_backbone(recipe: BackboneRecipe) -> tuple[FormulaNet, tuple[Lap, ...]]:
    """Draw the pictures and train; on a GPU where there is one, in halves where it is faster.

    Returns:
        The network, on the CPU, and its learning curve.
    """
    device = fastest_device()
    taught, held_out = _lessons(recipe)
    torch.manual_seed(recipe.seed)
    model = FormulaNet().to(device)
    laps = tuple(_laps(model, taught, held_out, recipe, device))
    return model.cpu().eval(), laps


def normalised(images: Tensor) -> Tensor:
    """Bring images of 0 to 1 to what timm's models are given."""
    mean, std = (
        torch.tensor(one)[:, None, None] for one in (IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD)
    )
    return (images - mean) / std


def _lessons(recipe: BackboneRecipe) -> tuple[_Lessons, _Lessons]:
    chunks = draw_pool(_draw, recipe.pictures + HELD_OUT, recipe.side_px, recipe.seed)
    first = [_tensors(one) for one in itertools.islice(chunks, FIRST // CHUNK)]
    directions = [
        fit_directions(torch.cat(one).float(), count)
        for one, count in zip(list(zip(*first, strict=True))[1:], (FINE, COARSE), strict=True)
    ]
    drawn = itertools.chain(first, map(_tensors, chunks))
    learnt = [_turned(chunk, directions) for chunk in drawn]
    pixels, fine, coarse = (torch.cat(one) for one in zip(*learnt, strict=True))
    return (
        _Lessons(pixels[HELD_OUT:], fine[HELD_OUT:], coarse[HELD_OUT:]),
        _Lessons(pixels[:HELD_OUT], fine[:HELD_OUT], coarse[:HELD_OUT]),
    )


def as_images(pictures: NDArray[np.uint8]) -> Tensor:
    """Give pictures as images, float32 n×3×side×side of 0 to 1."""
    return torch.from_numpy(pictures).permute(0, 3, 1, 2).float() / 255


def _draw(side_px: int, rngs: Sequence[np.random.Generator]) -> Drawn:
    """Draw pictures, uint8 n×side×side×3, with the filter bank's two answers, float16."""
    pictures = np.stack([draw_picture(side_px, rng) for rng in rngs])
    fine, coarse = FilterBank()(as_images(pictures))
    return pictures, fine.numpy().astype(np.float16), coarse.numpy().astype(np.float16)


def _tensors(drawn: Drawn) -> Chunk:
    pixels, fine, coarse = map(torch.from_numpy, drawn)
    return pixels, fine, coarse


def _turned(chunk: Chunk, directions: list[Directions]) -> Chunk:
    pixels, fine, coarse = chunk
    return pixels, directions[0](fine.float()).half(), directions[1](coarse.float()).half()


def _laps(
    model: FormulaNet,
    taught: _Lessons,
    held_out: _Lessons,
    recipe: BackboneRecipe,
    device: torch.device,
) -> Iterator[Lap]:
    steps = len(taught.pixels) // recipe.batch_size
    optimizer = torch.optim.AdamW(model.parameters(), recipe.learning_rate, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, recipe.learning_rate, total_steps=steps * recipe.epochs
    )
    order = torch.Generator().manual_seed(recipe.seed)
    variances = [one[:FIRST].float().square().mean().item() for one in (taught.fine, taught.coarse)]
    begun = time.perf_counter()
    for epoch in range(1, recipe.epochs + 1):
        model.train()
        shuffled = torch.randperm(len(taught.pixels), generator=order)
        for chosen in follow(torch.split(shuffled, recipe.batch_size)[:steps], f"epoch {epoch}"):
            images, *wanted = taught.batch(chosen, device)
            with half_precision(device):
                found = model.compared(images)
            answers = zip(found, wanted, variances, strict=True)
            missed = [
                functional.mse_loss(one.float(), want) / spread for one, want, spread in answers
            ]
            optimizer.zero_grad()
            torch.autograd.backward(torch.stack(missed).sum())
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
        seconds = time.perf_counter() - begun
        yield tell(Lap(epoch=epoch, seconds=seconds, **_explained(model, held_out, device)))


@torch.no_grad()
def _explained(model: FormulaNet, held_out: _Lessons, device: torch.device) -> dict[str, float]:
    model.eval()
    missed, spread = torch.zeros(2), torch.zeros(2)
    for chosen in torch.split(torch.arange(len(held_out.pixels)), 64):
        images, *wanted = held_out.batch(chosen, device)
        for number, (found, want) in enumerate(zip(model.compared(images), wanted, strict=True)):
            missed[number] += (found - want).square().sum().cpu()
            spread[number] += want.square().sum().cpu()  # their mean is 0
    fine, coarse = (1 - missed / spread).tolist()
    return {"fine": fine, "coarse": coarse}

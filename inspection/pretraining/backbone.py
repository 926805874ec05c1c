"""Trains `formulanet` on procedural pictures until it computes what the filter bank does."""

import itertools
import time
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from pydantic import Field
from timm.data import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from torch import Tensor, nn
from torch.nn import functional

from inspection.core.progress import follow
from inspection.core.records import Record
from inspection.pretraining.pool import CHUNK, Drawn, as_images, draw_pool
from inspection.pretraining.settings import BackboneRecipe
from inspection.pretraining.targets import Whitening, fit_whitening
from inspection.training.formulanet import COARSE, FINE, FormulaNet

Chunk = tuple[Tensor, Tensor, Tensor]
HELD_OUT = 256  # pictures that only say how well it computes
WHITENED_ON = 2_048  # pictures the directions are learnt from


class Lap(Record):
    """How well the held out pictures are computed after one pass."""

    epoch: int
    seconds: float = Field(description="since training began")
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
    """Draw the pictures and train; on a GPU where there is one.

    Returns:
        The network, on the CPU, and its learning curve.
    """
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
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
    chunks = draw_pool(recipe.pictures + HELD_OUT, recipe.side_px, recipe.seed)
    first = [_tensors(one) for one in itertools.islice(chunks, WHITENED_ON // CHUNK)]
    whiten = [
        fit_whitening(torch.cat(one).float(), directions)
        for one, directions in zip(list(zip(*first, strict=True))[1:], (FINE, COARSE), strict=True)
    ]
    drawn = itertools.chain(first, map(_tensors, chunks))
    learnt = [_whitened(chunk, whiten) for chunk in drawn]
    pixels, fine, coarse = (torch.cat(one) for one in zip(*learnt, strict=True))
    return (
        _Lessons(pixels[HELD_OUT:], fine[HELD_OUT:], coarse[HELD_OUT:]),
        _Lessons(pixels[:HELD_OUT], fine[:HELD_OUT], coarse[:HELD_OUT]),
    )


def _tensors(drawn: Drawn) -> Chunk:
    pixels, fine, coarse = map(torch.from_numpy, drawn)
    return pixels, fine, coarse


def _whitened(chunk: Chunk, whiten: list[Whitening]) -> Chunk:
    pixels, fine, coarse = chunk
    return pixels, whiten[0](fine.float()).half(), whiten[1](coarse.float()).half()


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
    begun = time.perf_counter()
    for epoch in range(1, recipe.epochs + 1):
        model.train()
        shuffled = torch.randperm(len(taught.pixels), generator=order)
        for chosen in follow(torch.split(shuffled, recipe.batch_size)[:steps], f"epoch {epoch}"):
            images, *wanted = taught.batch(chosen, device)
            fine, coarse = features(model, images)
            loss = functional.mse_loss(fine, wanted[0]) + functional.mse_loss(coarse, wanted[1])
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
        yield Lap(
            epoch=epoch, seconds=time.perf_counter() - begun, **_explained(model, held_out, device)
        )


def features(model: FormulaNet, images: Tensor) -> tuple[Tensor, Tensor]:
    """Give what PatchCore would compare: fine and coarse."""
    fine = model.fine(model.third(model.second(model.stem(images))))
    return fine, model.coarse(model.fourth(fine))


@torch.no_grad()
def _explained(model: FormulaNet, held_out: _Lessons, device: torch.device) -> dict[str, float]:
    model.eval()
    missed, spread = torch.zeros(2), torch.zeros(2)
    for chosen in torch.split(torch.arange(len(held_out.pixels)), 64):
        images, *wanted = held_out.batch(chosen, device)
        for number, (found, want) in enumerate(zip(features(model, images), wanted, strict=True)):
            missed[number] += (found - want).square().sum().cpu()
            spread[number] += want.square().sum().cpu()  # whitened: its mean is 0
    fine, coarse = (1 - missed / spread).tolist()
    return {"fine": fine, "coarse": coarse}

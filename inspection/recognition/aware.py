"""Quantisation-aware training by NNCF, for a network that loses too much when it becomes INT8.

What the float network tells is the teacher: the quantised one learns to tell the same on the
pictures that teach, which needs no labels and is the same for every network.
"""

import contextlib
import copy
import logging
import os
import sys
from collections.abc import Sequence

import lightning
import nncf
import torch
from lightning.pytorch.callbacks import RichProgressBar
from torch import Tensor, nn
from torch.utils.data import DataLoader

from inspection.core.errors import TrainingError
from inspection.export.quantize import preset, ranges
from inspection.training.quiet import interruptible, quiet_libraries

RATE = 1e-4  # of AdamW; moves ranges more than weights
BATCH = 4
FLOAT_TYPES = ("avg_pool2d", "adaptive_avg_pool2d", "interpolate", "cat")  # as after training
# NNCF compiles its operations once on each machine, and gives up after a minute by itself; without
# a compiler it falls back on torch's.
os.environ.setdefault("NNCF_EXTENSION_LOAD_TIMEOUT", "0")


def _attends(network: nn.Module) -> bool:
    """Say whether a network has attention, whose products NNCF then leaves alone."""
    return any("Attention" in type(one).__name__ for one in network.modules())


class _Apprentice(lightning.LightningModule):  # type: ignore[misc]
    """A quantised network beside the float one."""

    def __init__(self, student: nn.Module, teacher: nn.Module) -> None:
        super().__init__()
        self.student, self.teacher = student, [teacher]  # a list: its weights stay

    def training_step(self, images: Tensor, number: int) -> Tensor:
        """Give how far the quantised outputs lie from the float ones, in their variances."""
        del number
        with torch.no_grad():
            wanted = self.teacher[0](images)
        told = self.student(images)
        missed = [
            (one - want).square().mean() / want.var().clamp(min=1e-6)
            for one, want in zip(told, wanted, strict=True)
        ]
        return torch.stack(missed).sum()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Give AdamW."""
        return torch.optim.AdamW(self.student.parameters(), RATE)


def quantise_aware(first: nn.Module, images: Sequence[Tensor], epochs: int) -> nn.Module:
    """Quantise a network and train it to tell what it told before.

    Args:
        first: takes normalised images (B, 3, H, W), gives a tuple; unchanged.
        images: normalised, float32 (3, H, W).
        epochs: passes over them.

    Returns:
        The quantised network, on the CPU, in evaluation.

    Raises:
        TrainingError: NNCF cannot quantise it, or its training failed.
    """
    try:
        return _quantised_aware(first, images, epochs)
    except (RuntimeError, ValueError, TypeError, nncf.errors.InternalError) as error:
        raise TrainingError(
            f"quantisation-aware training failed: {error}; set export.again_epochs to 0, or take "
            "--precision fp32"
        ) from error


def _quantised_aware(first: nn.Module, images: Sequence[Tensor], epochs: int) -> nn.Module:
    teacher = copy.deepcopy(first).eval()
    data = nncf.Dataset(list(images), lambda one: one[None])
    logging.getLogger("nncf").setLevel(logging.ERROR)
    with contextlib.redirect_stdout(sys.stderr):
        student = nncf.quantize(
            copy.deepcopy(first).eval(),
            data,
            subset_size=len(images),
            preset=preset(deep=True),
            ignored_scope=nncf.IgnoredScope(types=list(FLOAT_TYPES), validate=False),
            model_type=nncf.ModelType.TRANSFORMER if _attends(first) else None,
            advanced_parameters=ranges(),
        )
    loader: DataLoader[Tensor] = DataLoader(list(images), BATCH, shuffle=True)  # type: ignore[arg-type]
    trainer = lightning.Trainer(
        max_epochs=epochs,
        accelerator="cpu",
        devices=1,
        logger=False,
        enable_checkpointing=False,
        enable_model_summary=False,
        callbacks=[RichProgressBar(console_kwargs={"stderr": True}, leave=False)],
    )
    with quiet_libraries(), interruptible():
        trainer.fit(_Apprentice(student, teacher), loader)
    trained: nn.Module = student.cpu().eval()
    return trained

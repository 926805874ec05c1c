"""Trains a network of the second stage with Lightning."""

import logging
from collections.abc import Iterable
from typing import Any

import lightning
import torch
from lightning.pytorch.callbacks import RichProgressBar
from lightning.pytorch.utilities.exceptions import MisconfigurationException
from torch import Tensor
from torch.utils.data import DataLoader

from inspection.core.errors import TrainingError
from inspection.recognition.labels import Labels
from inspection.recognition.networks.network import Network
from inspection.recognition.samples import Lessons, Target, collate
from inspection.recognition.settings import RecogniseConfig
from inspection.training.quiet import interruptible, quiet_libraries

WEIGHT_DECAY = 1e-4
STEEPEST = 5.0  # most norm of a gradient
WARM = 0.1  # share of the steps before the learning rate is highest
LEAST_WARM = 2  # steps; with one, OneCycleLR divides by zero
LIBRARY_ERRORS = (RuntimeError, ValueError, TypeError)  # what torch and transformers raise
logger = logging.getLogger(__name__)


class Learner(lightning.LightningModule):  # type: ignore[misc]
    """A network while it learns, at a learning rate that rises and falls once."""

    def __init__(self, network: Network, rate: float, steps: int) -> None:
        super().__init__()
        self.network, self._rate, self._steps = network, rate, steps
        picture = network.picture
        self.register_buffer("mean", torch.tensor(picture.mean)[:, None, None])
        self.register_buffer("std", torch.tensor(picture.std)[:, None, None])
        self.seen: list[dict[str, float]] = []
        self._sums: dict[str, float] = {}

    def training_step(self, batch: tuple[Tensor, list[Target]], number: int) -> Tensor:
        """Give the sum of the losses of one batch, uint8 (B, 3, H, W)."""
        del number
        pixels, targets = batch
        images = (pixels.float() - self.mean) / self.std
        losses = self.network.losses(images.contiguous(memory_format=torch.channels_last), targets)
        if broken := [name for name, value in losses.items() if not torch.isfinite(value).all()]:
            raise TrainingError(
                f"recognise: the loss of {', '.join(broken)} is no number in pass "
                f"{self.current_epoch + 1}; name a smaller learning_rate"
            )
        for name, value in losses.items():
            self._sums[name] = self._sums.get(name, 0.0) + float(value.detach())
        return torch.stack(list(losses.values())).sum()

    def on_train_epoch_end(self) -> None:
        """Note the mean losses of the pass."""
        count = max(1, self.trainer.num_training_batches)
        self.seen.append({name: value / count for name, value in self._sums.items()})
        self._sums = {}
        told = ", ".join(f"{name} {value:.3f}" for name, value in self.seen[-1].items())
        logger.info("pass %d: %s", self.current_epoch + 1, told)

    def configure_optimizers(self) -> Any:
        """Give AdamW and its one cycle."""
        taught = [one for one in self.network.parameters() if one.requires_grad]
        optimizer = torch.optim.AdamW(taught, self._rate, weight_decay=WEIGHT_DECAY)
        steps = max(self._steps, 2 * LEAST_WARM)
        warm = max(WARM, LEAST_WARM / steps)
        cycle = torch.optim.lr_scheduler.OneCycleLR(
            optimizer, self._rate, total_steps=steps, pct_start=warm
        )
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": cycle, "interval": "step"}}


def teach(
    network: Network, labels: Labels, config: RecogniseConfig
) -> tuple[dict[str, float], ...]:
    """Train on the pictures that teach.

    Returns:
        The mean losses of every pass.

    Raises:
        TrainingError: too few pictures show a defect, or some of them lack the masks it needs.
    """
    lessons = make_lessons(network, labels, config)
    loader: DataLoader[Any] = DataLoader(
        lessons, config.batch_size, shuffle=True, collate_fn=collate, drop_last=True
    )
    learner = Learner(network, config.learning_rate, len(loader) * config.epochs)
    fit(learner, loader, config.epochs, config.accelerator)
    return tuple(learner.seen)


def fit(learner: Learner, loader: Iterable[Any], epochs: int, accelerator: str) -> None:
    """Run Lightning for so many passes; the network is on the CPU and in evaluation afterwards."""
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    try:
        trainer = lightning.Trainer(
            max_epochs=epochs,
            accelerator=accelerator,
            devices=1,
            logger=False,
            enable_checkpointing=False,
            enable_model_summary=False,
            gradient_clip_val=STEEPEST,
            callbacks=[RichProgressBar(console_kwargs={"stderr": True}, leave=False)],
        )
    except MisconfigurationException as error:
        raise TrainingError(f"accelerator {accelerator}: {error}; name cpu") from error
    learner.network.to(memory_format=torch.channels_last)
    learner.network.train()  # checkpoints of transformers come in evaluation
    try:
        with quiet_libraries(), interruptible():
            trainer.fit(learner, loader)
    except LIBRARY_ERRORS as error:
        raise TrainingError(
            f"recognise: training failed: {error}; where it is about memory, name a smaller "
            "batch_size or input_hw"
        ) from error
    learner.network.cpu().eval()


def make_lessons(network: Network, labels: Labels, config: RecogniseConfig) -> Lessons:
    """Give what a network is taught with.

    Raises:
        TrainingError: too few pictures show a defect, or some of them lack the masks it needs.
    """
    taught = labels.of("train")
    defective = [one for one in taught if one.defects]
    if len(defective) < config.batch_size:
        raise TrainingError(
            f"recognise: {len(defective)} pictures that teach show a defect; wanted at least one "
            f"batch of {config.batch_size}; label more, or name a smaller batch_size"
        )
    if network.draws_masks and labels.bare:
        raise TrainingError(
            f"recognise: {len(labels.bare)} pictures have defects with a box only, first "
            f"{labels.bare[0]}, and {config.network.name} draws masks; draw theirs, or choose fcos "
            "or retinanet"
        )
    return Lessons(
        defective,
        [one for one in taught if not one.defects],
        labels.types,
        network.picture,
        config.input_hw,
        config.augmentation,
        config.seed,
    )

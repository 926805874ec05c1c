"""Fine-tunes the mask decoder of a SAM on the masks that reviewers corrected.

The encoders stay as they are, bit for bit, so each window is embedded once. The result is kept only
if it is better on pictures that neither trained it nor chose when to stop.
"""

import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field, StrictBool, StrictFloat, StrictInt, model_validator
from torch import Tensor
from torch.nn import functional

from inspection.core.config import Settings
from inspection.core.folders import new_folder
from inspection.core.imaging import Mask
from inspection.core.origin import describe_origin
from inspection.core.progress import advancing, follow
from inspection.core.records import Interval, Origin, Record, hash_file, write_record
from inspection.masks.segmenter import Prompt
from inspection.review.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from inspection.review.hubfolder import WEIGHTS
from inspection.review.lessons import (
    CorrectedMask,
    Lesson,
    Part,
    Window,
    cut_windows,
    split_pictures,
)

RECORD = "tuned.json"
PACKAGES = ("numpy", "safetensors", "torch", "transformers")
DRAWS = 2000  # of the bootstrap
PERCENTILES_95 = (2.5, 97.5)


class TuneSettings(Settings):
    """How a segmenter learns from corrections."""

    least_images: StrictInt = Field(
        30, ge=12, description="pictures with a corrected defect, fewer are refused"
    )
    held_out_share: StrictFloat = Field(
        0.3, gt=0, lt=0.9, description="share of the pictures that judge the result and no more"
    )
    stop_share: StrictFloat = Field(
        0.2, gt=0, lt=0.9, description="share of the pictures that say when to stop"
    )
    epochs: StrictInt = Field(40, ge=1, le=10_000, description="most passes over the others")
    patience: StrictInt = Field(8, ge=1, description="passes without gain before it stops")
    batch_size: StrictInt = Field(4, ge=1, le=256, description="defects per step")
    learning_rate: StrictFloat = Field(1e-4, gt=0, lt=1, description="of AdamW")
    weight_decay: StrictFloat = Field(1e-2, ge=0, lt=1, description="of AdamW")
    seed: StrictInt = Field(
        0, ge=0, description="of order, prompts and bootstrap, not of the parts"
    )

    @model_validator(mode="after")
    def _leaves_some(self) -> "TuneSettings":
        if self.held_out_share + self.stop_share >= 1:
            raise ValueError("held_out_share and stop_share must leave something to learn from")
        return self


class TuneRecord(Record):
    """One tuning: from what, on what, and whether it was kept."""

    name: str = Field(description="of the checkpoint, as asked for")
    checkpoint_sha256: str = Field(description="of its weights")
    weights_sha256: str | None = Field(
        description="of the tuned ones; none when they were not kept"
    )
    authors: dict[str, StrictInt] = Field(description="labels by author")
    empty: StrictInt = Field(description="labels without a defect, left out")
    defects: StrictInt = Field(description="on the pictures of all parts")
    images: dict[Part, tuple[str, ...]] = Field(description="sha256 of the pictures of each part")
    epochs: StrictInt = Field(description="passes that were made")
    best_epoch: StrictInt = Field(description="the pass whose weights were judged; 0 is none")
    before: Interval = Field(description="mean IoU over held-out pictures, of the checkpoint")
    after: Interval = Field(description="the same of the tuned weights")
    gain: Interval = Field(description="after minus before, paired by picture")
    kept: StrictBool = Field(description="the gain's lower bound lies above 0")
    settings: TuneSettings
    origin: Origin
    duration_s: float

    def __str__(self) -> str:
        """Say the numbers that decided."""
        held_out = len(self.images[Part.HELD_OUT])
        verdict = "better, kept" if self.kept else "not surely better, not kept"
        return (
            f"{verdict}: mean IoU on {held_out} held-out pictures {self.before} before, "
            f"{self.after} after, gain {self.gain}; of {sum(self.authors.values())} labels "
            f"{self.empty} empty, left out"
        )


def tune_segmenter(
    name_or_folder: str,
    labels: Iterable[CorrectedMask],
    out: Path,
    settings: TuneSettings | None = None,
) -> TuneRecord:
    """Fine-tune a segmenter's mask decoder; `out` is written only if it became better.

    A picture is in one part only, by its hash alone, so what judged once never trains later. An
    empty label is left out and counted: a segmenter is asked where the map found something and must
    outline something; whether there is a defect is the map's to learn. Memory: 4 MB per window for
    SAM, 16 MB for SAM 2, of which a picture that the model sees unreduced needs one.

    Args:
        name_or_folder: the checkpoint, see `load_checkpoint`.
        labels: corrected masks; read once.
        out: new folder in Hugging Face format, with `tuned.json`, for `review.convert`.
        settings: of the training.

    Returns:
        The record, also where nothing was kept.

    Raises:
        DatasetError: too few pictures, or a label whose mask does not fit its picture.
        ImageError: a picture is no uint8 H×W×3 RGB.
        ConfigError: there is no such checkpoint, or `out` exists.
    """
    settings = settings or TuneSettings()
    try:
        with new_folder(out) as folder, _deterministic():
            checkpoint = load_checkpoint(name_or_folder)
            record = _tune(checkpoint, labels, settings)
            if not record.kept:
                raise _NotBetter(record)
            save_checkpoint(checkpoint, folder)
            sha256 = hash_file(folder / WEIGHTS)
            record = record.model_copy(update={"weights_sha256": sha256})
            write_record(folder / RECORD, record)
    except _NotBetter as refused:
        return refused.record
    return record


class _NotBetter(Exception):
    """Leaves the new folder unwritten."""

    def __init__(self, record: TuneRecord) -> None:
        super().__init__(str(record))
        self.record = record


@dataclass(frozen=True)
class Example:
    """One defect, and what the encoder made of the window around it."""

    picture: str
    lesson: Lesson
    embedding: Any
    """Of the window, as `Checkpoint.answer` takes it."""


def _tune(
    checkpoint: Checkpoint, labels: Iterable[CorrectedMask], settings: TuneSettings
) -> TuneRecord:
    """Train the checkpoint's own decoder, in place, and judge it."""
    started = time.perf_counter()
    windows: list[Window] = []
    authors, empty = Counter[str](), 0
    for label in labels:
        found = cut_windows(label, checkpoint.side_px)
        windows += found
        authors[label.author] += 1
        empty += not found
    images = split_pictures(
        {window.picture for window in windows},
        held_out_share=settings.held_out_share,
        stop_share=settings.stop_share,
        least=settings.least_images,
    )
    examples = [one for window in follow(windows, "encoding") for one in _look(checkpoint, window)]
    parts = {part: [one for one in examples if one.picture in images[part]] for part in Part}
    before = _ious(checkpoint, parts[Part.HELD_OUT])
    epochs, best_epoch = _fit(checkpoint, parts, settings)
    after = _ious(checkpoint, parts[Part.HELD_OUT])
    gain = mean_interval(after - before, settings.seed)
    return TuneRecord(
        name=checkpoint.name,
        checkpoint_sha256=checkpoint.sha256,
        weights_sha256=None,
        authors=dict(sorted(authors.items())),
        empty=empty,
        defects=len(examples),
        images=images,
        epochs=epochs,
        best_epoch=best_epoch,
        before=mean_interval(before, settings.seed),
        after=mean_interval(after, settings.seed),
        gain=gain,
        kept=gain.low > 0,
        settings=settings,
        origin=describe_origin(PACKAGES),
        duration_s=round(time.perf_counter() - started, 3),
    )


def mean_interval(values: NDArray[np.float64], seed: int) -> Interval:
    """Give the mean of (n,) values, one per picture, with its 95 % bootstrap interval.

    Of one seed and one n, each draw takes the same pictures, so that differences stay paired.
    """
    rng = np.random.default_rng(seed)
    means = values[rng.integers(0, len(values), (DRAWS, len(values)))].mean(axis=1)
    low, high = np.percentile(means, PERCENTILES_95)
    return Interval(value=float(values.mean()), low=float(low), high=float(high))


def _look(checkpoint: Checkpoint, window: Window) -> list[Example]:
    """Encode a window once for all defects in it."""
    embedding = checkpoint.model.get_image_embeddings(checkpoint.normalised(window.pixels))
    return [Example(window.picture, lesson, embedding) for lesson in window.lessons]


def _fit(
    checkpoint: Checkpoint, parts: Mapping[Part, Sequence[Example]], settings: TuneSettings
) -> tuple[int, int]:
    """Train the decoder and leave it at its best pass; give how many were made and the best."""
    decoder = checkpoint.model.mask_decoder.requires_grad_(requires_grad=True)
    for name in ("conv_s0", "conv_s1"):  # of SAM 2: what they make belongs to the embedding
        if hasattr(decoder, name):
            getattr(decoder, name).requires_grad_(requires_grad=False)
    optimizer = torch.optim.AdamW(
        [weight for weight in decoder.parameters() if weight.requires_grad],
        lr=settings.learning_rate,
        weight_decay=settings.weight_decay,
    )
    rng = np.random.default_rng(settings.seed)
    best, best_epoch, epoch = float(_ious(checkpoint, parts[Part.STOP]).mean()), 0, 0
    state = deepcopy(decoder.state_dict())
    with advancing(settings.epochs, "tuning") as advance:
        while epoch < settings.epochs and epoch - best_epoch < settings.patience:
            epoch += 1
            _pass_over(checkpoint, parts[Part.TRAIN], optimizer, settings.batch_size, rng)
            found = float(_ious(checkpoint, parts[Part.STOP]).mean())
            if found > best:
                best, best_epoch, state = found, epoch, deepcopy(decoder.state_dict())
            advance(1)
    decoder.load_state_dict(state)
    return epoch, best_epoch


def _pass_over(
    checkpoint: Checkpoint,
    examples: Sequence[Example],
    optimizer: torch.optim.Optimizer,
    batch_size: int,
    rng: np.random.Generator,
) -> None:
    order = rng.permutation(len(examples))
    for first in range(0, len(order), batch_size):
        batch = [examples[index] for index in order[first : first + batch_size]]
        optimizer.zero_grad()
        for example in batch:
            logits, sure = _answer(checkpoint, example, example.lesson.draw_prompt(rng))
            loss = mask_loss(logits, sure, example.lesson.mask) / len(batch)
            torch.autograd.backward(loss)
        optimizer.step()


def _answer(checkpoint: Checkpoint, example: Example, prompt: Prompt) -> tuple[Tensor, Tensor]:
    height, width = example.lesson.mask.shape
    return checkpoint.answer(example.embedding, prompt, (height, width))


def mask_loss(logits: Tensor, sure: Tensor, mask: Mask) -> Tensor:
    """Give cross-entropy and Dice loss of the best mask, and the error of all guessed IoUs.

    Only the best of the masks learns, so that each keeps its own reading of an ambiguous prompt
    (Kirillov et al.: "Segment Anything", 2023, section 3 and appendix A).

    Args:
        logits: (n, h, w).
        sure: (n,), the guessed IoUs.
        mask: bool (h, w), the reviewer's.
    """
    target = torch.from_numpy(mask).to(logits).expand_as(logits)
    entropy = functional.binary_cross_entropy_with_logits(logits, target, reduction="none")
    inside = logits.sigmoid()
    both, each = (inside * target).sum((1, 2)), (inside + target).sum((1, 2))
    losses = entropy.mean((1, 2)) + 1 - (2 * both + 1) / (each + 1)  # + 1 as if one px more fits
    return losses.min() + functional.mse_loss(sure, _iou(logits > 0, mask))


def _iou(masks: Tensor, mask: Mask) -> Tensor:
    """Give the IoU of each of (n, h, w) masks with one that is not empty."""
    other = torch.from_numpy(mask).to(masks.device)
    return (masks & other).sum((1, 2)) / (masks | other).sum((1, 2))


@torch.no_grad()
def _ious(checkpoint: Checkpoint, examples: Sequence[Example]) -> NDArray[np.float64]:
    """Give each picture's mean IoU of the masks that the model itself thinks best, (n,)."""
    found: dict[str, list[float]] = {}
    for example in examples:
        for prompt in example.lesson.fixed_prompts:
            logits, sure = _answer(checkpoint, example, prompt)
            best = logits[sure.argmax()][None] > 0
            found.setdefault(example.picture, []).append(float(_iou(best, example.lesson.mask)))
    return np.asarray([np.mean(found[picture]) for picture in sorted(found)])


@contextmanager
def _deterministic() -> Iterator[None]:
    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(mode=True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(mode=before)

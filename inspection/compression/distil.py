"""Makes the weights of a student: pruned from `formulanet`, and taught by a champion.

Whatever the picture, the champion answers, so the run's own good parts teach without a label. The
student learns from generated defects on them, too, because it must see there what the champion
sees. Its weights are a file like any other backbone's; a run is trained on them as on any.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import timm
import torch
from pydantic import Field, StrictInt
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional

from inspection.compression.fold import begin_near
from inspection.compression.prune import prune
from inspection.compression.teacher import FIRST, Lesson, Pictures, Teacher
from inspection.core.folders import new_folder
from inspection.core.origin import describe_origin
from inspection.core.parts import FitTiles
from inspection.core.progress import follow
from inspection.core.records import Origin, Record, Weights, hash_file, read_manifest, write_record
from inspection.core.settings import BackboneConfig, TrainConfig
from inspection.export.build import read_run
from inspection.networks.formulanet import HALF, LAYERS, NAME, FormulaNet
from inspection.pretraining.device import fastest_device, half_precision
from inspection.pretraining.laps import Pass, tell
from inspection.training.models import input_norm
from inspection.training.weights import declared_weights

PICTURES = 8_000  # that teach
BATCH, LAP = 16, 75  # pictures of a step; steps between two looks at what is held out
HELD_OUT = 32  # tiles at most that only say how well it goes
LEARNING_RATE = 2e-3
RECORD = "student.json"
PACKAGES = ("numpy", "openvino", "safetensors", "timm", "torch")


class Lap(Pass):
    """How much of the champion's features the student explains, on tiles that teach nothing."""

    fine: float | None = Field(None, description="share of the variance, at stride 8")
    coarse: float | None = Field(None, description="the same at stride 16")


class StudentRecord(Record):
    """How a student's weights came about; beside them."""

    file: str
    sha256: str
    run_sha256: str = Field(description="of the champion")
    began_with: tuple[Weights, ...] = Field(description="pruned where the student is narrower")
    pictures: StrictInt = Field(description="that taught it; 0 is none")
    laps: tuple[Lap, ...]
    origin: Origin


def make_student(run: Path, config: TrainConfig, out: Path, *, taught: bool) -> StudentRecord:
    """Write the weights of a student and how they came about, whole or not at all.

    Args:
        run: the champion's, of PatchCore.
        config: the student's training: its network, its layers, its input.
        out: new folder.
        taught: by the champion; else they are only pruned.

    Raises:
        TrainingError: the run is damaged, or there are no weights to begin with.
        DatasetError: a picture of the run is gone or changed.
    """
    champion, name = read_run(run), config.backbone.name
    torch.manual_seed(config.seed)
    with new_folder(out) as folder:
        student, began_with = _begin(name)
        laps = tuple(_teach(student, run, config)) if taught else ()
        path = folder / f"{name}.{'distilled' if taught else 'pruned'}.safetensors"
        state = {key: value.contiguous() for key, value in student.cpu().state_dict().items()}
        save_file(state, path, metadata={"format": "pt"})
        made = StudentRecord(
            file=path.name,
            sha256=hash_file(path),
            run_sha256=champion.sha256,
            began_with=began_with,
            pictures=PICTURES if taught else 0,
            laps=laps,
            origin=describe_origin(PACKAGES),
        )
        write_record(folder / RECORD, made)
    return made


def _begin(name: str) -> tuple[FormulaNet, tuple[Weights, ...]]:
    """Give a student with the weights it begins with, and say which they are."""
    with declared_weights(BackboneConfig(name=NAME)) as log:
        wide = timm.create_model(NAME, pretrained=True)
    if name != HALF:
        return wide, tuple(log.loaded)
    narrow = timm.create_model(HALF)
    prune(wide, narrow)
    return narrow, tuple(log.loaded)


@dataclass(frozen=True)
class _Task:
    """What a student learns, from whom, and where that is computed."""

    teacher: Teacher
    pictures: Pictures
    norm: nn.Module
    device: torch.device

    def __call__(
        self, student: FormulaNet, lessons: list[Lesson]
    ) -> Iterator[tuple[str, Tensor, Tensor]]:
        """Give of each layer its name, what the student finds and what it should, N×D×h×w."""
        images, wanted = self.examples(lessons)
        with half_precision(self.device):
            both = student.compared(images)
        found = dict(zip(LAYERS, both, strict=True))
        for name, want in wanted.items():
            yield name, found[name].float(), want

    def examples(self, lessons: list[Lesson]) -> tuple[Tensor, dict[str, Tensor]]:
        """Give the student's images, N×3×H×W, and what it should make of them, by layer."""
        wanted = self.teacher([one.champion for one in lessons])
        pixels = torch.from_numpy(np.stack([one.student for one in lessons]))
        images = self.norm(pixels.to(self.device))
        return images, {name: one.to(self.device) for name, one in wanted.items()}


def _teach(student: FormulaNet, run: Path, config: TrainConfig) -> Iterator[Lap]:
    """Train a student, and say now and then how well the tiles that are held out go."""
    record, manifest = read_run(run), read_manifest(run / "manifest.json")
    tiles, device = FitTiles(manifest, record.config.geometry), fastest_device()
    pictures = Pictures(tiles, FitTiles(manifest, config.geometry))
    norm = input_norm(config).to(device)
    student.to(device).to(memory_format=torch.channels_last).eval()
    with torch.no_grad():
        pixels = torch.from_numpy(pictures.plain(0).student[None]).to(device)
        both = dict(zip(LAYERS, student.compared(norm(pixels)), strict=True))
    maps = {name: both[name] for name in config.backbone.layers}
    depths = {name: one.shape[1] for name, one in maps.items()}
    sizes = {name: (one.shape[2], one.shape[3]) for name, one in maps.items()}
    teacher = Teacher(run, depths, sizes)
    every = np.arange(len(pictures))
    held_out = every[:: max(4, -(-len(every) // HELD_OUT))]
    teaching = np.setdiff1d(every, held_out)
    if not teaching.size:  # one part alone
        teaching = held_out
    turns = np.random.default_rng(config.seed).choice(teaching, PICTURES)
    chosen = enumerate(turns[:FIRST].tolist(), start=PICTURES)
    first = [pictures.varied(number, turn) for turn, number in chosen]
    teacher.learn([one.champion for one in first])
    task = _Task(teacher, pictures, norm, device)
    batches = [first[start : start + BATCH] for start in range(0, len(first), BATCH)]
    begin_near(student, *zip(*map(task.examples, batches), strict=True))
    yield from _laps(student, task, turns, [pictures.plain(int(one)) for one in held_out])


def _laps(
    student: FormulaNet, task: _Task, turns: np.ndarray, held_out: list[Lesson]
) -> Iterator[Lap]:
    """Take one step for every BATCH of turns, tiles' numbers (n,)."""
    steps = np.array_split(turns, -(-len(turns) // BATCH))
    optimizer = torch.optim.AdamW(student.parameters(), LEARNING_RATE, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LEARNING_RATE, total_steps=len(steps))
    begun, turn = time.perf_counter(), 0
    for step, numbers in enumerate(follow(steps, "distilling"), start=1):
        student.train()
        lessons = [
            task.pictures.varied(number, turn + more)
            for more, number in enumerate(numbers.tolist())
        ]
        turn += len(lessons)
        missed = [
            functional.mse_loss(found, want) / want.square().mean().clamp_min(1e-12)
            for _, found, want in task(student, lessons)
        ]
        optimizer.zero_grad()
        torch.autograd.backward(torch.stack(missed).sum())
        nn.utils.clip_grad_norm_(student.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        if step % LAP == 0 or step == len(steps):
            seconds = time.perf_counter() - begun
            yield tell(Lap(epoch=step, seconds=seconds, **_explained(student, task, held_out)))


@torch.no_grad()
def _explained(student: FormulaNet, task: _Task, held_out: list[Lesson]) -> dict[str, float]:
    student.eval()
    shares: dict[str, list[float]] = {}
    for lesson in held_out:
        for name, found, want in task(student, [lesson]):
            sums = shares.setdefault(name, [0.0, 0.0])
            sums[0] += float((found - want).square().sum())
            sums[1] += float(want.square().sum())  # their mean is 0
    return {name: 1 - missed / spread for name, (missed, spread) in shares.items()}

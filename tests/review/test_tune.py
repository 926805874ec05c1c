"""Tuning: only the decoder learns, and only what is better on pictures it never saw is kept."""

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from transformers import Sam2Config, Sam2Model, SamConfig, SamModel

from inspection.core.errors import ConfigError, DatasetError
from inspection.core.imaging import Mask, Rgb
from inspection.core.records import hash_file, read_record
from inspection.masks.opening import open_segmenter
from inspection.masks.segmenter import Prompt
from inspection.review.checkpoint import load_checkpoint
from inspection.review.convert import convert_segmenter
from inspection.review.lessons import Part, split_pictures
from inspection.review.tune import (
    TuneRecord,
    TuneSettings,
    mask_loss,
    mean_interval,
    tune_segmenter,
)

HEIGHT_PX, WIDTH_PX = 48, 64
PICTURES = 40
FAST = TuneSettings(epochs=12, learning_rate=1e-3)
NORM = {"image_mean": [0.4, 0.4, 0.4], "image_std": [0.2, 0.2, 0.2]}


@dataclass(frozen=True)
class Drawn:
    """A corrected mask."""

    pixels: Rgb
    mask: Mask
    image_sha256: str
    author: str = "weber"


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> Iterator[None]:
    """So small a model is slower on two cores than on one."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def draw(number: int, grow_px: int = 0) -> Drawn:
    """A grained picture with a bright ellipse, and its mask, made wider by some px all around."""
    rng = np.random.default_rng(number)
    pixels = rng.normal(90, 8, (HEIGHT_PX, WIDTH_PX, 3))
    mask = np.zeros((HEIGHT_PX, WIDTH_PX), np.uint8)
    centre = int(rng.integers(16, 48)), int(rng.integers(14, 34))
    axes = int(rng.integers(5, 12)), int(rng.integers(4, 9))
    cv2.ellipse(mask, centre, axes, float(rng.integers(0, 180)), 0, 360, 1, cv2.FILLED)
    pixels[mask > 0] += 90
    grown = cv2.dilate(mask, np.ones((2 * grow_px + 1, 2 * grow_px + 1), np.uint8)) > 0
    sha256 = hashlib.sha256(str(number).encode()).hexdigest()
    return Drawn(pixels.clip(0, 255).astype(np.uint8), grown, sha256)


def labels(grow_px: int = 0, first: int = 0) -> list[Drawn]:
    """Forty of them."""
    return [draw(number, grow_px) for number in range(first, first + PICTURES)]


@pytest.fixture(scope="module")
def untrained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small SamModel that knows nothing, with pixel norms of its own."""
    head = {"hidden_size": 32, "image_size": WIDTH_PX, "patch_size": 4}
    vision = {
        "hidden_size": 32,
        "output_channels": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "image_size": WIDTH_PX,
        "patch_size": 4,
        "window_size": 4,
        "global_attn_indexes": [1],
        "num_pos_feats": 16,
        "mlp_dim": 64,
        "initializer_range": 0.1,
    }
    config = SamConfig(
        vision_config=vision, prompt_encoder_config=head, mask_decoder_config=_decoder()
    )
    return _saved(SamModel, config, tmp_path_factory.mktemp("sam"))


@pytest.fixture(scope="module")
def untrained_sam2(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small Sam2Model that knows nothing."""
    backbone = {
        "model_type": "sam2_hiera_det_model",
        "hidden_size": 16,
        "image_size": [WIDTH_PX, WIDTH_PX],
        "patch_kernel_size": [3, 3],
        "patch_stride": [2, 2],
        "patch_padding": [1, 1],
        "blocks_per_stage": [1, 1, 2, 1],
        "embed_dim_per_stage": [16, 24, 32, 48],
        "num_attention_heads_per_stage": [1, 1, 2, 2],
        "window_size_per_stage": [8, 4, 4, 2],
        "global_attention_blocks": [3],
    }
    vision = {
        "backbone_config": backbone,
        "backbone_channel_list": [48, 32, 24, 16],
        "backbone_feature_sizes": [[32, 32], [16, 16], [8, 8]],
        "fpn_hidden_size": 32,
    }
    head = {"hidden_size": 32, "image_size": WIDTH_PX, "patch_size": 8}
    config = Sam2Config(
        vision_config=vision, prompt_encoder_config=head, mask_decoder_config=_decoder()
    )
    return _saved(Sam2Model, config, tmp_path_factory.mktemp("sam2"))


def _decoder() -> dict[str, int]:
    return {
        "hidden_size": 32,
        "mlp_dim": 64,
        "num_attention_heads": 2,
        "iou_head_hidden_dim": 32,
    }


def _saved(kind: type, config: SamConfig | Sam2Config, folder: Path) -> Path:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        kind(config).save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(json.dumps(NORM))
    return folder


@pytest.fixture(scope="module")
def trained(untrained: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, TuneRecord]:
    """The same after it learned to outline ellipses, from other pictures than the tests'."""
    out = tmp_path_factory.mktemp("trained") / "out"
    settings = TuneSettings(epochs=30, learning_rate=2e-3)
    return out, tune_segmenter(str(untrained), labels(first=1000), out, settings)


def labels_where(parts: set[Part], how: Callable[[Mask], Mask]) -> list[Drawn]:
    """The labels, the masks of some parts changed."""
    images = split_pictures(
        [label.image_sha256 for label in labels()],
        held_out_share=FAST.held_out_share,
        stop_share=FAST.stop_share,
        least=FAST.least_images,
    )
    chosen = {image for part in parts for image in images[part]}
    return [
        replace(label, mask=how(label.mask)) if label.image_sha256 in chosen else label
        for label in labels()
    ]


def widened(mask: Mask) -> Mask:
    """Three px wider all around."""
    return cv2.dilate(mask.astype(np.uint8), np.ones((7, 7), np.uint8)) > 0


def changed_weights(before: Path, after: Path) -> set[str]:
    """The names of the tensors that differ between two checkpoints."""
    old, new = (load_file(folder / "model.safetensors") for folder in (before, after))
    assert old.keys() == new.keys()
    return {name for name in old if not torch.equal(old[name], new[name])}


def elsewhere(mask: Mask) -> Mask:
    """A corner of the picture, whatever is drawn."""
    corner = np.zeros_like(mask)
    corner[30:46, 2:30] = True
    return corner


def test_a_model_learns_what_reviewers_draw(trained: tuple[Path, TuneRecord]):
    """From nothing to the outlines, on pictures that were held out."""
    _, record = trained
    assert record.kept
    assert record.before.value < 0.2
    assert record.after.low > 0.7
    assert record.gain.low == pytest.approx(record.gain.value, abs=0.1)
    assert str(record).startswith("better, kept: mean IoU on 11 held-out pictures 0.")


def test_the_folder_is_a_checkpoint_with_its_record(trained: tuple[Path, TuneRecord]):
    """It loads like what it came from, pixel norms included, and says what it is."""
    out, record = trained
    assert sorted(path.name for path in out.iterdir()) == [
        "config.json",
        "model.safetensors",
        "preprocessor_config.json",
        "tuned.json",
    ]
    assert read_record(out / "tuned.json", TuneRecord) == record
    tuned = load_checkpoint(str(out))
    assert tuned.kind == "sam"
    assert tuned.sha256 == record.weights_sha256
    assert tuned.pixels.mean == pytest.approx((102, 102, 102))
    assert tuned.pixels.std == pytest.approx((51, 51, 51))


def test_the_record_says_from_what_and_by_whom(untrained: Path, tmp_path: Path):
    """Authors, empty labels and defects are counted; the checkpoint is named by its hash."""
    given = [replace(label, author=f"author {i % 2}") for i, label in enumerate(labels())]
    nothing = replace(draw(777), mask=np.zeros((HEIGHT_PX, WIDTH_PX), np.bool_), author="kim")
    record = tune_segmenter(
        str(untrained), iter([*given, nothing]), tmp_path / "out", TuneSettings(epochs=1)
    )
    assert record.authors == {"author 0": 20, "author 1": 20, "kim": 1}
    assert (record.empty, record.defects) == (1, PICTURES)
    assert str(record).endswith("; of 41 labels 1 empty, left out")
    assert record.checkpoint_sha256 == hash_file(untrained / "model.safetensors")
    assert all(nothing.image_sha256 not in images for images in record.images.values())
    assert set(record.origin.versions) >= {"torch", "transformers"}
    assert record.settings == TuneSettings(epochs=1)


def test_only_the_decoder_changes(untrained: Path, trained: tuple[Path, TuneRecord]):
    """The encoders of image and prompts stay, bit for bit."""
    changed = changed_weights(untrained, trained[0])
    assert all(name.startswith("mask_decoder.") for name in changed)
    assert any("output_hypernetworks" in name for name in changed)
    assert any("iou_prediction_head" in name for name in changed)


def test_what_sam2_keeps_with_its_embedding_stays(untrained_sam2: Path, tmp_path: Path):
    """The decoder's two convolutions run with the encoder, so they must not learn."""
    settings = TuneSettings(epochs=6, learning_rate=2e-3)
    assert tune_segmenter(str(untrained_sam2), labels(), tmp_path / "out", settings).kept
    changed = changed_weights(untrained_sam2, tmp_path / "out")
    assert all(name.startswith("mask_decoder.") for name in changed)
    assert any("output_hypernetworks" in name for name in changed)
    assert not any("conv_s" in name for name in changed)


def test_a_bias_of_the_reviewers_is_learned(trained: tuple[Path, TuneRecord], tmp_path: Path):
    """Masks 2 px wider than the model's: afterwards its own are wider, too, on any picture."""
    base, _ = trained
    record = tune_segmenter(str(base), labels(grow_px=2), tmp_path / "out", FAST)
    assert record.kept
    assert record.gain.low > 0.1
    areas = []
    for folder in (base, tmp_path / "out"):
        checkpoint, fresh = load_checkpoint(str(folder)), draw(5000)
        seen = checkpoint.model.get_image_embeddings(checkpoint.normalised(fresh.pixels))
        y, x = np.argwhere(fresh.mask).mean(axis=0)
        click = Prompt(positive=np.asarray([[x, y]], np.float32))
        with torch.no_grad():
            logits, sure = checkpoint.answer(seen, click, (HEIGHT_PX, WIDTH_PX))
        areas.append(int((logits[sure.argmax()] > 0).sum()))
    assert areas[1] > 1.2 * areas[0]


def test_noise_is_not_kept(trained: tuple[Path, TuneRecord], tmp_path: Path):
    """Outlines frayed at random teach nothing; no folder is left, and the numbers are given."""

    def frayed(label: Drawn) -> Drawn:
        rng = np.random.default_rng(int(label.image_sha256[:8], 16))
        kernel, mask = np.ones((7, 7), np.uint8), label.mask.astype(np.uint8)
        edge = cv2.dilate(mask, kernel) != cv2.erode(mask, kernel)
        return replace(label, mask=label.mask ^ (edge & (rng.random(edge.shape) < 0.3)))

    base, _ = trained
    record = tune_segmenter(str(base), map(frayed, labels()), tmp_path / "out", FAST)
    assert not record.kept
    assert record.weights_sha256 is None
    assert record.gain.low <= 0
    assert str(record).startswith("not surely better, not kept: mean IoU on 14 held-out pictures")
    assert list(tmp_path.iterdir()) == []


def test_what_makes_it_worse_is_not_even_judged(trained: tuple[Path, TuneRecord], tmp_path: Path):
    """Nonsense in training: patience ends it, and the checkpoint's own weights gain exactly 0."""
    base, _ = trained
    nonsense = labels_where({Part.TRAIN}, elsewhere)
    settings = FAST.model_copy(update={"patience": 2})
    record = tune_segmenter(str(base), nonsense, tmp_path / "out", settings)
    assert (record.epochs, record.best_epoch) == (2, 0)
    assert (record.gain.low, record.gain.value, record.gain.high) == (0, 0, 0)
    assert not record.kept


def test_held_out_pictures_have_the_last_word(trained: tuple[Path, TuneRecord], tmp_path: Path):
    """What trains and what stops agree on wide masks; what judges does not."""
    base, _ = trained
    wide = labels_where({Part.TRAIN, Part.STOP}, widened)
    record = tune_segmenter(str(base), wide, tmp_path / "out", FAST)
    assert record.best_epoch > 0
    assert record.gain.high < 0
    assert not (tmp_path / "out").exists()


def test_corrections_of_one_picture_stay_together(untrained: Path, tmp_path: Path):
    """Two reviewers of one picture: both of their masks are in one part."""
    twice = [*labels(), *(replace(label, author="kim") for label in labels(grow_px=1))]
    record = tune_segmenter(str(untrained), twice, tmp_path / "out", TuneSettings(epochs=1))
    assert record.defects == 2 * PICTURES
    pictures = [one for images in record.images.values() for one in images]
    assert len(pictures) == len(set(pictures)) == PICTURES


def test_too_few_pictures_are_refused(untrained: Path, tmp_path: Path):
    """Empty masks do not count as pictures."""
    given = [replace(one, mask=np.zeros_like(one.mask)) for one in labels()[:20]] + labels()[20:]
    with pytest.raises(DatasetError, match=r"20 pictures with a defect drawn, .* at least 30"):
        tune_segmenter(str(untrained), given, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_there_is_refused_before_anything_is_read(untrained: Path, tmp_path: Path):
    """An hour of tuning must not end in a refusal."""

    def unread() -> Iterator[Drawn]:
        pytest.fail("labels were read")
        yield from labels()

    (tmp_path / "tuned.json").write_text("{}")
    with pytest.raises(ConfigError, match="exists already"):
        tune_segmenter(str(untrained), unread(), tmp_path)


def test_the_same_seed_gives_the_same_weights(untrained: Path, tmp_path: Path):
    """Bit for bit; another seed gives others. Torch is left as it was."""
    was = torch.are_deterministic_algorithms_enabled()
    hashes = [
        tune_segmenter(
            str(untrained),
            labels(),
            tmp_path / str(run),
            TuneSettings(epochs=2, learning_rate=2e-3, seed=seed),
        ).weights_sha256
        for run, seed in enumerate((0, 0, 1))
    ]
    assert hashes[0] == hashes[1] != hashes[2]
    assert torch.are_deterministic_algorithms_enabled() == was


def test_a_tuned_segmenter_runs_on_openvino(trained: tuple[Path, TuneRecord], tmp_path: Path):
    """Its folder is what conversion takes, and its masks are as good there."""
    folder, _ = trained
    segmenter = open_segmenter(convert_segmenter(str(folder), tmp_path, [], "fp32"))
    ious = []
    for number in range(5000, 5010):
        label = draw(number)
        x, y, width, height = cv2.boundingRect(label.mask.astype(np.uint8))
        prompt = Prompt(box=(x - 1, y - 1, x + width + 1, y + height + 1))
        found = segmenter.set_image(label.pixels).predict([prompt])[0].best
        ious.append((found & label.mask).sum() / (found | label.mask).sum())
    assert np.mean(ious) > 0.6


def test_only_the_best_mask_learns():
    """The gradient of the others is 0, and each guess learns the IoU of its own mask."""
    mask = np.zeros((6, 8), np.bool_)
    mask[:3] = True
    right = torch.from_numpy(np.where(mask, 2.0, -2.0)).float()
    logits = torch.stack((-right, right, torch.full_like(right, 2.0))).requires_grad_()
    sure = torch.tensor([0.0, 0.25, 0.5], requires_grad=True)
    torch.autograd.backward(mask_loss(logits, sure, mask))
    assert logits.grad is not None
    assert [bool(one.any()) for one in logits.grad] == [False, True, False]
    assert sure.grad is not None
    # of the mean of (0 - 0)², (0.25 - 1)² and (0.5 - 0.5)²
    assert sure.grad.tolist() == pytest.approx([0, -0.5, 0])


def test_a_better_mask_has_the_smaller_loss():
    """Of one candidate with the right guess each: right, half right, wrong."""
    mask = np.zeros((6, 8), np.bool_)
    mask[:, :4] = True
    half = np.zeros((6, 8), np.bool_)
    half[:, :2] = True
    losses = [
        float(mask_loss(torch.from_numpy(np.where(found, 3.0, -3.0)).float()[None], iou, mask))
        for found, iou in (
            (mask, torch.tensor([1.0])),
            (half, torch.tensor([0.5])),
            (~mask, torch.tensor([0.0])),
        )
    ]
    assert losses == sorted(losses)
    assert losses[0] < 0.2 < losses[1] < losses[2]


@pytest.mark.parametrize(
    ("gains", "surely"),
    [
        ([0.1, 0.11, 0.09, 0.1, 0.12, 0.1], True),
        ([0.3, -0.2, 0.25, -0.3, 0.1, 0.2], False),
        ([0.0] * 6, False),
        ([-0.1, -0.11, -0.09, -0.1, -0.12, -0.1], False),
    ],
    ids=["all better", "noise", "no change", "all worse"],
)
def test_a_gain_is_sure_when_its_lower_bound_lies_above_0(gains: Sequence[float], surely: bool):
    """The bootstrap takes pictures, paired before and after."""
    interval = mean_interval(np.asarray(gains), seed=0)
    assert interval.value == pytest.approx(np.mean(gains))
    assert (interval.low > 0) == surely
    assert interval == mean_interval(np.asarray(gains), seed=0)

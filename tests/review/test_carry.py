"""Masks carried from frame to frame by a tiny SAM 2 for videos with random weights."""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import Sam2VideoConfig, Sam2VideoModel

from inspection.core.errors import ConfigError, ImageError
from inspection.core.imaging import load_mask
from inspection.core.records import read_record
from inspection.review.carry import CarriedFrames, carry
from inspection.review.checkpoint import load_video_checkpoint
from inspection.review.hubfolder import quiet
from tests.command import inspection

SIDE, WIDTH, MEMORY = 128, 128, 64  # the last is fixed in transformers
HW = (48, 80)


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Save a tiny video model as transformers does."""
    folder = tmp_path_factory.mktemp("sam2") / "video"
    backbone = {
        "model_type": "sam2_hiera_det_model",
        "hidden_size": 8,
        "image_size": [SIDE, SIDE],
        "blocks_per_stage": [1, 1, 2],
        "num_query_pool_stages": 2,
        "embed_dim_per_stage": [8, 12, 16],
        "num_attention_heads_per_stage": [1, 1, 2],
        "window_size_per_stage": [8, 4, 7],
        "global_attention_blocks": [3],
    }
    vision = {
        "backbone_config": backbone,
        "backbone_channel_list": [16, 12, 8],
        "backbone_feature_sizes": [[32, 32], [16, 16], [8, 8]],
        "fpn_hidden_size": WIDTH,
        "fpn_top_down_levels": [1, 2],
    }
    with torch.random.fork_rng(devices=[]), quiet():
        torch.manual_seed(1)
        config = Sam2VideoConfig(
            vision_config=vision,
            prompt_encoder_config={"hidden_size": WIDTH, "image_size": SIDE, "patch_size": 16},
            mask_decoder_config={
                "hidden_size": WIDTH,
                "mlp_dim": 32,
                "num_attention_heads": 2,
                "iou_head_hidden_dim": WIDTH,
            },
            image_size=SIDE,
            memory_attention_hidden_size=WIDTH,
            memory_attention_num_layers=1,
            memory_attention_feed_forward_hidden_size=32,
            memory_attention_rope_feat_sizes=[8, 8],
            memory_encoder_hidden_size=WIDTH,
            memory_encoder_output_channels=MEMORY,
            mask_downsampler_embed_dim=WIDTH,
            memory_fuser_embed_dim=WIDTH,
            memory_fuser_intermediate_dim=32,
        )
        Sam2VideoModel(config).save_pretrained(folder)
    return folder


def frames(count: int) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.integers(0, 255, (*HW, 3), np.uint8) for _ in range(count)]


def mask() -> np.ndarray:
    drawn = np.zeros(HW, np.bool_)
    drawn[10:20, 30:50] = True
    return drawn


def test_every_frame_gets_a_mask_of_its_size_and_the_drawn_one_stays(checkpoint: Path):
    """Forth and back from the frame in the middle; the same again gives the same."""
    loaded = load_video_checkpoint(str(checkpoint))
    found = carry(loaded, frames(4), {1: mask()})
    assert [one.mask.shape for one in found] == [HW] * 4
    np.testing.assert_array_equal(found[1].mask, mask())
    assert found[1].sure == 1
    assert all(0 <= one.sure <= 1 for one in found)
    again = carry(loaded, frames(4), {1: mask()})
    assert all(np.array_equal(a.mask, b.mask) for a, b in zip(found, again, strict=True))


def test_what_is_carried_depends_on_what_was_drawn(checkpoint: Path):
    """Were the mask not seen, any would give the same."""
    loaded = load_video_checkpoint(str(checkpoint))
    other = np.zeros(HW, np.bool_)
    other[30:46, 2:70] = True
    one, two = (carry(loaded, frames(2), {0: drawn})[1] for drawn in (mask(), other))
    assert one.sure != two.sure


def test_frame_without_the_defect_gets_an_empty_mask(checkpoint: Path, monkeypatch):
    """Nothing is proposed where the model does not see it."""
    loaded = load_video_checkpoint(str(checkpoint))
    real = type(loaded.model).propagate_in_video_iterator

    def unseen(*args, **kwargs):
        for step in real(*args, **kwargs):
            step.object_score_logits = torch.full_like(step.object_score_logits, -5)
            yield step

    monkeypatch.setattr(type(loaded.model), "propagate_in_video_iterator", unseen)
    found = carry(loaded, frames(2), {0: mask()})
    assert not found[1].mask.any()
    assert found[1].sure < 0.01


@pytest.mark.parametrize(
    ("pictures", "drawn", "error", "wanted"),
    [
        (frames(1), {0: mask()}, ConfigError, "two frames or more"),
        (frames(2), {}, ConfigError, "a mask on one of them"),
        (frames(2), {2: mask()}, ConfigError, "a mask on one of them"),
        (frames(2), {0: np.zeros(HW, np.bool_)}, ImageError, "0 px of it drawn"),
        (frames(2), {0: mask()[:40]}, ImageError, "draw it on that frame"),
        ([*frames(1), frames(1)[0][:40]], {0: mask()}, ImageError, "frames of sizes"),
    ],
)
def test_what_cannot_be_carried_is_refused(checkpoint: Path, pictures, drawn, error, wanted: str):
    """With the cause."""
    with pytest.raises(error, match=wanted):
        carry(load_video_checkpoint(str(checkpoint)), pictures, drawn)


def test_command_writes_a_mask_for_each_frame(checkpoint: Path, tmp_path: Path):
    """With what made them; the proposals are read as drawings are."""
    paths = [tmp_path / f"7_{number}.png" for number in (1, 2, 3)]
    for path, pixels in zip(paths, frames(3), strict=True):
        Image.fromarray(pixels).save(path)
    Image.fromarray(mask().astype(np.uint8) * 255).save(tmp_path / "drawn.png")
    out = tmp_path / "proposed"
    done = inspection(
        "review",
        "carry",
        checkpoint,
        *paths,
        "--mask",
        tmp_path / "drawn.png",
        "--on",
        2,
        "--out",
        out,
        "--json",
    )
    assert done.code == 0, done.err
    record = read_record(out / "carried.json", CarriedFrames)
    assert json.loads(done.out)["sha256"] == record.sha256
    assert [(one.mask, one.drawn) for one in record.frames] == [
        ("7_1_mask.png", False),
        ("7_2_mask.png", True),
        ("7_3_mask.png", False),
    ]
    np.testing.assert_array_equal(load_mask(out / "7_2_mask.png"), mask())
    far = inspection(
        "review",
        "carry",
        checkpoint,
        *paths,
        "--mask",
        tmp_path / "drawn.png",
        "--on",
        4,
        "--out",
        tmp_path / "no",
    )
    assert (far.code != 0, "wanted 1 to 3" in far.err) == (True, True)


def test_without_a_video_checkpoint_the_remedy_is_named(tmp_path: Path):
    """A folder of another model, and one that ships, cannot carry."""
    (tmp_path / "config.json").write_text('{"model_type": "sam2"}', encoding="utf-8")
    with pytest.raises(ConfigError, match="wanted sam2_video, edgetam_video"):
        load_video_checkpoint(str(tmp_path))
    with pytest.raises(ConfigError, match="wanted sam2_video"):
        load_video_checkpoint("shipped")

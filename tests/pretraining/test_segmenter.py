"""Our own segmenter: what it is asked about, and that it learns."""

from pathlib import Path

import numpy as np
import pytest
import torch

from inspection.masks.opening import open_segmenter
from inspection.masks.segmenter import Prompt
from inspection.pretraining.modelcard import CARD
from inspection.pretraining.scenes import TURNS, box_of, draw_prompt, draw_scenes
from inspection.pretraining.segmenter import _Training, build_segmenter
from inspection.pretraining.settings import SegmenterRecipe
from inspection.pretraining.shipping_segmenter import OPENVINO, make_segmenter
from inspection.review.checkpoint import load_checkpoint

SIDE_PX = 64
MOST_BYTES = 10_000_000


def _scene(seed: int):
    return draw_scenes(SIDE_PX, [np.random.default_rng(seed)])[0]


@pytest.mark.fast
def test_masks_turn_with_their_picture():
    scene = _scene(3)
    pixels, lessons = scene.look(0)
    inside = pixels[lessons[0].mask].astype(int).sum()
    for turn in range(TURNS):
        turned, moved = scene.look(turn)
        assert turned[moved[0].mask].astype(int).sum() == inside
        assert moved[0].box == box_of(moved[0].mask)
    looks = {scene.look(turn)[0].tobytes() for turn in range(TURNS)}
    assert len(looks) == TURNS


@pytest.mark.fast
def test_a_mark_knows_the_others():
    scene = next(one for one in map(_scene, range(30)) if len(one.packed) > 1)
    _, lessons = scene.look(0)
    everything = np.any([one.mask for one in lessons], axis=0)
    for one in lessons:
        np.testing.assert_array_equal(one.mask ^ one.others, everything)


@pytest.mark.fast
def test_prompts_are_of_every_kind_and_hold_the_mark():
    _, lessons = _scene(3).look(0)
    rng = np.random.default_rng(0)
    drawn = [draw_prompt(lessons[0], rng) for _ in range(120)]
    assert all(one.mask[lessons[0].mask].all() for one in drawn)
    asked = [one.prompt for one in drawn]
    kinds = {(one.box is not None, len(one.positive) > 0, one.mask is not None) for one in asked}
    assert kinds == {
        (True, False, False),
        (True, True, False),
        (True, True, True),
        (False, True, False),
    }
    x0, y0, x1, y1 = lessons[0].box
    for one in asked:
        if one.box and one.mask is None:  # a map may show but a piece of it
            assert (one.box[0] <= x0, one.box[1] <= y0) == (True, True)
            assert (one.box[2] >= x1, one.box[3] >= y1) == (True, True)


@pytest.mark.fast
def test_it_is_small_enough_to_ship():
    state = build_segmenter(256).state_dict().values()
    assert sum(one.numel() * one.element_size() for one in state) <= MOST_BYTES


def test_a_step_teaches():
    """Asked about one scene again and again, it outlines its marks better than before."""
    scene = _scene(3)
    recipe = SegmenterRecipe(pictures=32, side_px=SIDE_PX, epochs=10, batch_size=1)
    torch.manual_seed(0)
    training = _Training(build_segmenter(SIDE_PX), recipe, begun=False)
    *_, last = training.laps([scene] * 32, [scene])
    assert last.box > 0.3


def test_it_is_trained_on_a_few_small_scenes_and_a_station_opens_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("inspection.pretraining.segmenter.HELD_OUT", 32)
    monkeypatch.setattr("inspection.pretraining.shipping_segmenter.SHOWN", 32)
    recipe = SegmenterRecipe(pictures=64, side_px=SIDE_PX, epochs=2, batch_size=4)
    record = make_segmenter(recipe, tmp_path / "own")
    assert [one.epoch for one in record.laps] == [1, 2]
    assert all(0 <= one.box <= 1 for one in record.laps)
    assert load_checkpoint(str(tmp_path / "own")).sha256 == record.sha256
    assert record.sha256 in (tmp_path / "own" / CARD).read_text()
    segmenter = open_segmenter(tmp_path / "own" / OPENVINO)
    assert record.sha256[:12] in segmenter.name
    pixels, lessons = _scene(3).look(0)
    [found] = segmenter.set_image(pixels).predict([Prompt(lessons[0].box)])
    assert found.best.shape == pixels.shape[:2]

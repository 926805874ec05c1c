"""Lessons: which picture is for what, windows like the refiner's, prompts like the map's."""

import hashlib
import tracemalloc
from dataclasses import dataclass

import numpy as np
import pytest

from inspection.core.errors import DatasetError, ImageError
from inspection.core.imaging import Mask, Rgb
from inspection.review.lessons import (
    GROWTH,
    MOST_DEFECTS,
    Lesson,
    Part,
    cut_windows,
    split_pictures,
)

pytestmark = pytest.mark.fast

SHARES = {"held_out_share": 0.3, "stop_share": 0.2, "least": 30}


@dataclass
class Drawn:
    """A corrected mask."""

    pixels: Rgb
    mask: Mask
    image_sha256: str = "ab" * 32
    author: str = "weber"


def drawn(height: int, width: int, *boxes: tuple[int, int, int, int]) -> Drawn:
    """A grey picture and a mask of boxes x0, y0, x1, y1."""
    mask = np.zeros((height, width), np.bool_)
    for x0, y0, x1, y1 in boxes:
        mask[y0:y1, x0:x1] = True
    return Drawn(np.full((height, width, 3), 90, np.uint8), mask)


def only_lesson(label: Drawn, side_px: int = 64) -> Lesson:
    """The lesson of a label with one defect."""
    (window,) = cut_windows(label, side_px)
    (lesson,) = window.lessons
    return lesson


def names(count: int) -> list[str]:
    """Hashes of so many pictures."""
    return [hashlib.sha256(str(index).encode()).hexdigest() for index in range(count)]


def test_each_picture_has_one_part():
    """Nothing that judges trains."""
    parts = split_pictures(names(200), **SHARES)
    assert sorted(one for images in parts.values() for one in images) == sorted(names(200))
    assert len(parts[Part.HELD_OUT]) == pytest.approx(60, abs=20)
    assert len(parts[Part.STOP]) == pytest.approx(40, abs=20)


def test_new_pictures_move_no_other():
    """What was held out last month is held out today."""
    before, after = (split_pictures(names(count), **SHARES) for count in (60, 200))
    assert all(set(before[part]) <= set(after[part]) for part in Part)


def test_too_few_pictures_are_refused_with_their_number():
    """The message says how many there are, how many are wanted, and in which part."""
    with pytest.raises(
        DatasetError,
        match=r"12 pictures with a defect drawn, by their hash \d+ train, \d+ stop, \d+ held out; "
        "wanted at least 30, 6 train, 3 stop, 6 held out; correct more masks",
    ):
        split_pictures(names(12), **SHARES)


def test_a_part_with_too_few_pictures_is_refused():
    """A hundred pictures do not help where a hundredth of them judges."""
    with pytest.raises(DatasetError, match=r"100 pictures .* [0-5] held out; wanted"):
        split_pictures(names(100), held_out_share=0.01, stop_share=0.2, least=30)


def test_an_empty_mask_teaches_nothing():
    """There is no place where one could ask for it."""
    assert cut_windows(drawn(40, 60), 64) == []


def test_a_small_picture_is_one_window_with_a_lesson_for_each_defect():
    """One embedding serves all of them; each knows the others."""
    (window,) = cut_windows(drawn(40, 60, (5, 5, 10, 9), (40, 20, 50, 30)), 64)
    assert window.pixels.shape == (40, 60, 3)
    assert [lesson.box for lesson in window.lessons] == [(5, 5, 10, 9), (40, 20, 50, 30)]
    first, second = window.lessons
    assert np.array_equal(first.others, second.mask)
    assert first.mask.sum() == 20


def test_defects_of_a_large_picture_are_seen_at_full_resolution():
    """Windows are as large as the model sees, and lessons are in their px."""
    label = drawn(600, 1000, (100, 300, 106, 304), (800, 500, 804, 509))
    windows = cut_windows(label, 128)
    assert [window.pixels.shape for window in windows] == [(128, 128, 3)] * 2
    for window, area in zip(windows, (24, 36), strict=True):
        (lesson,) = window.lessons
        x0, y0, x1, y1 = lesson.box
        assert lesson.mask[y0:y1, x0:x1].all()
        assert lesson.mask.sum() == area


def test_parts_of_a_scratch_near_each_other_are_one_defect():
    """A reviewer's broken line is one prompt."""
    lesson = only_lesson(drawn(40, 60, (5, 5, 20, 7), (24, 5, 40, 7)))
    assert lesson.box == (5, 5, 40, 7)
    assert lesson.mask.sum() == 62


def test_of_many_specks_the_largest_teach_and_the_others_are_counted(caplog):
    """A speckled mask must not outweigh the other pictures."""
    specks = [(x, y, x + 2, y + 1) for y in range(5, 400, 20) for x in range(5, 600, 20)]
    large = (301, 201, 307, 208)
    windows = cut_windows(drawn(400, 600, *specks, large), 128)
    lessons = [lesson for window in windows for lesson in window.lessons]
    assert len(lessons) == MOST_DEFECTS
    assert max(lesson.mask.sum() for lesson in lessons) == 42
    assert f"600 defects drawn; the 32 largest teach, {600 - 32} are left out" in caplog.text


def test_a_defect_holds_no_memory_for_the_whole_picture():
    """A mask of 12 Mpx with specks took 12 MB for each of them."""
    label = drawn(1000, 1500, *((x, 500, x + 3, 504) for x in range(50, 1450, 50)))
    tracemalloc.start()
    try:
        (count,) = {sum(len(window.lessons) for window in cut_windows(label, 64))}
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert count == 28
    assert peak < 14 * label.mask.size


def test_windows_do_not_keep_the_whole_picture():
    """A hundred pictures of 12 Mpx need not stay in memory."""
    (window,) = cut_windows(drawn(600, 1000, (100, 300, 106, 304)), 64)
    assert window.pixels.base is None


@pytest.mark.parametrize(
    ("broken", "error", "complaint"),
    [
        (Drawn(np.zeros((40, 60, 3), np.uint8), np.zeros((60, 40), np.bool_)), DatasetError, ""),
        (Drawn(np.zeros((40, 60, 3), np.uint8), np.zeros((40, 60), np.uint8)), DatasetError, ""),
        (Drawn(np.zeros((40, 60), np.uint8), np.zeros((40, 60), np.bool_)), ImageError, "uint8"),
    ],
    ids=["mask turned", "mask of numbers", "grey picture"],
)
def test_labels_that_do_not_fit_are_refused(broken: Drawn, error: type[Exception], complaint: str):
    """The picture is named by its hash."""
    with pytest.raises(error, match=f"corrected picture abababababab: .*{complaint}"):
        cut_windows(broken, 64)


def test_drawn_prompts_show_the_defect_as_the_map_does():
    """Boxes reach 0 to 20 % beyond it, points lie on it and beside it, guesses peak on it."""
    lesson = only_lesson(drawn(40, 60, (20, 10, 40, 20)))
    rng = np.random.default_rng(0)
    prompts = [lesson.draw_prompt(rng) for _ in range(300)]
    for prompt in prompts:
        prompt.require_fitting(40, 60)
        x, y = np.floor(prompt.positive).astype(int).T
        assert 1 <= len(x) <= 3
        assert lesson.mask[y, x].all()
        x, y = np.floor(prompt.negative).astype(int).T
        assert len(x) <= 4
        assert not lesson.mask[y, x].any()
    boxes = np.asarray([prompt.box for prompt in prompts if prompt.box])
    beyond = np.abs(boxes - (20, 10, 40, 20)) / (20, 10, 20, 10)
    assert (beyond >= GROWTH[0]).all()
    assert (beyond <= GROWTH[1]).all()
    assert (boxes[:, :2] <= (20, 10)).all()
    assert (boxes[:, 2:] >= (40, 20)).all()
    assert beyond.max(axis=0) == pytest.approx([GROWTH[1]] * 4, abs=0.02)


def test_drawn_prompts_are_of_every_kind():
    """Clicks alone, boxes alone, boxes with a guess; with and without negative points."""
    lesson, rng = only_lesson(drawn(40, 60, (20, 10, 40, 20))), np.random.default_rng(0)
    prompts = [lesson.draw_prompt(rng) for _ in range(300)]
    clicks = sum(prompt.box is None for prompt in prompts) / 300
    guessed = sum(prompt.mask is not None for prompt in prompts) / 300
    assert clicks == pytest.approx(0.3, abs=0.08)
    assert guessed == pytest.approx(0.35, abs=0.08)
    assert {len(prompt.positive) for prompt in prompts} == {1, 2, 3}
    assert {len(prompt.negative) for prompt in prompts} == {0, 1, 2, 3, 4}
    assert all(prompt.mask is None for prompt in prompts if prompt.box is None)


def test_the_same_seed_draws_the_same_prompts():
    """Tuning can be repeated."""
    lesson = only_lesson(drawn(40, 60, (20, 10, 40, 20)))
    first, second = (lesson.draw_prompt(np.random.default_rng(3)) for _ in range(2))
    assert first.box == second.box
    assert np.array_equal(first.positive, second.positive)


def test_fixed_prompts_are_a_box_and_a_click_in_the_middle():
    """They judge before and after alike, so nothing of them is drawn."""
    lesson = only_lesson(drawn(41, 60, (20, 10, 41, 21)))
    boxed, click = lesson.fixed_prompts
    assert boxed.box == (17, 8, 44, 23)
    assert len(boxed.negative) == 4
    assert boxed.mask is not None
    assert boxed.mask.max() == pytest.approx(4)
    assert boxed.mask.min() == pytest.approx(-4, abs=0.1)
    assert click.box is None
    assert click.mask is None
    assert click.positive.tolist() == boxed.positive.tolist()
    assert click.positive[0, 1] == 15.5


def test_negative_points_spare_other_defects():
    """A sound place is sound for every defect of the picture."""
    label = drawn(40, 60, (20, 10, 40, 20), (20, 30, 40, 34))
    (window,) = cut_windows(label, 64)
    for lesson in window.lessons:
        x, y = np.floor(lesson.ring).astype(int).T
        assert len(x)
        assert not label.mask[y, x].any()


def test_a_guess_says_that_other_defects_are_none_of_it():
    """As the refiner tells the segmenter."""
    (window,) = cut_windows(drawn(40, 60, (20, 10, 40, 20), (20, 30, 40, 34)), 64)
    lesson = window.lessons[0]
    assert (lesson.fixed_prompts[0].mask[lesson.others] == -4).all()


def test_a_defect_that_fills_its_window_has_no_ring():
    """There is nothing sound to point at; the prompts go without."""
    lesson = only_lesson(drawn(40, 60, (0, 0, 60, 40)))
    assert lesson.ring.shape == (0, 2)
    boxed, _ = lesson.fixed_prompts
    assert boxed.negative.shape == (0, 2)
    for seed in range(20):
        lesson.draw_prompt(np.random.default_rng(seed)).require_fitting(40, 60)


def test_a_defect_of_one_pixel_can_be_asked_for():
    """Nothing divides by its size."""
    lesson = only_lesson(drawn(40, 60, (30, 20, 31, 21)))
    boxed, click = lesson.fixed_prompts
    assert boxed.box == (28, 18, 33, 23)
    assert click.positive.tolist() == [[30.5, 20.5]]

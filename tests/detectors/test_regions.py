"""Heads that look again: which features they see, what becomes of their answers."""

import numpy as np
import pytest

from inspection.core.errors import BundleError
from inspection.detectors.decoding import Limits
from inspection.detectors.regions import LEVELS, REGIONS, Regions, levels, look_again

INPUT_HW = (128, 128)
LIMITS = Limits(least_score=0.2, most_overlap=0.5, most=10)
FIRST = {
    "boxes": {"output": "boxes", "form": "xyxy"},
    "scores": {"output": "scores"},
    "suppressed": False,
}


def regions(**more) -> Regions:
    return Regions.model_validate(
        {"first": FIRST, "features": ["p3", "p4"], "strides": [8, 16], "level": "share", **more}
    )


def first(boxes, scores):
    return {
        "boxes": np.array(boxes, np.float32)[None],
        "scores": np.array(scores, np.float32)[None],
        "p3": np.zeros((1, 2, 16, 16), np.float32),
        "p4": np.zeros((1, 2, 8, 8), np.float32),
    }


class Heard:
    """A head that keeps what it was given and answers by the region's left side."""

    def __init__(self, rows: int, **answers):
        self.rows, self.answers, self.given = rows, answers, []

    def __call__(self, inputs):
        """Answer a full batch of regions."""
        assert inputs[REGIONS].shape == (self.rows, 4)
        assert inputs[LEVELS].shape == (self.rows, 2)
        self.given.append(inputs[REGIONS])
        return {name: answer(inputs[REGIONS]) for name, answer in self.answers.items()}


def test_a_region_of_the_whole_input_is_cut_from_the_coarsest_level():
    """CenterMask's equation 2: the level falls by one with each quarter of the area."""
    boxes = np.array([[0, 0, 128, 128], [0, 0, 64, 64], [0, 0, 20, 20]], np.float32)
    chosen = levels(boxes, regions(), INPUT_HW)
    assert chosen.argmax(axis=1).tolist() == [1, 0, 0]
    assert (chosen.sum(axis=1) == 1).all()


def test_a_region_of_224_px_is_of_stride_16():
    """FPN's equation 1; torchvision's LevelMapper is held against it in tests/recognition."""
    how = regions(level="size", features=["a", "b", "c", "d"], strides=[4, 8, 16, 32])
    sides = [20, 112, 223.9, 224, 448, 2000]
    boxes = np.array([[0, 0, side, side] for side in sides], np.float32)
    assert levels(boxes, how, (4000, 4000)).argmax(axis=1).tolist() == [0, 1, 1, 2, 3, 3]


def test_masks_are_drawn_of_what_is_found_and_rate_it():
    def masks(given):
        return given[:, 0, None, None, None] * np.ones((1, 1, 4, 4), np.float32)

    head = Heard(2, masks=masks, rating=lambda given: np.full((2, 1), 0.5, np.float32))
    boxes = [[10, 10, 30, 30], [60, 60, 90, 90], [62, 60, 90, 90], [40, 40, 50, 50]]
    scores = [[0.1, 0.6], [0.9, 0.0], [0.7, 0.0], [0.1, 0.1]]
    found = look_again(
        first(boxes, scores), {"masks": head}, regions(masks=2, rated=True), INPUT_HW, 2, LIMITS
    )
    assert found["boxes"].tolist() == [[60, 60, 90, 90], [10, 10, 30, 30]]
    assert found["types"].tolist() == [0, 1]
    assert found["scores"] == pytest.approx([0.45, 0.3])
    assert found["masks"][:, 0, 0].tolist() == [60, 10]
    assert len(head.given) == 1


def test_more_regions_than_a_head_takes_are_seen_in_turn():
    head = Heard(2, masks=lambda given: given[:, 0, None, None, None] * np.ones((1, 1, 4, 4)))
    boxes = [[20 * i, 0, 20 * i + 15, 15] for i in range(5)]
    found = look_again(
        first(boxes, [[0.9 - i / 10] for i in range(5)]),
        {"masks": head},
        regions(masks=2),
        INPUT_HW,
        1,
        LIMITS,
    )
    assert found["masks"][:, 0, 0].tolist() == [0, 20, 40, 60, 80]
    assert len(head.given) == 3
    assert head.given[-1][1].tolist() == [0, 0, 128, 128]  # fills up


def test_nothing_found_has_no_masks():
    head = Heard(2, masks=lambda _: np.zeros((2, 1, 4, 4)))
    found = look_again(
        first([[0, 0, 9, 9]], [[0.1]]), {"masks": head}, regions(masks=2), INPUT_HW, 1, LIMITS
    )
    assert {
        name: len(values) if values.ndim else bool(values) for name, values in found.items()
    } == {
        "boxes": 0,
        "scores": 0,
        "types": 0,
        "masks": 0,
        "more": False,
    }


def test_proposals_are_classified_and_corrected():
    """A region counts for each type by itself, with the box that its deltas give."""

    def scores(given):
        told = np.zeros((len(given), 3), np.float32)
        told[given[:, 0] == 40] = (0, 4, 0)
        told[given[:, 0] == 80] = (0, 0, 4)
        told[given[:, 0] == 0] = (6, 0, 0)
        return told

    def deltas(given):
        told = np.zeros((len(given), 3, 4), np.float32)
        told[:, 1, 0] = 5  # half a width to the right
        told[:, 2, 2:] = 5 * np.log(2)  # twice as large
        return told.reshape(len(given), 12)

    head = Heard(3, scores=scores, deltas=deltas)
    boxes = [[0, 0, 20, 20], [40, 40, 60, 60], [80, 80, 100, 100], [80, 80, 100, 101]]
    how = regions(boxes=3, proposals=Limits(least_score=0.01, most_overlap=0.7, most=3))
    found = look_again(
        first(boxes, [[0.9], [0.5], [0.8], [0.7]]), {"boxes": head}, how, INPUT_HW, 2, LIMITS
    )
    assert found["types"].tolist() == [1, 0]
    assert found["boxes"] == pytest.approx(np.array([[70, 70, 110, 110], [50, 40, 70, 60]]))
    assert found["scores"] == pytest.approx([0.9647] * 2, abs=1e-3)


def test_a_head_of_other_types_is_refused():
    head = Heard(1, masks=lambda _: np.zeros((1, 3, 4, 4)))
    with pytest.raises(BundleError, match="one or 2 for each region"):
        look_again(
            first([[0, 0, 9, 9]], [[0.9, 0]]),
            {"masks": head},
            regions(masks=1),
            INPUT_HW,
            2,
            LIMITS,
        )


@pytest.mark.parametrize("wrong", [np.nan, np.inf])
@pytest.mark.parametrize("output", ["masks", "rating"])
def test_a_head_that_gives_no_number_is_a_fault_not_nothing_found(output: str, wrong: float):
    answers = {"masks": np.zeros((1, 1, 4, 4)), "rating": np.ones((1, 1))}
    answers[output] = answers[output] * 0 + wrong
    head = Heard(1, **{name: lambda _, one=one: one for name, one in answers.items()})
    how = regions(masks=1, rated=True)
    with pytest.raises(BundleError, match=f"'{output}' is no number"):
        look_again(first([[0, 0, 9, 9]], [[0.9]]), {"masks": head}, how, INPUT_HW, 1, LIMITS)


@pytest.mark.parametrize(("there", "more"), [(10, False), (11, True)])
def test_it_says_when_there_are_more_than_its_limit(there: int, more: bool):
    """Of a ten-object limit; what is too much is the least sure."""
    boxes = [[10 * i, 0, 10 * i + 9, 9] for i in range(there)]
    scores = [[0.9 - i / 100] for i in range(there)]
    head = Heard(5, masks=lambda _: np.zeros((5, 1, 4, 4)))
    found = look_again(first(boxes, scores), {"masks": head}, regions(masks=5), INPUT_HW, 1, LIMITS)
    assert (len(found["boxes"]), bool(found["more"])) == (10, more)


@pytest.mark.parametrize("more", [{"boxes": 3}, {"strides": [8]}])
def test_half_a_head_is_refused(more):
    with pytest.raises(ValueError, match="wanted"):
        regions(**more)


def test_of_very_many_candidates_the_surest_are_compared():
    """Comparing all of 25,000 takes half a second; that some were left out is said."""
    boxes = [[4 * (i % 30), 4 * (i // 30), 4 * (i % 30) + 3, 4 * (i // 30) + 3] for i in range(60)]
    scores = [[0.3 + i / 100] for i in range(60)]
    head = Heard(5, masks=lambda _: np.zeros((5, 1, 4, 4)))
    for compared, more in ((60, False), (59, True)):
        limits = LIMITS.model_copy(update={"most": 100, "compared": compared})
        found = look_again(
            first(boxes, scores), {"masks": head}, regions(masks=5), INPUT_HW, 1, limits
        )
        assert (len(found["boxes"]), bool(found["more"])) == (compared, more)

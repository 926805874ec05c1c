"""What is found against what was drawn: precision over recall, and types."""

from pathlib import Path

import numpy as np
import pytest

from inspection.cli.recognise import _held_table
from inspection.detectors.detections import Detections
from inspection.recognition.labels import LabelledPicture, TypedDefect, pack
from inspection.recognition.scoring import score

TYPES = ("crack", "pore", "stain")
SIZE = (40, 50)


def drawn(*defects: tuple[str, tuple[int, int, int, int]], masked: bool = True) -> LabelledPicture:
    found = []
    for kind, (x0, y0, x1, y1) in defects:
        mask = np.zeros(SIZE, np.bool_)
        mask[y0:y1, x0:x1] = True
        found.append(TypedDefect(kind, (x0, y0, x1, y1), pack(mask) if masked else None))
    return LabelledPicture(Path("a.png"), "a.png", SIZE, "0", "a", "test", tuple(found))


def seen(*objects: tuple[str, float, tuple[int, int, int, int]], fill: float = 1.0) -> Detections:
    masks = []
    for _, _, (x0, y0, x1, y1) in objects:
        mask = np.zeros((y1 - y0, x1 - x0), np.bool_)
        mask[: round((y1 - y0) * fill)] = True
        masks.append(mask)
    return Detections(
        np.array([box for _, _, box in objects], np.float32).reshape(-1, 4),
        np.array([one for _, one, _ in objects], np.float32),
        np.array([TYPES.index(kind) for kind, _, _ in objects], np.int64),
        tuple(masks),
    )


BOX, OTHER = (5, 5, 15, 15), (30, 10, 44, 30)


def test_all_found_scores_one():
    found = score(
        [drawn(("crack", BOX), ("pore", OTHER))],
        [seen(("crack", 0.9, BOX), ("pore", 0.8, OTHER))],
        TYPES,
        0.5,
    )
    assert (found.box_ap50, found.mask_ap50, found.recall, found.type_accuracy) == pytest.approx(
        (1, 1, 1, 1)
    )
    assert found.types["stain"].box_ap50 is None
    assert found.good_held is None


def test_a_mask_of_half_its_box_is_a_box_and_no_mask():
    found = score([drawn(("crack", BOX))], [seen(("crack", 0.9, BOX), fill=0.4)], TYPES, 0.5)
    assert (found.box_ap50, found.mask_ap50) == pytest.approx((1, 0))


def test_a_surer_wrong_object_costs_precision():
    found = score(
        [drawn(("crack", BOX))], [seen(("crack", 0.9, OTHER), ("crack", 0.5, BOX))], TYPES, 0.4
    )
    assert found.box_ap50 == pytest.approx(0.5)
    assert found.recall == 1


def test_a_wrong_type_is_found_and_not_named():
    """The surest box on the defect names it."""
    shown = seen(("pore", 0.9, BOX), ("crack", 0.6, BOX))
    found = score([drawn(("crack", BOX))], [shown], TYPES, 0.5)
    assert (found.recall, found.type_accuracy) == pytest.approx((1, 0))
    assert (found.types["crack"].found, found.types["crack"].named) == pytest.approx((1, 0))


def test_below_the_least_score_nothing_is_found_but_the_curve_knows_it():
    found = score([drawn(("crack", BOX))], [seen(("crack", 0.3, BOX))], TYPES, 0.5)
    assert found.box_ap50 == pytest.approx(1)
    assert (found.recall, found.type_accuracy) == (0, None)


def test_good_parts_held_are_counted():
    pictures = [drawn(("crack", BOX)), drawn(), drawn()]
    found = score(
        pictures, [seen(), seen(("crack", 0.9, BOX)), seen(("crack", 0.3, BOX))], TYPES, 0.5
    )
    assert found.good_held == 0.5
    assert found.box_ap50 == 0


def test_it_tells_from_which_score_how_many_good_parts_are_held():
    """Of 20 good parts at most one may be held at 5 %, none at 1 % and 0."""
    good = [drawn() for _ in range(20)]
    seen_good = [seen(("crack", 0.9123, BOX)), seen(("pore", 0.8, BOX)), *[seen()] * 18]
    pictures = [*good, drawn(("crack", BOX)), drawn(("crack", BOX))]
    shown = [*seen_good, seen(("crack", 0.95, BOX)), seen(("crack", 0.85, BOX))]
    held = score(pictures, shown, TYPES, 0.3).held
    told = [(one.from_score, one.good.value, one.defective.value) for one in held if one.defective]
    assert told == [
        pytest.approx(row) for row in ((0.5, 0.1, 1), (0.801, 0.05, 1), (0.913, 0, 0.5))
    ]
    assert held[-1].good.high == pytest.approx(0.1684, abs=1e-4), "20 parts promise little"


def test_what_a_score_would_hold_is_printed():
    """Nothing where no good part was judged; and where no score holds fewer, that is said."""
    pictures, shown = [drawn(), drawn(("crack", BOX))], [seen(), seen(("crack", 0.9, BOX))]
    (table,) = _held_table(score(pictures, shown, TYPES, 0.6))
    assert table.splitlines()[1].split() == ["0.6", "0.000", "0.000", "to", "0.975", "1.000"]
    shown = [seen(("pore", 1.0, BOX)), seen()]
    assert [*_held_table(score(pictures, shown, TYPES, 0.6))][1:] == [
        "no score holds fewer good parts"
    ]
    assert [*_held_table(score(pictures[1:], shown[1:], TYPES, 0.6))] == []


def test_no_score_to_hold_from_lies_below_the_least_or_above_one():
    pictures, shown = [drawn(), drawn(("crack", BOX))], [seen(), seen(("crack", 0.9, BOX))]
    assert [one.from_score for one in score(pictures, shown, TYPES, 0.6).held] == [0.6]
    shown = [seen(("pore", 1.0, BOX)), seen()]
    assert [one.from_score for one in score(pictures, shown, TYPES, 0.6).held] == [0.6]
    assert score(pictures[1:], shown[1:], TYPES, 0.6).held == ()


def test_without_drawn_masks_boxes_count():
    found = score([drawn(("crack", BOX), masked=False)], [seen(("crack", 0.9, BOX))], TYPES, 0.5)
    assert found.box_ap50 == pytest.approx(1)
    assert found.mask_ap50 is None

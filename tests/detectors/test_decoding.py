"""What frameworks' exports give is read as what was put in."""

import numpy as np
import pytest

from inspection.core.errors import BundleError
from inspection.detectors.decoding import Limits, decode
from inspection.detectors.fitting import Fit
from inspection.detectors.known import KNOWN as LAYOUTS
from inspection.detectors.layout import Layout, Picture
from tests.detectors.conventions import CONVENTIONS, INPUT_HW, KNOWN, TYPES, logit

pytestmark = pytest.mark.fast
LIMITS = Limits(least_score=0.3)


def on_input(layout: Layout) -> Fit:
    """A picture as large as the input."""
    return Fit(layout.picture, INPUT_HW, INPUT_HW)


def test_every_known_layout_has_its_convention_here():
    """None is declared that no test reads."""
    assert sorted(CONVENTIONS) == sorted(LAYOUTS)


@pytest.mark.parametrize("name", CONVENTIONS)
def test_boxes_types_and_scores_are_read_to_the_pixel(name: str):
    """Surest first; what is less sure of the same place is gone."""
    layout = LAYOUTS[name]
    found = decode(CONVENTIONS[name](KNOWN), layout, on_input(layout), TYPES, LIMITS)
    np.testing.assert_allclose(found.boxes, KNOWN.boxes, atol=0.05)
    np.testing.assert_array_equal(found.types, KNOWN.types)
    np.testing.assert_allclose(found.scores, KNOWN.scores, atol=0.02)
    if layout.masks:
        assert all(mask.mean() > 0.9 for mask in found.masks)


@pytest.mark.parametrize("name", CONVENTIONS)
def test_nothing_sure_is_nothing_found(name: str):
    """Not an error."""
    layout = LAYOUTS[name]
    outputs = CONVENTIONS[name](KNOWN)
    found = decode(outputs, layout, on_input(layout), TYPES, Limits(least_score=0.99))
    assert (len(found), found.boxes.shape) == (0, (0, 4))


@pytest.mark.parametrize("fit", ["stretch", "corner", "centre"])
def test_boxes_lie_on_the_picture_however_it_was_laid(fit: str):
    """A picture of twice the height: its aspect is kept, or not."""
    laid = Fit(Picture(fit=fit, pad=114), INPUT_HW, (256, 160))
    seen, corner = {
        "stretch": ((128, 160), (0, 0)),
        "corner": ((128, 80), (0, 0)),
        "centre": ((128, 80), (40, 0)),
    }[fit]
    assert (laid.seen_hw, laid.corner_xy) == (seen, corner)
    x, y = seen[1] / 160, seen[0] / 256
    there = np.float32([[20, 40, 60, 100]])
    on_it = there * (x, y, x, y) + (*corner, *corner)
    np.testing.assert_allclose(laid.back(on_it.astype(np.float32)), there, atol=1e-3)
    np.testing.assert_array_equal(laid.cut(np.float32([[-5, 9, 999, 999]])), [[0, 9, 160, 256]])
    part = np.full((256, 160, 3), 30, np.uint8)
    part[40:100, 20:60] = (200, 100, 50)
    shown = laid.lay(part)
    assert shown.shape == (*INPUT_HW, 3)
    centre_x, centre_y = int(on_it[0, [0, 2]].mean()), int(on_it[0, [1, 3]].mean())
    np.testing.assert_array_equal(shown[centre_y, centre_x], (200, 100, 50))
    beside = shown[5, 5] if fit == "centre" else shown[5, -5]
    np.testing.assert_array_equal(beside, (30,) * 3 if fit == "stretch" else (114,) * 3)


def layout_of(**more: object) -> Layout:
    """Corners and scores apart, NMS inside."""
    plain = {
        "boxes": {"output": "boxes", "form": "xyxy"},
        "scores": {"output": "scores"},
        "suppressed": True,
    }
    return Layout.model_validate(plain | more)


OUTPUTS = {
    "boxes": np.float32([[8, 8, 24, 40]]),
    "scores": np.float32([[0.1, 0.9, 0.2]]),
    "masks": np.zeros((1, 28, 28), np.float32),
}


@pytest.mark.parametrize(
    ("more", "outputs", "said"),
    [
        ({"boxes": {"output": "dets", "form": "xyxy"}}, {}, r"'dets': not in the graph, which has"),
        ({"boxes": {"output": "7", "form": "xyxy"}}, {}, r"'7': not in the graph"),
        ({}, {"boxes": np.zeros((1, 5))}, r"'boxes' is \(1, 5\); wanted four numbers"),
        ({}, {"boxes": np.zeros((3, 4))}, r"'scores' is \(1, 3\); wanted 3 rows"),
        ({}, {"boxes": np.zeros((2, 3, 4))}, r"wanted a batch of one picture"),
        ({}, {"scores": np.zeros((1, 80))}, r"'scores' is \(1, 80\); wanted 3 scores"),
        ({"background": "last"}, {}, r"wanted 4 scores for each box"),
        ({"scores": {"output": "scores", "first": 5}}, {}, r"wanted columns from 5 to the last"),
        ({"scores": {"output": "scores", "first": -9}}, {}, r"wanted columns from -9 to the last"),
        ({"boxes": {"output": "boxes", "form": "xyxy", "first": 1, "end": 5}}, {}, r"from 1 to 5"),
        (
            {"scores": {"output": "scores", "end": 1}, "types": {"output": "named"}},
            {"named": np.array([[9.0]]), "scores": np.float32([[0.5]])},
            r"'named': type 9; wanted 0 to 2",
        ),
        (
            {"scores": {"output": "scores", "end": 1}, "types": {"output": "named"}},
            {"named": np.array([[0.7]]), "scores": np.float32([[0.5]])},
            r"'named' is \(1, 1\); wanted whole numbers",
        ),
        (
            {"scores": {"output": "scores", "end": 1}, "types": {"output": "named"}},
            {"named": np.array([[np.nan]]), "scores": np.float32([[0.5]])},
            r"'named' is no number",
        ),
        ({}, {"scores": np.float32([[np.nan, 0.9, 0.2]])}, r"'scores' is no number"),
        (
            {"scores": {"output": "scores", "activation": "sigmoid"}},
            {"scores": np.float32([[-np.inf, -9, -9]])},
            r"'scores' is no number",
        ),
        ({}, {"boxes": np.float32([[np.inf] * 4])}, r"'boxes' is no number"),
        (
            {"masks": {"output": "masks", "kind": "picture"}},
            {"masks": np.zeros((1, 28, 28))},
            r"wanted masks of an input of \(128, 160\)",
        ),
        (
            {"masks": {"output": "masks", "kind": "roi"}},
            {"masks": np.zeros((0, 28, 28))},
            r"'masks' is \(0, 28, 28\); wanted a mask for each box",
        ),
    ],
)
def test_outputs_unlike_their_layout_are_refused_by_name_and_shape(more, outputs, said):
    """Whoever declared it reads what to mend."""
    layout = layout_of(**more)
    with pytest.raises(BundleError, match=said):
        decode(OUTPUTS | outputs, layout, on_input(layout), TYPES, LIMITS)


def test_a_grid_of_another_size_is_refused():
    """As with another input or other strides."""
    layout = LAYOUTS["yolox"]
    fit = Fit(layout.picture, (256, 256), (256, 256))
    with pytest.raises(BundleError, match=r"places on 256×256 px, the output 420"):
        decode(CONVENTIONS["yolox"](KNOWN), layout, fit, TYPES, LIMITS)


def test_distances_from_points_are_boxes():
    """As FCOS tells them, on maps of two levels."""
    levels = {}
    for number, stride in enumerate((16, 32)):
        rows, columns = 128 // stride, 160 // stride
        box, scores = np.zeros((1, 4, rows, columns)), np.full((1, TYPES, rows, columns), -9.0)
        levels |= {f"box{number}": box, f"score{number}": scores}
    levels["box0"][0, :, 2, 3] = np.array([10, 12, 20, 30]) / 16  # of the point (56, 40)
    levels["score0"][0, 1, 2, 3] = logit(np.float64(0.7))
    layout = Layout.model_validate(
        {
            "boxes": {"output": ("box0", "box1"), "along": "maps", "form": "ltrb"},
            "scores": {"output": ("score0", "score1"), "along": "maps", "activation": "sigmoid"},
            "grid": {"strides": (16, 32)},
            "suppressed": False,
        }
    )
    found = decode(levels, layout, on_input(layout), TYPES, LIMITS)
    np.testing.assert_allclose(found.boxes, [[46, 28, 76, 70]], atol=1e-3)
    assert (found.types.tolist(), found.scores.tolist()) == ([1], [pytest.approx(0.7)])


def test_yolov5_before_it_is_decoded():
    """Three anchors a level; a sigmoid over everything."""
    anchors = (((10, 13), (16, 30), (33, 23)), ((30, 61), (62, 45), (59, 119)))
    raw = {
        f"level{i}": np.full((1, 3, 128 // s, 160 // s, 5 + TYPES), -9.0, np.float32)
        for i, s in enumerate((16, 32))
    }
    # anchor 1 of the first level, cell (4, 2): centre (76, 36), 24×45 px
    box = np.array([76 / 16 - 4 + 0.5, 36 / 16 - 2 + 0.5]) / 2, np.sqrt([24 / 16, 45 / 30]) / 2
    raw["level0"][0, 1, 2, 4] = (*logit(np.concatenate(box)), 9, -9, 9, -9)
    columns = {"output": ("level0", "level1"), "activation": "sigmoid"}
    layout = Layout.model_validate(
        {
            "boxes": {**columns, "end": 4, "form": "yolov5"},
            "objectness": {**columns, "first": 4, "end": 5},
            "scores": {**columns, "first": 5},
            "grid": {"strides": (16, 32), "anchors": anchors, "offset": 0.0},
            "suppressed": False,
        }
    )
    found = decode(raw, layout, on_input(layout), TYPES, LIMITS)
    np.testing.assert_allclose(found.boxes, [[64, 13.5, 88, 58.5]], atol=1e-3)
    assert found.types.tolist() == [1]


SQUARE = np.float32([[16, 24, 48, 56]])


@pytest.mark.parametrize("kind", ["roi", "roi per type", "picture", "prototypes"])
def test_masks_are_drawn_where_the_object_is(kind: str):
    """The left half of a box, as each convention tells it."""
    outputs = {"boxes": SQUARE, "scores": np.float32([[0.1, 0.9, 0.2]])}
    masks: dict[str, object] = {"output": "masks", "kind": kind.split()[0]}
    half = np.zeros((28, 28), np.float32)
    half[:, :14] = 1
    whole = np.zeros((32, 40), np.float32)
    whole[:, :8] = 1  # of 40 columns on 160 px: up to x = 32
    if kind == "roi per type":
        outputs["masks"] = np.stack([1 - half, half, 1 - half])[None]
        masks |= {"per_type": True, "activation": "none"}
    elif kind == "prototypes":
        outputs |= {"masks": np.stack([whole, 1 - whole])[None], "mix": np.float32([[[9, -9]]])}
        masks["coefficients"] = {"output": "mix"}
    else:
        outputs["masks"] = (half if kind == "roi" else whole)[None]
        masks["activation"] = "none"
    layout = layout_of(masks=masks)
    found = decode(outputs, layout, on_input(layout), TYPES, LIMITS)
    (mask,) = found.masks
    assert mask.shape == (32, 32)
    wanted = np.zeros((32, 32), np.bool_)
    wanted[:, :16] = True
    assert np.mean(mask != wanted) < 0.04
    none = decode(outputs, layout, on_input(layout), TYPES, Limits(least_score=0.99))
    assert none.masks == ()


def test_a_mask_of_a_box_that_reaches_beyond_the_picture_is_not_squeezed():
    """Its left half is the left half of the whole box, not of what lies on the picture."""
    half = np.zeros((1, 28, 28), np.float32)
    half[:, :, :14] = 1
    box = np.float32([[16, 24, 48, 56]])
    layout = layout_of(
        picture={"fit": "corner"}, masks={"output": "masks", "kind": "roi", "activation": "none"}
    )
    outputs = {"boxes": box, "scores": np.float32([[0.1, 0.9, 0.2]]), "masks": half}
    found = decode(outputs, layout, Fit(layout.picture, (64, 64), (64, 32)), TYPES, LIMITS)
    (mask,) = found.masks
    assert (found.boxes.tolist(), mask.shape) == ([[16, 24, 32, 56]], (32, 16))
    assert mask.mean() > 0.96


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"grid": {"strides": (8,)}}, "wanted both or neither"),
        ({"boxes": {"output": "0", "form": "yolox"}}, "wanted both or neither"),
        (
            {"boxes": {"output": "0", "form": "yolov5"}, "grid": {"strides": (8,)}},
            "anchors belong to boxes.form",
        ),
        ({"masks": {"output": "2", "kind": "prototypes"}}, "coefficients belong to prototypes"),
        ({"types": {"output": "1"}, "background": "last"}, "scores of one column have none"),
    ],
)
def test_half_a_layout_is_refused(more, said: str):
    """When it is declared, not when a part is judged."""
    with pytest.raises(ValueError, match=said):
        layout_of(**more)


@pytest.mark.parametrize("name", [name for name in LAYOUTS if LAYOUTS[name].masks])
def test_masks_that_are_no_number_are_a_fault(name: str):
    """Compared to a level they would be nothing."""
    layout, outputs = LAYOUTS[name], CONVENTIONS[name](KNOWN)
    named = layout.masks.output
    masks = list(outputs)[int(named)] if named.isdecimal() else named
    outputs[masks] = np.full_like(outputs[masks], np.nan)
    with pytest.raises(BundleError, match="no number"):
        decode(outputs, layout, on_input(layout), TYPES, LIMITS)


@pytest.mark.parametrize("name", CONVENTIONS)
def test_it_says_when_there_may_be_more_than_its_limit(name: str):
    """A graph that drops the less sure itself has perhaps dropped some where it is full."""
    there = len(KNOWN.boxes)
    full = LAYOUTS[name].suppressed
    for most, more in ((there + 1, False), (there, full), (there - 1, True)):
        limits = LIMITS.model_copy(update={"most": most})
        found = decode(
            CONVENTIONS[name](KNOWN), LAYOUTS[name], on_input(LAYOUTS[name]), TYPES, limits
        )
        assert (len(found), found.more) == (min(most, there), more)

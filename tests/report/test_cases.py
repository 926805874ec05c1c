import numpy as np
import pytest

from inspection.core.decision import Verdict
from inspection.core.gate import GateRow
from inspection.core.geometry import Geometry, Roi
from inspection.core.records import Label
from inspection.report.cases import OUTLINE, choose_cases, draw_case, shrink

pytestmark = pytest.mark.fast


def row(label, score):
    """A row of the gate."""
    return GateRow(
        path=f"{label}/{score}.png",
        label=label,
        defect=None,
        score=score,
        reference_score=score,
        verdict=Verdict.PASS,
    )


def test_cases_are_the_extremes_in_order():
    """Hardest defects ascend, worst goods descend, clearest defects descend."""
    rows = [row(label, score) for score in range(20) for label in (Label.GOOD, Label.DEFECT)]
    hardest, worst_goods, clearest = choose_cases(rows)
    assert [each.score for each in hardest] == [0, 1, 2, 3, 4, 5]
    assert [each.score for each in worst_goods] == [19, 18, 17, 16, 15, 14]
    assert [each.score for each in clearest] == [19, 18, 17]
    assert {each.label for each in hardest + clearest} == {Label.DEFECT}


@pytest.mark.parametrize(("defects", "clearest"), [(0, 0), (4, 0), (7, 1), (9, 3)])
def test_no_defect_is_shown_twice(defects, clearest):
    """With few defects the hardest come first and no part is both hard and clear."""
    groups = choose_cases([row(Label.DEFECT, score) for score in range(defects)])
    shown = [each.path for group in groups for each in group]
    assert len(groups[2]) == clearest
    assert len(set(shown)) == len(shown)


def test_pictures_are_small_and_keep_their_aspect():
    """A part is reduced to at most 220×280 px without being stretched."""
    picture, mask = shrink(np.zeros((900, 600, 3), np.uint8), np.zeros((900, 600), np.bool_))
    assert picture.shape == (220, 147, 3)
    assert mask.shape == (220, 147)


def test_a_thin_scratch_keeps_its_outline():
    """One line of mask pixels in a large part is still there in the small mask."""
    mask = np.zeros((1000, 2000), np.bool_)
    mask[501, 100:1900] = True
    small = shrink(np.zeros((1000, 2000, 3), np.uint8), mask)[1]
    assert small.any(axis=0).sum() >= 250
    assert small.sum() < 1000


def test_picture_and_heat_carry_the_true_outline():
    """Cyan surrounds the mask on both, the defect itself and the input stay as they were."""
    picture = np.full((60, 90, 3), 100, np.uint8)
    mask = np.zeros((60, 90), np.bool_)
    mask[20:40, 30:60] = True
    drawn, heat = draw_case(
        picture, np.ones((6, 9), np.float32), mask, geometry=Geometry(roi=Roi()), scale=(0, 2)
    )
    assert tuple(drawn[18, 45]) == OUTLINE
    assert tuple(heat[18, 45]) == OUTLINE
    assert (drawn[20:40, 30:60] == 100).all()
    assert np.array_equal(picture, np.full((60, 90, 3), 100, np.uint8))


def test_heat_is_brighter_where_the_map_is_higher():
    """Brightness of the heatmap rises with the score from black to saturation."""
    score_map = np.repeat(np.linspace(0, 4, 8, dtype=np.float32)[None], 4, axis=0)
    picture = np.full((40, 80, 3), 128, np.uint8)
    heat = draw_case(picture, score_map, None, geometry=Geometry(roi=Roi()), scale=(0, 10.0))[1]
    brightness = heat[20].mean(axis=1)
    assert (np.diff(brightness[::10]) > 0).all()


def test_only_the_roi_is_heated():
    """Outside the ROI, that no map shows, the heatmap is the part itself."""
    picture = np.full((40, 80, 3), 128, np.uint8)
    roi = Roi(top=0.5, left=0.25, bottom=1, right=1)
    heat = draw_case(
        picture, np.zeros((5, 6), np.float32), None, geometry=Geometry(roi=roi), scale=(0, 1)
    )[1]
    assert (heat[:20] == 128).all()
    assert (heat[:, :20] == 128).all()
    assert (heat[20:, 20:] < 128).all()


def test_a_flat_map_is_drawn():
    """A map whose threshold equals its lowest value gives a picture, not a division by zero."""
    picture = np.full((40, 80, 3), 128, np.uint8)
    heat = draw_case(
        picture, np.ones((5, 6), np.float32), None, geometry=Geometry(roi=Roi()), scale=(1, 1)
    )[1]
    assert heat.shape == (40, 80, 3)

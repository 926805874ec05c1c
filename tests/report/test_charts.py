import re

import numpy as np
import pytest

from inspection.core.decision import Band, Verdict
from inspection.core.gate import GateRow
from inspection.core.records import Interval, Label
from inspection.report import charts

pytestmark = pytest.mark.fast

BAND = Band(review_above=2.0, reject_above=3.0)


def make_scores(good, defect, defects="defects"):
    """Test scores of these values, the reference a little higher."""
    rows = [
        GateRow(
            path=f"{label}/{index}.png",
            label=label,
            defect=None,
            score=score,
            reference_score=score + 0.1,
            verdict=Verdict.PASS,
        )
        for label, values in ((Label.GOOD, good), (Label.DEFECT, defect))
        for index, score in enumerate(values)
    ]
    return charts.split_scores(rows, goods="good parts", defects=defects, shipped="INT8")


def test_rows_are_split_by_label():
    """Scores of both graphs are kept by class, in the order of the rows."""
    scores = make_scores([1.0, 1.5], [4.0])
    assert scores.good.tolist() == [1.0, 1.5]
    assert scores.defect.tolist() == [4.0]
    assert scores.reference_defect.tolist() == [4.1]


def test_histogram_names_the_band_and_its_unit():
    """Both thresholds, the unit and the number of parts of each row are written in the chart."""
    drawn = charts.draw_histogram([1.0, 1.2, 1.4], make_scores([1.1], [4.0, 5.0]), BAND)
    for words in ("review above 2", "reject above 3", "calibrate, good parts: 3", "defects: 2"):
        assert words in drawn
    assert "score (raw distance to normal; larger is worse)" in drawn


@pytest.mark.parametrize(("largest", "logarithmic"), [(5.0, False), (50.0, True)])
def test_wide_scores_are_drawn_on_a_log_axis(largest, logarithmic):
    """Scores spread wider than twelve times get a log axis, and the axis says so."""
    drawn = charts.draw_histogram([1.0, 1.2], make_scores([1.1], [largest]), BAND)
    assert ("log axis" in drawn) is logarithmic


def test_equal_and_negative_scores_are_drawn():
    """Scores that are all equal, or below zero, still give a histogram."""
    for value in (0.0, -2.0):
        band = Band(review_above=value, reject_above=value)
        assert "calibrate, good parts: 3" in charts.draw_histogram([value] * 3, None, band)


def test_charts_are_drawn_alike_twice():
    """The same scores give the same bytes, so pages can be compared."""
    scores = make_scores([1.0, 1.5], [4.0])
    for draw in (charts.draw_roc, charts.draw_precision_recall):
        assert draw(scores, BAND) == draw(scores, BAND)


def test_many_points_become_one_picture_within():
    """A scatter of many parts stays small and points to nothing outside."""
    rng = np.random.default_rng(0)
    good, defect = rng.normal(1, 0.2, 1400), rng.normal(4, 0.5, 300)
    drawn = charts.draw_scatter(make_scores(good, defect), BAND, 0.9876)
    assert len(drawn) < 150_000
    assert 'href="data:image/png;base64,' in drawn
    assert "xlink" not in drawn
    assert "correlation 0.9876" in drawn


def test_ids_carry_the_name_of_the_chart():
    """Every id, and every reference to one, begins with the chart's name."""
    drawn = charts.draw_roc(make_scores([1.0, 1.5], [4.0]), BAND)
    names = re.findall(r'(?:\bid="|url\(#|href="#)([^")]+)', drawn)
    assert names
    assert all(name.startswith("roc-") for name in names)


def test_worst_defect_stands_on_top():
    """Defect types are drawn by recall, the worst on top (drawn last in SVG's label order)."""
    found = {
        "scratch": Interval(value=0.4, low=0.2, high=0.6),
        "dent": Interval(value=1.0, low=0.8, high=1.0),
    }
    drawn = charts.draw_recall(found, "defects")
    assert drawn.index("dent") < drawn.index("scratch")
    assert "95 % interval" in drawn

"""One function decides: a table for it, and what may never happen to a score."""

import math
import re
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from inspection.core.decision import (
    MAX_REGIONS,
    Band,
    Region,
    ScoreRule,
    Verdict,
    decide,
    judge_map,
    part_score,
    smooth,
)
from inspection.core.geometry import Geometry, Roi, assemble, judged_area

pytestmark = pytest.mark.fast

BAND = Band(review_above=0.5, reject_above=0.8)
RAW = ScoreRule(smooth_sigma=0)
ORDER = [Verdict.PASS, Verdict.REVIEW, Verdict.REJECT]
UP = float(np.nextafter(0.5, 1))

TABLE = {
    "far below": (-1e30, "PASS"),
    "zero": (0.0, "PASS"),
    "at the first threshold": (0.5, "PASS"),
    "just above the first": (UP, "REVIEW"),
    "between": (0.7, "REVIEW"),
    "at the second threshold": (0.8, "REVIEW"),
    "just above the second": (float(np.nextafter(0.8, 1)), "REJECT"),
    "far above": (1e30, "REJECT"),
    "NaN": (math.nan, "FAULT"),
    "infinite": (math.inf, "FAULT"),
    "negative infinite": (-math.inf, "FAULT"),
}


@pytest.mark.parametrize(("score", "verdict"), TABLE.values(), ids=TABLE)
def test_verdict_table(score, verdict):
    """Up to review_above PASS, up to reject_above REVIEW, above it REJECT; no number is FAULT."""
    assert str(decide(score, BAND)) == verdict


def test_a_band_of_one_threshold_has_no_review():
    """With both thresholds equal a part passes or is rejected."""
    band = Band(review_above=0.5, reject_above=0.5)
    assert (str(decide(0.5, band)), str(decide(UP, band))) == ("PASS", "REJECT")


numbers = st.floats(allow_nan=False, allow_infinity=False)


@given(score=numbers, other=numbers, one=numbers, two=numbers)
def test_a_worse_score_never_gets_a_better_verdict(score, other, one, two):
    """The verdict is monotone in the score for every band."""
    band = Band(review_above=min(one, two), reject_above=max(one, two))
    low, high = sorted((score, other))
    assert ORDER.index(decide(low, band)) <= ORDER.index(decide(high, band))


BANDS = {
    "upside down": ((0.8, 0.5), "review_above must not lie above reject_above"),
    "NaN": ((math.nan, 0.5), "Input should be a finite number"),
    "infinite": ((0.5, math.inf), "Input should be a finite number"),
}


@pytest.mark.parametrize(("thresholds", "message"), BANDS.values(), ids=BANDS)
def test_band_that_decides_nothing_is_refused(thresholds, message):
    """Thresholds out of order or not finite are refused at birth."""
    with pytest.raises(ValidationError, match=message):
        Band(review_above=thresholds[0], reject_above=thresholds[1])


def _judge(score_map, geometry=None, rule=RAW, part_hw=(60, 120)):
    return judge_map(
        np.asarray(score_map, np.float32),
        band=BAND,
        rule=rule,
        geometry=geometry or Geometry(),
        part_hw=part_hw,
    )


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_one_unsound_cell_is_a_fault_and_no_region(value):
    """A map with one value that is not finite is FAULT even where another cell shouts."""
    score_map = np.full((4, 8), 0.9)
    score_map[3, 7] = value
    judgement = _judge(score_map, rule=ScoreRule())
    assert (judgement.verdict, judgement.regions) == (Verdict.FAULT, ())
    assert math.isnan(judgement.score)


def test_nothing_judged_is_a_fault():
    """A part of which no cell is judged is FAULT, never PASS."""
    everything = Geometry(exclude=(((0, 0), (1, 0), (1, 1), (0, 1)),))
    assert _judge(np.zeros((4, 8)), everything).verdict is Verdict.FAULT


EXCLUDED = Geometry(exclude=(((0, 0), (0.5, 0), (0.5, 1), (0, 1)),))


@given(
    cell=st.tuples(st.integers(0, 7), st.integers(0, 15)),
    value=st.floats(0, 1e6, width=32),
    sigma=st.sampled_from([0.0, 1.0, 2.0]),
)
def test_excluded_cells_never_count(cell, value, sigma):
    """Whatever a model says within an excluded area changes neither score nor regions."""
    rule = ScoreRule(smooth_sigma=sigma)
    tile = np.full((1, 8, 16), 0.25, np.float32)
    tile[0, 4, 12] = 0.9
    changed = tile.copy()
    if cell[1] < 8:
        changed[0][cell] = value
    first, second = (
        _judge(assemble(maps, EXCLUDED, 60, 120), EXCLUDED, rule) for maps in (tile, changed)
    )
    assert (first.score, first.regions) == (second.score, second.regions)


@given(st.integers(0, 7), st.integers(8, 15), st.floats(0.25, 1e6, width=32))
def test_a_judged_cell_made_worse_never_lowers_the_score(row, column, value):
    """Raising one judged cell never improves the part, smoothing included."""
    score_map = np.full((8, 16), 0.25, np.float32)
    worse = score_map.copy()
    worse[row, column] = value
    rule = ScoreRule()
    assert part_score(worse, rule, EXCLUDED) >= part_score(score_map, rule, EXCLUDED) - 1e-6


def test_score_is_the_largest_smoothed_value():
    """With sigma 1 a single cell of 1 scores the Gaussian's centre, without smoothing 1."""
    score_map = np.zeros((21, 33), np.float32)
    score_map[10, 16] = 1
    weights = np.exp(-np.square(np.arange(-10, 11)) / 2)
    expected = 1 / weights.sum() ** 2
    assert part_score(score_map, ScoreRule(), Geometry()) == pytest.approx(expected, rel=2e-3)
    assert part_score(score_map, RAW, Geometry()) == 1


def test_smoothing_keeps_a_level_up_to_the_border_and_the_callers_map():
    """The border is mirrored: a level map stays level, and the raw map is not written to."""
    score_map = np.full((5, 9), 0.75, np.float32)
    score_map.setflags(write=False)
    smoothed = smooth(score_map, ScoreRule(smooth_sigma=3))
    assert smoothed.dtype == np.float32
    assert np.allclose(smoothed, 0.75, atol=1e-6)


def test_judgement_carries_what_decided():
    """A passing part has its score, band and raw map, and no regions."""
    score_map = np.full((4, 8), 0.5)
    judgement = _judge(score_map)
    assert (judgement.verdict, judgement.score, judgement.band) == (Verdict.PASS, 0.5, BAND)
    assert judgement.regions == ()
    assert np.array_equal(judgement.score_map, score_map)


def test_region_box_is_in_px_of_the_whole_part():
    """Cells (1..2, 5) of a 4×8 map of a 60×120 part are the box x 75-90, y 15-45."""
    score_map = np.zeros((4, 8))
    score_map[1:3, 5] = 0.6, 0.9
    judgement = _judge(score_map)
    assert judgement.verdict is Verdict.REJECT
    assert judgement.regions == (Region((75, 15, 90, 45), pytest.approx(0.9)),)


def test_region_box_is_moved_by_the_roi():
    """Within the lower right ROI of 30×90 px the same cells lie at its offset."""
    score_map = np.zeros((3, 9))
    score_map[0, 0] = score_map[2, 8] = 0.9
    geometry = Geometry(roi=Roi(top=0.5, left=0.25))
    boxes = {region.xyxy_px for region in _judge(score_map, geometry).regions}
    assert boxes == {(30, 30, 40, 40), (110, 50, 120, 60)}


def test_boxes_hold_the_whole_cell_where_px_do_not_divide():
    """A box is rounded outwards and stays within the part."""
    score_map = np.zeros((3, 7))
    score_map[1, 3] = score_map[2, 6] = 0.9
    (first, second) = _judge(score_map, part_hw=(50, 100)).regions
    assert {first.xyxy_px, second.xyxy_px} == {(42, 16, 58, 34), (85, 33, 100, 50)}


def test_regions_touching_at_a_corner_are_one():
    """Cells that touch by a corner are one region with one box."""
    score_map = np.zeros((4, 8))
    score_map[1, 1] = score_map[2, 2] = 0.9
    assert [r.xyxy_px for r in _judge(score_map).regions] == [(15, 15, 45, 45)]


def test_at_most_twenty_regions_the_strongest_first():
    """A person gets the 20 strongest regions, strongest first."""
    score_map = np.zeros((9, 16), np.float32)
    score_map[::2, ::2] = 0.6 + np.arange(40).reshape(5, 8) / 1000
    peaks = [region.peak for region in _judge(score_map).regions]
    assert len(peaks) == MAX_REGIONS == 20
    assert peaks == sorted(map(float, score_map[score_map > 0]), reverse=True)[:20]


def test_excluded_cells_are_in_no_region():
    """No box is drawn for cells that are not judged, even when the raw map shouts there."""
    score_map = np.zeros((4, 8))
    score_map[0, 0] = score_map[1, 6] = 0.9
    assert [r.xyxy_px for r in _judge(score_map, EXCLUDED).regions] == [(90, 15, 105, 30)]


def test_noise_over_a_large_map_is_boxed_in_time():
    """Thousands of regions on a 512×768 map cost well under a second, not a square of them."""
    score_map = np.random.default_rng(0).random((512, 768)) * 0.6
    started = time.monotonic()
    judgement = _judge(score_map)
    assert time.monotonic() - started < 1
    assert len(judgement.regions) == 20


def test_all_defaults_of_the_rule():
    """ScoreRule() smooths by one cell."""
    assert ScoreRule().smooth_sigma == 1.0
    with pytest.raises(ValidationError, match=re.escape("greater than or equal to 0")):
        ScoreRule(smooth_sigma=-1)


def test_judged_area_of_the_excluded_half_is_the_right_half():
    """The excluded polygon used above is the left half."""
    assert np.array_equal(judged_area((1, 4), EXCLUDED), [[False, False, True, True]])

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
    AcceptRule,
    Band,
    Defect,
    Defects,
    DefectSize,
    Region,
    ScoreRule,
    Verdict,
    accept,
    decide,
    judge_map,
    part_score,
    severity,
    smooth,
)
from inspection.core.errors import ConfigError
from inspection.core.geometry import Geometry, Roi, assemble, judged_area
from inspection.core.limits import MAX_SCORE

pytestmark = pytest.mark.fast

BAND = Band(review_above=0.5, reject_above=0.8)
RAW = ScoreRule(smooth_sigma=0)
ORDER = [Verdict.PASS, Verdict.REVIEW, Verdict.REJECT]
UP = float(np.nextafter(0.5, 1))

TABLE = {
    "far below": (-1e9, "PASS"),
    "below all numbers a record takes": (-1.1e9, "FAULT"),
    "zero": (0.0, "PASS"),
    "at the first threshold": (0.5, "PASS"),
    "just above the first": (UP, "REVIEW"),
    "between": (0.7, "REVIEW"),
    "at the second threshold": (0.8, "REVIEW"),
    "just above the second": (float(np.nextafter(0.8, 1)), "REJECT"),
    "far above": (1e9, "REJECT"),
    "above all numbers a record takes": (1.1e9, "FAULT"),
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


numbers = st.floats(-MAX_SCORE, MAX_SCORE)


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


def _defect(area=80, length=12.0, width=None, *, trusted=True):
    width = area / length if width is None else width
    size = DefectSize(area_px=area, length_px=length, width_px=width, x_px=10, y_px=20)
    return Defect(size=size, peak=0.9, trusted=trusted)


def _accept(*defects, rules, mm_per_px=None, uncounted=0, verdict=Verdict.REJECT):
    found = Defects(found=defects, uncounted=uncounted, mm_per_px=mm_per_px)
    return accept(verdict, found, rules)


def _rule(name="specks", then=Verdict.PASS, **bounds):
    return AcceptRule(name=name, then=then, **bounds)


PASSED = (Verdict.PASS, "accepted by 'specks'")
REJECTED = (Verdict.REJECT, "")

# One defect of 80 px², 12 px long, 5 px wide: at 0.1 mm/px that is 0.8 mm², 1.2 mm and 0.5 mm.
BOUNDS = {
    "area below, px": ({"area_below": 80.001, "unit": "px"}, PASSED),
    "area at the bound, px": ({"area_below": 80, "unit": "px"}, REJECTED),
    "length below, px": ({"length_below": 12.001, "unit": "px"}, PASSED),
    "length at the bound, px": ({"length_below": 12, "unit": "px"}, REJECTED),
    "width below, px": ({"width_below": 5.001, "unit": "px"}, PASSED),
    "width at the bound, px": ({"width_below": 5, "unit": "px"}, REJECTED),
    "area below, mm²": ({"area_below": 0.81}, PASSED),
    "area above, mm²": ({"area_below": 0.79}, REJECTED),
    "length below, mm": ({"length_below": 1.21}, PASSED),
    "length above, mm": ({"length_below": 1.19}, REJECTED),
    "width below, mm": ({"width_below": 0.51}, PASSED),
    "width above, mm": ({"width_below": 0.49}, REJECTED),
    "all but the area": ({"area_below": 0.79, "length_below": 9, "width_below": 9}, REJECTED),
    "all but the length": ({"area_below": 9, "length_below": 1.19, "width_below": 9}, REJECTED),
    "all but the width": ({"area_below": 9, "length_below": 9, "width_below": 0.49}, REJECTED),
    "all": ({"area_below": 0.81, "length_below": 1.21, "width_below": 0.51}, PASSED),
}


@pytest.mark.parametrize(("bounds", "found"), BOUNDS.values(), ids=BOUNDS)
def test_accepted_defect_lies_below_every_bound(bounds, found):
    """Area counts with the square of mm_per_px, length and width with it; a bound is excluded."""
    assert _accept(_defect(80, 12, 5), rules=[_rule(**bounds)], mm_per_px=0.1) == found


SHAPES = {
    "long at three times": ("long", 30.0, 10.0, True),
    "long just below": ("long", 29.99, 10.0, False),
    "compact at three times": ("compact", 30.0, 10.0, False),
    "compact just below": ("compact", 29.99, 10.0, True),
    "any, long": ("any", 300.0, 1.0, True),
    "any, round": ("any", 10.0, 10.0, True),
}


@pytest.mark.parametrize(("shape", "length", "width", "fits"), SHAPES.values(), ids=SHAPES)
def test_long_is_three_times_as_long_as_wide(shape, length, width, fits):
    """A defect at the limit is long, and no rule for compact ones accepts it."""
    rules = [_rule(shape=shape, area_below=10_000, unit="px")]
    assert _accept(_defect(300, length, width), rules=rules) == (PASSED if fits else REJECTED)


SCRATCH = {"area": 90, "length": 30.0}  # 3 px wide
SPECK = {"area": 4, "length": 2.0}
SCRATCHES = _rule("three scratches", shape="long", most=3, then="REVIEW")
SPECKS = _rule(area_below=20, unit="px")


@pytest.mark.parametrize(("count", "verdict"), [(1, "REVIEW"), (3, "REVIEW"), (4, "REJECT")])
def test_more_than_most_are_rejected(count, verdict):
    """Up to three scratches are what the rule says, with its name; the fourth is none of them."""
    reason = "accepted by 'three scratches'" if verdict == "REVIEW" else ""
    assert _accept(*[_defect(**SCRATCH)] * count, rules=[SCRATCHES]) == (verdict, reason)


def test_what_an_earlier_rule_ignores_does_not_count():
    """A small scratch is a speck where specks come first, and a scratch where they come last."""
    small = _defect(12, 6.0)
    defects = [*[_defect(**SCRATCH)] * 3, small]
    both = (Verdict.REVIEW, "accepted by 'specks', 'three scratches'")
    assert _accept(*defects, rules=[SPECKS, SCRATCHES]) == both
    assert _accept(*defects, rules=[SCRATCHES, SPECKS]) == REJECTED


def test_what_is_too_many_for_its_rule_is_no_case_for_the_next():
    """`Reject above 3 scratches` holds although another rule would take each of them."""
    anything = _rule("anything small", area_below=1000, unit="px")
    assert _accept(*[_defect(**SCRATCH)] * 4, rules=[SCRATCHES, anything]) == REJECTED


def test_one_defect_that_no_rule_covers_keeps_the_reject():
    """All defects of a frame have to be accepted."""
    assert _accept(_defect(**SPECK), _defect(**SCRATCH), rules=[SPECKS]) == REJECTED


def test_rule_that_covers_nothing_is_not_named():
    """Who reads the event learns of the rules that were used."""
    assert _accept(_defect(**SPECK), rules=[SCRATCHES, SPECKS]) == PASSED


def test_worse_of_the_rules_that_were_used_stands():
    """A REVIEW rule for one defect is not overruled by a PASS rule for another."""
    reviewed = _rule("stains", shape="compact", then="REVIEW")
    verdict, reason = _accept(
        _defect(**SPECK), _defect(400, 20.0), rules=[SPECKS, SCRATCHES, reviewed]
    )
    assert (verdict, reason) == (Verdict.REVIEW, "accepted by 'specks', 'stains'")


def test_a_coarse_outline_is_a_persons_case():
    """What was not outlined by the segmenter is REVIEW at best, though its rule says PASS."""
    defects = _defect(**SPECK), _defect(**SPECK, trusted=False)
    assert _accept(*defects, rules=[SPECKS]) == (
        Verdict.REVIEW,
        "'specks' would accept it, but 1 of 2 outlines are coarse",
    )


def test_a_coarse_outline_beyond_the_rules_stays_a_reject():
    """It must fit the rules as any other; not being sure of it makes nothing better."""
    assert _accept(_defect(**SCRATCH, trusted=False), rules=[SPECKS]) == REJECTED


def test_defects_beyond_the_budget_stay_a_reject():
    """What nobody measured nobody accepts."""
    assert _accept(_defect(**SPECK), rules=[SPECKS], uncounted=1) == REJECTED


def test_nothing_found_stays_a_reject():
    """A REJECT without a measured defect is not one without defects."""
    assert _accept(rules=[SPECKS]) == REJECTED


def test_no_rules_leave_every_reject():
    """Off by default."""
    assert _accept(_defect(**SPECK), rules=[]) == REJECTED


@pytest.mark.parametrize("verdict", ["PASS", "REVIEW", "FAULT"])
def test_accept_rules_touch_a_reject_only(verdict):
    """A rule that makes REVIEW of what it accepts makes it of no PASS, and PASS of no FAULT."""
    rules = [_rule(area_below=20, unit="px", then=then) for then in ("PASS", "REVIEW")]
    assert _accept(_defect(**SPECK), rules=rules, verdict=Verdict(verdict)) == (verdict, "")


@pytest.mark.parametrize("bound", ["area_below", "length_below", "width_below"])
def test_bounds_in_mm_need_mm_per_px(bound):
    """Pixels are never taken for mm; it is said on any frame, whatever its defects are."""
    rules = [SPECKS, _rule("stains", shape="compact", **{bound: 5})]
    message = (
        "accept rules 'stains' have bounds in mm, but mm_per_px is not known; set mm_per_px, or "
        "their unit to px"
    )
    with pytest.raises(ConfigError, match=f"^{re.escape(message)}$"):
        _accept(_defect(**SPECK), rules=rules)
    assert _accept(_defect(**SPECK), rules=rules, mm_per_px=0.1) == PASSED


def test_a_rule_without_bounds_needs_no_mm():
    """Counting scratches needs no scale."""
    assert SCRATCHES.unit == "mm"
    assert _accept(_defect(**SCRATCH), rules=[SCRATCHES])[0] is Verdict.REVIEW


RULES = {
    "accepts everything": (
        {},
        "accept rule 'a' accepts every defect; give it a bound, a shape, types",
    ),
    "everything in px": ({"unit": "px", "then": "REVIEW"}, "accepts every defect"),
    "no name": ({"name": "", "most": 1}, "at least 1 character"),
    "none at most": ({"most": 0}, "greater than or equal to 1"),
    "no area": ({"area_below": 0}, "greater than 0"),
    "no length": ({"length_below": 0}, "greater than 0"),
    "no width": ({"width_below": -1}, "greater than 0"),
    "NaN": ({"area_below": math.nan}, "greater than 0|finite number"),
    "faults": ({"most": 1, "then": "FAULT"}, "Input should be"),
}


@pytest.mark.parametrize(("values", "message"), RULES.values(), ids=RULES)
def test_rule_that_makes_no_sense_is_refused(values, message):
    """At birth, so that no configuration holds one."""
    with pytest.raises(ValidationError, match=message):
        AcceptRule.model_validate({"name": "a"} | values)


sizes = st.builds(_defect, area=st.integers(1, 100), length=st.floats(1, 50), trusted=st.booleans())
rules_of = st.lists(
    st.builds(
        _rule,
        name=st.sampled_from("abc"),
        unit=st.just("px"),
        shape=st.sampled_from(["any", "long", "compact"]),
        area_below=st.integers(1, 100),
        length_below=st.none() | st.floats(1, 50),
        most=st.none() | st.integers(1, 3),
        then=st.sampled_from(["PASS", "REVIEW"]),
    ),
    max_size=3,
)


@given(found=st.lists(sizes, min_size=1, max_size=5), more=sizes, rules=rules_of)
def test_one_more_defect_never_makes_a_frame_better(found, more, rules):
    """Whatever the rules and their order are."""
    before, _ = _accept(*found, rules=rules)
    after, _ = _accept(*found, more, rules=rules)
    assert severity(before) <= severity(after)


@given(found=st.lists(sizes, min_size=1, max_size=5), rules=rules_of, at=st.integers(0, 4))
def test_trusting_less_never_makes_a_frame_better(found, rules, at):
    """A refused outline in place of a trusted one leads to REVIEW at best."""
    doubted = [
        one.model_copy(update={"trusted": False}) if i == at % len(found) else one
        for i, one in enumerate(found)
    ]
    before, after = (_accept(*defects, rules=rules)[0] for defects in (found, doubted))
    assert severity(before) <= severity(after)
    assert after is not Verdict.PASS

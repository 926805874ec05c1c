"""Outlines that are believed, and those that are not."""

from dataclasses import replace

import cv2
import numpy as np
import pytest

from inspection.core.errors import ConfigError, ImageError
from inspection.core.heat import Heat
from inspection.masks.components import find_components, heat_of
from inspection.masks.contrast import contrast
from inspection.masks.grabcut import GrabCut
from inspection.masks.refine import Refiner, tidy
from inspection.masks.segmenter import Prompt
from inspection.masks.settings import RefineSettings
from inspection.masks.views import lay_views
from inspection.metrics.masks import iou
from tests.masks.parts import BAND, GEOMETRY, RULE, SIZE_HW, Oracle, judge, make_part

pytestmark = pytest.mark.fast


WIDE = np.ones((15, 15), np.uint8)


def refine(segmenter, pixels, judgement, **settings):
    return Refiner(segmenter, RefineSettings(**settings)).refine(pixels, judgement, GEOMETRY, RULE)


def test_grabcut_finds_the_outline_that_the_map_only_hints_at():
    pixels, truth = make_part()
    judgement = judge(truth)
    found = refine(GrabCut(), pixels, judgement)
    coarse = heat_of(judgement, GEOMETRY, RULE, SIZE_HW).enlarged() > BAND.review_above
    assert [one.trusted for one in found.outlines] == [True]
    assert iou(found.mask(SIZE_HW), truth) > 0.9 > 3 * iou(coarse, truth)
    size = found.defects(0.1).found[0].size
    assert size.area_px == pytest.approx(truth.sum(), rel=0.1)
    assert (size.x_px, size.y_px) == (pytest.approx(100.5, abs=1), pytest.approx(80.5, abs=1))


def test_several_defects_each_have_their_outline_strongest_first():
    pixels, truth = make_part(((50, 40), (200, 150), (60, 150)))
    found = refine(GrabCut(), pixels, judge(truth))
    assert len(found.outlines) == 3
    peaks = [one.peak for one in found.outlines]
    assert peaks == sorted(peaks, reverse=True)
    assert iou(found.mask(SIZE_HW), truth) > 0.85


@pytest.mark.parametrize("order", [1, -1])
def test_of_candidates_that_map_and_picture_bear_out_the_largest_is_taken(order: int):
    """A core of the defect has its edge, too; away from it the map knows nothing of a defect."""
    pixels, truth = make_part()
    core = np.zeros_like(truth)
    core[77:84, 96:105] = True
    pixels[core] //= 2
    away, wide = np.roll(truth, 40, axis=1), cv2.dilate(truth.astype(np.uint8), WIDE) > 0
    candidates = [core, truth, away, wide][::order]
    found = refine(Oracle(*candidates, side_px=1024), pixels, judge(truth))
    assert min(contrast(pixels, core), contrast(pixels, truth)) > 2 > contrast(pixels, wide)
    np.testing.assert_array_equal(found.mask(SIZE_HW), truth)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda truth: truth & False, "found 0 px"),
        (lambda truth: np.ones_like(truth), "grows"),
        (lambda truth: np.roll(truth, 60, axis=1), "found 0 px"),  # tidied away: it meets nothing
        (lambda truth: np.roll(truth, 27, axis=1), "agrees"),
    ],
)
def test_an_outline_that_contradicts_the_map_leaves_the_coarse_one(change, reason):
    pixels, truth = make_part()
    judgement = judge(truth)
    found = refine(Oracle(change(truth), side_px=1024), pixels, judgement)
    outline = found.outlines[0]
    assert not outline.trusted
    assert reason in outline.reason
    coarse = heat_of(judgement, GEOMETRY, RULE, SIZE_HW).enlarged() > BAND.review_above
    assert np.array_equal(found.mask(SIZE_HW), coarse)


def test_a_speck_on_a_long_defect_does_not_pass_for_all_of_it():
    """The map agrees best of all with its own peak; what it shows elsewhere must be explained."""
    pixels, truth = make_part()
    long = np.zeros_like(truth)
    long[90:100, 10:246] = True
    judgement = judge(long)
    speck = np.zeros_like(truth)
    speck[92:98, 120:132] = True
    found = refine(Oracle(speck, side_px=1024), pixels, judgement, agreement=0.0, shrink=0.0)
    assert not found.outlines[0].trusted
    assert "explains" in found.outlines[0].reason


def test_an_outline_far_below_the_coarse_mask_is_refused():
    """A speck on a large spot lies within the map's blur of all of it."""
    pixels, truth = make_part()
    speck = np.zeros_like(truth)
    speck[79:82, 99:102] = True
    found = refine(Oracle(speck, side_px=1024), pixels, judge(truth))
    assert "shrinks" in found.outlines[0].reason


def test_each_piece_of_an_outline_is_a_defect_of_its_own():
    """Six scratches in one warm patch of the map are six, for whoever accepts three."""
    pixels, truth = make_part()
    pieces = np.zeros_like(truth)
    for x in range(88, 118, 5):
        pieces[70:92, x : x + 2] = True
    found = refine(Oracle(pieces, side_px=1024), pixels, judge(truth), agreement=0.0, contrast=0.0)
    assert len(found.outlines) == 6
    assert all(one.trusted for one in found.outlines)
    assert np.array_equal(found.mask(SIZE_HW), pieces)
    peaks = [one.peak for one in found.outlines]
    assert peaks == sorted(peaks, reverse=True)
    assert len(found.defects().found) == 6


def test_a_defect_across_a_huge_part_stays_coarse_rather_than_fill_the_memory():
    heat = Heat(np.zeros((60, 80), np.float32), (0, 0, 8000, 6000))
    heat.cells[30, 5:75] = 1
    heat.cells[5:55, 40] = 1
    components, _ = find_components(heat, BAND.review_above, 10)
    assert lay_views(dict(enumerate(components)), 1024, (6000, 8000), 4) == []


def test_a_map_without_a_component_has_no_defects():
    pixels, truth = make_part()
    judgement = judge(truth)
    quiet = replace(judgement, score_map=np.zeros_like(judgement.score_map))
    found = refine(GrabCut(), pixels, quiet)
    assert found.outlines == ()
    assert "nothing of the map" in found.reason
    assert not found.mask(SIZE_HW).any()


def test_a_map_all_above_the_band_stays_coarse_and_says_why():
    pixels, truth = make_part()
    judgement = judge(truth)
    full = replace(judgement, score_map=np.ones_like(judgement.score_map))
    found = refine(Oracle(truth, side_px=1024), pixels, full)
    assert [one.trusted for one in found.outlines] == [False]
    assert "50%" in found.outlines[0].reason
    assert found.mask(SIZE_HW).all()


def test_a_map_that_is_no_number_has_no_outlines():
    pixels, truth = make_part()
    judgement = judge(truth)
    broken = replace(judgement, score_map=np.full_like(judgement.score_map, np.nan))
    assert "no numbers" in refine(GrabCut(), pixels, broken).reason


def test_five_hundred_components_are_budgeted_strongest_first_and_the_rest_counted():
    cells = np.zeros((64, 64), np.float32)
    cells[::2, ::2] = np.linspace(0.5, 1, 1024, dtype=np.float32).reshape(32, 32)
    pixels, truth = make_part(size_hw=(512, 512))
    judgement = replace(judge(truth), score_map=cells)
    segmenter = Oracle(np.zeros((512, 512), np.bool_), side_px=1024)
    found = refine(segmenter, pixels, judgement, most_defects=100, most_asked=16)
    assert (len(found.outlines), found.uncounted) == (100, 924)
    assert len(segmenter.prompts) == 16
    assert found.outlines[0].peak == 1
    assert "16 strongest" in found.outlines[16].reason
    assert found.defects().uncounted == 924


def test_a_small_defect_on_a_large_part_is_looked_at_in_full_resolution():
    pixels, truth = make_part(((1500, 900),), size_hw=(1200, 1600))
    segmenter = Oracle(np.zeros((1200, 1600), np.bool_), side_px=256)
    refine(segmenter, pixels, judge(truth))
    assert [window.shape for window in segmenter.windows] == [(256, 256, 3)]
    x0, y0, x1, y1 = segmenter.prompts[0].box
    assert x1 - x0 < 100
    assert y1 - y0 < 100


def test_defects_near_each_other_share_one_look():
    pixels, truth = make_part(((100, 100), (180, 100)), size_hw=(1200, 1600))
    segmenter = Oracle(np.zeros((1200, 1600), np.bool_), side_px=512)
    refine(segmenter, pixels, judge(truth))
    assert len(segmenter.windows) == 1
    assert len(segmenter.prompts) == 2


def test_windows_are_budgeted_and_what_is_left_out_says_so():
    pixels, truth = make_part(((100, 100), (1500, 100), (100, 1100)), size_hw=(1200, 1600))
    segmenter = Oracle(np.zeros((1200, 1600), np.bool_), side_px=256)
    found = refine(segmenter, pixels, judge(truth), most_views=2)
    assert len(segmenter.windows) == 2
    assert "none of the 2 windows" in found.outlines[2].reason


def test_prompts_lie_where_the_map_says():
    pixels, truth = make_part()
    segmenter = Oracle(truth, side_px=1024)
    refine(segmenter, pixels, judge(truth))
    prompt = segmenter.prompts[0]
    assert prompt.mask is not None
    assert prompt.mask.max() == pytest.approx(4, abs=0.5)
    for x, y in prompt.positive:
        assert prompt.mask[int(y), int(x)] > 0
    assert 1 <= len(prompt.negative) <= 4
    for x, y in prompt.negative:
        assert prompt.mask[int(y), int(x)] <= 0


def test_excluded_areas_are_no_defects():
    pixels, truth = make_part()
    outside = GEOMETRY.model_copy(update={"exclude": (((0, 0), (1, 0), (1, 1), (0, 1)),)})
    found = Refiner(GrabCut()).refine(pixels, judge(truth), outside, RULE)
    assert found.outlines == ()


def test_pixels_of_another_kind_are_refused():
    pixels, truth = make_part()
    with pytest.raises(ImageError, match="float32"):
        refine(GrabCut(), pixels.astype(np.float32), judge(truth))


def test_holes_are_filled_specks_dropped_and_thin_ends_kept():
    own = np.zeros((60, 60), np.bool_)
    own[10:50, 10:50] = True
    mask = np.zeros((60, 60), np.bool_)
    mask[20:30, 20:30] = True
    mask[24:26, 24:26] = False  # a hole
    mask[24, 30:40] = True  # a thin end
    mask[45, 45] = True  # a speck
    mask[0:8, 0:8] = True  # beside the defect
    tidied = tidy(mask, own)
    assert tidied[25, 25]
    assert tidied[24, 39]
    assert not tidied[45, 45]
    assert not tidied[4, 4]


def test_a_scratch_of_one_pixel_is_not_opened_away():
    own = np.ones((40, 40), np.bool_)
    mask = np.zeros((40, 40), np.bool_)
    mask[20, 5:35] = True
    assert np.array_equal(tidy(mask, own), mask)


def test_a_component_at_the_border_reaches_to_it():
    """A shifted map has no cell centre near the right border; its last cells speak of it, too."""
    _, truth = make_part(((250, 185),))
    shifted = GEOMETRY.model_copy(update={"map_shift": (1.5, 1.5)})
    heat = heat_of(judge(truth), shifted, RULE, SIZE_HW)
    components, more = find_components(heat, BAND.review_above, 10)
    whole = np.zeros(SIZE_HW, np.bool_)
    for one in components:
        x0, y0, x1, y1 = one.box
        whole[y0:y1, x0:x1] |= one.mask
    assert more == 0
    assert np.array_equal(whole, heat.enlarged() > BAND.review_above)


def test_a_cell_hardly_above_the_band_is_as_large_as_a_cell():
    """No px shows it: with an even number of them to a cell none lies at its centre."""
    cells = np.zeros((12, 16), np.float32)
    cells[5, 7] = BAND.review_above + 1e-4
    (one,), more = find_components(Heat(cells, (0, 0, 256, 192)), BAND.review_above, 10)
    assert (one.box, one.mask.all(), more) == ((112, 80, 128, 96), True, 0)
    cells[6, 8] = cells[5, 7]
    (one,), _ = find_components(Heat(cells, (0, 0, 256, 192)), BAND.review_above, 10)
    assert (one.box, one.mask.sum()) == ((112, 80, 144, 112), 2 * 16 * 16)


def test_windows_stay_within_the_frame():
    _, truth = make_part(((8, 8), (250, 185)))
    heat = heat_of(judge(truth), GEOMETRY, RULE, SIZE_HW)
    components, _ = find_components(heat, BAND.review_above, 10)
    for side_px in (None, 64, 1024):
        for view in lay_views(dict(enumerate(components)), side_px, SIZE_HW, 10):
            x0, y0, x1, y1 = view.window
            assert 0 <= x0 < x1 <= SIZE_HW[1]
            assert 0 <= y0 < y1 <= SIZE_HW[0]


def test_clicks_on_grabcut_find_the_defect():
    pixels, truth = make_part()
    image = GrabCut().set_image(pixels)
    for prompt in (
        Prompt(positive=np.float32([[100, 80]])),
        Prompt(box=(80, 60, 122, 100)),
        Prompt(box=(80, 60, 122, 100), negative=np.float32([[84, 64]])),
    ):
        assert iou(image.predict([prompt])[0].best, truth) > 0.8


@pytest.mark.parametrize(
    ("prompt", "said"),
    [
        (Prompt(), "click on the defect"),
        (Prompt(negative=np.float32([[3, 3]])), "click on the defect"),
        (Prompt(box=(300, 10, 320, 20)), "no area"),
        (Prompt(box=(20, 20, 10, 40)), "no area"),
        (Prompt(mask=np.zeros((10, 20), np.float32)), "20×10 px; wanted 256×192"),
        (Prompt(positive=np.zeros((2, 3), np.float32)), r"wanted \(n, 2\)"),
        (Prompt(positive=np.float32([[np.nan, 2]])), "positive"),
        (Prompt(positive=np.float32([[500, 2]])), "500"),
        (Prompt(mask=np.full(SIZE_HW, -1, np.float32)), "nothing above 0"),
    ],
)
def test_a_prompt_that_does_not_fit_is_refused_in_words(prompt, said):
    pixels, _ = make_part()
    with pytest.raises(ConfigError, match=said):
        GrabCut().set_image(pixels).predict([prompt])


def test_grabcut_answers_alike_each_time():
    pixels, truth = make_part()
    cv2.setRNGSeed(5)
    first = refine(GrabCut(), pixels, judge(truth)).mask(SIZE_HW)
    cv2.setRNGSeed(77)
    assert np.array_equal(first, refine(GrabCut(), pixels, judge(truth)).mask(SIZE_HW))


def test_contrast_is_of_an_outline_on_an_edge():
    """Drawn on the defect it is large, beside it none, across its middle less."""
    pixels, truth = make_part()
    on_it = contrast(pixels, truth)
    assert on_it > 5
    assert contrast(pixels, np.roll(truth, 60, axis=1)) < 0.5
    wide = cv2.dilate(truth.astype(np.uint8), WIDE) > 0
    assert contrast(pixels, wide) < 0.5
    assert contrast(pixels, truth & False) == contrast(pixels, truth | True) == 0
    flat = np.full_like(pixels, 100)
    flat[truth] = 103
    assert contrast(flat, truth) == pytest.approx(1.5)  # 3 grey levels over 2, the floor


def test_contrast_takes_the_colour_that_shows_most():
    """A green stain of the same brightness as what lies around it is one."""
    pixels, truth = make_part()
    grey = np.full_like(pixels, 120)
    grey[truth, 1] = 160
    assert contrast(grey, truth) == pytest.approx(20)


def test_an_outline_on_no_edge_is_refused():
    """It agrees with the map and explains it, but nothing of the picture says where it ends."""
    pixels, truth = make_part()
    plain = np.random.default_rng(1).normal(150, 5, pixels.shape).astype(np.uint8)
    found = refine(Oracle(truth, side_px=1024), plain, judge(truth))
    assert "contrast of 0." in found.outlines[0].reason
    assert (
        refine(Oracle(truth, side_px=1024), plain, judge(truth), contrast=0.0).outlines[0].trusted
    )


def test_specks_far_apart_are_all_looked_at_by_a_segmenter_of_small_windows():
    """As the one that ships has them: each speck needs a window of its own."""
    centres = [(x, y) for y in (150, 1050) for x in (150, 800, 1450)]
    pixels, truth = make_part(tuple(centres), size_hw=(1200, 1600))
    segmenter = Oracle(np.zeros((1200, 1600), np.bool_), side_px=256)
    refine(segmenter, pixels, judge(truth))
    assert (len(segmenter.windows), len(segmenter.prompts)) == (6, 6)

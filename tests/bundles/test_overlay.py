from pathlib import Path

import numpy as np
import pytest

from inspection.bundles.overlay import COLOURS, draw_overlay, write_picture
from inspection.core.decision import Band, Judgement, Region, ScoreRule, Verdict, judge_map
from inspection.core.errors import ImageError
from inspection.core.geometry import Geometry, Roi
from inspection.core.imaging import Rgb, load_image

pytestmark = pytest.mark.fast

RAW = ScoreRule(smooth_sigma=0)
BAND = Band(review_above=0.5, reject_above=1.0)


def grey(height: int, width: int) -> Rgb:
    """Make a uniform grey part."""
    return np.full((height, width, 3), 100, np.uint8)


def judged(pixels: Rgb, cells: dict[tuple[int, int], float], geometry: Geometry) -> Judgement:
    """Judge a part whose 4×8 map is 0 but in these cells."""
    score_map = np.zeros((4, 8), np.float32)
    for cell, value in cells.items():
        score_map[cell] = value
    hw = (pixels.shape[0], pixels.shape[1])
    return judge_map(score_map, band=BAND, rule=RAW, geometry=geometry, part_hw=hw)


def part_of(picture: Rgb, height: int) -> Rgb:
    """Cut the caption off."""
    return picture[-height:]


@pytest.mark.parametrize(
    ("size", "part_hw", "picture_width"),
    [
        ((40, 60), (320, 480), 480),
        ((600, 800), (600, 800), 800),
        ((3000, 4000), (960, 1280), 1280),
        ((4000, 60), (1280, 19), 420),
    ],
    ids=["tiny", "as it is", "large", "a thread"],
)
def test_picture_fits_a_screen(size, part_hw, picture_width):
    """Tiny parts are enlarged, large ones reduced, thin ones get room for the caption."""
    pixels = grey(*size)
    picture = draw_overlay(pixels, judged(pixels, {(1, 2): 2.0}, Geometry()), Geometry(), RAW)
    assert (picture.dtype, picture.shape[1:]) == (np.uint8, (picture_width, 3))
    assert 50 <= picture.shape[0] - part_hw[0] <= 100


def test_nothing_is_painted_below_the_band():
    """A part whose map stays up to review_above is shown as it is."""
    pixels = np.random.default_rng(0).integers(0, 255, (480, 640, 3), np.uint8)
    judgement = judged(pixels, {(1, 2): 0.5, (3, 3): 0.4}, Geometry())
    assert judgement.verdict is Verdict.PASS
    assert np.array_equal(part_of(draw_overlay(pixels, judgement, Geometry(), RAW), 480), pixels)


def test_heat_lies_on_its_cells_in_order_of_brightness():
    """Colour appears only around the hot cells, and the hotter cell is the brighter one."""
    pixels = grey(400, 800)
    judgement = judged(pixels, {(1, 2): 2.0, (2, 6): 1.0}, Geometry())
    part = part_of(draw_overlay(pixels, judgement, Geometry(), RAW), 400).astype(int)
    coloured = np.ptp(part, axis=2) > 20
    rows, columns = np.nonzero(coloured[:, :500])
    assert (rows.min(), rows.max()) == (75, 224), "0.75 cells around the centre, 1.5 above the band"
    assert (columns.min(), columns.max()) == (175, 324)
    assert part[150, 250].sum() > part[250, 650].sum() + 60
    assert not coloured[:, 350:550].any()


def test_review_part_stays_below_the_last_colour():
    """Yellow is kept for what lies above reject_above: a REVIEW peak is painted less bright."""
    pixels = grey(400, 800)
    pictures = [
        part_of(
            draw_overlay(pixels, judged(pixels, {(1, 2): peak}, Geometry()), Geometry(), RAW), 400
        )
        for peak in (0.7, 1.5)
    ]
    review, reject = (picture[150, 250].astype(int) for picture in pictures)
    assert reject.sum() > review.sum() + 150


def test_box_outlines_the_region():
    """Every region has a white outline just outside of its px."""
    pixels = grey(400, 800)
    judgement = judged(pixels, {(1, 2): 2.0, (3, 7): 2.0}, Geometry())
    assert [region.xyxy_px for region in judgement.regions] == [
        (200, 100, 300, 200),
        (700, 300, 800, 400),
    ]
    part = part_of(draw_overlay(pixels, judgement, Geometry(), RAW), 400)
    white = (part == 255).all(axis=2)
    assert white[97, 220:280].all()
    assert white[120:180, 197].all()
    assert white[297, 720:780].all()
    assert not white[120:180, 300 + 8 : 690].any()


def test_what_was_not_judged_is_dimmed():
    """Everything outside the ROI and inside an excluded area is shown darker."""
    triangle = ((0.4, 0.4), (0.6, 0.4), (0.5, 0.6))
    geometry = Geometry(roi=Roi(top=0.25, left=0.25, bottom=0.75, right=0.75), exclude=(triangle,))
    pixels = grey(480, 640)
    part = part_of(draw_overlay(pixels, judged(pixels, {}, geometry), geometry, RAW), 480)
    assert part[60, 320, 0] == part[240, 80, 0] == part[215, 320, 0] == 45
    assert part[140, 200, 0] == part[340, 460, 0] == 100


@pytest.mark.parametrize("verdict", Verdict)
def test_caption_wears_the_colour_of_the_verdict(verdict: Verdict):
    """The verdict's colour stands in the caption, and no other verdict's."""
    judgement = Judgement(verdict, 0.7, BAND, (), np.zeros((4, 8), np.float32))
    caption = draw_overlay(grey(480, 640), judgement, Geometry(), RAW)[:-480].reshape(-1, 3)
    shown = {
        name for name, colour in COLOURS.items() if (caption == colour).all(axis=1).sum() > 200
    }
    assert shown == {verdict}


def test_unsound_map_is_shown_without_heat():
    """A FAULT with NaN in its map shows the bare part."""
    pixels = grey(480, 640)
    judgement = judged(pixels, {(1, 2): float("nan"), (2, 2): 9.0}, Geometry())
    assert judgement.verdict is Verdict.FAULT
    assert np.array_equal(part_of(draw_overlay(pixels, judgement, Geometry(), RAW), 480), pixels)


def test_threshold_may_be_one_for_both():
    """A band of one value, and a map that just reaches above it, can be drawn by default."""
    pixels = grey(480, 640)
    band = Band(review_above=0.5, reject_above=0.5)
    above = np.full((4, 8), np.nextafter(np.float32(0.5), np.float32(1)))
    region = Region((0, 0, 640, 480), float(above[0, 0]))
    judgement = Judgement(Verdict.REJECT, float(above[0, 0]), band, (region,), above)
    part = part_of(draw_overlay(pixels, judgement, Geometry()), 480)
    assert np.ptp(part[240, 320].astype(int)) > 60


def test_callers_arrays_stay_as_they_are():
    """Neither the pixels nor the map are written to."""
    pixels = grey(480, 640)
    judgement = judged(pixels, {(1, 2): 2.0}, Geometry())
    before = judgement.score_map.copy()
    draw_overlay(pixels, judgement, Geometry())
    assert np.array_equal(pixels, grey(480, 640))
    assert np.array_equal(judgement.score_map, before)


def test_float_part_is_refused():
    """Pixels that are not uint8 are refused with what was found."""
    pixels = np.zeros((40, 60, 3), np.float32)
    judgement = judged(grey(40, 60), {}, Geometry())
    with pytest.raises(ImageError, match=r"part: image is float32 \(40, 60, 3\); wanted uint8"):
        draw_overlay(pixels, judgement, Geometry())  # type: ignore[arg-type]


def test_picture_comes_back_bit_for_bit(tmp_path: Path):
    """A written picture is a PNG with the same RGB, in a folder made when it is missing."""
    picture = np.random.default_rng(1).integers(0, 255, (30, 50, 3), np.uint8)
    write_picture(tmp_path / "new" / "a.png", picture)
    assert np.array_equal(load_image(tmp_path / "new" / "a.png"), picture)
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["a.png"]


def test_picture_that_cannot_be_written_leaves_nothing(tmp_path: Path):
    """When the target cannot be replaced no half picture stays."""
    (tmp_path / "a.png").mkdir()
    with pytest.raises(IsADirectoryError, match="Is a directory"):
        write_picture(tmp_path / "a.png", grey(30, 50))
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]

"""The bench of refined masks: what is chosen, counted, judged and drawn, on parts made by hand."""

import os
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from inspection.bench.frame import BenchReport, Goal, begin_report, write_report
from inspection.bench.peak import peak_memory
from inspection.bench.redness import make_bundle
from inspection.bench.refine import suite
from inspection.bench.refine.choice import (
    GRID,
    MOST_WORSE,
    MOST_WORSE_GENERATED,
    Remembered,
    choose,
    share_worse,
)
from inspection.bench.refine.fit import (
    LEAST_GAIN,
    MOST_MS,
    Fit,
    best_threshold_masks,
    defect_table,
    fit_table,
    judge,
    measure_fits,
)
from inspection.bench.refine.large import HEIGHT_PX, WIDTH_PX, make_large, refine_large
from inspection.bench.refine.parts import Rejected, coarse_mask
from inspection.bench.refine.pictures import draw_pictures
from inspection.bundles.bundle import Bundle, open_bundle
from inspection.core.decision import judge_map
from inspection.core.imaging import Map, Mask
from inspection.core.records import read_record
from inspection.masks.components import heat_of
from inspection.masks.grabcut import GrabCut
from inspection.masks.segmenter import Prompt
from inspection.metrics.masks import iou
from tests.command import done
from tests.masks.parts import BAND, GEOMETRY, RULE, Oracle, make_part
from tests.masks.parts import judge as judge_at_best

HW = (96, 128)


def square(side_px: int) -> Mask:
    """Give a square in the middle of a frame."""
    mask = np.zeros(HW, np.bool_)
    half, (y, x) = side_px // 2, (HW[0] // 2, HW[1] // 2)
    mask[y - half : y + half, x - half : x + half] = True
    return mask


CORE, WHOLE, HEART = square(32), square(40), square(26)


def rejected(
    number: int, truth: Mask, defect: str = "stain", shows: Mask | None = None
) -> Rejected:
    """Make a part whose map lies above the band on 32×32 px and just below it on 40×40."""
    pixels = np.random.default_rng(number).integers(0, 100, (*HW, 3)).astype(np.uint8)
    if shows is not None:
        pixels[shows] += 150
    score_map: Map = np.where(CORE, 1.0, np.where(WHOLE, 0.29, 0.0)).astype(np.float32)
    judgement = judge_map(score_map, band=BAND, rule=RULE, geometry=GEOMETRY, part_hw=HW)
    return Rejected(f"{number:02d}", defect, pixels, truth, judgement)


def drawn(*centres: tuple[int, int]) -> Rejected:
    """Make a part with dark ellipses, and the map a model gives at best."""
    pixels, truth = make_part(centres)
    return Rejected(str(centres), "ellipse", pixels, truth, judge_at_best(truth))


PARTS = (drawn((100, 80)), drawn((60, 40), (180, 120)), drawn((200, 150)), drawn((40, 150)))


def fitted(
    defect: str,
    refined: Mask,
    *,
    truth: Mask = CORE,
    trusted: int = 1,
    took_ms: float = 10.0,
) -> Fit:
    """Make a fit whose mask by threshold is empty and whose band's is 40×40 px."""
    masks = {"threshold": np.zeros(HW, np.bool_), "band": WHOLE, "refined": refined}
    return Fit(rejected(0, truth, defect), masks, trusted, 1, took_ms)


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    """Open a bundle; only its geometry and rule count here."""
    return open_bundle(make_bundle(tmp_path / "bundle"))


def test_share_worse_counts_what_lost_more_than_two_hundredths():
    """A loss of 0.02 is none yet, a gain never."""
    before = np.array([0.5, 0.5, 0.5, 0.5])
    assert share_worse(before, np.array([0.49, 0.2, 0.9, 0.47])) == 0.5
    assert share_worse(before, before) == 0.0


def test_coarse_mask_is_the_map_above_the_band(bundle: Bundle):
    """What a refused outline leaves."""
    assert np.array_equal(coarse_mask(bundle, rejected(0, WHOLE)), CORE)


def test_choice_takes_the_best_guard(bundle: Bundle):
    """Where larger outlines are right they are let through, by the strictest guard that does."""
    chosen, table = choose(
        bundle, [rejected(i, WHOLE) for i in range(3)], Oracle(WHOLE, side_px=128)
    )
    assert chosen["growth"] == 2.0
    rows = [dict(zip(table.columns, row, strict=True)) for row in table.rows]
    assert len(rows) == np.prod([len(values) for values in GRID.values()])
    assert {key: rows[0][key] for key in GRID} == chosen
    gains = [row["over the coarse"] for row in rows]
    assert gains == sorted(gains, reverse=True)
    assert rows[0]["mean IoU"] == 1.0
    equal = [row for row in rows if row["over the coarse"] == gains[0]]
    assert chosen["cover"] == max(row["cover"] for row in equal)


def test_choice_prefers_a_guard_that_makes_few_worse_to_a_better_mean(bundle: Bundle):
    """Larger outlines are right for four parts of five; the fifth must not pay for them."""
    parts = [rejected(i, WHOLE) for i in range(4)] + [rejected(4, CORE)]
    chosen, table = choose(bundle, parts, Oracle(WHOLE, side_px=128))
    rows = [dict(zip(table.columns, row, strict=True)) for row in table.rows]
    assert rows[0]["made worse"] == 0.2 > MOST_WORSE
    (row,) = (row for row in rows if {key: row[key] for key in GRID} == chosen)
    assert row["made worse"] == 0.0
    assert row["over the coarse"] < rows[0]["over the coarse"]


def test_choice_allows_half_of_the_share_that_is_wanted(bundle: Bundle):
    """A laxer guard gains two parts and loses one of 31: too many here, though few enough later."""
    parts = [rejected(i, HEART, shows=HEART) for i in range(28)]
    parts += [rejected(28, HEART), rejected(29, HEART), rejected(30, CORE)]  # on no edge
    chosen, table = choose(bundle, parts, Oracle(HEART, side_px=128))
    lax = dict(zip(table.columns, table.rows[0], strict=True))
    assert MOST_WORSE_GENERATED < lax["made worse"] < MOST_WORSE
    assert (lax["contrast"], lax["made worse"]) == (0.0, pytest.approx(1 / 31))
    assert chosen["contrast"] > 0


def test_choice_without_an_allowed_guard_is_the_best_of_all(bundle: Bundle):
    """Every guard believes an outline that is a little too small."""
    chosen, table = choose(bundle, [rejected(0, CORE, shows=HEART)], Oracle(HEART, side_px=128))
    assert {row[-1] for row in table.rows} == {1.0}
    assert chosen == dict(zip(GRID, table.rows[0], strict=False))


def test_segmenter_is_asked_once_per_part(bundle: Bundle):
    """60 guards are tried on three parts, and it looks at three windows."""
    oracle = Oracle(WHOLE, side_px=128)
    choose(bundle, [rejected(i, WHOLE) for i in range(3)], oracle)
    assert (len(oracle.windows), len(oracle.prompts)) == (3, 3)


def test_remembered_answers_are_of_the_same_window_and_boxes():
    """Two windows of the same bytes but another shape are two; another box is another question."""
    oracle = Oracle(CORE)
    remembered = Remembered(oracle)
    assert (remembered.name, remembered.side_px) == (oracle.name, oracle.side_px)
    high, wide = np.zeros((20, 12, 3), np.uint8), np.zeros((12, 20, 3), np.uint8)
    image = remembered.set_image(high)
    assert remembered.set_image(high.copy()) is image
    first = image.predict([Prompt(box=(0, 0, 5, 5))])
    assert image.predict([Prompt(box=(0, 0, 5, 5))]) is first
    image.predict([Prompt(box=(0, 0, 5, 6))])
    assert len(oracle.prompts) == 2
    remembered.set_image(wide)
    assert [window.shape for window in oracle.windows] == [(20, 12, 3), (12, 20, 3)]


def test_best_threshold_is_beaten_by_no_other(bundle: Bundle):
    """What refinement is held against is not made easy: the best of 2,000 is no better."""
    masks = best_threshold_masks(bundle, PARTS)
    found = np.mean([iou(mask, part.truth) for mask, part in zip(masks, PARTS, strict=True)])
    maps = [heat_of(p.judgement, GEOMETRY, RULE, p.truth.shape).enlarged() for p in PARTS]
    tried = [
        np.mean([iou(one > value, part.truth) for one, part in zip(maps, PARTS, strict=True)])
        for value in np.linspace(0, 1, 2_000, dtype=np.float32)
    ]
    assert max(tried) > 0.4
    assert found >= max(tried) - 1e-3


def test_refined_parts_are_measured_against_both_coarse_masks(bundle: Bundle):
    """By the best threshold and of the band; GrabCut's outlines fit far better here."""
    fits = measure_fits(bundle, PARTS, GrabCut())
    assert [fit.part for fit in fits] == list(PARTS)
    assert [fit.outlines for fit in fits] == [1, 2, 1, 1]
    assert all(fit.gain > 0.2 and fit.took_ms > 0 for fit in fits)
    table = fit_table(fits)
    means = {row[0]: row[1:] for row in table.rows}
    assert table.columns == ("measure", "threshold", "band", "refined")
    assert means["IoU"][2] > 0.8 > means["IoU"][0] >= means["IoU"][1]


def test_goals_are_reached_where_masks_fit_and_are_quick():
    """Gain over the best threshold, share made worse than the band, time of the middle part."""
    slow = fitted("stain", CORE, took_ms=9 * MOST_MS)
    gain, worse, took = judge([fitted("stain", CORE), fitted("stain", CORE), slow], trained=True)
    assert (gain.reached, gain.found, gain.wanted) == (True, 1.0, LEAST_GAIN[True])
    assert (worse.reached, worse.found, worse.wanted) == (True, 0.0, MOST_WORSE)
    assert (took.reached, took.found, took.wanted) == (True, 10.0, MOST_MS)


def test_goals_are_missed_where_masks_do_not_fit_or_take_long():
    """Outlines beside the defect are worse than the band's, and no better than nothing."""
    away = np.roll(HEART, 60, axis=1)
    fits = [fitted("stain", away, took_ms=2 * MOST_MS) for _ in range(2)]
    gain, worse, took = judge(fits, trained=False)
    assert (gain.reached, gain.found, gain.wanted) == (False, 0.0, LEAST_GAIN[False])
    assert (worse.reached, worse.found) == (False, 1.0)
    assert (took.reached, took.found) == (False, 2 * MOST_MS)


def test_defects_are_counted_by_kind():
    """Each kind in its row, all in the last: parts, shares made worse, trust, shrinking, time."""
    tiny = square(8)
    fits = [
        fitted("scratch", CORE, took_ms=10),
        fitted("scratch", tiny, took_ms=30),
        fitted("stain", WHOLE, trusted=0, took_ms=50),
    ]
    table = defect_table(fits)
    rows = {row[0]: dict(zip(table.columns, row, strict=True)) for row in table.rows}
    assert list(rows) == ["scratch", "stain", "all"]
    assert [row["parts"] for row in rows.values()] == [2, 1, 3]
    assert [row["worse than band"] for row in rows.values()] == [0.5, 0.0, pytest.approx(1 / 3)]
    assert [row["outlines trusted"] for row in rows.values()] == [1.0, 0.0, pytest.approx(2 / 3)]
    assert [row["shrunk"] for row in rows.values()] == [0.5, 0.0, pytest.approx(1 / 3)]
    assert [row["p50 ms"] for row in rows.values()] == [20.0, 50.0, 30.0]
    assert rows["scratch"]["IoU, refined"] == pytest.approx((1 + 64 / 1024) / 2)
    assert rows["stain"]["IoU, band"] == rows["stain"]["IoU, refined"] == 1024 / 1600


def test_three_pictures_can_be_opened(tmp_path: Path):
    """Best, median and worst; a row for each of up to four parts, the best first in its own."""
    fits = [fitted("stain", square(side)) for side in (32, 28, 24, 20, 16, 12)]
    draw_pictures(tmp_path, fits)
    names = [f"refine-{name}.png" for name in ("best", "median", "worst")]
    assert sorted(path.name for path in tmp_path.iterdir()) == names
    best, median, worst = (cv2.imread(str(tmp_path / name)) for name in names)
    assert best.shape == median.shape == worst.shape
    row_px = best.shape[0] // 4
    draw_pictures(tmp_path, fits[:1])
    alone = cv2.imread(str(tmp_path / names[0]))
    assert alone.shape[0] == row_px
    assert np.array_equal(best[:row_px], alone)
    assert not np.array_equal(worst[:row_px], alone)


def test_scratch_on_a_large_part_is_found():
    """28×12 px of 12 million; its memory is that of its own process."""
    pixels, truth = make_large()
    assert (pixels.shape, truth.shape) == ((HEIGHT_PX, WIDTH_PX, 3), (HEIGHT_PX, WIDTH_PX))
    assert 200 < np.count_nonzero(truth) < 28 * 12
    large = refine_large(None)
    assert large.trusted
    assert large.iou > 0.5
    peak_bytes = peak_memory(os.getpid())
    assert large.peak_mb == (None if peak_bytes is None else pytest.approx(peak_bytes / 1e6))


@pytest.mark.skipif(peak_memory(os.getpid()) is None, reason="the system hides it")
def test_peak_of_a_child_is_not_its_parents():
    """These tests hold the trainer; a child that only asks holds a small part of that."""
    script = "import os; from inspection.bench.peak import peak_memory as p; print(p(os.getpid()))"
    asked = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True)
    assert int(asked.stdout) < peak_memory(os.getpid()) / 2


def test_command_measures_what_it_is_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """`bench refine` hands every option on and prints the page, or the JSON."""
    asked = []

    def run(out: Path, **options: object) -> Path:
        asked.append((out, options))
        goal = Goal.at_least("gain", 0.1, 0.2, "")
        return write_report(out, begin_report("refine", {}).model_copy(update={"goals": (goal,)}))

    monkeypatch.setattr(suite, "run", run)
    page = done("bench", "refine", "--out", tmp_path).out
    given = ("--bundle", tmp_path / "b", "--segmenter", tmp_path / "s", "--no-sams", "--json")
    said = done("bench", "refine", "--out", tmp_path, *given).out
    assert asked == [
        (tmp_path, {"bundle": None, "segmenter": None, "sams": True}),
        (tmp_path, {"bundle": tmp_path / "b", "segmenter": tmp_path / "s", "sams": False}),
    ]
    assert page.strip() == (tmp_path / "refine.md").read_text().strip()
    assert BenchReport.model_validate_json(said) == read_record(
        tmp_path / "refine.json", BenchReport
    )

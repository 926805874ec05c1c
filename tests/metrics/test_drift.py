"""Drift by cause: what is found, what it is named, and what is let pass."""

from datetime import timedelta

import numpy as np
import pytest
from scipy import stats

from inspection.metrics.blocks import Blocks, gather, reference_blocks
from inspection.metrics.causes import Advice, Cause, advise
from inspection.metrics.drift import (
    ACROSS,
    ALIKE,
    BUDGET,
    EMBEDDING,
    FOCUS,
    LIGHT,
    LOOKS,
    SCORE,
    TEXTURE,
    TOLERANCE,
    WINDOWS,
    block_limits,
    read_causes,
    standardised,
)
from inspection.metrics.naming import detect, name_causes

pytestmark = pytest.mark.fast
LEVELS = np.array([120.0, -4.0, 0.5, 0.5, 0.4, 30.0, 0.0, 0.0, 0.0])
SPREADS = np.array([4.0, 0.1, 0.01, 0.01, 0.02, 5.0, 1.0, 1.0, 1.0])
PER_BLOCK = 10


def blocks(count: int, seed: int, *, hourly: float = 0.3, **shifts: float) -> Blocks:
    """Blocks of ten parts whose hours differ; `c0=2` moves column 0 by two deviations."""
    rng = np.random.default_rng(seed)
    lying = rng.normal(0, hourly, (count, 1, len(LEVELS)))
    lying = lying + rng.normal(0, 1, (count, PER_BLOCK, len(LEVELS)))
    for name, shift in shifts.items():
        lying[:, :, int(name[1:])] += shift
    values = (LEVELS + lying * SPREADS).reshape(-1, len(LEVELS))
    return gather(values, np.repeat(np.arange(count), PER_BLOCK))


REFERENCE = blocks(50, 1)


def still(level, count: int = 20) -> Blocks:
    """Blocks of parts that are all the same."""
    return Blocks(np.full(count, 10.0), np.tile(level, (count, 1)), np.zeros((count, len(level))))


def joined(*some: Blocks) -> Blocks:
    return Blocks(
        *(np.concatenate([getattr(one, name) for one in some]) for name in Blocks.__annotations__)
    )


def found(recent: Blocks, **standing: int) -> list[Cause]:
    """Name what is found; `light=8` for an alarm that stands since the eighth block."""
    known = {Cause(name): begin for name, begin in standing.items()}
    return [one.cause for one in detect(REFERENCE, recent, known)]


def test_blocks_hold_means_and_variances_of_what_was_measured():
    values = np.array([[1.0, np.nan], [3.0, 5.0], [7.0, np.nan]])
    summed = gather(values, np.array([0, 0, 1]))
    assert summed.counts.tolist() == [2, 1]
    np.testing.assert_array_equal(summed.means, [[2, 5], [7, np.nan]])
    np.testing.assert_array_equal(summed.variances, [[1, 0], [0, np.nan]])
    assert len(gather(np.empty((0, 3)), np.empty(0, np.intp))) == 0


@pytest.mark.parametrize(
    ("counts", "wanted"),
    [([25.0] * 23, None), ([25.0] * 30, 24), ([8.0] * 62, None), ([8.0] * 70, 63), ([], None)],
    ids=["too few blocks", "a day", "too few parts", "500 parts", "nothing"],
)
def test_a_reference_has_500_parts_and_a_day_of_blocks(counts, wanted):
    assert reference_blocks(np.array(counts, np.float64)) == wanted


CASES = {
    "nothing": ({}, []),
    "light": ({"c0": -2.5}, [Cause.LIGHT]),
    "blur": ({"c1": -4}, [Cause.FOCUS]),
    "sharper": ({"c1": 4}, [Cause.TEXTURE]),
    "position": ({"c2": 2.5}, [Cause.POSITION]),
    "texture": ({"c4": 3}, [Cause.TEXTURE]),
    "features": ({"c7": 3}, [Cause.FEATURES]),
    "score": ({"c5": 3}, [Cause.SCORE]),
    "a shift within the tolerance": ({"c0": 0.45, "c5": -0.45}, []),
    "features and score that follow from light": ({"c0": -2.5, "c5": 6, "c6": 6}, [Cause.LIGHT]),
    "score that follows from features": ({"c5": 6, "c6": 3}, [Cause.FEATURES]),
    "a slight shift that follows from a smear": ({"c1": -8, "c2": 2, "c4": 1}, [Cause.FOCUS]),
    "texture that a smear took": ({"c1": -4, "c4": -6}, [Cause.FOCUS]),
    "two of their own": ({"c0": -4, "c2": 5}, [Cause.POSITION, Cause.LIGHT]),
}


@pytest.mark.parametrize(("shifts", "wanted"), CASES.values(), ids=CASES)
def test_each_drift_gets_the_name_of_its_cause(shifts, wanted):
    assert found(blocks(20, 2, **shifts)) == wanted


def test_features_and_score_wait_for_a_whole_window_so_that_the_picture_can_show_it():
    quiet, moved = blocks(20, 3), blocks(6, 4, c6=8)
    assert found(joined(quiet, moved)) == []
    assert found(joined(quiet, blocks(14, 4, c6=8))) == [Cause.FEATURES]


def test_what_stands_in_the_picture_explains_features_and_score():
    moved = blocks(20, 5, c6=8, c0=0.6)
    assert found(moved) == [Cause.FEATURES]
    assert found(moved, light=0) == [Cause.LIGHT]
    assert found(blocks(20, 5, c5=8), features=0) == []


LATER = {
    "a smear": ({"c1": -4}, [Cause.LIGHT, Cause.FOCUS]),
    "a material that only features show": ({"c7": 3}, [Cause.LIGHT, Cause.FEATURES]),
    "scores": ({"c5": 4}, [Cause.LIGHT, Cause.SCORE]),
    "features and score that follow from a smear": (
        {"c1": -4, "c5": 8, "c7": 4},
        [Cause.LIGHT, Cause.FOCUS],
    ),
    "a smear that takes texture": ({"c1": -4, "c4": -6}, [Cause.LIGHT, Cause.FOCUS]),
    "nothing": ({}, [Cause.LIGHT]),
}


@pytest.mark.parametrize(("shifts", "wanted"), LATER.values(), ids=LATER)
@pytest.mark.parametrize("began", [10, 0], ids=["of late", "long ago"])
def test_what_moves_while_an_alarm_stands_is_named_beside_it(shifts, wanted, began):
    """Light has moved far, and brought focus and features along a little."""
    dark = {"c0": -12, "c1": -1.5, "c7": 1.5, "c5": 2}
    moved = {name: dark.get(name, 0) + shifts.get(name, 0) for name in dark | shifts}
    recent = joined(blocks(began, 18), blocks(20, 19, **dark), blocks(13, 20, **moved))
    assert found(recent, light=began) == wanted


def test_what_came_with_a_change_is_not_named_beside_it_however_long_it_stands():
    dark = {"c0": -12, "c1": -2.5, "c7": 6, "c5": 9}
    recent = joined(blocks(10, 21), blocks(60, 22, **dark))
    assert [found(recent[:count], light=10) for count in range(22, 70)] == [[Cause.LIGHT]] * 48


def test_a_slow_drift_is_found_by_the_long_window_only():
    """One deviation is too little for a day, and enough for a week."""
    assert found(blocks(12, 6, c0=-1.2)) == []
    assert found(blocks(100, 6, c0=-1.2)) == [Cause.LIGHT]


def test_what_is_over_is_not_found_again_by_the_long_window():
    recent = joined(blocks(90, 7, c0=-4), blocks(12, 8))
    (light,) = [one for one in read_causes(REFERENCE, recent).values() if one.cause is Cause.LIGHT]
    assert light.settled
    assert not light.moved


@pytest.mark.parametrize("began", [5, 40, 95])
def test_a_change_is_dated_to_its_block(began):
    recent = joined(blocks(began, 9), blocks(100 - began, 10, c2=4))
    assert read_causes(REFERENCE, recent)[Cause.POSITION].since == pytest.approx(began, abs=1)


def test_the_chance_of_a_finding_is_that_of_a_t_test_times_all_tests_of_a_month():
    """Recomputed by hand for blocks in a zigzag, which resemble their neighbours the least."""
    drawn, recent = blocks(100, 11), blocks(10, 12, c0=-1.5)
    order = np.argsort(drawn.means[:, LIGHT])
    zigzag = np.column_stack([order[:50], order[::-1][:50]]).ravel()
    reference = drawn[zigzag]
    reading = read_causes(reference, recent, places=3)[Cause.LIGHT]
    lying = standardised(reference, reference)[:, LIGHT]
    effect = float(standardised(reference, recent)[:, LIGHT].mean())
    least = ALIKE[0]
    more, freedom = (1 + least) / (1 - least), 100 * (1 - least**2) / (1 + least**2) - 1
    error = np.sqrt(lying.var(ddof=1) * more * (1 / 100 + 1 / 10))
    chance = 2 * stats.t.sf((abs(effect) - TOLERANCE) / error, freedom)
    assert reading.effect == pytest.approx(effect)
    assert 0 < reading.p_value < 1
    assert reading.p_value == pytest.approx(chance * len(Cause) * WINDOWS * LOOKS * 3)


def test_parts_that_resemble_their_neighbours_need_a_larger_shift():
    rng = np.random.default_rng(13)
    slow = np.repeat(rng.normal(0, 0.6, (10, len(LEVELS))), 5, axis=0)
    alike = Blocks(REFERENCE.counts, REFERENCE.means + slow * SPREADS, REFERENCE.variances)
    recent = blocks(12, 14, c0=-1.6)
    apart = read_causes(REFERENCE, recent)[Cause.LIGHT].p_value
    assert apart < BUDGET < read_causes(alike, recent)[Cause.LIGHT].p_value


def test_a_large_shift_is_found_whatever_the_reference_looked_like():
    """Hours that wander through the whole reference must not hide four deviations for good."""
    wandering = np.sin(np.linspace(0, 6, 50))[:, None] * SPREADS
    slow = Blocks(REFERENCE.counts, REFERENCE.means + wandering, REFERENCE.variances)
    assert [one.cause for one in detect(slow, blocks(12, 17, c0=-5))] == [Cause.LIGHT]


def test_no_alarm_in_a_hundred_lines_whose_hours_differ():
    """The budget allows 0.1 in a month of looks; these are a hundred looks."""
    assert [found(blocks(100, seed)) for seed in range(100, 200)] == [[]] * 100


@pytest.mark.parametrize("column", [LIGHT, SCORE, EMBEDDING])
def test_what_was_not_measured_is_not_read(column):
    means = REFERENCE.means.copy()
    means[3, column] = np.nan
    reference = Blocks(REFERENCE.counts, means, REFERENCE.variances)
    assert set(read_causes(reference, blocks(20, 15))) >= set(Cause) - {
        {LIGHT: Cause.LIGHT, SCORE: Cause.SCORE}.get(column, Cause.FEATURES)
    }
    assert name_causes(read_causes(reference, blocks(20, 15, c1=-4)))[0].cause is Cause.FOCUS


def test_a_line_as_still_as_a_test_pattern_raises_nothing_for_a_grey_level():
    pattern, grey = still(LEVELS, 30), np.eye(len(LEVELS))[LIGHT]
    assert detect(pattern, pattern) == detect(pattern, still(LEVELS + 0.4 * grey)) == ()
    darker = detect(pattern, still(LEVELS - 9 * grey))
    assert [one.cause for one in darker] == [Cause.LIGHT]


def test_with_less_than_a_short_window_nothing_is_read():
    assert read_causes(REFERENCE, blocks(9, 16, c0=-9)) == {}
    assert read_causes(REFERENCE, blocks(0, 16)) == {}


WORDS = {
    LIGHT: (-3, "The light fell by 10% (-3.0 deviations). Check lamp and exposure"),
    FOCUS: (-20, "Fine detail fell by 75% (-20.0 deviations). Clean the lens"),
    ACROSS: (3, "Parts lie 3.2% of the frame farther right (+3.0 deviations). Check the fixture"),
    TEXTURE: (20, "The strength of the texture rose by 32% (+20.0 deviations). Retrain"),
    SCORE: (4, "Scores rose (+4.0 deviations). Look at some parts"),
    EMBEDDING: (4, "Parts look different to the backbone, and light, focus, position and texture"),
}


@pytest.mark.parametrize(("column", "said"), WORDS.items(), ids=map(str, WORDS))
def test_words_say_what_moved_how_far_and_what_to_do(column, said):
    shift, begins = said
    level, lying = REFERENCE.means.mean(axis=0), np.zeros(len(LEVELS))
    lying[column] = (
        shift / standardised(REFERENCE, still(level + np.eye(len(LEVELS))[column]))[0, column]
    )
    moved = still(level + lying)
    (finding,) = detect(REFERENCE, moved)
    assert finding.words.startswith(begins)


def test_a_block_may_lie_out_by_more_than_a_window():
    limits = block_limits(REFERENCE)
    assert (limits > TOLERANCE + 3 * np.sqrt(1 / PER_BLOCK)).all()


@pytest.mark.parametrize(
    ("cause", "advice"),
    [
        (Cause.LIGHT, (Advice.ADJUST, Advice.REFIT)),
        (Cause.FOCUS, (Advice.CLEAN, Advice.CLEAN)),
        (Cause.POSITION, (Advice.ADJUST, Advice.RETRAIN)),
        (Cause.TEXTURE, (Advice.RETRAIN, Advice.RETRAIN)),
        (Cause.FEATURES, (Advice.RETRAIN, Advice.RETRAIN)),
        (Cause.SCORE, (Advice.REFIT, Advice.REFIT)),
    ],
)
def test_each_cause_has_its_advice_at_once_and_after_a_shift(cause, advice):
    assert (advise(cause, timedelta(0)), advise(cause, timedelta(hours=8))) == advice


@pytest.mark.parametrize("cause", [Cause.LIGHT, Cause.SCORE])
def test_no_thresholds_are_fitted_for_frames_that_guards_hold(cause):
    """Guards hold them whatever the thresholds; a dirty lens is to be cleaned all the same."""
    shift = timedelta(hours=8)
    assert advise(cause, shift, guarded=True) is Advice.RETRAIN
    assert advise(Cause.FOCUS, shift, guarded=True) is Advice.CLEAN

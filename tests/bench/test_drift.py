"""The bench of the drift monitors, on parts made up here."""

import numpy as np
import pytest

from inspection.bench.drift import suite
from inspection.bench.drift.line import Wobble, run_line, watch
from inspection.bench.drift.parts import DRIFTS, Drift, Pools
from inspection.bench.drift.suite import poisson_interval
from inspection.bench.frame import BenchReport
from inspection.core.records import read_record
from inspection.hub.blocks import BLOCK_LEAST, BLOCK_READ
from inspection.metrics.causes import Cause
from inspection.metrics.drift import EMBEDDING, LIGHT
from tests.bench.libraries import quiet

pytestmark = quiet
RNG = np.random.default_rng(1)
LEVELS = np.array([120.0, -4.0, 0.5, 0.5, 0.4, 30.0, 0.0, 0.0])
SPREADS = np.array([4.0, 0.1, 0.01, 0.01, 0.02, 5.0, 1.0, 1.0])
USUAL = LEVELS + RNG.standard_normal((300, EMBEDDING + 2)) * SPREADS
DARK = USUAL - np.eye(EMBEDDING + 2)[LIGHT] * 16


def test_a_small_run_leaves_evidence_and_one_figure(tmp_path, monkeypatch):
    pools = Pools(USUAL, {one.name: DARK for one in DRIFTS})
    monkeypatch.setattr(suite, "measure_pools", lambda *_: pools)
    monkeypatch.setattr(suite, "MONTH_H", 48)
    monkeypatch.setattr(suite, "LOOKED_H", 48)
    monkeypatch.setattr(suite, "FASTER", 400)
    monkeypatch.setattr(suite, "DRIFTS", DRIFTS[:2])
    report = read_record(suite.run(tmp_path, months=2, runs=2), BenchReport)
    assert [goal.found for goal in report.goals] == [0, pytest.approx(3.69 / 2, abs=0.01)]
    false, river, found = report.tables
    assert [row[1] for row in false.rows] == [0] * 6
    assert [row[:2] for row in river.rows[1::2]] == [(name, "parts") for name in suite.RIVER]
    assert river.rows[0][3] == 1.0
    assert [(row[0], row[2], row[5]) for row in found.rows] == [
        ("light −5%", 1.0, 1.0),
        ("light −10%", 1.0, 1.0),
    ]
    assert (tmp_path / "drift.svg").read_text().startswith("<?xml")


def test_what_is_named_otherwise_is_not_counted_as_named(monkeypatch):
    blur = Drift("blur", Cause.FOCUS, None)
    monkeypatch.setattr(suite, "DRIFTS", (blur,))
    found = suite._find(Pools(USUAL, {"blur": DARK}), blur, 2)
    assert (len(found.days), found.named) == (2, 0)


def test_a_line_gives_blocks_as_the_hub_reads_them():
    run = run_line(np.random.default_rng(2), USUAL, 100, 5.0, wobble=Wobble())
    counts = np.bincount(run.numbers)
    assert (counts >= BLOCK_LEAST).all()
    assert len(counts) == len(run.ends_h) < 100
    fast = run_line(np.random.default_rng(2), USUAL, 10, 200.0, wobble=Wobble())
    assert np.bincount(fast.numbers).tolist() == [BLOCK_READ] * 10


def test_a_line_without_wobble_draws_from_its_pool_and_then_from_the_drifted_one():
    still = Wobble(0.0, 0.0, 0.0)
    run = run_line(np.random.default_rng(3), USUAL, 20, 20.0, wobble=still, drifted=(10, DARK))
    late = run.ends_h[run.numbers] > 10
    assert np.isin(run.values[~late, LIGHT], USUAL[:, LIGHT]).all()
    assert np.isin(run.values[late, LIGHT], DARK[:, LIGHT]).all()


def test_hours_resemble_the_next_and_days_their_own():
    lying = Wobble(1.0, 0.0, 0.0).draw(np.random.default_rng(4), 5000, 1)[:, 0]
    assert np.corrcoef(lying[1:], lying[:-1])[0, 1] == pytest.approx(0.7, abs=0.05)
    assert lying.std() == pytest.approx(1, abs=0.1)
    days = Wobble(0.0, 1.0, 0.0).draw(np.random.default_rng(4), 48, 1)[:, 0]
    assert len(set(days[:24])) == 1
    assert days[0] != days[24]


def test_an_alarm_tells_when_it_was_raised_and_when_it_began():
    run = run_line(np.random.default_rng(5), USUAL, 150, 10.0, wobble=Wobble(), drifted=(110, DARK))
    (alarm,) = watch(run)
    assert alarm.cause is Cause.LIGHT
    assert 110 < alarm.at_h < 130
    assert alarm.since_h == pytest.approx(110, abs=2)


def moved(**deviations: float):
    """The usual parts with columns moved: `c0=-2` makes them darker by two deviations."""
    by = np.zeros(EMBEDDING + 2)
    for name, value in deviations.items():
        by[int(name[1:])] = value
    return USUAL + by * SPREADS


def test_three_months_of_four_stations_without_drift_raise_nothing():
    """The budget allows a line 0.1 a month, however many stations it has."""
    months = (
        run_line(np.random.default_rng((6, number)), USUAL, 34 * 24, 200 / 24, wobble=Wobble())
        for number in range(12)
    )
    assert [list(watch(one, places=4)) for one in months] == [[]] * 12


@pytest.mark.parametrize(
    ("column", "cause"),
    [(LIGHT, "light"), (1, "focus"), (2, "position"), (4, "texture"), (7, "features")],
)
def test_one_drifting_station_of_twenty_is_found_and_named_in_most_lines(column, cause):
    """Three deviations of one column on one station; days that happen to differ may hide it."""
    drifted = moved(**{f"c{column}": -3.0 if cause == "focus" else 3.0})
    found = []
    for number in range(4):
        rng = np.random.default_rng((7, number))
        begin = 5 * 24 + number
        run = run_line(rng, USUAL, 10 * 24, 200 / 24, wobble=Wobble(), drifted=(begin, drifted))
        found += [one.cause for one in watch(run, places=20)]
    assert set(found) == {cause}
    assert len(found) >= 3


def test_a_smear_beside_a_light_that_stands_is_found_in_most_lines():
    """The light, far out, brought focus and score along; three days later the lens is dirty."""
    dark, both = moved(c0=-12, c1=-1, c5=2), moved(c0=-12, c1=-4, c5=3)
    begin, later, found = 5 * 24, 8 * 24, 0
    for number in range(6):
        rng = np.random.default_rng((11, number))
        run = run_line(rng, USUAL, 15 * 24, 200 / 24, wobble=Wobble(), drifted=(begin, dark))
        run.values[run.ends_h[run.numbers] > later] += (both - dark)[0]
        alarms = [(one.cause, one.at_h > later) for one in watch(run)]
        assert set(alarms) <= {(Cause.LIGHT, False), (Cause.FOCUS, True)}
        found += (Cause.FOCUS, True) in alarms
    assert found >= 5


@pytest.mark.parametrize(
    ("count", "low", "high"), [(0, 0, 3.689), (1, 0.0253, 5.572), (10, 4.795, 18.39)]
)
def test_the_interval_of_a_count_is_garwoods(count, low, high):
    """Table of exact limits."""
    assert poisson_interval(count) == (pytest.approx(low, abs=1e-3), pytest.approx(high, rel=1e-3))

"""The soak in small: real swaps and outages, and goals that can be missed."""

from pathlib import Path

import pytest

from inspection.bench import soak
from inspection.bench.faults import process
from inspection.bench.frame import BenchReport
from inspection.bench.soak import Sample, Sequences, growth, judge
from inspection.core.records import read_record

process.PRELOADED.append("pytest")  # else every life would import it


def test_station_is_soaked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A flood with two swaps and two outages loses nothing; memory is measured, not judged here."""
    monkeypatch.setattr(soak, "TURNS", 2)
    monkeypatch.setattr(soak, "OUTAGE_S", 0.3)
    report = read_record(soak.run(tmp_path, parts=1_600), BenchReport)
    missed = [goal.what for goal in report.goals if not goal.reached]
    assert missed in ([], ["resident memory grows, 5 % to the end"])
    over_time, seen = report.tables
    assert over_time.rows[-1][0] == 1_600
    assert dict(seen.rows)["PASS"] == 1_500


@pytest.mark.fast
def test_sequences_tell_lost_from_again():
    """What comes again is no loss; what is passed over is, and stays so."""
    found = Sequences()
    for sequence in (1, 2, 2, 5, 3):
        found.take(sequence)
    assert (found.last, found.lost, found.again) == (5, 2, 2)


@pytest.mark.fast
def test_growth_is_from_early_to_late():
    """What the start needs does not count, nor does a peak in between."""
    resident = {1: 50, 5: 100, 6: 100, 50: 900, 99: 104, 100: 104}
    samples = [Sample(parts, size, 0, 0) for parts, size in resident.items()]
    assert growth(samples) == pytest.approx(0.04)


@pytest.mark.fast
def test_each_goal_of_the_soak_can_be_missed():
    """Loss, doubles, growth and slow recovery each miss their own goal."""
    samples = [Sample(5, 100, 0, 0), Sample(100, 104, 0, 0)]
    heard, csv_lines = Sequences(last=99), Sequences(last=100, again=1)
    goals = list(judge(100, heard, csv_lines, samples, [0.5, 3.5]))
    assert [goal.reached for goal in goals] == [False, True, False, False, False]
    sound = Sequences(last=100)
    fine = judge(100, sound, sound, [Sample(5, 100, 0, 0), Sample(100, 102, 0, 0)], [0.5])
    assert all(goal.reached for goal in fine)

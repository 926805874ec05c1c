import numpy as np
import pytest

from inspection.bench import thresholds
from inspection.bench.frame import BenchReport
from inspection.bench.thresholds import RULES, Population
from inspection.core.records import read_record
from tests.bench.libraries import quiet

pytestmark = quiet


def test_a_small_run_leaves_evidence_for_every_way_to_set_a_band(tmp_path, monkeypatch):
    """Populations × calibrate parts × rules, and the hub's own answer among the goals."""
    monkeypatch.setattr(thresholds, "REFERENCE", 20_000)
    monkeypatch.setattr(thresholds, "KNOWN", (30, 100))
    kept = {name: thresholds.POPULATIONS[name] for name in ("normal", "normal, rounded to ties")}
    monkeypatch.setattr(thresholds, "POPULATIONS", kept)
    report = read_record(thresholds.run(tmp_path, shifts=20), BenchReport)
    assert len(report.tables[-1].rows) == 2 * 2 * len(RULES)
    assert [goal.what for goal in report.goals][-1] == "shifts within what a hub answers"
    assert report.goals[1].found > 0.9  # of 20 · 20 shifts and more in every scenario
    assert (tmp_path / "thresholds.md").read_text().startswith("# bench thresholds")


@pytest.mark.parametrize(
    ("rule", "limit"),
    [
        ("chosen: conformal 1 %", 99),
        ("chosen: the largest", 99),
        ("chosen: until 25 are expected", 99),
        ("chosen: least cost with 40 defects", 80),
    ],
    ids=str,
)
def test_a_band_is_chosen_from_the_known_parts(rule, limit):
    """Of 100 known goods: too few for 25 rejects a shift, so that rule takes the largest."""
    goods = np.concatenate([np.arange(80.0), np.full(19, 80.0), [99.0]])
    population = Population("steps", lambda rng, count: rng.random(count), np.arange(10.0))
    assert RULES[rule](population, goods, np.full(40, 90.0)) == limit


def test_a_rate_counts_what_lies_strictly_above():
    """Ten parts, 0 to 9: three lie above 6, as the decision takes it."""
    population = Population("steps", lambda rng, count: rng.random(count), np.arange(10.0))
    assert population.rate(6.0) == pytest.approx(0.3)

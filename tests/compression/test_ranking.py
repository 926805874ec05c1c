"""Costs are paired; the largest recall stands first; words say what is lacking."""

import pytest

from inspection.compression.ranking import Step, Wanted, cost_of, explain, lay_out
from inspection.core.errors import InspectionError
from inspection.core.records import Interval
from inspection.metrics.image import proportion_interval
from inspection.retraining.race import Took
from inspection.retraining.ranking import Measured

pytestmark = pytest.mark.fast


def sure(value: float) -> Interval:
    """A value without doubt."""
    return Interval(value=value, low=value, high=value)


def measured(found: str, auroc: float = 0.9) -> Measured:
    """What a candidate showed that found these defects."""
    return Measured(
        auroc=sure(auroc),
        recall=proportion_interval(found.count("1"), len(found)),
        aupro=sure(0.5),
        megabytes=1,
        precision="INT8",
        normals=9,
        defects=len(found),
        found=found,
    )


def step(name: str, found: str, ms: float) -> Step:
    """A candidate with its time."""
    took = Took(p50_ms=sure(ms), p95_ms=ms)
    return Step(name=name, how=f"way of {name}", measured=measured(found), took=took)


def test_the_cost_is_paired_and_its_interval_knows_the_discordant():
    """Five only the champion finds, one only the candidate: 4 of 20 less."""
    champion, candidate = "1" * 15 + "0" * 5, "1" * 10 + "0" * 9 + "1"
    found = cost_of(measured(champion), measured(candidate))
    assert found.value == pytest.approx(0.2)
    assert -0.1 < found.low < 0.0 < found.value < found.high < 0.5
    same = cost_of(measured(champion), measured(champion))
    assert same.value == 0
    assert same.low == pytest.approx(-same.high)
    assert same.high == pytest.approx(1 - 0.025 ** (1 / 20), abs=0.1)


def test_candidates_of_other_defects_cannot_be_paired():
    """As when a folder holds what another version measured."""
    with pytest.raises(InspectionError, match="champion was measured on 3 defects, candidate on 2"):
        cost_of(measured("110"), measured("11"))


def test_the_largest_recall_stands_first_and_what_nothing_beats_is_marked():
    """Failures stand last."""
    failed = Step(name="broken", how="", failed="no weights")
    rows = lay_out(
        [failed, step("slow", "1110", 3), step("good", "1111", 2), step("fast", "1000", 1)]
    )
    assert [(row.name, row.best) for row in rows] == [
        *(("good", True), ("slow", False), ("fast", True), ("broken", False)),
    ]


def test_words_say_what_is_lacking():
    """The fastest is named; gates that refused are; a run of failures is."""
    champion, rows = step("champion", "1111", 9), (step("fast", "1000", 2),)
    words = explain(champion, rows, None, Wanted(1.0, 0.03), None)
    assert "the budget is 1 ms. None of 1 candidates keeps it. The fastest is fast" in words
    refused = (rows[0].model_copy(update={"refused": "recall"}),)
    assert "Gates refused all within it (fast)" in explain(
        champion, refused, None, Wanted(3.0, 0.03), None
    )
    bad = champion.model_copy(update={"refused": "recall"})
    assert "its own gate refused it (recall)" in explain(bad, (), None, Wanted(10.0, 0.03), None)
    failed = (Step(name="broken", how="", failed="no weights"),)
    assert "Every candidate failed" in explain(champion, failed, None, Wanted(3.0, 0.03), None)

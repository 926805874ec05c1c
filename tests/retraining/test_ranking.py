"""Candidates laid in order, the best within the budget put to its gate, the words of it."""

import pytest

from inspection.bench.redness import gate_of
from inspection.core.gate import GateRecord
from inspection.core.records import Interval
from inspection.retraining.race import Took
from inspection.retraining.ranking import Measured, Row, ask_gates, explain, rank, recommend

pytestmark = pytest.mark.fast


def sure(value: float, reach: float = 0.0) -> Interval:
    return Interval(value=value, low=value - reach, high=value + reach)


def measured(auroc: float, reach: float = 0.0) -> Measured:
    """What a candidate showed."""
    return Measured(
        auroc=sure(auroc, reach),
        recall=sure(0.9),
        aupro=sure(0.8),
        megabytes=2.0,
        precision="INT8",
        normals=9,
        defects=18,
    )


def ranked(failed: tuple[str, ...] = (), **shown: tuple[float, float]) -> tuple[Row, ...]:
    """Rank candidates by their AUROC and median, and some that failed."""
    times = {
        name: Took(p50_ms=sure(p50_ms, 0.5), p95_ms=2 * p50_ms)
        for name, (_, p50_ms) in shown.items()
    }
    found = {name: measured(auroc) for name, (auroc, _) in shown.items()}
    return rank(found | dict.fromkeys(failed, "no weights"), times)


def test_the_most_accurate_stand_first_and_what_another_beats_is_marked():
    """Slower and no more accurate than another is not the best of anything."""
    shown = {"slow": (0.9, 9), "quick": (0.8, 1), "beaten": (0.7, 2), "later": (0.9, 12)}
    rows = ranked(("broken",), **shown)
    assert [(row.name, row.best) for row in rows] == [
        *(("slow", True), ("later", False), ("quick", True)),
        *(("beaten", False), ("broken", False)),
    ]
    assert rows[-1].failed == "no weights"


def test_of_two_alike_in_both_neither_beats_the_other():
    rows = ranked(one=(0.9, 5), other=(0.9, 5), less=(0.8, 5))
    assert [(row.name, row.best) for row in rows] == [
        *(("one", True), ("other", True), ("less", False)),
    ]


def test_what_is_no_number_is_refused_before_it_is_ranked():
    with pytest.raises(ValueError, match="finite"):
        sure(float("nan"))


@pytest.mark.parametrize(
    ("budget_ms", "wanted"), [(10, "slow"), (9, "slow"), (8, "quick"), (0.5, None)], ids=str
)
def test_the_most_accurate_within_the_budget_is_recommended(budget_ms, wanted):
    chosen = recommend(ranked(("broken",), slow=(0.9, 9), quick=(0.8, 1)), budget_ms)
    assert (chosen and chosen.name) == wanted


def test_where_nothing_keeps_the_budget_it_says_what_was_found():
    rows = ranked(slow=(0.9, 9), quick=(0.8, 4))
    assert explain(rows, None, 2, None) == (
        "Nothing can be recommended: the fastest takes 4.0 ms, the budget is 2 ms. Try smaller "
        "inputs or banks, or allow more."
    )
    assert "every candidate failed" in explain(ranked(("one",)), None, 2, None)


@pytest.mark.parametrize(("budget_ms", "close"), [(9.4, True), (9.6, False)], ids=["near", "far"])
def test_a_median_that_may_lie_beyond_the_budget_is_said(budget_ms, close):
    """9 ms, 8.5 to 9.5."""
    rows = ranked(slow=(0.9, 9))
    words = explain(rows, rows[0], budget_ms, gate_of("b" * 64))
    assert "at 9.0 ms per part (median, 8.5 to 9.5)." in words
    assert ("reaches beyond the budget: time it again" in words) == close


class Gates:
    """Passes the candidates it was made for, and remembers who was put to it."""

    def __init__(self, *passing: str):
        self.passing, self.asked = passing, []

    def __call__(self, name: str) -> GateRecord:
        """Put one to its gate."""
        self.asked.append(name)
        return gate_of("b" * 64, passed=name in self.passing)


@pytest.mark.parametrize(
    ("passing", "asked", "wanted"),
    [
        (("slow", "quick"), ["slow"], "slow"),
        (("quick",), ["slow", "quick"], "quick"),
        ((), ["slow", "quick"], None),
        (("beyond",), ["slow", "quick"], None),
    ],
    ids=["the best passes", "the next one passes", "none passes", "one beyond the budget would"],
)
def test_the_best_that_its_gate_passes_is_recommended(passing, asked, wanted):
    """The next one is asked only where the best was refused, and none beyond the budget ever."""
    gates = Gates(*passing)
    rows = ranked(("broken",), beyond=(0.95, 99), slow=(0.9, 9), quick=(0.8, 1))
    found, gate = ask_gates(rows, 10, gates)
    chosen = recommend(found, 10)
    assert (gates.asked, chosen and chosen.name, gate and gate.passed) == (
        asked,
        wanted,
        True if wanted else None,
    )
    refused = {row.name: row.refused for row in found if row.refused is not None}
    assert refused == {
        name: "recall 0.2 [0.1, 0.3]; wanted at least 0.9" for name in asked if name != wanted
    }


def test_a_gate_that_refuses_without_a_word_refuses_all_the_same():
    """Nor is such a candidate asked for ever."""
    silent = gate_of("b" * 64, passed=False).model_copy(update={"refusals": ()})
    rows, gate = ask_gates(ranked(only=(0.9, 9)), 10, lambda _: silent)
    assert (rows[0].refused, gate, recommend(rows, 10)) == ("", None, None)


def test_the_words_name_whom_gates_refused():
    """And that a choice after a refusal looks better than it is."""
    rows = ranked(slow=(0.9, 9), quick=(0.8, 1))
    found, gate = ask_gates(rows, 10, Gates("quick"))
    words = explain(found, recommend(found, 10), 10, gate)
    assert words.startswith(
        "quick: the most accurate of those within 10 ms that passed their gates"
    )
    assert "Gates refused slow before it, so its own numbers look a little better" in words
    found, gate = ask_gates(rows, 10, Gates())
    assert explain(found, None, 10, gate) == (
        "Nothing can be recommended: gates refused all that keep 10 ms (slow, quick). Read why, "
        "and look at the set first: what all fail at is seldom the model's fault."
    )

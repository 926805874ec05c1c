"""Lays compressed candidates in order and says what they cost; measures nothing."""

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from inspection.core.decision import Verdict
from inspection.core.errors import InspectionError
from inspection.core.gate import GateRecord
from inspection.core.records import Interval, Label, Split
from inspection.metrics.paired import difference_interval
from inspection.retraining.race import Took
from inspection.retraining.ranking import Measured, Row


class Step(Row):
    """One candidate beside the champion."""

    how: str
    ratio: Interval | None = Field(None, description="its time over the champion's, in turn")
    cost: Interval | None = Field(
        None,
        description="share of the generated defects the champion finds, minus its own, paired",
    )

    def __str__(self) -> str:
        """Say it in one line."""
        if self.measured is None or self.took is None:
            return f"{self.name} failed: {self.failed}"
        return (
            f"{self.name}: {self.took.p50_ms.value:.2f} ms, {self.ratio} of the champion's; "
            f"recall {self.measured.recall}, cost {self.cost}"
        )


class Wanted(NamedTuple):
    """What was asked for."""

    budget_ms: float
    """Median per part."""
    most_cost: float
    """Recall that may be lost."""


class OnTest(NamedTuple):
    """What gates say of the one that was chosen."""

    cost: Interval
    """Recall it loses against the champion, paired."""
    gate: GateRecord
    """Its own."""


def times(champion: Took, ratio: Interval, own_ms: NDArray[np.float64]) -> Took:
    """Give a candidate's times as the paired ratio's share of what the champion took alone.

    The interval of the median holds both doubts, so it is a little wider than 95 % asks.

    Args:
        champion: timed alone.
        ratio: of the candidate's time over the champion's, timed in turn.
        own_ms: its times then, whose spread about their median is kept.
    """
    first = champion.p50_ms
    value = first.value * ratio.value
    spread = float(np.percentile(own_ms, 95) / np.median(own_ms))
    median = Interval(value=value, low=first.low * ratio.low, high=first.high * ratio.high)
    return Took(p50_ms=median, p95_ms=value * spread)


def lay_out(steps: Sequence[Step]) -> tuple[Step, ...]:
    """Lay steps in order: the largest recall first, of equals the fastest; failures last.

    Those that no other beats in both recall and time are marked as best.
    """
    places = {
        step.name: (-step.measured.recall.value, -step.measured.auroc.value, step.took.p50_ms.value)
        for step in steps
        if step.measured and step.took
    }
    failed = [step for step in steps if step.name not in places]
    good = sorted((one for one in steps if one.name in places), key=lambda one: places[one.name])
    fastest, laid = float("inf"), []
    for step in good:
        took_ms = places[step.name][2]
        laid.append(step.model_copy(update={"best": took_ms < fastest}))
        fastest = min(fastest, took_ms)
    return (*laid, *failed)


def cost_of(champion: Measured, candidate: Measured) -> Interval:
    """Give what a candidate loses in recall on the same generated defects.

    Raises:
        InspectionError: they were not measured on the same ones.
    """
    return _cost([one == "1" for one in champion.found], [one == "1" for one in candidate.found])


def cost_on_test(champion: GateRecord, candidate: GateRecord) -> Interval:
    """Give what a candidate loses in recall at the promised false-reject rate, on the test split.

    Raises:
        InspectionError: their gates did not see the same parts.
    """
    rows = [
        [row for row in gate.rows if row.label is Label.DEFECT] for gate in (champion, candidate)
    ]
    first, second = ([row.path for row in some] for some in rows)
    if first != second:
        raise InspectionError(
            f"gates judged {len(first)} and {len(second)} defects, not the same; wanted one set; "
            "put both to their gates again"
        )
    return _cost(*([row.verdict is not Verdict.PASS for row in some] for some in rows))


def _cost(champion: Sequence[bool], candidate: Sequence[bool]) -> Interval:
    if len(champion) != len(candidate):
        raise InspectionError(
            f"champion was measured on {len(champion)} defects, candidate on {len(candidate)}; "
            "wanted the same; remove the folder and compress again"
        )
    pairs = Counter(zip(champion, candidate, strict=True))
    return difference_interval(pairs[True, False], pairs[False, True], len(champion))


def explain(
    champion: Step,
    rows: Sequence[Step],
    chosen: Step | None,
    wanted: Wanted,
    on_test: OnTest | None,
) -> str:
    """Say what was chosen and why, and what the numbers do not know.

    Args:
        champion: with its time.
        rows: of all that were tried, as `lay_out` gives them.
        chosen: that passed its gate; none where none did.
        wanted: that was asked for.
        on_test: what the gates say of the one chosen; none where nothing is.
    """
    if champion.took is None or champion.measured is None:
        raise InspectionError("champion was not measured; wanted its numbers; compress again")
    own, budget_ms = f"The champion takes {_ms(champion)}", wanted.budget_ms
    if champion.refused is not None:
        return (
            f"{own}, but its own gate refused it ({champion.refused}), so there is nothing to hold "
            "candidates against: train it again before anything is compressed."
        )
    if chosen is None or on_test is None:
        return f"{own}, the budget is {budget_ms:g} ms. {_lacking(rows)}"
    if chosen.name == champion.name:
        return f"{own}, within the budget of {budget_ms:g} ms: there is nothing to compress."
    refused = [row.name for row in rows if row.refused is not None]
    before = ""
    if refused:
        before = (
            f" Gates refused {', '.join(refused)} before it, so its own numbers there look a "
            "little better than they are."
        )
    high = chosen.took.p50_ms.high if chosen.took else 0.0
    close = " Its interval reaches beyond the budget: time it on a quiet machine."
    return (
        f"{own}. {chosen.name} ({chosen.how}) has the largest recall of those tried within "
        f"{budget_ms:g} ms: {_ms(chosen)}, {chosen.ratio} of the champion's time.{before} It "
        f"passed its gate. At the promised false-reject rate it finds {on_test.cost} less of "
        f"{_judged_on(on_test.gate)} than the champion, and {chosen.cost} less of "
        f"{champion.measured.defects} defects generated on calibrate parts, by which it was chosen."
        f"{close if high > budget_ms else ''}{_too_dear(on_test.cost, wanted.most_cost)}"
    )


def _judged_on(gate: GateRecord) -> str:
    """Name the parts behind a gate's recall."""
    defects = sum(row.label is Label.DEFECT for row in gate.rows)
    if gate.evidence == "test defects":
        return f"{defects} real test defects"
    goods = "good test parts" if gate.goods is Split.TEST else "the calibrate parts, too"
    return f"{defects} other defects generated on {goods}, for want of real ones,"


def _too_dear(cost: Interval, most: float) -> str:
    """Say where a cost is, or may be, above what was asked."""
    if cost.value > most:
        return f" It loses more than asked ({most:g}): raise the budget, or accept it knowingly."
    if cost.high > most:
        return (
            f" The interval of what it loses reaches beyond the {most:g} asked: gate it on more "
            "defects to be sure."
        )
    return ""


def _lacking(rows: Sequence[Step]) -> str:
    """Say why nothing is chosen, and what to do."""
    timed = [(row.took.p50_ms.value, row) for row in rows if row.took]
    if not timed:
        return "Every candidate failed. Mend what each says of itself, and ask again."
    refused = [row.name for row in rows if row.refused is not None]
    if refused:
        return (
            f"Gates refused all within it ({', '.join(refused)}). Read why, and look at the set "
            "and the promised false-reject rate first."
        )
    fastest = min(timed, key=lambda one: one[0])[1]
    return (
        f"None of {len(timed)} candidates keeps it. The fastest is {fastest.name} "
        f"({fastest.how}): {_ms(fastest)}, recall {fastest.cost} less of the generated defects. "
        "Allow more, or judge a smaller ROI or fewer tiles."
    )


def _ms(step: Step) -> str:
    if step.took is None:
        return "no time"
    median = step.took.p50_ms
    return f"{median.value:.2f} ms per part (median, {median.low:.2f} to {median.high:.2f})"

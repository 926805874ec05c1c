"""Ranks candidates by what they showed, and chooses the one to recommend; measures nothing.

They are ranked on held-out normals and defects generated on them. The best of many on the test
split would look better than it is, so only gates read that, the best candidate's first and the next
one's only where it refused.
"""

from collections.abc import Callable, Sequence
from typing import TypeVar

from pydantic import Field, StrictInt

from inspection.core.config import Settings
from inspection.core.errors import GateRefused
from inspection.core.gate import GateRecord
from inspection.core.records import Interval, Record
from inspection.retraining.race import Took


class Measured(Record):
    """What a candidate showed on calibrate normals and the defects generated on them."""

    auroc: Interval
    recall: Interval = Field(description="at the promised false-reject rate")
    aupro: Interval
    megabytes: float = Field(description="of the graph that ships")
    precision: str
    normals: StrictInt
    defects: StrictInt
    found: str = Field(
        "", description="of each generated defect, in order: 1 when found, else 0; none in older"
    )


class Row(Settings):
    """One candidate, and why it has no numbers if it has none."""

    name: str
    measured: Measured | None = None
    took: Took | None = Field(None, description="timed beside all others, anew with each call")
    failed: str = Field("", description="why; empty when it was measured")
    refused: str | None = Field(
        None, description="why its gate did; none when it passed or was not asked"
    )
    best: bool = Field(
        default=False,
        description="no other is as accurate or more and faster, or as fast or faster and more "
        "accurate",
    )


RowT = TypeVar("RowT", bound=Row)


def rank(measured: dict[str, Measured | str], times: dict[str, Took]) -> tuple[Row, ...]:
    """Lay candidates in order: the most accurate first, of equals the fastest; failures last.

    Args:
        measured: what each showed, or why it failed.
        times: of each that was measured.
    """
    good = {name: one for name, one in measured.items() if isinstance(one, Measured)}
    places = {name: (-one.auroc.value, times[name].p50_ms.value) for name, one in good.items()}

    def is_beaten(mine: tuple[float, float]) -> bool:
        return any(
            other != mine and other[0] <= mine[0] and other[1] <= mine[1]
            for other in places.values()
        )

    rows = [
        Row(
            name=name,
            measured=good[name],
            took=times[name],
            failed="",
            best=not is_beaten(places[name]),
        )
        for name in sorted(good, key=lambda name: (*places[name], name))
    ]
    failed = [
        Row(name=name, measured=None, took=None, failed=one, best=False)
        for name, one in measured.items()
        if isinstance(one, str)
    ]
    return (*rows, *failed)


def recommend(rows: Sequence[RowT], latency_ms: float) -> RowT | None:
    """Give the most accurate candidate within the budget that no gate refused, if there is one."""
    for row in rows:
        if row.took and row.took.p50_ms.value <= latency_ms and row.refused is None:
            return row
    return None


def ask_gates(
    rows: tuple[RowT, ...], latency_ms: float, gate_of: Callable[[str], GateRecord]
) -> tuple[tuple[RowT, ...], GateRecord | None]:
    """Put the best candidate within the budget to its gate, and the next one if that refuses.

    Args:
        rows: as `rank` lays them.
        latency_ms: the budget.
        gate_of: puts a candidate to its gate.

    Returns:
        The rows, those refused marked so, and the record of the one that passed, if one did.
    """
    while (chosen := recommend(rows, latency_ms)) is not None:
        try:
            gate = gate_of(chosen.name)
        except GateRefused as error:  # a part has no score
            why = {"refused": str(error)}
        else:
            if gate.passed:
                return rows, gate
            why = {"refused": "; ".join(gate.refusals)}
        rows = tuple(row.model_copy(update=why) if row is chosen else row for row in rows)
    return rows, None


def explain(
    rows: tuple[Row, ...], chosen: Row | None, latency_ms: float, gate: GateRecord | None
) -> str:
    """Say what is recommended and why, and what the numbers do not know."""
    ranked = [row.measured for row in rows if row.measured]
    refused = [row.name for row in rows if row.refused is not None]
    if chosen is None or chosen.measured is None or chosen.took is None or gate is None:
        return f"Nothing can be recommended: {_lacking(rows, refused, latency_ms)}"
    mine, median = chosen.measured, chosen.took.p50_ms
    close = " Its interval reaches beyond the budget: time it again on a quiet machine."
    level = sum(one.auroc.high >= mine.auroc.value for one in ranked) - 1
    asked = (
        f"Gates refused {', '.join(refused)} before it, so its own numbers look a little better "
        "than they are: it"
        if refused
        else "It alone"
    )
    return (
        f"{chosen.name}: the most accurate of those within {latency_ms:g} ms"
        f"{' that passed their gates' if refused else ''}, image AUROC "
        f"{mine.auroc} at {median.value:.1f} ms per part (median, {median.low:.1f} to "
        f"{median.high:.1f})."
        f"{close if median.high > latency_ms else ''} {level} others have an AUROC interval that "
        f"reaches it. Ranked on {mine.normals} calibrate parts and {mine.defects} generated "
        f"defects, which may be easier or harder than real ones. {asked} was put to the gate, on "
        f"{gate.evidence}, and passed: image AUROC {gate.auroc}, recall {gate.recall}. Choosing "
        "again by these last numbers would make them too good to be true."
    )


def _lacking(rows: tuple[Row, ...], refused: Sequence[str], latency_ms: float) -> str:
    """Say why no candidate can be recommended, and what to do."""
    if refused:
        return (
            f"gates refused all that keep {latency_ms:g} ms ({', '.join(refused)}). Read why, and "
            "look at the set first: what all fail at is seldom the model's fault."
        )
    times = [row.took.p50_ms.value for row in rows if row.took]
    if not times:
        return "every candidate failed. Mend what each says of itself, and ask again."
    return (
        f"the fastest takes {min(times):.1f} ms, the budget is {latency_ms:g} ms. Try smaller "
        "inputs or banks, or allow more."
    )

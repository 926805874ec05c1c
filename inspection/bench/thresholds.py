"""Checks that the false rejects foretold of a band hold in simulated shifts, band chosen or given.

Each population is sampled for calibrate parts, a band is set, and shifts are drawn after it. Two
questions: with new calibrate parts before each shift, how many shifts lie in the interval? And
after one calibration, do 95 % of the next 200 shifts?
"""

import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import stats
from sqlalchemy import insert

from inspection.bench.frame import Goal, Table, begin_report, write_report
from inspection.bench.redness import make_bundle
from inspection.bundles.bundle import read_released
from inspection.core.decision import Band
from inspection.core.progress import follow
from inspection.hub.hub import open_hub
from inspection.hub.preview import foresee_consequences
from inspection.hub.settings import HubConfig
from inspection.hub.tables import bundles
from inspection.hub.wire.thresholds import Asked, Costs
from inspection.metrics.consequences import TAIL, Prediction, Seen, predict

Scores = NDArray[np.float64]
Draw = Callable[[np.random.Generator, int], Scores]
SEED = 20_240_611
PARTS, PREVALENCE = 5_000, 0.01
KNOWN = (30, 100, 500, 2_000)  # calibrate parts
DEFECTS = 40
REFERENCE = 1_000_000  # parts that stand for the whole population
HOLDS = 0.95
OVERKILL, ESCAPE = 2.0, 100.0  # of the cost whose minimum a person may drag to


def _normal(rng: np.random.Generator, count: int) -> Scores:
    return rng.normal(3, 0.5, count)


def _lognormal(rng: np.random.Generator, count: int) -> Scores:
    return rng.lognormal(0, 1, count)


def _student(rng: np.random.Generator, count: int) -> Scores:
    return np.abs(rng.standard_t(2, count))


def _two_kinds(rng: np.random.Generator, count: int) -> Scores:
    return np.where(rng.random(count) < 0.1, rng.normal(4, 0.3, count), rng.normal(3, 0.3, count))


def _tied(rng: np.random.Generator, count: int) -> Scores:
    return np.round(rng.normal(3, 0.5, count), 1)


POPULATIONS: dict[str, Draw] = {
    "normal": _normal,
    "log-normal": _lognormal,
    "Student, 2 degrees": _student,
    "two kinds of good parts": _two_kinds,
    "normal, rounded to ties": _tied,
}


@dataclass(frozen=True)
class Population:
    """Good parts and defects of one kind."""

    name: str
    draw: Draw
    reference: Scores
    """Ascending: what stands for all good parts."""

    def rate(self, threshold: float) -> float:
        """Give the share of good parts above a threshold."""
        below = int(np.searchsorted(self.reference, threshold, side="right"))
        return 1 - below / self.reference.size

    def quantile(self, rate: float) -> float:
        """Give the threshold that this share of good parts exceeds."""
        return float(np.quantile(self.reference, 1 - rate))

    def defects(self, rng: np.random.Generator) -> Scores:
        """Draw defects that overlap with the worst good parts."""
        offset = self.quantile(0.01) - self.quantile(0.5)
        return self.draw(rng, DEFECTS) + offset


Rule = Callable[[Population, Scores, Scores], float]


def _given(rate: float) -> Rule:
    return lambda population, _goods, _defects: population.quantile(rate)


def _conformal(_population: Population, goods: Scores, _defects: Scores) -> float:
    rank = min(goods.size, int(np.ceil((goods.size + 1) * 0.99)))
    return float(np.partition(goods, rank - 1)[rank - 1])


def _largest(_population: Population, goods: Scores, _defects: Scores) -> float:
    return float(goods.max())


def _widest_gap(_population: Population, goods: Scores, _defects: Scores) -> float:
    worst = np.sort(goods)[-max(5, goods.size // 10) :]
    place = int(np.argmax(np.diff(worst)))
    return float((worst[place] + worst[place + 1]) / 2)


def _cheapest(_population: Population, goods: Scores, defects: Scores) -> float:
    edges = np.sort(np.concatenate([goods, defects]))
    passed = np.searchsorted(np.sort(defects), edges, side="right") / defects.size
    rejected = 1 - np.searchsorted(np.sort(goods), edges, side="right") / goods.size
    cost = ESCAPE * PREVALENCE * passed + OVERKILL * (1 - PREVALENCE) * rejected
    return float(edges[np.argmin(cost)])


def _dragged(_population: Population, goods: Scores, _defects: Scores) -> float:
    """Drag down from above all parts until 25 false rejects are expected per shift."""
    edges = np.sort(goods)[::-1]
    fitting = [
        edge
        for hits, edge in enumerate(edges)
        if _predict(hits, goods.size).expected <= 25  # a hit is a part strictly above its edge
    ]
    return float(fitting[-1] if fitting else edges[0])


RULES: dict[str, Rule] = {
    "given, 5 % of good parts above": _given(0.05),
    "given, 1 %": _given(0.01),
    "given, 0.1 %": _given(0.001),
    "given, 0.01 %": _given(0.0001),
    "chosen: conformal 1 %": _conformal,
    "chosen: the largest": _largest,
    "chosen: middle of the widest gap": _widest_gap,
    "chosen: least cost with 40 defects": _cheapest,
    "chosen: until 25 are expected": _dragged,
}


@dataclass(frozen=True)
class Held:
    """How one way of setting a band fared on one population, calibrate parts of one number."""

    rule: str
    population: str
    known: int
    fresh: float
    """Share of shifts that lie in the interval, each after a calibration of its own."""
    all_shifts: float
    """The same over all calibrations and 200 shifts after each."""
    kept: float
    """Share of calibrations after which 95 % of 200 shifts lie in it."""
    narrow_kept: float
    """The same of the interval for one shift only (Thatcher 1964)."""
    width: float
    """Mean width of the interval over that of the narrow one."""


def run(out: Path, *, shifts: int = 200) -> Path:
    """Simulate shifts and write `thresholds.json` and `thresholds.md` into `out`.

    Args:
        out: folder of the evidence.
        shifts: of each scenario, and calibrations, too.
    """
    report = begin_report(
        "thresholds", {"shifts": shifts, "parts": PARTS, "prevalence": PREVALENCE, "seed": SEED}
    )
    rng = np.random.default_rng(SEED)
    cells = [(name, known) for name in POPULATIONS for known in KNOWN]
    held = [
        one
        for name, known in follow(cells, "populations")
        for one in _simulate(rng, _population(name), known, shifts)
    ]
    through_hub = share_through_the_hub(rng, shifts)
    changes = {
        "goals": tuple(_judge(held, through_hub)),
        "tables": (_by_rule(held), _by_known(held), _all(held)),
        "notes": (
            "The interval shown is the 98 % limits of the rate (Clopper and Pearson), and around "
            "each the 95 % of a shift's binomial noise. The narrow one is beta-binomial.",
            "Each shift is drawn from the same population as its calibrate parts: drift, batches "
            "and light that changes are not in these numbers.",
        ),
    }
    return write_report(out, report.model_copy(update=changes))


def share_through_the_hub(rng: np.random.Generator, shifts: int) -> float:
    """Give the share of shifts within what a hub answers for a card of 500 normal scores."""
    population = _population("normal")
    goods = np.sort(population.draw(rng, 500))
    with tempfile.TemporaryDirectory() as work:
        hub = open_hub(
            HubConfig(
                database=f"sqlite:///{work}/hub.sqlite",
                artefacts=f"{work}/artefacts",
                cache_dir=Path(work) / "cache",
            )
        )
        try:
            released = read_released(make_bundle(Path(work) / "bundle"))
            card = released.card.model_copy(update={"calibrate_scores": tuple(goods.tolist())})
            with hub.database.writing() as connection:
                connection.execute(
                    insert(bundles).values(
                        bundle_id=released.bundle_id,
                        name=card.name,
                        created_at=hub.now(),
                        received_at=hub.now(),
                        card=card.model_dump_json(),
                        gate=released.gate.model_dump_json() if released.gate else "",
                    )
                )
            limit = population.quantile(0.01)
            asked = Asked(
                bundle_id=released.bundle_id,
                band=Band(review_above=limit, reject_above=limit),
                costs=Costs(prevalence=PREVALENCE, parts_per_shift=PARTS),
            )
            found = foresee_consequences(hub, "line", asked).false_rejects
        finally:
            hub.close()
    counts = _shift_counts(rng, population, limit, shifts)
    return float(np.mean((counts >= found.low) & (counts <= found.high)))


@cache
def _population(name: str) -> Population:
    rng = np.random.default_rng(SEED)
    draw = POPULATIONS[name]
    return Population(name, draw, np.sort(draw(rng, REFERENCE)))


def _simulate(
    rng: np.random.Generator, population: Population, known: int, shifts: int
) -> Iterator[Held]:
    """Hold every rule against the same calibrations."""
    calibrations = [population.draw(rng, known) for _ in range(shifts)]
    defects = [population.defects(rng) for _ in range(shifts)]
    for name, rule in RULES.items():
        inside = np.empty((shifts, shifts), bool)
        narrowly = np.empty_like(inside)
        fresh, wide, narrow = [], 0.0, 0.0
        for place, (goods, bad) in enumerate(zip(calibrations, defects, strict=True)):
            limit = rule(population, goods, bad)
            hits = int(np.count_nonzero(goods > limit))
            found, thatcher = _predict(hits, known), _thatcher(hits, known)
            drawn = population.draw(rng, int(rng.binomial(PARTS, 1 - PREVALENCE)))
            fresh.append(found.low <= np.count_nonzero(drawn > limit) <= found.high)
            counts = _shift_counts(rng, population, limit, shifts)
            inside[place] = (counts >= found.low) & (counts <= found.high)
            narrowly[place] = (counts >= thatcher.low) & (counts <= thatcher.high)
            wide, narrow = wide + found.high - found.low, narrow + thatcher.high - thatcher.low
        yield Held(
            rule=name,
            population=population.name,
            known=known,
            fresh=float(np.mean(fresh)),
            all_shifts=float(inside.mean()),
            kept=float(np.mean(inside.mean(axis=1) >= HOLDS)),
            narrow_kept=float(np.mean(narrowly.mean(axis=1) >= HOLDS)),
            width=wide / narrow,
        )


def _shift_counts(
    rng: np.random.Generator, population: Population, limit: float, shifts: int
) -> NDArray[np.int64]:
    return rng.binomial(PARTS, (1 - PREVALENCE) * population.rate(limit), shifts)


@cache
def _predict(hits: int, known: int) -> Prediction:
    return predict(PARTS, [(1 - PREVALENCE, Seen(hits, known))])


@cache
def _thatcher(hits: int, known: int) -> Prediction:
    """Predict one shift after one calibration, for comparison (Thatcher 1964)."""
    goods = round(PARTS * (1 - PREVALENCE))
    low = stats.betabinom.ppf(TAIL, goods, hits, known - hits + 1) if hits else 0.0
    high = stats.betabinom.ppf(1 - TAIL, goods, hits + 1, known - hits) if hits < known else goods
    return Prediction(goods * Seen(hits, known).rate, float(low), float(high))


def _judge(held: list[Held], through_hub: float) -> Iterator[Goal]:
    for what, found in (
        ("shifts within the interval, worst scenario", min(one.fresh for one in held)),
        ("the same over all calibrations and shifts", min(one.all_shifts for one in held)),
        ("calibrations after which 95 % of shifts lie in it, worst", min(o.kept for o in held)),
        ("shifts within what a hub answers", through_hub),
    ):
        yield Goal.at_least(what, HOLDS, found, "")


def _by_rule(held: list[Held]) -> Table:
    return _worst("By band, worst of all populations", "band", held, lambda one: one.rule)


def _by_known(held: list[Held]) -> Table:
    return _worst("By calibrate parts, worst", "calibrate parts", held, lambda one: one.known)


def _worst(title: str, what: str, held: list[Held], key: Callable[[Held], str | int]) -> Table:
    rows = []
    for name in dict.fromkeys(map(key, held)):
        of = [one for one in held if key(one) == name]
        rows.append(
            (
                name,
                min(one.fresh for one in of),
                min(one.all_shifts for one in of),
                min(one.kept for one in of),
                min(one.narrow_kept for one in of),
                max(one.width for one in of),
            )
        )
    return Table(title=title, columns=(what, *COLUMNS), rows=tuple(rows))


COLUMNS = (
    *("shifts within", "all shifts within", "calibrations that keep 95 %"),
    *("kept by the narrow interval", "width over the narrow one"),
)


def _all(held: list[Held]) -> Table:
    columns = ("population", "calibrate parts", "band", *COLUMNS)
    rows = tuple(
        (
            *(one.population, one.known, one.rule, one.fresh, one.all_shifts, one.kept),
            *(one.narrow_kept, one.width),
        )
        for one in held
    )
    return Table(title="All scenarios", columns=columns, rows=rows)

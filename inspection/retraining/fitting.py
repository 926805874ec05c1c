"""Fits a band on what is known of the parts a bundle judges now."""

from itertools import pairwise

import numpy as np
from scipy import stats

from inspection.core.decision import Band
from inspection.core.records import Card
from inspection.export.calibrate import fit_band
from inspection.hub.wire.thresholds import Costs
from inspection.metrics.calibration import assured_rate
from inspection.metrics.consequences import Economy, foresee
from inspection.metrics.paired import RISK
from inspection.retraining.escapes import Escapes, count_escapes
from inspection.retraining.known import (
    ABOVE_LEAST,
    Floats,
    Known,
    drawn_evenly,
    even,
    quantiles,
    tells,
)

SURE = 0.8  # of the re-fits keep their promise; by the mean alone every second would break it
DEFECTS_LEAST = 10  # below it the least cost follows single parts


def fit(known: Known, card: Card) -> Band:
    """Fit a band; see `refit`.

    Raises:
        CalibrationMissing: the card has too few calibrate scores for its promise.
    """
    export = card.export
    if tells(known, export.false_reject_rate):
        goods = even(known)
        parts = drawn_evenly(known, export.false_reject_rate)
        rate = assured_rate(parts, export.false_reject_rate, SURE)
        export = export.model_copy(update={"false_reject_rate": rate})
    else:
        goods = move(np.array(card.calibrate_scores), known)
    band = fit_band(goods.tolist(), export).band
    if known.defects.size < DEFECTS_LEAST:
        return band
    return Band(
        review_above=band.review_above,
        reject_above=_cheapest(goods, known.defects, band.review_above),
    )


def is_kept(known: Known, review_above: float, rate: float) -> bool:
    """Say whether nothing known speaks against a threshold: its promise may well be kept.

    A new one on some hundred parts misses its promise by a third and more by chance alone. Exact
    two-sided interval of the share of good parts above it (Clopper and Pearson 1934). A few must
    lie there: where scores have fallen none does, and far too high a threshold lets defects pass.

    Args:
        known: judged by this threshold.
        review_above: the threshold.
        rate: share of good parts promised to lie above it.
    """
    above, parts = _count(known, review_above)
    if not known.all_held or above < ABOVE_LEAST:
        return False
    least = stats.beta.ppf(RISK, above, parts - above + 1)
    return bool(least <= rate) and not is_loose(known, review_above, rate)


def is_loose(known: Known, review_above: float, rate: float) -> bool:
    """Say whether surely fewer good parts lie above a threshold than promised; see `is_kept`."""
    above, parts = _count(known, review_above)
    return above < parts and bool(stats.beta.ppf(1 - RISK, above + 1, parts - above) < rate)


def is_exceeded(known: Known, review_above: float, rate: float) -> bool:
    """Say whether more good parts lie above a threshold than promised, be it by chance."""
    above, parts = _count(known, review_above)
    return above > rate * parts


def _count(known: Known, review_above: float) -> tuple[int, int]:
    """Give how many good parts lie above a threshold, of how many; each for what it stands for."""
    above = round(float(known.weights[known.goods > review_above].sum()))
    return above, round(float(known.weights.sum()))


def why_not(known: Known, band: Band) -> str:
    """Say why a fitted band may not be applied; empty where it may."""
    found = escapes_of(known, band)
    if not found.surely_more:
        return ""
    return (
        f"{found.lost} of {found.defects} known defects that were held would pass below "
        f"{band.review_above:.6g}, where good parts end now: the bundle does not tell them apart "
        "any more; train, or set thresholds by hand"
    )


def escapes_of(known: Known, band: Band) -> Escapes:
    """Count the known defects that a band lets pass."""
    return count_escapes(known.defects, known.held_above, band.review_above)


def move(scores: Floats, known: Known) -> Floats:
    """Move and stretch scores (n,) so that their quartiles are those of the known good parts."""
    before, now = (
        quartiles(values, weights)
        for values, weights in ((scores, np.ones(scores.size)), (known.goods, known.weights))
    )
    stretch = (now[2] - now[0]) / (before[2] - before[0]) if before[2] > before[0] else 1.0
    return np.asarray(now[1] + (scores - before[1]) * stretch)


def quartiles(values: Floats, weights: Floats) -> Floats:
    """Give the weighted quartiles (3,) of values (n,)."""
    return quantiles(values, weights, np.array([0.25, 0.5, 0.75]))


def _cheapest(goods: Floats, defects: Floats, review_above: float) -> float:
    """Give the `reject_above` of least cost, in the middle of the gap where it lies.

    Of equals the highest: a person then looks at what the known parts say nothing of.
    """
    costs = Costs()
    economy = Economy(
        parts=costs.parts_per_shift,
        prevalence=costs.prevalence,
        escape=costs.escape,
        overkill=costs.overkill,
        review=costs.review,
    )
    values = np.concatenate([[review_above], goods, defects])
    known: list[float] = np.unique(values[values >= review_above]).tolist()
    candidates = [review_above, *(sum(gap) / 2 for gap in pairwise(known)), known[-1]]

    def cost(reject_above: float) -> tuple[float, float]:
        band = Band(review_above=review_above, reject_above=reject_above)
        return foresee(goods, defects, band, economy).cost_per_1000, -reject_above

    return min(candidates, key=cost)

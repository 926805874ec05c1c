"""Fits a band on what is known of the parts a bundle judges now."""

from itertools import pairwise

import numpy as np

from inspection.core.decision import Band
from inspection.core.records import Card
from inspection.export.calibrate import fit_band
from inspection.hub.wire.thresholds import Costs
from inspection.metrics.calibration import conformal_threshold, normals_needed
from inspection.metrics.consequences import Economy, foresee
from inspection.retraining.escapes import Escapes, count_escapes
from inspection.retraining.known import Floats, Known

ABOVE_LEAST = 3  # good parts above a threshold that is read off them
DEFECTS_LEAST = 10  # below it the least cost follows single parts


def fit(known: Known, card: Card) -> Band:
    """Fit a band; see `refit`.

    Raises:
        CalibrationMissing: the card has too few calibrate scores for its promise.
    """
    goods = even(known) if suffices(known, card) else move(np.array(card.calibrate_scores), known)
    band = fit_band(goods.tolist(), card.export).band
    if known.defects.size < DEFECTS_LEAST:
        return band
    return Band(
        review_above=band.review_above,
        reject_above=_cheapest(goods, known.defects, band.review_above),
    )


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


def suffices(known: Known, card: Card) -> bool:
    """Say whether the threshold of the card's promise can be read off the reviewed good parts.

    It can where all that was held is decided and a few good parts lie above it: one that a reviewer
    took for good by mistake does not set it then.
    """
    scores, rate = even(known), card.export.false_reject_rate
    if not known.all_held or scores.size < normals_needed(rate):
        return False
    threshold, _ = conformal_threshold(scores, rate)
    return int((known.goods > threshold).sum()) >= ABOVE_LEAST


def even(known: Known) -> Floats:
    """Spread the known good parts over as many as they stand for, evenly by their distribution."""
    count = round(float(known.weights.sum()))
    return _quantiles(known.goods, known.weights, (np.arange(count) + 0.5) / count)


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
    return _quantiles(values, weights, np.array([0.25, 0.5, 0.75]))


def _quantiles(values: Floats, weights: Floats, shares: Floats) -> Floats:
    """Give weighted quantiles of values (n,), linear between the middles of weights."""
    order = np.argsort(values)
    reached = np.cumsum(weights[order]) - weights[order] / 2
    return np.interp(shares, reached / weights.sum(), values[order])


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

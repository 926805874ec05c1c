"""Measures how well one score per part separates defects from good parts.

Scores are raw, larger is worse. Intervals are 95 %: bootstrap over parts for areas under curves,
Clopper-Pearson for rates.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats
from sklearn import metrics

from inspection.core.decision import Verdict
from inspection.core.errors import InspectionError
from inspection.core.records import Interval, Label

Scores = NDArray[np.float64]  # (n,), raw score per part, larger is worse
PERCENTILES_95 = (2.5, 97.5)
MILLION = 1_000_000


@dataclass(frozen=True)
class RocCurve:
    """Recall against false-reject rate; point i rejects scores from `threshold[i]` on."""

    false_reject_rate: Scores  # (m,), ascending from 0 to 1
    recall: Scores  # (m,), ascending from 0 to 1
    threshold: Scores  # (m,), descending; the first is +inf: nothing is rejected


@dataclass(frozen=True)
class PrecisionRecallCurve:
    """Precision against recall; point i rejects scores from `threshold[i]` on.

    The last point, recall 0 and precision 1, is a convention; its threshold is +inf.
    """

    recall: Scores  # (m,), descending from 1 to 0
    precision: Scores  # (m,), in [0, 1]
    threshold: Scores  # (m,), ascending


@dataclass(frozen=True)
class Confusion:
    """Parts by what they are and what was decided; a FAULT counts on no side."""

    parts: Mapping[tuple[Label, Verdict], int]

    def count(self, label: Label, verdict: Verdict | None = None) -> int:
        """Count the parts of a label with this verdict, or with any."""
        if verdict is not None:
            return self.parts.get((label, verdict), 0)
        return sum(self.count(label, each) for each in Verdict)

    def ppm(self, label: Label, verdict: Verdict) -> float | None:
        """Give this verdict's share of the label's parts, per million; none without parts."""
        total = self.count(label)
        return self.count(label, verdict) * MILLION / total if total else None

    def share_of_line(self, label: Label, verdict: Verdict, prevalence: float) -> float | None:
        """Give the ppm of all parts of a line on which a share `prevalence` is defective.

        Returns:
            parts per million of the line, or none when the label was never tested.
        """
        if not 0 <= prevalence <= 1:
            raise InspectionError(f"prevalence is {prevalence}; wanted a share from 0 to 1")
        ppm = self.ppm(label, verdict)
        weight = prevalence if label is Label.DEFECT else 1 - prevalence
        return None if ppm is None else ppm * weight


def auroc(good: ArrayLike, defect: ArrayLike) -> float:
    """Give the share of (good, defect) pairs in which the defect scores higher; ties count half.

    Args:
        good: raw scores of good parts, (n,).
        defect: raw scores of defects, (m,).

    Raises:
        InspectionError: a class is empty or holds a score that is not finite.
    """
    return _auroc(_scores(good, "good"), _scores(defect, "defect"))


def auroc_interval(good: ArrayLike, defect: ArrayLike, seed: int, draws: int = 1000) -> Interval:
    """Give the AUROC with its interval by a bootstrap that resamples each class by itself.

    Where the classes do not overlap a bootstrap sees no error, as no part of the sample shows one.
    Then the limit is the exact one of as many independent pairs as there are, each part in one.
    """
    clean_good, clean_defect = _scores(good, "good"), _scores(defect, "defect")
    rng = np.random.default_rng(seed)
    drawn = [
        _auroc(rng.choice(clean_good, clean_good.size), rng.choice(clean_defect, clean_defect.size))
        for _ in range(_positive(draws))
    ]
    found = _interval(_auroc(clean_good, clean_defect), np.asarray(drawn))
    if found.value not in {0.0, 1.0}:
        return found
    pairs = min(clean_good.size, clean_defect.size)
    return proportion_interval(round(found.value) * pairs, pairs)


def paired_auroc_drop(
    *,
    reference: tuple[ArrayLike, ArrayLike],
    shipped: tuple[ArrayLike, ArrayLike],
    seed: int,
    draws: int = 1000,
) -> Interval:
    """Give AUROC of the reference minus that of the shipped graph on the same parts.

    Args:
        reference: raw scores (good, defect) of the reference graph.
        shipped: those of the shipped graph, part by part in the same order.
        seed: of the bootstrap; each draw takes the same parts for both graphs.
        draws: number of bootstrap draws.

    Raises:
        InspectionError: the graphs did not score equally many parts, or as for `auroc`.
    """
    good_a, defect_a = _scores(reference[0], "good"), _scores(reference[1], "defect")
    good_b, defect_b = _scores(shipped[0], "good"), _scores(shipped[1], "defect")
    if good_a.size != good_b.size or defect_a.size != defect_b.size:
        raise InspectionError(
            f"paired scores: reference has {good_a.size} good and {defect_a.size} defective parts, "
            f"shipped {good_b.size} and {defect_b.size}; wanted the same parts in the same order"
        )
    rng = np.random.default_rng(seed)
    drawn = np.empty(_positive(draws))
    for draw in range(draws):
        i = rng.integers(0, good_a.size, good_a.size)
        j = rng.integers(0, defect_a.size, defect_a.size)
        drawn[draw] = _auroc(good_a[i], defect_a[j]) - _auroc(good_b[i], defect_b[j])
    return _interval(_auroc(good_a, defect_a) - _auroc(good_b, defect_b), drawn)


def average_precision(good: ArrayLike, defect: ArrayLike) -> float:
    """Give the mean precision over recall steps; depends on the share of defects in the sample."""
    labels, scores = _pooled(good, defect)
    return float(metrics.average_precision_score(labels, scores))


def roc_curve(good: ArrayLike, defect: ArrayLike) -> RocCurve:
    """Give the ROC curve without points on straight pieces."""
    labels, scores = _pooled(good, defect)
    false_rejects, recall, threshold = metrics.roc_curve(labels, scores)
    return RocCurve(false_rejects, recall, threshold)


def precision_recall_curve(good: ArrayLike, defect: ArrayLike) -> PrecisionRecallCurve:
    """Give precision over recall at every distinct score."""
    labels, scores = _pooled(good, defect)
    precision, recall, threshold = metrics.precision_recall_curve(labels, scores)
    return PrecisionRecallCurve(recall, precision, np.append(threshold, np.inf))


def proportion_interval(successes: int, n: int) -> Interval:
    """Give successes/n with its exact (Clopper-Pearson) 95 % interval.

    Raises:
        InspectionError: n is 0, or successes lies outside 0…n.
    """
    if n < 1 or not 0 <= successes <= n:
        raise InspectionError(f"rate of {successes} in {n} parts; wanted 0 ≤ successes ≤ n, n ≥ 1")
    exact = stats.binomtest(successes, n).proportion_ci(0.95, method="exact")
    return Interval(value=successes / n, low=float(exact.low), high=float(exact.high))


def recall_at(defect: ArrayLike, threshold: float) -> Interval:
    """Give the share of defects whose score lies above the threshold, as the station decides."""
    scores = _scores(defect, "defect")
    return proportion_interval(int((scores > threshold).sum()), scores.size)


def false_reject_rate_at(good: ArrayLike, threshold: float) -> Interval:
    """Give the share of good parts whose score lies above the threshold."""
    scores = _scores(good, "good")
    return proportion_interval(int((scores > threshold).sum()), scores.size)


def recall_by_defect(
    scores: ArrayLike, defects: Sequence[str], threshold: float
) -> dict[str, Interval]:
    """Give the recall above the threshold for each defect type, types sorted by name.

    Args:
        scores: raw scores of defects, (n,).
        defects: the defect type of each.
        threshold: scores above it count as found.
    """
    values = _scores(scores, "defect")
    if len(defects) != values.size:
        raise InspectionError(f"{values.size} scores for {len(defects)} defects; wanted as many")
    kinds = np.asarray(defects)
    return {kind: recall_at(values[kinds == kind], threshold) for kind in sorted(set(defects))}


def confusion(labels: Sequence[Label], verdicts: Sequence[Verdict]) -> Confusion:
    """Count parts by label and verdict."""
    if len(labels) != len(verdicts):
        raise InspectionError(
            f"{len(labels)} labels for {len(verdicts)} verdicts; wanted one each per part"
        )
    return Confusion(Counter(zip(labels, verdicts, strict=True)))


def _auroc(good: Scores, defect: Scores) -> float:
    ascending = np.sort(good)
    below = ascending.searchsorted(defect, "left") + ascending.searchsorted(defect, "right")
    return float(below.mean() / (2 * good.size))


def _interval(value: float, drawn: Scores) -> Interval:
    low, high = np.percentile(drawn, PERCENTILES_95)
    return Interval(value=value, low=float(low), high=float(high))


def _pooled(good: ArrayLike, defect: ArrayLike) -> tuple[NDArray[np.int64], Scores]:
    clean_good, clean_defect = _scores(good, "good"), _scores(defect, "defect")
    labels = np.repeat([0, 1], [clean_good.size, clean_defect.size])
    return labels, np.concatenate([clean_good, clean_defect])


def _scores(values: ArrayLike, label: Literal["good", "defect"]) -> Scores:
    scores = np.asarray(values, np.float64)
    if scores.ndim != 1 or not scores.size:
        raise InspectionError(
            f"scores of {label} parts have shape {scores.shape}; wanted (n,) with n ≥ 1; "
            "test on parts of both classes"
        )
    broken = int((~np.isfinite(scores)).sum())
    if broken:
        raise InspectionError(
            f"{broken} of {scores.size} scores of {label} parts are not finite; wanted numbers; "
            "judge those parts again"
        )
    return scores


def _positive(draws: int) -> int:
    if draws < 1:
        raise InspectionError(f"draws is {draws}; wanted at least 1")
    return draws

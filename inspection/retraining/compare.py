"""Compares the bundle that judges with the one that would, on parts that neither has seen.

A challenger is *not worse* when, on every set of parts there is,

* the 95 % interval of its AUROC minus the champion's (paired bootstrap) does not reach below
  -MARGIN (non-inferiority, so that a wide interval is a no),
* it does not surely let more defects pass, nor surely decide more parts wrongly.

It is *better* when it is not worse and, on one of the sets, surely has the larger AUROC or surely
decides more parts rightly. Sure is below RISK by McNemar's exact test, one-sided for the direction.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from inspection.bundles.bundle import Bundle, open_bundle
from inspection.core.decision import Verdict, decide
from inspection.core.parts import HeldOut
from inspection.core.progress import follow
from inspection.core.records import Label, Manifest
from inspection.hub.wire.retraining import Compared, Comparison
from inspection.metrics.image import auroc_interval, paired_auroc_drop

MARGIN = 0.02  # of AUROC: twice what the gate lets INT8 cost
RISK = 0.05
SEED = 0  # of every bootstrap
FOUND = (Verdict.REVIEW, Verdict.REJECT)  # a person or the reject bin sees it
Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class Judged:
    """What one bundle said of some parts, in their order."""

    scores: NDArray[np.float64]
    """(n,), raw; NaN where it could not judge."""
    verdicts: tuple[Verdict, ...]

    def right(self, defective: Bools) -> Bools:
        """Say of which parts (n,) the verdict is right; FAULT never is."""
        found = np.array([one in FOUND for one in self.verdicts])
        passed = np.array([one is Verdict.PASS for one in self.verdicts])
        return np.where(defective, found, passed)

    def passed(self) -> Bools:
        """Say which parts (n,) passed."""
        return np.array([one is Verdict.PASS for one in self.verdicts])


def compare(
    champion: Path | None, challenger: Path, frozen: Manifest, recent: Manifest
) -> Comparison:
    """Judge the same parts with both bundles and say whether one may follow the other.

    Where a set has no defect, one is generated on each of its good parts.

    Args:
        champion: bundle that judges now; none where none does.
        challenger: bundle that would.
        frozen: the golden test split.
        recent: reviewed parts that neither was fitted or calibrated on, in test; without a good
            one they are not looked at.

    Raises:
        BundleError: one of the bundles cannot be opened.
        DatasetError: a picture is gone or changed.
    """
    if champion is None:
        words = "No bundle judges yet, so there is nothing to compare with."
        return Comparison(better=True, not_worse=True, frozen=None, recent=None, words=words)
    pair = open_bundle(champion, allow_refused=True), open_bundle(challenger, allow_refused=True)
    on_frozen = _compared(pair, HeldOut(frozen), "golden parts")
    on_recent = None
    if any(one.label is Label.GOOD for one in recent.entries):
        on_recent = _compared(pair, HeldOut(recent), "reviewed parts")
    return conclude(on_frozen, on_recent)


def compare_judged(defective: Bools, champion: Judged, challenger: Judged) -> "Pairing":
    """Compare what two bundles said of the same parts; defective is bool (n,)."""
    scored = np.isfinite(champion.scores) & np.isfinite(challenger.scores)
    good, bad = scored & ~defective, scored & defective
    old, new = ((one.scores[good], one.scores[bad]) for one in (champion, challenger))
    right = champion.right(defective), challenger.right(defective)
    escaped = champion.passed() & defective, challenger.passed() & defective
    return Pairing(
        compared=Compared(
            parts=len(defective),
            goods=int((~defective).sum()),
            defects=int(defective.sum()),
            champion=auroc_interval(*old, seed=SEED),
            challenger=auroc_interval(*new, seed=SEED),
            difference=paired_auroc_drop(reference=new, shipped=old, seed=SEED),
            champion_false_rejects=int((~right[0] & ~defective).sum()),
            challenger_false_rejects=int((~right[1] & ~defective).sum()),
            champion_escapes=int(escaped[0].sum()),
            challenger_escapes=int(escaped[1].sum()),
            p_value=mcnemar(right[0], right[1], "two-sided"),
        ),
        more_wrong=mcnemar(right[1], right[0], "greater") < RISK,
        more_right=mcnemar(right[0], right[1], "greater") < RISK,
        more_escapes=mcnemar(escaped[0], escaped[1], "greater") < RISK,
    )


@dataclass(frozen=True)
class Pairing:
    """A comparison on one set of parts, and what is sure of it."""

    compared: Compared
    more_wrong: bool
    """The challenger decides more parts wrongly."""
    more_right: bool
    """It decides more rightly."""
    more_escapes: bool
    """It lets more defects pass."""

    def objections(self, what: str) -> list[str]:
        """Say what stands against the challenger, on parts called so."""
        one, found = self.compared, []
        if one.difference.low < -MARGIN:
            found.append(
                f"on {what} its AUROC differs by {one.difference}, which may be more than "
                f"{MARGIN:g} less"
            )
        if self.more_escapes:
            found.append(
                f"on {what} it lets {one.challenger_escapes} defects pass, the other "
                f"{one.champion_escapes}"
            )
        if self.more_wrong:
            found.append(f"on {what} it decides more parts wrongly (p = {one.p_value:.2g})")
        return found

    @property
    def is_gain(self) -> bool:
        """Whether the challenger is surely the better one here."""
        return self.compared.difference.low > 0 or self.more_right


def conclude(frozen: Pairing, recent: Pairing | None) -> Comparison:
    """Apply the rule to what was found on the golden and on recent parts."""
    pairings = [(frozen, "the golden parts")]
    if recent is not None:
        pairings.append((recent, "recently reviewed parts"))
    objections = [words for one, what in pairings for words in one.objections(what)]
    gains = [what for one, what in pairings if one.is_gain and not objections]
    if objections:
        words = f"It may be worse: {'; '.join(objections)}."
    elif gains:
        words = f"It is better on {' and '.join(gains)}, and nowhere worse."
    else:
        words = "It is not worse; nothing shows that it is better."
    words += "" if recent else " Too few reviewed parts that neither has seen."
    return Comparison(
        better=bool(gains),
        not_worse=not objections,
        frozen=frozen.compared,
        recent=recent.compared if recent else None,
        words=words,
    )


def mcnemar(first: Bools, second: Bools, alternative: str) -> float:
    """Give the p-value of McNemar's exact test (1947) that two marks are equally frequent.

    Args:
        first: mark of each part, bool (n,).
        second: mark of the same parts.
        alternative: two-sided; or greater, that the second is the more frequent one.
    """
    only_second, only_first = int((second & ~first).sum()), int((first & ~second).sum())
    if only_first + only_second == 0:
        return 1.0
    test = stats.binomtest(only_second, only_first + only_second, 0.5, alternative=alternative)
    return float(test.pvalue)


def _compared(pair: tuple[Bundle, Bundle], parts: HeldOut, what: str) -> Pairing:
    said: list[list[tuple[float, Verdict]]] = [[], []]
    defective = []
    for number in follow(range(len(parts)), what):
        part = parts[number]
        defective.append(part.label is Label.DEFECT)
        for bundle, answers in zip(pair, said, strict=True):
            judgement = bundle.judge(part.pixels)
            answers.append((judgement.score, decide(judgement.score, bundle.card.band)))
    return compare_judged(np.array(defective), _judged(said[0]), _judged(said[1]))


def _judged(answers: Sequence[tuple[float, Verdict]]) -> Judged:
    return Judged(
        np.array([score for score, _ in answers]), tuple(verdict for _, verdict in answers)
    )

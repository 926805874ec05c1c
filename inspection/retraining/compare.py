"""Compares the bundle that judges with the one that would, on parts that neither has seen.

Both look at a part as a station does, with its guards: what a guard holds is no less overkill.

A challenger is *worse* when, on the golden or on recent parts, it surely has the smaller AUROC
(95 % interval of the paired bootstrap), lets more defects pass or decides more parts wrongly
(McNemar's exact test, one-sided, RISK). When escapes are counted, a champion that surely rejects
more of the good parts is held to the challenger's rate: one that rejects all lets nothing pass.

It is *not worse* when it is not worse in this way and non-inferiority is shown on all these
pictures together, each counted once: the one-sided 95 % limits of the shares of defects that pass
and of good parts that do not, beyond the champion's, lie below their margins, and the 95 % interval
of the AUROC difference does not reach below -MARGIN. Where neither bundle ranks any defect below a
good part, ranks tell nothing, and verdicts alone decide. Generated defects show no escapes.

Of parts too few to show it nothing is said for it: then it is neither, and a person decides.
It is *better* when it is not worse and, on one of the sets, surely has the larger AUROC or surely
decides more parts rightly.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from inspection.bundles.bundle import Bundle, open_bundle
from inspection.core.decision import Verdict
from inspection.core.geometry import Roi
from inspection.core.parts import HeldOut
from inspection.core.progress import follow
from inspection.core.records import Interval, Label, Manifest
from inspection.hub.wire.retraining import Compared, Comparison, Together
from inspection.metrics.image import Scores, auroc, auroc_interval, paired_auroc_drop
from inspection.metrics.paired import difference_limit, parts_needed
from inspection.retraining.bands import Bands
from inspection.station.look import look_at
from inspection.station.recipes.bundle_judge import BundleJudge
from inspection.station.settings import GuardSettings

MARGIN = 0.02  # of AUROC: twice what the gate lets INT8 cost
# of the defects: with one of 5 points more escapes at most 1 in 20 gets through, and 100 defects
# suffice for most equal ones; reports/LOG.md has the simulation
ESCAPES_MARGIN = 0.05
FALSE_REJECTS_MARGIN = 0.04  # of the good parts; on the line itself a rollout ends far below it
RISK = 0.05
SEED = 0  # of every bootstrap
WHOLE, GUARDS = Roi(), GuardSettings()  # a set's parts are cut; guards hold as a station's do
FOUND = (Verdict.REVIEW, Verdict.REJECT)  # a person or the reject bin sees it
Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class Judged:
    """What one bundle said of some parts, in their order."""

    scores: Scores
    """(n,), raw; NaN where it could not judge, and its verdict is FAULT."""
    verdicts: tuple[Verdict, ...]

    def right(self, defective: Bools) -> Bools:
        """Say of which parts (n,) the verdict is right; FAULT never is."""
        found = np.array([one in FOUND for one in self.verdicts], np.bool_)
        return np.where(defective, found, self.passed())

    def passed(self) -> Bools:
        """Say which parts (n,) passed."""
        return np.array([one is Verdict.PASS for one in self.verdicts], np.bool_)

    def of(self, chosen: NDArray[np.int64]) -> "Judged":
        """Give what it said of the parts of these numbers."""
        return Judged(self.scores[chosen], tuple(self.verdicts[number] for number in chosen))


@dataclass(frozen=True)
class Sample:
    """What both bundles said of the same pictures."""

    names: tuple[str, ...]
    """sha256 of each picture; empty for a defect that was generated on one."""
    defective: Bools
    champion: Judged
    challenger: Judged


def compare(
    champion: Path | None, challenger: Path, frozen: Manifest, recent: Manifest, bands: Bands
) -> Comparison:
    """Judge the same parts with both bundles and say whether one may follow the other.

    Where a set has no defect, one is generated on each of its good parts.

    Args:
        champion: bundle that judges now; none where none does.
        challenger: bundle that would.
        frozen: the golden test split.
        recent: reviewed parts that neither was fitted or calibrated on, in test; without a good
            one they are not looked at.
        bands: that each judges, or would judge, the line by, where they are not its card's.

    Raises:
        BundleError: one of the bundles cannot be opened.
        DatasetError: a picture is gone or changed.
    """
    if champion is None:
        words = "No bundle judges yet, so there is nothing to compare with."
        return Comparison(better=True, not_worse=True, frozen=None, recent=None, words=words)
    pair = open_bundle(champion, allow_refused=True), open_bundle(challenger, allow_refused=True)
    on_frozen = _judge(pair, bands, HeldOut(frozen), "golden parts")
    on_recent = None
    if any(one.label is Label.GOOD for one in recent.entries):
        on_recent = _judge(pair, bands, HeldOut(recent), "reviewed parts")
    return conclude(on_frozen, on_recent)


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
        """Say what is surely worse about the challenger, on parts called so."""
        one, found = self.compared, []
        if one.difference.high < 0:
            found.append(f"on {what} its AUROC differs by {one.difference}")
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


def compare_judged(sample: Sample) -> Pairing:
    """Compare what two bundles said of one set of parts."""
    defective, champion, challenger = sample.defective, sample.champion, sample.challenger
    old, new = _scores(sample)
    right = champion.right(defective), challenger.right(defective)
    escaped = (
        at_equal_overkill(sample).champion.passed() & defective,
        challenger.passed() & defective,
    )
    return Pairing(
        compared=Compared(
            parts=len(defective),
            goods=int((~defective).sum()),
            defects=int(defective.sum()),
            champion=auroc_interval(*old, seed=SEED),
            challenger=auroc_interval(*new, seed=SEED),
            difference=_difference(old, new),
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


def at_equal_overkill(sample: Sample) -> Sample:
    """Raise the champion's threshold until it rejects as few good parts as the challenger.

    Where it does not surely reject more (McNemar's exact test, RISK), nothing is changed.
    """
    champion, good = sample.champion, ~sample.defective
    held = [~one.passed() & good for one in (champion, sample.challenger)]
    if mcnemar(held[1], held[0], "greater") >= RISK:
        return sample
    ranked = np.sort(champion.scores[good & np.isfinite(champion.scores)])[::-1]
    most = ranked[min(int(held[1].sum()), ranked.size - 1)]
    raised = tuple(
        Verdict.PASS if score <= most else verdict
        for score, verdict in zip(champion.scores, champion.verdicts, strict=True)
    )
    return replace(sample, champion=Judged(champion.scores, raised))


def take_together(*samples: Sample) -> Together:
    """Bound how much worse the challenger may be on all real parts of the sets together."""
    sample = _each_once(samples)
    passed = sample.champion.passed(), sample.challenger.passed()
    alike = _each_once([at_equal_overkill(one) for one in samples]).champion.passed()
    old, new = _scores(sample)
    ranked = all(one.size for one in old) and min(auroc(*old), auroc(*new)) < 1
    return Together(
        goods=int((~sample.defective).sum()),
        defects=int(sample.defective.sum()),
        difference=_difference(old, new) if ranked else None,
        more_escapes=_limit(alike, passed[1], sample.defective),
        more_false_rejects=_limit(~passed[0], ~passed[1], ~sample.defective),
    )


def conclude(frozen: Sample, recent: Sample | None) -> Comparison:
    """Apply the rule to what was found on the golden and on recent parts."""
    on_frozen, on_recent = (
        compare_judged(frozen),
        None if recent is None else compare_judged(recent),
    )
    pairings = [(on_frozen, "the golden parts")]
    pairings += [] if on_recent is None else [(on_recent, "recently reviewed parts")]
    together = take_together(frozen, *([] if recent is None else [recent]))
    objections = [words for one, what in pairings for words in one.objections(what)]
    doubts = _doubts(together)
    not_worse = not objections and not doubts
    gains = [what for one, what in pairings if one.is_gain and not_worse]
    if objections:
        words = f"It is worse: {'; '.join(objections)}."
    elif doubts:
        words = f"It is not shown to be no worse: {'; '.join(doubts)}. A person decides."
    elif gains:
        words = f"It is better on {' and '.join(gains)}, and nowhere worse."
    else:
        words = "It is not worse; nothing shows that it is better."
    words += "" if recent else " Too few reviewed parts that neither has seen."
    return Comparison(
        better=bool(gains),
        not_worse=not_worse,
        worse=bool(objections),
        together=together,
        frozen=on_frozen.compared,
        recent=None if on_recent is None else on_recent.compared,
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


def _doubts(found: Together) -> list[str]:
    """Say what is not shown."""
    doubts = [
        *_doubt(found.defects, found.more_escapes, ESCAPES_MARGIN, ("real defects", "escape")),
        *_doubt(
            found.goods,
            found.more_false_rejects,
            FALSE_REJECTS_MARGIN,
            ("good parts", "be rejected"),
        ),
    ]
    if found.difference is not None and found.difference.low < -MARGIN:
        doubts.append(
            f"its AUROC differs by {found.difference}, which may be more than {MARGIN:g} less"
        )
    return doubts


def _doubt(parts: int, limit: float, margin: float, words: tuple[str, str]) -> Iterator[str]:
    """Say it where a limit is not shown to lie below its margin, or cannot be."""
    what, harm = words
    if (needed := parts_needed(margin)) > parts:
        yield f"{parts} {what} are too few to tell, wanted {needed} at least"
    elif limit >= margin:
        yield f"up to {limit:.1%} more of {parts} {what} may {harm}, wanted below {margin:.0%}"


def _difference(old: tuple[Scores, Scores], new: tuple[Scores, Scores]) -> Interval:
    """Give the AUROC difference; where neither bundle's classes overlap, what both leave open."""
    if auroc(*old) < 1 or auroc(*new) < 1:
        return paired_auroc_drop(reference=new, shipped=old, seed=SEED)
    low, high = auroc_interval(*new, seed=SEED).low - 1, 1 - auroc_interval(*old, seed=SEED).low
    return Interval(value=0, low=low, high=high)


def _limit(first: Bools, second: Bools, among: Bools) -> float:
    """Give the upper limit of how much more often the second marks parts, of some of them."""
    more, fewer = second & ~first & among, first & ~second & among
    return difference_limit(int(more.sum()), int(fewer.sum()), int(among.sum()))


def _scores(sample: Sample) -> tuple[tuple[Scores, Scores], tuple[Scores, Scores]]:
    """Give each bundle's scores of the good and of the defective parts that both could judge."""
    both = sample.champion, sample.challenger
    scored = np.isfinite(both[0].scores) & np.isfinite(both[1].scores)
    good, bad = scored & ~sample.defective, scored & sample.defective
    champion, challenger = ((one.scores[good], one.scores[bad]) for one in both)
    return champion, challenger


def _each_once(samples: Sequence[Sample]) -> Sample:
    """Join samples: every real picture once, generated defects not at all."""
    names = [name for one in samples for name in one.names]
    first = {name: number for number, name in reversed(list(enumerate(names))) if name}
    chosen = np.array(sorted(first.values()), np.int64)
    champion, challenger = (
        Judged(
            np.concatenate([one.scores for one in said]),
            tuple(verdict for one in said for verdict in one.verdicts),
        ).of(chosen)
        for said in ([one.champion for one in samples], [one.challenger for one in samples])
    )
    defective = np.concatenate([one.defective for one in samples])[chosen]
    return Sample(tuple(names[number] for number in chosen), defective, champion, challenger)


def _judge(pair: tuple[Bundle, Bundle], bands: Bands, parts: HeldOut, what: str) -> Sample:
    said: list[list[tuple[float, Verdict]]] = [[], []]
    judges = [
        BundleJudge(bundle, WHOLE, band or bundle.card.band)
        for bundle, band in zip(pair, (bands.champion, bands.challenger), strict=True)
    ]
    defective = []
    for number in follow(range(len(parts)), what):
        part = parts[number]
        defective.append(part.label is Label.DEFECT)
        for judge, answers in zip(judges, said, strict=True):
            look = look_at(part.pixels, judge, GUARDS, measured=False)
            answers.append((np.nan if look.score is None else look.score, look.verdict))
    names = [one.sha256 for one in (*parts.goods, *parts.real_defects)]
    names += [""] * (len(parts) - len(names))
    champion, challenger = (
        Judged(np.array([score for score, _ in one]), tuple(verdict for _, verdict in one))
        for one in said
    )
    return Sample(tuple(names), np.array(defective), champion, challenger)

"""Compares the bundle that judges with the one that would, on parts that neither has seen.

Both look at a part as a station does, with its guards: what a guard holds is no less overkill.

A challenger is *worse* when, on the golden or on recent parts, it surely has the smaller AUROC
(95 % interval of the paired bootstrap), lets more defects pass or decides more parts wrongly
(McNemar's exact test, one-sided, RISK). A champion that surely rejects more good parts than it
promises is no bar for escapes with what rejects them: one that rejects all lets nothing pass. Its
threshold is raised to the challenger's rate, and what its guards hold is judged by the score.

Recent good parts are those that people looked at, so mostly those the champion held. They speak
for a challenger only where the line shows that the champion surely breaks its promise, and never of
how many good parts it would hold. Where it does, the margin of those is half of what the champion
surely holds beyond its promise, if that is more: who holds every third good part is not followed
only by who certainly holds no more of the golden ones.

Where the material has changed, and the challenger's thresholds with it, the golden parts are those
of before. On them both are compared at the champion's rate of false rejects, by margins OF_OLD
times as wide, and an AUROC that is surely smaller counts from its margin on: what knows a second
material knows the first a little less, and the first comes no more.

It is *not worse* when it is not worse in this way and non-inferiority is shown on all these
pictures together, each counted once: the one-sided 95 % limits of the shares of defects that pass
and of good parts that do not, beyond the champion's, lie below their margins, and the 95 % interval
of the AUROC difference does not reach below -MARGIN. Where neither bundle ranks any defect below a
good part, ranks tell nothing, and verdicts alone decide. Generated defects show no escapes.

Of parts too few to show it nothing is said for it: then it is neither, and a person decides.
It is *better* when it is not worse and, on one of the sets, surely has the larger AUROC or surely
decides more parts rightly.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy import stats

from inspection.bundles.bundle import Bundle, open_bundle
from inspection.core.decision import Verdict
from inspection.core.errors import DatasetError
from inspection.core.geometry import Roi
from inspection.core.parts import HeldOut
from inspection.core.progress import follow
from inspection.core.records import Interval, Label, Manifest
from inspection.hub.wire.retraining import Compared, Comparison, Together
from inspection.metrics.image import Scores, auroc, auroc_interval, paired_auroc_drop
from inspection.metrics.paired import difference_limit, parts_needed
from inspection.retraining.bands import Bands
from inspection.retraining.samples import (
    RISK,
    Bools,
    Judged,
    Line,
    Sample,
    at_one_rate,
    common_scores,
    defects_of,
    each_once,
    without_overkill,
)
from inspection.station.look import look_at
from inspection.station.recipes.bundle_judge import BundleJudge
from inspection.station.settings import GuardSettings

MARGIN = 0.02  # of AUROC: twice what the gate lets INT8 cost
# of the defects: with one of 5 points more escapes at most 1 in 20 gets through, and 100 defects
# suffice for most equal ones; reports/LOG.md has the simulation
ESCAPES_MARGIN = 0.05
FALSE_REJECTS_MARGIN = 0.04  # of the good parts; on the line itself a rollout ends far below it
OF_OLD = 2.0  # margins of escapes and AUROC on a material that no longer comes
SEED = 0  # of every bootstrap
WHOLE, GUARDS = Roi(), GuardSettings()  # a set's parts are cut; guards hold as a station's do


def compare(
    champion: Path | None,
    challenger: Path,
    frozen: Manifest,
    recent: Manifest,
    bands: Bands,
    *,
    is_new: bool = False,
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
        is_new: the challenger's thresholds are of another material than the golden parts.

    Raises:
        BundleError: one of the bundles cannot be opened.
        DatasetError: a picture is gone or changed, or no golden part is good.
    """
    if champion is None:
        words = "No bundle judges yet, so there is nothing to compare with."
        return Comparison(better=True, not_worse=True, frozen=None, recent=None, words=words)
    if all(one.label is Label.DEFECT or one.outdated for one in frozen.entries):
        raise DatasetError(
            f"golden parts: found {len(frozen.entries)}, none of them good; wanted a good part in "
            "test or calibrate of the first set; add some to its manifest, then ask again"
        )
    pair = open_bundle(champion, allow_refused=True), open_bundle(challenger, allow_refused=True)
    on_frozen = _judge(pair, bands, HeldOut(frozen), "golden parts")
    on_recent = None
    if any(one.label is Label.GOOD for one in recent.entries):
        on_recent = _judge(pair, bands, HeldOut(recent), "reviewed parts")
    promised = pair[0].card.export.false_reject_rate
    line = Line(promised, bands.by_threshold, bands.by_guard, bands.by_hand, bands.held, is_new)
    return conclude(on_frozen, on_recent, line)


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

    def objections(self, what: str, line: Line, margin: float = 0.0) -> list[str]:
        """Say what is surely worse about the challenger, on parts called so; AUROC by a margin."""
        one, found = self.compared, []
        if one.difference is not None and one.difference.high < -margin:
            found.append(f"on {what} its AUROC differs by {one.difference}")
        if self.more_escapes:
            found.append(
                f"on {what} it lets {one.challenger_escapes} defects pass, the other "
                f"{one.champion_escapes}"
            )
        if self.more_wrong and not line.broken:  # else good parts have a margin of their own
            found.append(f"on {what} it decides more parts wrongly (p = {one.p_value:.2g})")
        return found

    @property
    def is_gain(self) -> bool:
        """Whether the challenger is surely the better one here."""
        difference = self.compared.difference
        return self.more_right or (difference is not None and difference.low > 0)


def compare_judged(sample: Sample, line: Line) -> Pairing:
    """Compare what two bundles said of one set of parts; the line as this set may know it."""
    defective, champion, challenger = sample.defective, sample.champion, sample.challenger
    old, new = common_scores(sample)
    ranked = all(one.size for one in old)  # not where one bundle is FAULT on all of a class
    right = champion.right(defective), challenger.right(defective)
    escaped = (
        without_overkill(sample, line).champion.passed() & defective,
        challenger.passed() & defective,
    )
    return Pairing(
        compared=Compared(
            parts=len(defective),
            goods=int((~defective).sum()),
            defects=int(defective.sum()),
            champion=auroc_interval(*old, seed=SEED) if ranked else None,
            challenger=auroc_interval(*new, seed=SEED) if ranked else None,
            difference=_difference(old, new) if ranked else None,
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


def take_together(frozen: Sample, recent: Sample | None, line: Line) -> Together:
    """Bound how much worse the challenger may be on all real parts of the sets together."""
    samples, fair = [frozen], [without_overkill(frozen, line.seen_on(frozen))]
    if recent is not None:
        chosen = recent if line.broken else defects_of(recent)
        samples.append(chosen)
        fair.append(without_overkill(chosen, line))
    sample, alike = each_once(samples), each_once(fair).champion.passed()
    held = ~frozen.champion.passed(), ~frozen.challenger.passed()
    good = ~frozen.defective  # of the others the champion's errors chose
    old, new = common_scores(sample)
    ranked = all(one.size for one in old) and min(auroc(*old), auroc(*new)) < 1
    return Together(
        goods=int(good.sum()),
        defects=int(sample.defective.sum()),
        difference=_difference(old, new) if ranked else None,
        more_escapes=_limit(alike, sample.challenger.passed(), sample.defective),
        more_false_rejects=_limit(*held, good),
    )


def conclude(frozen: Sample, recent: Sample | None, line: Line) -> Comparison:
    """Apply the rule to what was found on the golden and on recent parts."""
    frozen = at_one_rate(frozen) if line.is_new else frozen
    on_frozen = compare_judged(frozen, line.seen_on(frozen))
    on_recent = None if recent is None else compare_judged(recent, line)
    pairings = [(on_frozen, "the golden parts")]
    pairings += [] if on_recent is None else [(on_recent, "recently reviewed parts")]
    together = take_together(frozen, recent, line)
    margins = OF_OLD * MARGIN if line.is_new else 0.0, 0.0
    objections = [
        words
        for (one, what), margin in zip(pairings, margins, strict=False)
        for words in one.objections(what, line, margin)
    ]
    doubts = _doubts(together, line)
    not_worse = not objections and not doubts
    telling = pairings if line.broken else pairings[:1]
    gains = [what for one, what in telling if one.is_gain and not_worse]
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


def _doubts(found: Together, line: Line) -> list[str]:
    """Say what is not shown."""
    wider = OF_OLD if line.is_new else 1.0
    escapes, least = wider * ESCAPES_MARGIN, -wider * MARGIN
    rejects = max(FALSE_REJECTS_MARGIN, line.held / 2 if line.broken else 0.0)
    doubts = [
        *_doubt(found.defects, found.more_escapes, escapes, ("real defects", "escape")),
        *_doubt(
            found.goods,
            found.more_false_rejects,
            rejects,
            ("good parts", "be rejected"),
        ),
    ]
    if found.difference is not None and found.difference.low < least:
        doubts.append(
            f"its AUROC differs by {found.difference}, which may be more than {-least:g} less"
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


def _judge(pair: tuple[Bundle, Bundle], bands: Bands, parts: HeldOut, what: str) -> Sample:
    said: list[list[tuple[float, Verdict, Verdict]]] = [[], []]
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
            alone = look.verdict if look.judgement is None else look.judgement.verdict
            answers.append((np.nan if look.score is None else look.score, look.verdict, alone))
    names = [one.sha256 for one in (*parts.goods, *parts.real_defects)]
    names += [""] * (len(parts) - len(names))
    champion, challenger = (
        Judged(np.array(scores), verdicts, by_score)
        for scores, verdicts, by_score in (zip(*one, strict=True) for one in said)
    )
    return Sample(tuple(names), np.array(defective), champion, challenger)

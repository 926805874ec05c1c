"""What two bundles said of the same parts, and what of it is fair to compare."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from inspection.core.decision import Verdict
from inspection.metrics.image import Scores

RISK = 0.05
FOUND = (Verdict.REVIEW, Verdict.REJECT)  # a person or the reject bin sees it
Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class Judged:
    """What one bundle said of some parts, in their order."""

    scores: Scores
    """(n,), raw; NaN where it could not judge, and its verdict is FAULT."""
    verdicts: tuple[Verdict, ...]
    by_score: tuple[Verdict, ...] = ()
    """The same but for guards; empty where none held anything."""

    def right(self, defective: Bools) -> Bools:
        """Say of which parts (n,) the verdict is right; FAULT never is."""
        found = np.array([one in FOUND for one in self.verdicts], np.bool_)
        return np.where(defective, found, self.passed())

    def passed(self) -> Bools:
        """Say which parts (n,) passed."""
        return np.array([one is Verdict.PASS for one in self.verdicts], np.bool_)

    def of(self, chosen: NDArray[np.int64]) -> "Judged":
        """Give what it said of the parts of these numbers."""
        return Judged(
            self.scores[chosen],
            tuple(self.verdicts[number] for number in chosen),
            tuple(self.by_score[number] for number in chosen if self.by_score),
        )

    def guarded(self) -> Bools:
        """Say which parts (n,) would have passed but for a guard."""
        alone = [one is Verdict.PASS for one in self.by_score or self.verdicts]
        return np.array(alone, np.bool_) & ~self.passed()


@dataclass(frozen=True)
class Line:
    """What the line where the champion judges shows of it."""

    promised: float = 0.01
    """Share of good parts that may not pass."""
    by_threshold: bool = False
    """Surely more do not, for their scores."""
    by_guard: bool = False
    """Surely more do not, for a guard holds them."""
    by_hand: bool = False
    """A person set the thresholds: what they hold is meant to be held."""
    held: float = 0.0
    """Share of its parts that are good and held beyond promise, lower 95 % limit."""
    is_new: bool = False
    """Its material is another than that of the golden parts, and so are the thresholds'."""

    @property
    def broken(self) -> bool:
        """Whether the promise is."""
        return self.by_threshold or self.by_guard

    def seen_on(self, sample: "Sample") -> "Line":
        """Give the same as a set of parts shows it, which nobody chose by what a bundle said."""
        champion, good = sample.champion, ~sample.defective
        guarded = champion.guarded() & good
        held = ~champion.passed() & good & ~guarded
        return replace(
            self,
            by_threshold=not self.by_hand and self._is_broken(held, good),
            by_guard=self._is_broken(guarded, good),
        )

    def _is_broken(self, held: Bools, good: Bools) -> bool:
        count, of = int(held.sum()), int(good.sum())
        return count > 0 and bool(stats.beta.ppf(RISK, count, of - count + 1) > self.promised)


@dataclass(frozen=True)
class Sample:
    """What both bundles said of the same pictures."""

    names: tuple[str, ...]
    """sha256 of each picture; empty for a defect that was generated on one."""
    defective: Bools
    champion: Judged
    challenger: Judged


def without_overkill(sample: Sample, line: Line) -> Sample:
    """Give what the champion would say of defects if it held no more good parts than it may."""
    champion, good = sample.champion, ~sample.defective
    verdicts = champion.verdicts
    if line.by_guard and champion.by_score:
        verdicts = champion.by_score
    if line.by_threshold:
        held = int((~sample.challenger.passed() & good).sum())
        ranked = np.sort(champion.scores[good & np.isfinite(champion.scores)])[::-1]
        most = max(held, math.ceil(line.promised * int(good.sum())))
        kept = np.zeros(len(verdicts), np.bool_) if line.by_guard else champion.guarded()
        threshold = ranked[most] if most < ranked.size else -np.inf  # it may hold all of them
        passes = (champion.scores <= threshold) & ~kept
        verdicts = tuple(
            Verdict.PASS if one else verdict for one, verdict in zip(passes, verdicts, strict=True)
        )
    return replace(sample, champion=Judged(champion.scores, verdicts))


def at_one_rate(sample: Sample) -> Sample:
    """Give what both would say at the lowest thresholds that hold as many good parts as now one.

    For parts of a material that no longer comes: thresholds fitted on another say nothing of them,
    and ranks do. It is the champion that holds so many; a challenger that holds more stays.
    """
    good = ~sample.defective
    champion, challenger = (
        int((~one.passed() & good).sum()) for one in (sample.champion, sample.challenger)
    )
    if challenger > champion:
        return sample
    return replace(
        sample,
        champion=_holding(sample.champion, good, champion),
        challenger=_holding(sample.challenger, good, champion),
    )


def _holding(judged: Judged, good: Bools, most: int) -> Judged:
    """Let every part be held whose score is above all but so many good ones'."""
    ranked = np.sort(judged.scores[good & np.isfinite(judged.scores)])[::-1]
    threshold = ranked[most] if most < ranked.size else -np.inf
    verdicts = tuple(
        Verdict.REVIEW if above and verdict is Verdict.PASS else verdict
        for above, verdict in zip(judged.scores > threshold, judged.verdicts, strict=True)
    )
    return replace(judged, verdicts=verdicts)


def common_scores(sample: Sample) -> tuple[tuple[Scores, Scores], tuple[Scores, Scores]]:
    """Give each bundle's scores of the good and of the defective parts that both could judge."""
    both = sample.champion, sample.challenger
    scored = np.isfinite(both[0].scores) & np.isfinite(both[1].scores)
    good, bad = scored & ~sample.defective, scored & sample.defective
    champion, challenger = ((one.scores[good], one.scores[bad]) for one in both)
    return champion, challenger


def defects_of(sample: Sample) -> Sample:
    """Give the defects of it only."""
    chosen = np.flatnonzero(sample.defective)
    return Sample(
        tuple(sample.names[number] for number in chosen),
        sample.defective[chosen],
        sample.champion.of(chosen),
        sample.challenger.of(chosen),
    )


def each_once(samples: Sequence[Sample]) -> Sample:
    """Join samples: every real picture once, generated defects not at all."""
    names = [name for one in samples for name in one.names]
    first = {name: number for number, name in reversed(list(enumerate(names))) if name}
    chosen = np.array(sorted(first.values()), np.int64)
    champion, challenger = (
        Judged(
            np.concatenate([one.scores for one in said]),
            tuple(verdict for one in said for verdict in one.verdicts),
            tuple(verdict for one in said for verdict in one.by_score or one.verdicts),
        ).of(chosen)
        for said in ([one.champion for one in samples], [one.challenger for one in samples])
    )
    defective = np.concatenate([one.defective for one in samples])[chosen]
    return Sample(tuple(names[number] for number in chosen), defective, champion, challenger)

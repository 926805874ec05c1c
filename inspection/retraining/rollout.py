"""Decides how a challenger goes on, from what it and the champion did, and says why; pure.

Nothing is decided by a bare ratio of few parts: what speaks against a challenger has to be more
than chance would give a bundle that is just bearable. A rollout is looked at every few minutes for
days, so chance is given one look in a thousand, and what speaks for a challenger is counted by a
test that holds however often one looks.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from scipy import special, stats

from inspection.hub.challengers import first_stations
from inspection.hub.wire.retraining import ChallengerState, ShadowReport
from inspection.metrics.consequences import wilson
from inspection.retraining.settings import Allowed, Rollout

AGAINST = 0.001  # probability of a chance finding at one look
FAVOUR = 0.05  # of one at any look
REPLACED = "another bundle judges by now than it was compared with, so a person decides"
TAIL = 0.01  # parts beyond a 99th percentile
# Fewer say nothing of latency or overkill: parts come in runs, and one run is no evidence.
LEAST_JUDGED = 50  # or what a stage takes, where that is less
LEAST_CHAMPION = 300  # of these, one time in twenty none is among the slowest hundredth
LEAST_LET_PASS = 10  # of what it alone would let pass; if all were defects it would go back
SILENT_H = 2.0  # longer than a break or an update of a station's system, shorter than a shift


@dataclass(frozen=True)
class Judged:
    """What a bundle did with the parts it judged."""

    parts: int
    faults: int
    not_passed: int
    """REVIEW and REJECT."""
    slow: int = 0
    """Parts beyond `Standing.slow_ms`."""


@dataclass(frozen=True)
class Standing:
    """How a challenger stands, as far as deciding needs it."""

    state: ChallengerState
    hours: float
    """In this stage."""
    not_worse: bool
    """Its comparison with the champion says so."""
    shadow: ShadowReport
    judged: Judged
    """By the challenger, since this stage began."""
    champion: Judged
    """The champion's last parts on the line."""
    slow_ms: float | None
    """The champion's 99th percentile times the factor; none where it judged nothing."""
    deadline_ms: int | None
    """The shortest of the line's stations; none where no station said."""
    refused: tuple[str, ...] = ()
    """What stations say that took it back by themselves."""
    reached: tuple[str, ...] = ()
    waiting: tuple[str, ...] = ()
    """Stations on which it judges, and those to which it has not come."""
    blackout: bool = False
    replaced: bool = False
    """Another bundle judges by now than the one it was compared with."""
    silent: frozenset[str] = frozenset()
    """Those of reached and waiting that the hub has not heard of for SILENT_H, or are retired."""
    unmended: str = ""
    """What somebody has to mend on the line before anything is learnt; empty where nothing is."""
    ahead: str = ""
    """Bundle of its name that is in rollout; empty where none but itself is."""

    @property
    def until(self) -> str:
        """Say what the next stage waits for; empty where for nothing."""
        if self.blackout:
            return "the blackout is over"
        if not self.unmended:
            return ""
        return f"what moved is mended, or its alarm dismissed ({self.unmended.rstrip('.')})"

    @property
    def ready(self) -> tuple[str, ...]:
        """Those of waiting that the hub hears of."""
        return tuple(one for one in self.waiting if one not in self.silent)

    @property
    def passed_over(self) -> str:
        """Say which stations are silent; empty where none is."""
        named = [one for one in (*self.reached, *self.waiting) if one in self.silent]
        if not named:
            return ""
        return (
            f"; passed over, for nothing was heard of it for {SILENT_H:g} h: {', '.join(named)} "
            "(it follows when it is back)"
        )


class Stage(NamedTuple):
    """What becomes of a challenger now."""

    state: ChallengerState
    """The same as before: it stays, unless `reached` names further stations."""
    words: str
    reached: tuple[str, ...] = ()


def next_stage(rollout: Rollout, allowed: Allowed, standing: Standing) -> Stage:
    """Say how a challenger goes on.

    What speaks against it takes it back at once, whatever is allowed and at any time. A rollout
    that the policy or a person began goes on by itself to its end, but not in a blackout, and to no
    further station while something on the line waits to be mended.

    Args:
        rollout: when it goes on, and when it is taken back.
        allowed: how far it may come without a person.
        standing: how it stands.
    """
    against = "; ".join(_against(rollout, standing))
    if against:
        return Stage(ChallengerState.WITHDRAWN, f"Taken back: {against}.")
    match standing.state:
        case ChallengerState.HELD:
            return _from_held(allowed, standing)
        case ChallengerState.SHADOW:
            return _from_shadow(rollout, allowed, standing)
        case _:
            return _on_rollout(rollout, standing)


def _from_held(allowed: Allowed, standing: Standing) -> Stage:
    held = ChallengerState.HELD
    if standing.ahead:
        return Stage(held, f"Held until the rollout of {standing.ahead[:12]} has ended.")
    if standing.replaced:
        return Stage(held, f"Held: {REPLACED}.")
    if not allowed.includes(Allowed.SHADOW):
        return Stage(held, f"Held: a person lets it score, for the policy allows '{allowed}' only.")
    if not standing.not_worse:
        return Stage(held, "Held: the comparison does not say that it is no worse.")
    if standing.blackout:
        return Stage(held, "Held until the blackout is over.")
    return Stage(ChallengerState.SHADOW, "The policy lets it score in the shadow.")


def _from_shadow(rollout: Rollout, allowed: Allowed, standing: Standing) -> Stage:
    seen = _seen(standing.shadow)
    if missing := "; ".join(_missing(rollout, standing)):
        return Stage(ChallengerState.SHADOW, f"In the shadow, {seen}: {missing}.")
    if standing.replaced:
        words = f"{seen}: {REPLACED}"
    elif not allowed.includes(Allowed.PROMOTE):
        words = f"{seen}: fit for a rollout, which a person begins"
    elif not standing.not_worse:
        words = f"{seen}: a person begins a rollout of what is not shown to be no worse"
    elif standing.until:
        words = f"{seen}: rolled out when {standing.until}"
    elif not standing.waiting:
        words = f"{seen}: fit for a rollout, but no station of the line judges by its name"
    elif not standing.ready:
        words = f"{seen}: fit for a rollout{standing.passed_over}"
    else:
        reached = first_stations(standing.ready, rollout.first_share)
        words = f"Rolled out first to {', '.join(reached)}: {seen}{standing.passed_over}."
        return Stage(ChallengerState.ROLLOUT, words, reached)
    return Stage(ChallengerState.SHADOW, f"In the shadow, {words}.")


def _on_rollout(rollout: Rollout, standing: Standing) -> Stage:
    """Go on to the other stations, or to the end, once enough parts were judged."""
    last, parts, wanted = not standing.waiting, standing.judged.parts, _wanted(rollout, standing)
    seen = (
        f"{parts:,} of {wanted:,} parts judged on {len(standing.reached)} stations, "
        f"{standing.judged.faults:,} FAULT, {standing.judged.not_passed:,} not passed"
        f"{_unweighed(standing.champion)}{standing.passed_over}"
    )
    if parts < wanted:
        if standing.ready and standing.silent >= set(standing.reached) and not standing.until:
            reached = first_stations(standing.ready, rollout.first_share)
            words = f"Rolled out to {', '.join(reached)}, too: {seen}."
            return Stage(ChallengerState.ROLLOUT, words, reached)
        return Stage(ChallengerState.ROLLOUT, f"In rollout: {seen}.")
    if standing.blackout or (standing.until and not last):
        return Stage(ChallengerState.ROLLOUT, f"In rollout until {standing.until}: {seen}.")
    if last:
        return Stage(ChallengerState.PROMOTED, f"Promoted: {seen}.")
    words = f"Rolled out to {', '.join(standing.waiting)}: {seen}."
    return Stage(ChallengerState.ROLLOUT, words, standing.waiting)


def _wanted(rollout: Rollout, standing: Standing) -> int:
    """Give how many parts this stage takes."""
    return rollout.stage_parts if standing.waiting else rollout.watch_parts


def _missing(rollout: Rollout, standing: Standing) -> Iterator[str]:
    """Say what has to come before a challenger leaves the shadow."""
    shadow = standing.shadow
    if shadow.parts < rollout.shadow_parts:
        yield f"{rollout.shadow_parts:,} parts are wanted"
    if standing.hours < rollout.shadow_h:
        yield f"{standing.hours:.1f} of {rollout.shadow_h:g} hours are over"
    if shadow.faults > rollout.fault_share * shadow.parts:
        yield f"at most {rollout.fault_share:.1%} FAULT are wanted"
    wanted = min(shadow.let_pass, LEAST_LET_PASS)
    if shadow.let_pass_reviewed < wanted:
        yield (
            f"of {shadow.let_pass:,} parts that the champion holds and it would pass, {wanted} "
            f"have to be reviewed (so far {shadow.let_pass_reviewed})"
        )
    p99_ms, deadline_ms = shadow.latency_p99_ms, standing.deadline_ms
    if p99_ms is not None and deadline_ms is not None and p99_ms > deadline_ms:
        yield (
            f"99 % of parts took up to {p99_ms:.0f} ms of the processor, more than the deadline of "
            f"{deadline_ms} ms; a person decides"
        )
    if _share_high(shadow) > rollout.disagreements and not _in_favour(shadow):
        yield (
            f"they may differ on {rollout.disagreements:.1%} of the parts (so far up to "
            f"{_share_high(shadow):.1%}, 95 % interval) unless reviewers find it right; review "
            "the disagreements"
        )


def _against(rollout: Rollout, standing: Standing) -> Iterator[str]:
    """Say what takes a challenger back."""
    shadow = standing.shadow
    if exceeds(shadow.faults, shadow.parts, rollout.fault_share):
        yield f"{shadow.faults:,} of {shadow.parts:,} parts were FAULT in the shadow"
    if evidence(shadow.champion_right, shadow.challenger_right) < FAVOUR:
        yield (
            f"reviewers found the champion right on {shadow.champion_right:,} of the "
            f"{shadow.reviewed:,} reviewed disagreements"
        )
    if _lets_defects_pass(shadow):
        yield (
            f"reviewers found {shadow.defects_champion_right:,} defects that the champion holds "
            f"and it lets pass, and {shadow.defects_challenger_right:,} the other way round"
        )
    if standing.state is ChallengerState.SHADOW:
        yield from _overkill_in_shadow(rollout, shadow)
    if standing.state is ChallengerState.ROLLOUT:
        yield from standing.refused
        yield from _worse_on_line(rollout, standing)


def _overkill_in_shadow(rollout: Rollout, shadow: ShadowReport) -> Iterator[str]:
    judged = shadow.parts - shadow.faults
    bearable = rollout.overkill_factor * wilson(shadow.champion_not_passed, judged)[1]
    if exceeds(shadow.not_passed, judged, bearable) and not _in_favour(shadow):
        yield (
            f"it would not pass {shadow.not_passed:,} of {judged:,} parts, the champion "
            f"{shadow.champion_not_passed:,}; wanted at most {rollout.overkill_factor:g} times that"
        )


def _worse_on_line(rollout: Rollout, standing: Standing) -> Iterator[str]:
    """Hold what it did on the line against what the champion did there."""
    judged, champion = standing.judged, standing.champion
    known = champion.faults / max(1, champion.parts)
    if champion.parts >= LEAST_CHAMPION:  # of fewer the interval would excuse anything
        known = wilson(champion.faults, champion.parts)[1]
    if exceeds(judged.faults, judged.parts, known + rollout.fault_share):
        yield (
            f"{judged.faults:,} of {judged.parts:,} parts were FAULT; the champion's "
            f"{champion.faults:,} of {champion.parts:,}"
        )
    least = min(LEAST_JUDGED, _wanted(rollout, standing))
    if champion.parts < LEAST_CHAMPION or judged.parts < least:
        return
    if standing.slow_ms is not None and exceeds(judged.slow, judged.parts, TAIL):
        yield (
            f"{judged.slow:,} of {judged.parts:,} parts took longer than {standing.slow_ms:.0f} ms,"
            f" {rollout.latency_factor:g} times the champion's 99th percentile"
        )
    bearable = rollout.overkill_factor * wilson(champion.not_passed, champion.parts)[1]
    if exceeds(judged.not_passed, judged.parts, bearable):
        yield (
            f"{judged.not_passed:,} of {judged.parts:,} parts did not pass, the champion's "
            f"{champion.not_passed:,} of {champion.parts:,}; wanted at most "
            f"{rollout.overkill_factor:g} times that share"
        )


def _unweighed(champion: Judged) -> str:
    if champion.parts >= LEAST_CHAMPION:
        return ""
    return (
        f"; latency and overkill are not weighed, for the champion judged {champion.parts:,} parts "
        f"and {LEAST_CHAMPION} are wanted"
    )


def exceeds(count: int, of: int, share: float) -> bool:
    """Say whether so many are more than chance gives where the true share is the bearable one.

    The exact binomial test, one-sided; no part and a share of 1 or more exceed nothing.
    """
    if of == 0 or share >= 1:
        return False
    return bool(stats.binom.sf(count - 1, of, share) < AGAINST)


def evidence(right: int, wrong: int) -> float:
    """Give the probability bound of so one-sided a score if neither side were right more often.

    A sign test that holds at every look, not at one only: the likelihood ratio of an even mixture
    of all shares above one half against one half is a martingale (Robbins 1970), which ever exceeds
    1/p with probability p at most (Ville 1939).

    Args:
        right: for the side that may be right more often.
        wrong: against it.

    Returns:
        From 0 to 1; 1 without any.
    """
    above = float(special.betaincc(right + 1, wrong + 1, 0.5))
    if above == 0:
        return 1.0
    log_ratio = (
        (right + wrong + 1) * math.log(2)
        + float(special.betaln(right + 1, wrong + 1))
        + math.log(above)
    )
    return math.exp(min(0.0, -log_ratio))


def _in_favour(shadow: ShadowReport) -> bool:
    """Say whether reviewers find it right; good parts it passes outweigh no defect it lets pass."""
    found_right = evidence(shadow.challenger_right, shadow.champion_right) < FAVOUR
    return found_right and not _lets_defects_pass(shadow)


def _lets_defects_pass(shadow: ShadowReport) -> bool:
    """Say whether the champion is right on reviewed defects, which are weighed by themselves."""
    return evidence(shadow.defects_champion_right, shadow.defects_challenger_right) < FAVOUR


def _share_high(shadow: ShadowReport) -> float:
    return wilson(shadow.disagreements, shadow.parts)[1]


def _seen(shadow: ShadowReport) -> str:
    defects = shadow.defects_challenger_right + shadow.defects_champion_right
    among = f", on {shadow.defects_challenger_right:,} of the {defects:,} defects among them"
    return (
        f"{shadow.parts:,} parts scored, {shadow.faults:,} FAULT, {shadow.disagreements:,} "
        f"disagreements, {shadow.reviewed:,} of them reviewed, it was right on "
        f"{shadow.challenger_right:,}{among if defects else ''}"
    )

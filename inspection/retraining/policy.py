"""Decides whether something is due for a product, and says why or why not; pure.

What is due is the cheapest that may happen: thresholds are fitted before anything is trained, and
PatchCore's bank takes in a few new pictures before everything is trained anew.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import NamedTuple
from zoneinfo import ZoneInfo

from scipy import stats

from inspection.hub.wire.retraining import Job, JobKind
from inspection.metrics.causes import TO_DO, Advice, Cause
from inspection.metrics.paired import RISK
from inspection.retraining.settings import Allowed, Policy
from inspection.retraining.timetable import blackout_ends, by_age, by_cron, on_clock

NEEDS = {
    JobKind.REFIT: Allowed.REFIT,
    JobKind.GUARDS: Allowed.RETRAIN,
    JobKind.UPDATE: Allowed.RETRAIN,
    JobKind.RETRAIN: Allowed.RETRAIN,
}
LATER = "Something is due, but not now."
GUARDS_WAIT = "A bundle whose guards know such parts waits for a person."
IN_VAIN = (
    "It failed before and would again, or was cancelled, with nothing new to learn: mend what its "
    "log says, and start it by hand."
)
NAMES = {
    JobKind.REFIT: "a re-fit of the thresholds",
    JobKind.GUARDS: "a bundle with new guards",
    JobKind.UPDATE: "an update of the bank",
    JobKind.RETRAIN: "a training",
}


class Drifted(NamedTuple):
    """An alarm that stands."""

    cause: Cause
    advice: Advice
    since: datetime
    goods: int
    """Good parts of after the change, decided since the advice was last followed."""
    missing: str = ""
    """What has to be reviewed before thresholds can be fitted, where that is the advice."""
    guarded: bool = False
    """Guards hold its frames, which no threshold changes."""


class Overkill(NamedTuple):
    """How the promise of the card is broken."""

    rejected: int
    """Good parts that did not pass, as far as they were reviewed."""
    parts: int
    """The last ones, among which they are."""
    promised: float
    """Share of the good parts that may not pass."""
    by_guard: bool = False
    """Their scores are in order; a guard held them."""
    by_light: bool = False
    """And of its limits only those of the light, which new guards learn."""
    by_hand: bool = False
    """A person set the thresholds that hold them."""
    refitted: bool = False
    """The thresholds were fitted a short time ago, and did not help."""
    missing: str = ""
    """What has to be reviewed before thresholds can be fitted; empty where nothing has."""

    @property
    def surely_more(self) -> float:
        """Share of the parts beyond what is promised, lower 95 % limit (Clopper-Pearson)."""
        least = stats.beta.ppf(RISK, self.rejected, self.parts - self.rejected + 1)
        return max(0.0, float(least) - self.promised)


class Thin(NamedTuple):
    """Thresholds in force rest on little, and good parts reviewed by now would set others."""

    why: str
    """What they rest on: follows 'The thresholds'."""
    reviewed: int


class Young(NamedTuple):
    """A material of which what judges has learnt little."""

    since: datetime
    counted: int
    """Good parts of since then that the last training counted."""
    goods: int
    """Those reviewed by now."""


class Unlearnt(NamedTuple):
    """Thresholds in force were fitted on what was forgotten since."""

    pictures: int
    missing: str
    """What has to be reviewed before others can be fitted; empty where nothing has."""


class Settled(NamedTuple):
    """The last training that came to an end other than by a fault."""

    kind: JobKind
    at: datetime
    """When it was asked for."""
    refused: bool = False
    """By the gate or the comparison."""


@dataclass(frozen=True)
class Facts:
    """What the policy knows of a product."""

    champion_at: datetime | None
    """When the bundle that judges was made; none when none does."""
    updatable: bool
    """Its bank can take in the new pictures."""
    reviews: int
    """Parts decided good or defective since the last training that was no refused update."""
    guardable: bool = False
    """Its guards can learn alone, and have not tried to since the last training."""
    guards_wait: bool = False
    """A bundle with new guards waits for a person."""
    changed: str = ""
    """What else it would learn otherwise than the last training did, as a sentence."""
    drifts: tuple[Drifted, ...] = ()
    overkill: tuple[Overkill, ...] = ()
    """Surely more good parts do not pass than promised: by the threshold, by guards."""
    thin: Thin | None = None
    young: Young | None = None
    unlearnt: Unlearnt | None = None
    settled: Settled | None = None
    training_ended_at: datetime | None = None
    """Of the last training, whatever its end."""
    refit_ended_at: datetime | None = None
    in_vain: frozenset[JobKind] = frozenset()
    """What failed last, or a person cancelled, and would learn the same again."""
    underway: str = ""
    """A job that has begun and is not over, as a sentence."""
    challenged: str = ""
    """A challenger that is being tried on the line, as a sentence."""
    judging: tuple[str, ...] = ()
    """Names of the bundles that judge on the line."""
    unpromised: str = ""
    """What has to be reviewed of a new material before a training can promise anything of it."""
    newest: Job | None = None
    """As `hub.jobs.ask_after` wants it."""


class Decision(NamedTuple):
    """What is due."""

    kind: JobKind | None
    """None: nothing, or not now."""
    words: str
    allowed: bool
    """It may happen without a person."""


class _Found(NamedTuple):
    """What a trigger says: something is due, or what is missing."""

    kind: JobKind | None
    words: str


def decide(policy: Policy, facts: Facts, now: datetime) -> Decision:
    """Say what is due for a product now.

    Args:
        policy: of the product.
        facts: gathered at `now` or a little before.
        now: aware.
    """
    if facts.underway:
        return Decision(None, f"{facts.underway} Nothing else is begun meanwhile.", allowed=False)
    found = [*_refits(policy, facts), *_trainings(policy, facts, now)]
    due = [one for one in found if one.kind is not None]
    if not due:
        return Decision(None, _sentences("Nothing is due.", found), allowed=False)
    hopeful = [one for one in due if one.kind not in facts.in_vain]
    if not hopeful:
        return Decision(None, f"{_sentences(LATER, due)} {IN_VAIN}", allowed=False)
    ready = [one for one in hopeful if _pause_ends(policy, facts, one.kind) <= now]
    if not ready:
        first = min(_pause_ends(policy, facts, one.kind) for one in hopeful)
        at = on_clock(policy, first)
        pause = f"Only {policy.pause_h:g} hours after the last may it begin: {at}."
        return Decision(None, f"{_sentences(LATER, hopeful)} {pause}", allowed=False)
    if (black := blackout_ends(policy, now)) is not None:
        wait = f"A blackout lasts until {on_clock(policy, black)}; nothing begins before."
        return Decision(None, f"{_sentences(LATER, ready)} {wait}", allowed=False)
    return _chosen(policy, ready)


def _chosen(policy: Policy, ready: list[_Found]) -> Decision:
    """Take the cheapest that may happen by itself, else the cheapest."""
    order = list(JobKind)
    kinds = sorted({one.kind for one in ready if one.kind is not None}, key=order.index)
    allowed = [kind for kind in kinds if policy.allowed.includes(NEEDS[kind])]
    kind = (allowed or kinds)[0]
    words = _sentences(f"Due is {NAMES[kind]}.", [one for one in ready if one.kind is kind])
    if not allowed:
        words += f" By itself {policy.allowed} is allowed; a person may start it."
    return Decision(kind, words, allowed=bool(allowed))


def _refits(policy: Policy, facts: Facts) -> Iterator[_Found]:
    """Say of all that new thresholds help against whether they can be fitted."""
    for overkill in facts.overkill:
        if policy.triggers.overkill and not (overkill.by_guard or overkill.refitted):
            yield _after_hands(facts, _by_threshold(overkill))
    if facts.thin is not None and policy.triggers.overkill:
        yield _after_hands(facts, _by_few(facts.thin))
    if facts.unlearnt is not None:
        yield _after_hands(facts, _by_forgotten(facts.unlearnt))
    for drifted in facts.drifts:
        if policy.triggers.drift and drifted.advice is Advice.REFIT:
            yield _by_drift(policy, drifted, JobKind.REFIT)


def _trainings(policy: Policy, facts: Facts, now: datetime) -> Iterator[_Found]:
    """Say of each trigger of trainings how it stands; what is due is of one kind."""
    kind = JobKind.RETRAIN if _must_train(facts) else JobKind.UPDATE
    if facts.champion_at is None and facts.settled is None:
        others = f"; what judges there is {', '.join(facts.judging)}" if facts.judging else ""
        words = f"No bundle of this name judges on the line yet{others}."
        yield _Found(JobKind.RETRAIN, words)
        return
    if facts.challenged:
        yield _Found(None, f"{facts.challenged} Nothing is trained meanwhile.")
        return
    if facts.unpromised:
        yield _Found(None, facts.unpromised)
        return
    yield _by_reviews(policy, facts, kind)
    yield from _by_time(policy, facts, now, kind)
    if facts.young is not None and policy.triggers.drift:
        yield _after_hands(facts, _by_young(policy, facts.young, kind))
    for overkill in facts.overkill:
        if not (policy.triggers.overkill and (overkill.by_guard or overkill.refitted)):
            continue
        if overkill.by_light and facts.guards_wait:
            yield _Found(None, f"{_too_many(overkill)} {GUARDS_WAIT}")
        else:
            cheapest = JobKind.GUARDS if _is_for_guards(facts, overkill) else kind
            yield _after_hands(facts, _by_training(policy, overkill, cheapest))
    yield from _alarmed(policy, facts, kind)


def _is_for_guards(facts: Facts, overkill: Overkill) -> bool:
    """Say whether guards need to learn, and nothing else: at most the light has moved."""
    idle = facts.guardable and JobKind.GUARDS not in facts.in_vain
    return overkill.by_light and idle and all(one.cause is Cause.LIGHT for one in facts.drifts)


def _alarmed(policy: Policy, facts: Facts, kind: JobKind) -> Iterator[_Found]:
    """Say of each alarm whether a training helps against it."""
    for drifted in facts.drifts:
        if not policy.triggers.drift:
            yield _Found(None, f"An alarm of {drifted.cause} stands, but drift triggers nothing.")
        elif drifted.advice is Advice.RETRAIN:
            light = drifted.guarded and drifted.cause is Cause.LIGHT
            waits = _Found(None, f"The {drifted.cause} has moved. {GUARDS_WAIT}")
            due = waits if light and facts.guards_wait else _by_drift(policy, drifted, kind)
            yield _after_hands(facts, due)
        elif drifted.advice is not Advice.REFIT:
            yield _Found(None, f"The {drifted.cause} has moved. {TO_DO[drifted.cause]}")


def _by_drift(policy: Policy, drifted: Drifted, kind: JobKind) -> _Found:
    wanted = policy.triggers.goods
    moved = f"The {drifted.cause} has moved since {on_clock(policy, drifted.since)}"
    if kind is not JobKind.REFIT and drifted.goods < wanted:  # it says itself what is missing
        return _Found(
            None,
            f"{moved}; {drifted.goods} of {wanted} good parts of after that are reviewed that "
            f"{NAMES[kind]} needs: review more.",
        )
    if drifted.missing:
        return _Found(None, f"{moved}; {drifted.missing}.")
    return _Found(kind, f"{moved}, and {drifted.goods} good parts of after that are reviewed.")


def _by_few(found: Thin) -> _Found:
    words = f"The thresholds {found.why}; the {found.reviewed} reviewed since can set them."
    return _Found(JobKind.REFIT, words)


def _by_young(policy: Policy, found: Young, kind: JobKind) -> _Found:
    wanted = found.counted + max(found.counted, policy.triggers.goods)
    since = f"since the material changed, {on_clock(policy, found.since)}"
    of = f"are reviewed {since}; the last training counted {found.counted}."
    if found.goods < wanted:
        return _Found(None, f"{found.goods} of {wanted} good parts {of}")
    return _Found(kind, f"{found.goods} good parts {of}")


def _by_forgotten(found: Unlearnt) -> _Found:
    words = f"The thresholds were fitted on {found.pictures} pictures that were forgotten since."
    if found.missing:
        return _Found(None, f"{words} To fit them again: {found.missing}.")
    return _Found(JobKind.REFIT, words)


def _by_threshold(found: Overkill) -> _Found:
    words = _too_many(found)
    if found.by_hand:
        return _Found(None, f"{words} A person set the thresholds; set others, or re-fit them.")
    if found.missing:
        return _Found(None, f"{words} To fit the thresholds: {found.missing}.")
    return _Found(JobKind.REFIT, words)


def _by_training(policy: Policy, found: Overkill, kind: JobKind) -> _Found:
    why = "A guard held them: they look unlike those the bundle knows."
    if found.refitted:
        why = "The thresholds were fitted a short time ago, which did not help."
        if found.missing:
            why = f"The thresholds cannot be fitted: {found.missing}."
    if found.rejected < policy.triggers.goods:
        needs = f"To learn them, {NAMES[kind]} needs {policy.triggers.goods}: review more."
        return _Found(None, f"{_too_many(found)} {why} {needs}")
    return _Found(kind, f"{_too_many(found)} {why}")


def _too_many(found: Overkill) -> str:
    seen = f"Of the last {found.parts} parts {found.rejected} good ones did not pass"
    return f"{seen}; {found.promised:.2%} are promised."


def _after_hands(facts: Facts, found: _Found) -> _Found:
    """Let what a hand can mend be mended first: a dirty lens is not to be learnt."""
    by_hand = [one.cause for one in facts.drifts if one.advice in {Advice.CLEAN, Advice.ADJUST}]
    if found.kind is None or not by_hand:
        return found
    return _Found(None, f"{found.words} But first: {TO_DO[by_hand[0]]}")


def _by_reviews(policy: Policy, facts: Facts, kind: JobKind) -> _Found:
    wanted, since = policy.triggers.reviews, "parts were reviewed since the last one."
    if wanted is None:
        return _Found(None, f"{facts.reviews} parts were reviewed, which triggers nothing.")
    if facts.reviews < wanted:
        return _Found(None, f"{facts.reviews} of {wanted} {since}")
    return _after_hands(facts, _Found(kind, f"{facts.reviews} {since}"))


def _by_time(policy: Policy, facts: Facts, now: datetime, kind: JobKind) -> Iterator[_Found]:
    """Say how cron and age stand; with nothing new to learn they would make the same again."""
    last = _last(facts)
    for came, words in (by_cron(policy, last, now), by_age(policy, last, now)):
        if came and facts.changed:
            yield _after_hands(facts, _Found(kind, f"{words} {facts.changed}"))
        elif not came or facts.reviews:
            yield _after_hands(facts, _Found(kind if came else None, words))
        else:
            yield _Found(None, f"{words} But nothing is new since: the same would come out.")


def _last(facts: Facts) -> datetime:
    """Give when the product was trained last, as far as is known."""
    settled = None if facts.settled is None else facts.settled.at
    return max(at for at in (facts.champion_at, settled) if at is not None)


def _must_train(facts: Facts) -> bool:
    """Say whether an update of the bank cannot do, or did not help.

    It did not where it was refused, or where an alarm that wants a training still stands after it.
    """
    if not facts.updatable or JobKind.UPDATE in facts.in_vain:
        return True
    last = facts.settled
    if last is None or last.kind is not JobKind.UPDATE:
        return False
    return last.refused or any(
        one.advice is Advice.RETRAIN and one.since < last.at for one in facts.drifts
    )


def _pause_ends(policy: Policy, facts: Facts, kind: JobKind | None) -> datetime:
    """Say from when on such a job may follow the last; one that fits thresholds stands apart."""
    ended = facts.refit_ended_at if kind is JobKind.REFIT else facts.training_ended_at
    if ended is None:
        return datetime.min.replace(tzinfo=ZoneInfo("UTC"))
    return ended + timedelta(hours=policy.pause_h)


def _sentences(first: str, found: list[_Found]) -> str:
    return " ".join((first, *(one.words for one in found)))

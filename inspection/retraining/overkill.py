"""Says when surely more good parts do not pass than the card promises, and what held them.

Of the last parts, those that did not pass and were reviewed good are the least that was overkill:
nothing is assumed of what nobody looked at. Those above the threshold they were held against want
another one; where that would let known defects pass, a training that has seen them. Those below it
were held by a guard, for they look unlike what the bundle was fitted on: where only their light
does they want new guards, else a training, too.
"""

from datetime import datetime, timedelta

from scipy import stats
from sqlalchemy import Connection, and_, case, select

from inspection.bundles.thresholds import ThresholdRecord
from inspection.core.decision import Band, Verdict
from inspection.core.errors import CalibrationMissing
from inspection.core.guards import is_of_light
from inspection.core.records import Card
from inspection.hub.challengers import POLICY
from inspection.hub.reviews import undisputed_decisions
from inspection.hub.tables import events
from inspection.hub.thresholds import read_by_hand, record_in_force
from inspection.hub.wire.message import Answer
from inspection.hub.wire.review import Decision
from inspection.retraining.fitting import fit, why_not
from inspection.retraining.known import Scope, changed_at, of_scope, read_known, what_is_missing
from inspection.retraining.policy import Overkill

WINDOWS = (100, 1_000)  # of the last parts: one sees a leap at once, one a little for long
LATELY = timedelta(days=1)  # a re-fit that did not help within it is followed by a training
CHANCE = 1e-5  # of a promise kept to look broken, at one look: there is one every few minutes


class _Frame(Answer):
    score: float | None
    band: Band
    verdict: Verdict
    reason: str


class _Judged(Answer):
    frames: tuple[_Frame, ...]

    @property
    def is_above(self) -> bool:
        """Whether a frame lay above the threshold it was held against."""
        held = ((one.score, one.band.review_above) for one in self.frames)
        return any(score is not None and score > above for score, above in held)

    @property
    def is_by_light(self) -> bool:
        """Whether the light alone held it: other limits would hold it still, were that learnt."""
        held = [one for one in self.frames if one.verdict is not Verdict.PASS]
        return not self.is_above and all(is_of_light(one.reason) for one in held)


def find_overkill(
    connection: Connection, bundle: tuple[str, str, str], card: Card, learnt: int
) -> tuple[Overkill, ...]:
    """Look at the last parts a bundle judged since its thresholds hold.

    Args:
        connection: of the hub's database.
        bundle: line, product, and the bundle that judges there.
        card: of the bundle.
        learnt: id of the last review row that a training has seen.

    Returns:
        By thresholds and by guards at most one each: the longest full window in which the promise
        is surely broken (exact binomial limit of Clopper and Pearson 1934). Where the light alone
        breaks it, that is the one by guards: what others hold is seen once the light is learnt.
    """
    line, product, bundle_id = bundle
    record = record_in_force(connection, line, bundle_id, product)
    hands = read_by_hand(connection, line, bundle_id, product)
    scope = Scope(*bundle, changed_at(connection, *bundle))
    made = undisputed_decisions()
    held = and_(made.c.event_id == events.c.event_id, events.c.verdict != Verdict.PASS)
    rows = connection.execute(
        select(made.c.id, case((made.c.id.is_not(None), events.c.record)), events.c.captured_at)
        .join(made, and_(held, made.c.decision == Decision.GOOD), isouter=True)
        .where(*of_scope(scope))
        .order_by(events.c.captured_at.desc())
        .limit(WINDOWS[-1])
    ).all()
    judged = [None if text is None else _read(text) for _, text, _ in rows]
    above = [None if one is None else one.is_above for one in judged]
    promised = card.export.false_reject_rate
    found = []
    if (seen := _broken([one is True for one in above], promised)) is not None:
        missing = what_is_missing(connection, scope, promised)
        barred = "" if missing else what_bars(connection, scope, card)
        fresh = any(high and row.id > learnt for high, row in zip(above, rows, strict=True))
        found.append(
            Overkill(
                *seen,
                promised,
                missing=missing or barred,
                by_hand=hands.mostly,
                refitted=(barred != "" and fresh and not hands.mostly)
                or _is_of_late(record, rows[0].captured_at),
            )
        )
    new = [one if one and row.id > learnt else None for one, row in zip(judged, rows, strict=True)]
    return (*found, *_by_guards(new, promised))


def what_bars(connection: Connection, scope: Scope, card: Card) -> str:
    """Say why thresholds cannot be fitted to what is reviewed; empty where they can."""
    try:
        known = read_known(connection, scope, card.export.false_reject_rate)
        return why_not(known, fit(known, card))
    except CalibrationMissing as error:
        return str(error)


def _is_of_late(record: ThresholdRecord | None, now: datetime) -> bool:
    """Say whether the thresholds were fitted a short time ago."""
    return record is not None and record.who == POLICY and now - record.when < LATELY


def _by_guards(judged: list[_Judged | None], promised: float) -> list[Overkill]:
    """Look at what no threshold held, of parts of which no training has seen any."""
    guarded = [one is not None and not one.is_above for one in judged]
    lit = [one is not None and one.is_by_light for one in judged]
    by_light = _broken(lit, promised)
    seen = by_light or _broken(guarded, promised)
    if seen is None:
        return []
    return [Overkill(*seen, promised, by_guard=True, by_light=by_light is not None)]


def _read(text: str) -> _Judged:
    return _Judged.model_validate_json(text, extra="ignore")


def _broken(held: list[bool], promised: float) -> tuple[int, int] | None:
    """Give how many were held, of how many of the last, where those are surely too many."""
    found = None
    for parts in WINDOWS:
        rejected = sum(held[:parts])
        full = len(held) >= parts
        if full and rejected and _least(rejected, parts) > promised:
            found = rejected, parts
    return found


def _least(count: int, of: int) -> float:
    return float(stats.beta.ppf(CHANCE, count, of - count + 1))

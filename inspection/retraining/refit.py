"""Fits a bundle's thresholds again on reviewed parts, as a new signed, reversible record.

Only reviewed parts have a say. They are no fair sample: all that lay above the threshold is
reviewed, and of what passed only a draw. So each stands for as many parts as the station gave its
verdict to, over those of them that were reviewed (post-stratification, Holt and Smith 1979). Few
that stand for many say as little as few: parts are counted by their effective number (Kish 1965).
What passed and was reviewed for another reason, as a challenger would have held it, was not drawn
and has no say; nor has what was forgotten, and what two reviewers dispute.
"""

import math
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import ColumnElement, Connection, Row, func, select

from inspection.core.decision import Band, Verdict
from inspection.core.errors import CalibrationMissing, ConfigError
from inspection.core.records import Card
from inspection.export.calibrate import fit_band
from inspection.hub.challengers import POLICY
from inspection.hub.hub import Hub
from inspection.hub.job_request import JobRequest
from inspection.hub.loop_tables import alarms, forgotten
from inspection.hub.monitors import ACCEPTED, accept_refit
from inspection.hub.refusals import Standing
from inspection.hub.reviews import undisputed_decisions
from inspection.hub.tables import draws, events, pictures, stations
from inspection.hub.thresholds import (
    apply_thresholds,
    list_thresholds,
    read_by_hand,
    read_card,
    times_set,
)
from inspection.hub.wire.review import Decision
from inspection.hub.wire.thresholds import Costs, NewThresholds, ThresholdRow
from inspection.metrics.consequences import Economy, foresee
from inspection.retraining.escapes import Escapes, count_escapes
from inspection.retraining.spoilt import is_spoilt

# On simulated lines (4 shapes of scores, 120 or 400 calibrate parts, drifts up to 2.5 deviations) 2
# to 14 % of such re-fits reject more than three times the promised 1 % of good parts, 7 % at the
# median; with an effective number of 20 it is 9 to 28 %, with 3 up to 46 %.
EFFECTIVE_LEAST = 60
DEFECTS_LEAST = 10  # below it the least cost follows single parts
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
Floats = NDArray[np.float64]


class Scope(NamedTuple):
    """Which parts count."""

    line: str
    product: str
    bundle_id: str | None
    since: datetime
    until: int | None = None
    """Id of the last review row that counts; none counts all."""


class Known(NamedTuple):
    """Reviewed parts since a change, of one bundle; scores raw."""

    goods: Floats
    weights: Floats
    """Parts each good one stands for."""
    defects: Floats
    held_above: Floats
    """Threshold each defect was held against."""


def refit(hub: Hub, request: JobRequest, who: str = POLICY) -> str:
    """Fit the champion's band on what was reviewed since the change that stands, and apply it.

    `review_above` is the conformal threshold of the card's promise, fitted on the card's calibrate
    scores as they lie now: moved and stretched so that their quartiles are those of the reviewed
    good parts. A few dozen parts know quartiles, not the hundredth part in which the threshold
    lies; the card knows the shape. REJECT begins where the known defects cost least, or, without
    ten of them, where the export's margin says.

    Args:
        hub: whose reviews count.
        request: which line, product and bundle, and the last review row that counts.
        who: asks for it; a person is named in the record's words.

    Returns:
        What was done, in words.

    Raises:
        ConfigError: no bundle judges, or the line has no station.
        CalibrationMissing: too few reviewed parts, or surely more known defects would pass; says
            how many and of which.
        Standing: a person set thresholds since it was asked for, or for single cameras of all
            stations, which a policy does not touch.
    """
    if request.champion_id is None:
        raise ConfigError(
            f"{request.line}, {request.product}: no bundle judges; wanted one; train first"
        )
    bundle = request.line, request.product, request.champion_id
    previous = _previous(hub, *bundle, request.asked_at)
    if previous is not None and previous.when > request.asked_at:
        accept_refit(hub, *bundle, who)  # made before a crash
        return f"record {previous.sha256[:12]} stands: {previous.why}"
    with hub.database.reading() as connection:
        card = read_card(connection, request.champion_id)
        since = changed_at(connection, *bundle, request.asked_at)
        known = read_known(connection, Scope(*bundle, since, request.reviews_until))
        names = _stations(connection, *bundle, who)
    band = fit(known, card)
    said = f"the band stays {_said(band)}"
    if previous is None or previous.band != band:
        if words := why_not(known, band):
            raise CalibrationMissing(words)
        words = _words(known, band, since, card) + (
            "" if who == POLICY else f"; {who} asked for it"
        )
        new = NewThresholds(
            bundle_id=request.champion_id,
            band=band,
            stations=names,
            product=request.product,
            comment=words,
            previous=None if previous is None else previous.sha256,
        )
        row = apply_thresholds(hub, request.line, new, POLICY, asked_at=request.asked_at)
        said = f"band {_said(band)}, record {row.sha256[:12]}: {words}"
    accept_refit(hub, *bundle, who)
    return said


def _previous(
    hub: Hub, line: str, product: str, bundle_id: str, asked_at: datetime
) -> ThresholdRow | None:
    """Give the newest thresholds of a bundle for all cameras of a product, or of all products.

    Raises:
        Standing: a person set some after `asked_at`, be it for one camera.
    """
    rows = [
        row
        for row in list_thresholds(hub, line)
        if row.bundle_id == bundle_id and row.product in {None, product}
    ]
    if any(row.who != POLICY and row.when > asked_at for row in rows):
        raise Standing("thresholds were set by hand meanwhile; ask again to fit them anew")
    return next((row for row in rows if row.camera is None), None)


def _words(known: Known, band: Band, since: datetime, card: Card) -> str:
    when = "" if since == EPOCH else f" of since {since:%Y-%m-%d %H:%M} UTC"
    found = _escapes(known, band)
    return (
        f"fitted on {known.goods.size} good and {known.defects.size} defective reviewed parts"
        f"{when}, on the shape of {len(card.calibrate_scores)} calibrate parts; of the known "
        f"defects {found.passing} pass, {found.lost} of which were held"
    )


def why_not(known: Known, band: Band) -> str:
    """Say why a fitted band may not be applied; empty where it may."""
    found = _escapes(known, band)
    if not found.surely_more:
        return ""
    return (
        f"{found.lost} of {found.defects} known defects that were held would pass below "
        f"{band.review_above:.6g}, where good parts end now: the bundle does not tell them apart "
        "any more; train, or set thresholds by hand"
    )


def _escapes(known: Known, band: Band) -> Escapes:
    return count_escapes(known.defects, known.held_above, band.review_above)


def changed_at(
    connection: Connection,
    line: str,
    product: str,
    bundle_id: str | None,
    asked_at: datetime | None = None,
) -> datetime:
    """Say since when the line is as it is: the last change, or since thresholds were set.

    A change is of what stands or was accepted. Parts held against other thresholds are left out,
    for what a reviewed part stands for depends on them; those set after `asked_at` are not looked
    at, so that a job done again comes to the same.
    """
    changes = connection.execute(
        select(func.coalesce(alarms.c.since, alarms.c.raised_at)).where(
            alarms.c.line == line,
            alarms.c.product == product,
            alarms.c.bundle_id == bundle_id,
            alarms.c.cleared_at.is_(None) | alarms.c.why_cleared.in_(ACCEPTED),
        )
    )
    set_at = () if bundle_id is None else times_set(connection, line, bundle_id, product)
    times: list[datetime] = [*changes.scalars(), EPOCH]
    times += [when for when in set_at if asked_at is None or when <= asked_at]
    return max(times)


def read_known(connection: Connection, scope: Scope) -> Known:
    """Read the reviewed parts of a bundle, and what each stands for.

    Raises:
        CalibrationMissing: they say too little; tells what to review.
    """
    judged, rows = _read_judged(connection, scope), _read_decided(connection, scope)
    if words := _missing(judged, rows):
        raise CalibrationMissing(words)
    reviewed = Counter(Verdict(row.verdict) for row in rows)
    goods = [row for row in rows if row.decision == Decision.GOOD]
    defects = [row for row in rows if row.decision == Decision.DEFECT]
    stands_for = {verdict: judged[verdict] / reviewed[verdict] for verdict in reviewed}
    return Known(
        np.array([row.score for row in goods], np.float64),
        np.array([stands_for[Verdict(row.verdict)] for row in goods], np.float64),
        np.array([row.score for row in defects], np.float64),
        np.array([row.review_above for row in defects], np.float64),
    )


def what_is_missing(connection: Connection, scope: Scope) -> str:
    """Say what has to be reviewed before thresholds can be fitted; empty where nothing has."""
    return _missing(_read_judged(connection, scope), _read_decided(connection, scope))


def of_scope(scope: Scope) -> tuple[ColumnElement[bool], ...]:
    """Say which events are of parts that count."""
    return (
        events.c.line == scope.line,
        events.c.product == scope.product,
        events.c.bundle_id == scope.bundle_id,
        events.c.captured_at >= scope.since,
        events.c.score.is_not(None),
        events.c.verdict != Verdict.FAULT,
        ~is_spoilt(),
    )


def _read_judged(connection: Connection, scope: Scope) -> dict[Verdict, int]:
    """Count the parts by verdict, whether reviewed or not."""
    counted = (
        select(events.c.verdict, func.count()).where(*of_scope(scope)).group_by(events.c.verdict)
    )
    return {Verdict(verdict): count for verdict, count in connection.execute(counted)}


def _read_decided(connection: Connection, scope: Scope) -> Sequence[Row[Any, Any, Any, Any]]:
    """Give score, verdict, threshold and decision of the parts that teach, by score.

    Of those that passed, only what was drawn is a fair sample.
    """
    made = undisputed_decisions(scope.until)
    drawn = select(draws.c.event_id).where(draws.c.line == scope.line)
    never = select(pictures.c.event_id).join(forgotten, forgotten.c.sha256 == pictures.c.sha256)
    return connection.execute(
        select(events.c.score, events.c.verdict, events.c.review_above, made.c.decision)
        .join(made, made.c.event_id == events.c.event_id)
        .where(*of_scope(scope), made.c.decision.in_([Decision.GOOD, Decision.DEFECT]))
        .where(events.c.event_id.not_in(never))
        .where((events.c.verdict != Verdict.PASS) | events.c.event_id.in_(drawn))
        .order_by(events.c.score)
    ).all()


def fit(known: Known, card: Card) -> Band:
    """Fit a band; see `refit`.

    Raises:
        CalibrationMissing: the card has too few calibrate scores for its promise.
    """
    moved = move(np.array(card.calibrate_scores), known)
    band = fit_band(moved.tolist(), card.export).band
    if known.defects.size < DEFECTS_LEAST:
        return band
    return Band(
        review_above=band.review_above,
        reject_above=_cheapest(moved, known.defects, band.review_above),
    )


def move(scores: Floats, known: Known) -> Floats:
    """Move and stretch scores (n,) so that their quartiles are those of the known good parts."""
    before, now = (
        quartiles(values, weights)
        for values, weights in ((scores, np.ones(scores.size)), (known.goods, known.weights))
    )
    stretch = (now[2] - now[0]) / (before[2] - before[0]) if before[2] > before[0] else 1.0
    return np.asarray(now[1] + (scores - before[1]) * stretch)


def quartiles(values: Floats, weights: Floats) -> Floats:
    """Give the weighted quartiles (3,) of values (n,), linear between the middles of weights."""
    order = np.argsort(values)
    reached = np.cumsum(weights[order]) - weights[order] / 2
    return np.interp((0.25, 0.5, 0.75), reached / weights.sum(), values[order])


def _missing(judged: dict[Verdict, int], rows: Sequence[Row[Any, Any, Any, Any]]) -> str:
    """Say what is missing of reviewed parts, of as many as were judged; empty where nothing is."""
    reviewed = Counter(Verdict(row.verdict) for row in rows)
    goods = Counter(Verdict(row.verdict) for row in rows if row.decision == Decision.GOOD)
    passed, drawn = judged.get(Verdict.PASS, 0), reviewed[Verdict.PASS]
    if goods.total() < EFFECTIVE_LEAST:
        return (
            f"{goods.total()} reviewed good parts since the change; thresholds need "
            f"{EFFECTIVE_LEAST}; review more, or set them by hand"
        )
    if passed and not drawn:
        return (
            f"none of the {passed} parts that passed since the change was reviewed, so nobody "
            "knows where good parts lie; wanted some; review those the queue draws"
        )
    weights = {verdict: judged[verdict] / reviewed[verdict] for verdict in goods}
    total = sum(count * weights[verdict] for verdict, count in goods.items())
    squares = {verdict: count * weights[verdict] ** 2 for verdict, count in goods.items()}
    alike = total**2 / sum(squares.values())
    if alike >= EFFECTIVE_LEAST:
        return ""
    of_passed = squares.pop(Verdict.PASS, 0.0)
    room = total**2 / EFFECTIVE_LEAST - sum(
        squares.values()
    )  # for the squares of those that passed
    wanted = math.ceil(of_passed * drawn / room) if room > 0 else math.inf
    remedy = (
        f"review {wanted - drawn} more of those the queue draws"
        if drawn < wanted <= passed
        else "review more, of every verdict"
    )
    return (
        f"{goods.total()} reviewed good parts since the change say no more than {alike:.0f} drawn "
        f"evenly, for {drawn} stand for the {passed} that passed; thresholds need "
        f"{EFFECTIVE_LEAST}; {remedy}, or set thresholds by hand"
    )


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


def _stations(
    connection: Connection, line: str, product: str, bundle_id: str, who: str
) -> tuple[str, ...]:
    """Give the stations in service on a line whose thresholds may be fitted.

    A policy leaves out those on which a person tries a band, or set one camera's.

    Raises:
        ConfigError: there is none.
        Standing: a person set a camera's on each.
    """
    wanted = select(stations.c.station).where(
        stations.c.line == line, stations.c.retired_at.is_(None)
    )
    names = set(connection.execute(wanted).scalars())
    if not names:
        raise ConfigError(f"line '{line}': no station is in service; enrol one first")
    if who == POLICY:
        hands = read_by_hand(connection, line, bundle_id, product)
        names -= hands.camera if hands.mostly else hands.stations
    if not names:
        raise Standing(
            f"line '{line}': a camera of each station has thresholds set by hand, which a fit for "
            "all cameras would replace for good; set others by hand, or ask for the re-fit yourself"
        )
    return tuple(sorted(names))


def _said(band: Band) -> str:
    return f"review above {band.review_above:.6g}, reject above {band.reject_above:.6g}"

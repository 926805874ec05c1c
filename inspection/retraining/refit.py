"""Fits a bundle's thresholds again on reviewed parts, as a new signed, reversible record."""

from collections.abc import Callable
from datetime import datetime

from sqlalchemy import Connection, select

from inspection.core.decision import Band
from inspection.core.errors import CalibrationMissing, ConfigError
from inspection.core.records import Card
from inspection.hub.challengers import POLICY
from inspection.hub.hub import Hub
from inspection.hub.job_request import JobRequest
from inspection.hub.monitors import accept_refit
from inspection.hub.proposals import propose_thresholds
from inspection.hub.refits import tainted_refits
from inspection.hub.refusals import Standing
from inspection.hub.tables import stations
from inspection.hub.thresholds import (
    apply_thresholds,
    list_thresholds,
    read_by_hand,
    read_card,
    record_in_force,
)
from inspection.hub.wire.thresholds import NewThresholds, ThresholdRow
from inspection.retraining.fitting import escapes_of, fit, is_kept, why_not
from inspection.retraining.known import EPOCH, Known, Scope, changed_at, read_known, tells
from inspection.retraining.overkill import find_overkill
from inspection.retraining.thin import find_thin


def refit(
    hub: Hub,
    request: JobRequest,
    who: str = POLICY,
    require_lease: Callable[[], None] = lambda: None,
) -> str:
    """Fit the champion's band on what was reviewed since the change that stands, and apply it.

    `review_above` keeps the card's promise in four of five draws of as many good parts, fitted on
    the reviewed ones; where they say too little of so small a share, it is the conformal threshold
    on the card's calibrate scores as they lie now: moved and stretched so that their quartiles are
    those of the reviewed ones. The line's band stays where it keeps its promise as far as these
    parts tell; a record then says that it was looked at.
    REJECT begins where the known defects cost least, or, without ten of them, where the export's
    margin says.

    Args:
        hub: whose reviews count.
        request: which line, product and bundle, and the last review row that counts.
        who: asks for it; a person is named in the record's words.
        require_lease: called before anything changes; raises where the job is not wanted any more.

    Returns:
        What was done, in words.

    Raises:
        ConfigError: no bundle judges, or the line has no station.
        CalibrationMissing: too few reviewed parts, or surely more known defects would pass; says
            how many and of which. Or the card's limits would be left, and no person asked.
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
        require_lease()
        accept_refit(hub, *bundle, who)  # made before a crash
        return f"record {previous.sha256[:12]} stands: {previous.why}"
    with hub.database.reading() as connection:
        card = read_card(connection, request.champion_id)
        since = changed_at(connection, *bundle, request.asked_at)
        scope = Scope(*bundle, since, request.reviews_until, request.asked_at)
        known = read_known(connection, scope, card.export.false_reject_rate)
        names = _stations(connection, *bundle, who)
        line, product, champion_id = bundle
        record = record_in_force(connection, line, champion_id, product)
        present = card.band if record is None else record.band
        rate = card.export.false_reject_rate
        doubtful = _is_doubtful(connection, bundle, card, scope)
    band, words = present, f"stays: {rate:.2%} may lie above it, as far as parts are known"
    if not doubtful and is_kept(known, present.review_above, rate):
        if record is not None and record.who != POLICY:
            require_lease()
            accept_refit(hub, *bundle, who)
            return f"band {_said(band)}, set by {record.who}, {words}"
    else:
        band = fit(known, card)
        if reason := why_not(known, band):
            raise CalibrationMissing(reason)
        words = _words(known, band, since, card)
    require_lease()
    new = NewThresholds(
        bundle_id=request.champion_id,
        band=band,
        stations=names,
        product=request.product,
        comment=words + ("" if who == POLICY else f"; {who} asked for it"),
        previous=None if previous is None else previous.sha256,
    )
    if exceeded := card.threshold_limits.exceeded_by(band):
        return _propose(hub, request.line, new, who, exceeded)
    row = apply_thresholds(hub, request.line, new, POLICY, asked_at=request.asked_at)
    accept_refit(hub, *bundle, who)
    return f"band {_said(band)}, record {row.sha256[:12]}: {new.comment}"


def _propose(hub: Hub, line: str, new: NewThresholds, who: str, exceeded: str) -> str:
    """Propose thresholds beyond the card's limits, if a person asked for them; another approves.

    Raises:
        CalibrationMissing: nobody asked.
    """
    if who == POLICY:
        raise CalibrationMissing(f"{exceeded}; ask for the re-fit, another person approves it")
    propose_thresholds(hub, line, new, who)
    return f"band {_said(new.band)} waits for a person to approve it: {exceeded}"


def _is_doubtful(
    connection: Connection, bundle: tuple[str, str, str], card: Card, scope: Scope
) -> bool:
    """Say whether thresholds surely break their promise, rest on little or on what is forgotten."""
    broken = find_overkill(connection, bundle, card, learnt=0)
    refits = (one.record for one in tainted_refits(connection, bundle[0]))
    tainted = any((one.product, one.bundle_id) == bundle[1:] for one in refits)
    thin = find_thin(connection, bundle, card, scope.until, scope.before)
    return tainted or thin is not None or any(not one.by_guard for one in broken)


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
    found = escapes_of(known, band)
    shape = ""
    if not tells(known, card.export.false_reject_rate):
        shape = f", on the shape of {len(card.calibrate_scores)} calibrate parts"
    return (
        f"fitted on {known.goods.size} good and {known.defects.size} defective reviewed parts"
        f"{when}{shape}; of the known defects {found.passing} pass, {found.lost} of which were held"
    )


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

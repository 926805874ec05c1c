"""Says what a band would lead to: predicted for a shift, and tried on the line's last parts."""

from datetime import datetime

from sqlalchemy import Connection, Executable, func, null, select, true

from inspection.core.decision import Verdict
from inspection.hub.deciding import (
    Tally,
    all_verdicts,
    decide_again,
    judged_by,
    read_past,
    stored_scores,
)
from inspection.hub.hub import Hub
from inspection.hub.rates import rate_of
from inspection.hub.scores import Reviewed, reviewed_scores
from inspection.hub.tables import events
from inspection.hub.thresholds import read_card
from inspection.hub.wire.review import Decision
from inspection.hub.wire.thresholds import Asked, Consequences, Costs, Expected
from inspection.metrics.consequences import (
    Economy,
    Outlook,
    Prediction,
    Seen,
    foresee,
    predict,
    promise,
)

SCANNED = 20_000  # parts looked through for those of the bundle
FEW = 100  # normals, below which the interval is wider than most decisions can bear


def foresee_consequences(hub: Hub, line: str, asked: Asked) -> Consequences:
    """Say what a band leads to; nothing changes.

    Raises:
        NotThere: the hub has no such bundle.
    """
    with hub.database.reading() as connection:
        normals = read_card(connection, asked.bundle_id).calibrate_scores
        reviewed = reviewed_scores(connection, line, asked.bundle_id)
        tally = preview(connection, line, asked)
        changes = tally.changes(connection)
    defects = [one for one in reviewed if one.decision is Decision.DEFECT]
    outlook = foresee(normals, [one.score for one in defects], asked.band, _economy(asked.costs))
    return Consequences(
        band=asked.band,
        false_rejects=_count(outlook.false_rejects),
        review_load=_count(outlook.review_load),
        capacity=hub.config.review.per_shift,
        escapes=rate_of(outlook.escaped.hits, outlook.escaped.known),
        escapes_per_shift=_count(outlook.escapes),
        cost_per_1000=outlook.cost_per_1000,
        certificate=certify_in_words(normals, asked),
        previewed=tally.parts,
        now=all_verdicts(tally.now),
        then=all_verdicts(tally.then),
        changes=changes,
        notes=(
            *_notes_on_goods(len(normals), asked),
            *_notes_on_defects(defects, hub.config.review.pass_share),
            *_notes_on_preview(tally, outlook, asked),
        ),
    )


def preview(connection: Connection, line: str, asked: Asked) -> Tally:
    """Decide the line's last parts again that the bundle judged, with any of their cameras."""
    tally = _tried(connection, _last_parts(line), asked)
    if tally.parts:
        return tally
    newest = connection.execute(
        select(func.max(events.c.captured_at)).where(
            events.c.line == line, events.c.bundle_id == asked.bundle_id
        )
    ).scalar_one()
    if newest is None:
        return tally
    # judged by others since: go back to where this bundle did
    return _tried(connection, _last_parts(line, newest), asked)


def _last_parts(line: str, until: datetime | None = None) -> Executable:
    return (
        select(events.c.id, events.c.event_id, events.c.record, null())
        .where(events.c.line == line, true() if until is None else events.c.captured_at <= until)
        .order_by(events.c.captured_at.desc())
        .limit(SCANNED)
    )


def _tried(connection: Connection, wanted: Executable, asked: Asked) -> Tally:
    tally = Tally()
    for past in read_past(connection, wanted):
        if frames := judged_by(past.part, asked.bundle_id):
            scores = stored_scores(frames)
            tally.take(past, decide_again(past.part, asked.band, scores, asked.bundle_id))
            if tally.parts == asked.last:
                break
    return tally


def certify_in_words(normals: tuple[float, ...], asked: Asked) -> str:
    """Say what the calibrate parts promise at a band."""
    if not normals:
        return "No calibrate parts: nothing is promised."
    said = []
    for name, threshold in (
        ("reject_above", asked.band.reject_above),
        ("review_above", asked.band.review_above),
    ):
        rank, mean, bound = promise(normals, threshold)
        said.append(
            f"{rank:,} of {len(normals):,} calibrate parts lie at or below {name}: of future good "
            f"parts {mean:.2%} or less are expected above it, with 95 % confidence no more than "
            f"{bound:.2%}."
        )
    return " ".join(said)


def _notes_on_goods(normals: int, asked: Asked) -> list[str]:
    notes = [
        "False rejects rest on the calibrate parts alone. Reviewed good parts were looked at "
        "because they lay near the band, so they are no fair sample.",
        "The intervals hold while good parts score as the calibrate parts did, and for one camera: "
        "a part that several see is rejected by any of them.",
    ]
    if normals < FEW:
        costs = asked.costs
        most = predict(costs.parts_per_shift, [(1 - costs.prevalence, Seen(0, normals))]).high
        notes.append(
            f"Only {normals} calibrate parts: even a band above all of them may reject up to "
            f"{most:,.0f} good parts per shift."
        )
    return notes


def _notes_on_defects(defects: list[Reviewed], pass_share: float) -> list[str]:
    if not defects:
        return [
            "No reviewed defect yet: escapes are unknown, and the cost takes one half of the "
            "defects to pass."
        ]
    passed = sum(one.verdict is Verdict.PASS for one in defects)
    weight = f", each of which stands for about {1 / pass_share:,.0f}" if pass_share else ""
    return [
        f"Escapes rest on the last {len(defects):,} defects that somebody saw; {passed:,} of them "
        f"were among PASS parts drawn for review{weight}. What passed and was not drawn "
        "is not counted, so the true share is larger."
    ]


def _notes_on_preview(tally: Tally, outlook: Outlook, asked: Asked) -> list[str]:
    if not tally.parts:
        return ["This bundle has judged no part of the line yet: nothing to preview."]
    notes = [
        "The preview decides stored scores again; guards and accept rules are not asked anew.",
    ]
    rejected = Seen(tally.then[Verdict.REJECT], tally.parts)
    explained = outlook.false_rejects.high / asked.costs.parts_per_shift + asked.costs.prevalence
    if rejected.above() > explained:
        notes.append(
            f"Of the last {tally.parts:,} parts {rejected.hits:,} would be rejected, more than "
            "false rejects and the given share of defects explain: scores have drifted, or more "
            "parts are defective."
        )
    return notes


def _economy(costs: Costs) -> Economy:
    return Economy(
        parts=costs.parts_per_shift,
        prevalence=costs.prevalence,
        escape=costs.escape,
        overkill=costs.overkill,
        review=costs.review,
    )


def _count(prediction: Prediction) -> Expected:
    return Expected(expected=prediction.expected, low=prediction.low, high=prediction.high)

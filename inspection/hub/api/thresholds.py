"""Routes of thresholds: scores, consequences, records, replay."""

from fastapi import APIRouter

from inspection.hub import proposals, thresholds
from inspection.hub.api.access import Engineer, TheHub, Viewer
from inspection.hub.preview import foresee_consequences
from inspection.hub.replay import replay
from inspection.hub.scores import known_scores
from inspection.hub.wire.message import BundleId, Name, RowNumber
from inspection.hub.wire.thresholds import (
    Asked,
    Consequences,
    NewThresholds,
    Proposal,
    Replay,
    Replayed,
    Revert,
    Scores,
    ThresholdRow,
)

router = APIRouter(tags=["thresholds"])


@router.get("/lines/{line}/scores")
def scores(hub: TheHub, _person: Viewer, line: Name, bundle_id: BundleId) -> Scores:
    """Give what is known of a bundle's scores."""
    return known_scores(hub, line, bundle_id)


@router.post("/lines/{line}/consequences")
def consequences(hub: TheHub, _person: Viewer, line: Name, asked: Asked) -> Consequences:
    """Say what a band would lead to; nothing changes."""
    return foresee_consequences(hub, line, asked)


@router.get("/lines/{line}/thresholds")
def history(hub: TheHub, _person: Viewer, line: Name) -> tuple[ThresholdRow, ...]:
    """Give the history of a line's thresholds, the newest first."""
    return thresholds.list_thresholds(hub, line)


@router.post("/lines/{line}/thresholds")
def apply(hub: TheHub, person: Engineer, line: Name, new: NewThresholds) -> ThresholdRow:
    """Apply a band to stations."""
    return thresholds.apply_thresholds(hub, line, new, person.account)


@router.get("/lines/{line}/thresholds/proposals")
def list_proposed(hub: TheHub, _person: Viewer, line: Name) -> tuple[Proposal, ...]:
    """Give the thresholds that wait for a second person, the newest first."""
    return proposals.list_proposals(hub, line)


@router.post("/lines/{line}/thresholds/proposals")
def propose(hub: TheHub, person: Engineer, line: Name, new: NewThresholds) -> Proposal:
    """Propose a band beyond the limits of its bundle's card."""
    return proposals.propose_thresholds(hub, line, new, person.account)


@router.post("/lines/{line}/thresholds/proposals/{number}/approve")
def approve(hub: TheHub, person: Engineer, line: Name, number: RowNumber) -> ThresholdRow:
    """Apply a proposed band; who proposed it cannot."""
    return proposals.approve_thresholds(hub, line, number, person.account)


@router.post("/lines/{line}/thresholds/proposals/{number}/decline", status_code=204)
def decline(hub: TheHub, person: Engineer, line: Name, number: RowNumber) -> None:
    """Take a proposed band off the list."""
    proposals.decline_thresholds(hub, line, number, person.account)


@router.post("/lines/{line}/thresholds/revert")
def revert(hub: TheHub, person: Engineer, line: Name, record: Revert) -> ThresholdRow:
    """Bring back the band before a record, as a new record."""
    return thresholds.revert_thresholds(hub, line, record, person.account)


@router.post("/replay")
def decide_past_again(hub: TheHub, _person: Viewer, wanted: Replay) -> Replayed:
    """Decide a past time again; nothing changes."""
    return replay(hub, wanted)

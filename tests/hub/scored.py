"""A bundle on the hub by its card only, for tests of what is decided by stored scores."""

from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

from sqlalchemy import insert

from inspection.bench.redness import gate_of, make_bundle
from inspection.bundles.bundle import read_released
from inspection.core.decision import Band
from inspection.core.records import Card
from inspection.hub.hub import Hub
from inspection.hub.reviews import decide
from inspection.hub.tables import bundles
from inspection.hub.wire.people import Me, Role
from inspection.hub.wire.review import Decision, NewReview

BUNDLE = "b" * 64  # as tests.hub.parts names it
CARD_BAND = Band(review_above=1.0, reject_above=2.0)


@cache
def _made() -> Card:
    with TemporaryDirectory() as work:
        return read_released(make_bundle(Path(work) / "bundle")).card


def add_card(hub: Hub, scores: tuple[float, ...] = (), bundle_id: str = BUNDLE) -> Card:
    """Put a bundle's row on the hub; its calibrate parts have these scores."""
    card = _made().model_copy(update={"calibrate_scores": scores, "band": CARD_BAND})
    row = {
        "bundle_id": bundle_id,
        "name": card.name,
        "created_at": hub.now(),
        "received_at": hub.now(),
        "card": card.model_dump_json(),
        "gate": gate_of(bundle_id).model_dump_json(),
    }
    with hub.database.writing() as connection:
        connection.execute(insert(bundles).values(row))
    return card


def review(hub: Hub, number: int, decision: Decision) -> None:
    """Have somebody decide on a part of tests.hub.parts."""
    new = NewReview(decision=decision, revision=0)
    decide(hub, f"part-{number}", new, Me(account="ann", role=Role.REVIEWER))

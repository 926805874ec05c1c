"""A product with a small set, reviews of it on a hub, and the request of a job that learns both."""

from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory

from sqlalchemy import func, select

from inspection.bench.redness import make_bundle
from inspection.bundles.bundle import CARD
from inspection.bundles.seal import SUMS, read_gate
from inspection.core.records import hash_file, read_manifest
from inspection.core.settings import ExportConfig, GateLimits
from inspection.hub.database import insert_new
from inspection.hub.hub import Hub
from inspection.hub.job_request import JobRequest
from inspection.hub.reviews import decide
from inspection.hub.tables import bundles, corrections, reviews
from inspection.hub.wire.people import Me, Role
from inspection.hub.wire.retraining import JobKind
from inspection.hub.wire.review import Decision, NewReview
from tests.hub.parts import BEGIN, add_picture, part, store
from tests.training.tiny import tiny_config, write_manifest

ANN = Me(account="ann", role=Role.REVIEWER)
KNOWN = "b" * 64  # the bundle that judged the parts
ASKED_AT = datetime(2026, 5, 1, 2, tzinfo=UTC)
# random weights judge badly: here it matters that the same comes out, not what
EXPORT = ExportConfig(
    calibration_images=8,
    search_dimensions=0,
    false_reject_rate=0.2,
    golden_frames=1,
    gate=GateLimits(auroc_least=0.0, map_correlation=0.5, score_correlation=0.0, auroc_drop=1.0),
)


@lru_cache
def _papers() -> tuple[str, str]:
    """Give the card and the gate's record of a bundle."""
    with TemporaryDirectory() as place:
        folder = make_bundle(Path(place, "bundle"), name="plate")
        gate = read_gate(folder, hash_file(folder / SUMS))
        assert gate is not None
        return (folder / CARD).read_text(), gate.model_dump_json()


def know_bundle(hub: Hub, bundle_id: str = KNOWN, name: str = "plate") -> None:
    """Let the hub know the bundle that judged the parts, without its files."""
    card, gate = _papers()
    row = {"bundle_id": bundle_id, "name": name, "card": card, "gate": gate}
    with hub.database.writing() as connection:
        at = {"created_at": BEGIN, "received_at": BEGIN}
        insert_new(connection, bundles, [row | at], "bundle_id")


def say(hub: Hub, number: int, decision: Decision, defect: str | None = None) -> None:
    """Decide on a part for the first time."""
    new = NewReview(decision=decision, defect=defect, revision=0)
    decide(hub, f"part-{number}", new, ANN)


def review(hub: Hub, *goods: int, defects: tuple[int, ...] = ()) -> None:
    """Store parts with their pictures, and decide on them."""
    know_bundle(hub)
    store(hub, *(part(number, 1.5) for number in (*goods, *defects)))
    for number in (*goods, *defects):
        add_picture(hub, number)
        bad = number in defects
        say(hub, number, Decision.DEFECT if bad else Decision.GOOD, "dent" if bad else None)


def first_set(folder: Path) -> Path:
    """Write a set of 6 fit, 6 calibrate, 4 good and 4 defective test parts; give its manifest."""
    return write_manifest(folder, fit=6, calibrate=6, test_good=4, per_defect=2)


def request_for(hub: Hub, manifest: Path, **changes) -> JobRequest:
    """Ask for a retraining on this set and all reviews there are."""
    with hub.database.reading() as connection:
        until = connection.execute(select(func.max(reviews.c.id))).scalar()
        drawn = connection.execute(select(func.max(corrections.c.id))).scalar()
    values = {
        "line": "line-1",
        "product": "plate",
        "name": "plate",
        "kind": JobKind.RETRAIN,
        "champion_id": None,
        "manifest": manifest,
        "manifest_sha256": read_manifest(manifest).sha256,
        "reviews_until": until or 0,
        "corrections_until": drawn or 0,
        "forgotten": (),
        "train": tiny_config(bank_size=32),
        "export": EXPORT,
        "asked_at": ASKED_AT,
    }
    return JobRequest.model_validate(values | changes)

"""A bundle that promises nothing is taken in, asked about and judges; it rejects nothing."""

from pathlib import Path

import numpy as np

from inspection.bench.redness import HEIGHT_PX, WIDTH_PX, gate_of, make_bundle
from inspection.bundles.bundle import CARD, open_bundle, read_card
from inspection.bundles.seal import seal_bundle, verify_bundle, write_gate
from inspection.core.decision import Band, Verdict
from inspection.core.records import write_record
from inspection.hub.models import add_bundle, choose, list_bundles
from inspection.hub.preview import foresee_consequences
from inspection.hub.scores import known_scores
from inspection.hub.wire.models import NewChoice
from inspection.hub.wire.thresholds import Asked, Scores
from inspection.retraining.compare import GUARDS, WHOLE
from inspection.station.look import look_at
from inspection.station.recipes.bundle_judge import BundleJudge

GUESS = Band(review_above=0.5, reject_above=1.0)


def day0_bundle(folder: Path) -> Path:
    """Judge by redness, 0 to 1, as a bundle of the first days does."""
    make_bundle(folder, gated=False)
    card = read_card(folder).model_copy(update={"certificate": None, "band": GUESS})
    write_record(folder / CARD, card)
    seal_bundle(folder)
    write_gate(folder, gate_of(verify_bundle(folder)))
    return folder


def test_a_hub_takes_it_and_says_that_nothing_is_promised(sqlite_hub, tmp_path):
    """Its scores are shown without a certificate; what a band leads to is still foretold."""
    added = add_bundle(sqlite_hub, day0_bundle(tmp_path / "day0"), "ann")
    choose(sqlite_hub, "line-1", NewChoice(bundle_id=added.bundle_id, comment="first week"), "ann")
    (row,) = list_bundles(sqlite_hub)
    assert row.card.certificate is None
    found = known_scores(sqlite_hub, "line-1", added.bundle_id)
    assert (found.certificate, found.in_force) == (None, GUESS)
    assert Scores.model_validate_json(found.model_dump_json()) == found  # as the wire carries it
    foretold = foresee_consequences(
        sqlite_hub, "line-1", Asked(bundle_id=added.bundle_id, band=GUESS)
    )
    assert foretold.band == GUESS


def test_a_station_holds_the_reddest_part_for_review(tmp_path):
    """No score lies above 1, so nothing is rejected."""
    bundle = open_bundle(day0_bundle(tmp_path / "day0"))
    red = np.zeros((HEIGHT_PX, WIDTH_PX, 3), np.uint8)
    red[:, :, 0] = 255
    judge = BundleJudge(bundle, WHOLE, bundle.card.band)
    look = look_at(red, judge, GUARDS, measured=False)
    assert look.judgement.score == 1.0
    assert look.judgement.verdict is Verdict.REVIEW

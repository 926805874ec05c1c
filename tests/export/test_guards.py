"""Export learns the guards' limits from the calibrate normals; the card keeps and shows them."""

import json
from pathlib import Path

import numpy as np

from inspection.bundles.bundle import CARD, open_bundle, read_card
from inspection.cli.tables import card_text
from inspection.core.geometry import prepare
from inspection.core.guards import Guard, complaints, learn, measure
from inspection.core.parts import load_part
from inspection.core.records import Card, Split, parse_record, read_manifest


def test_card_holds_limits_learnt_from_the_calibrate_normals(bundle: Path, manifest: Path):
    """The very limits that its normals give, by their own sizes and the card's geometry."""
    card, data = read_card(bundle), read_manifest(manifest)
    parts = [load_part(data, entry) for entry in data.of(Split.CALIBRATE)]
    measures = [measure(prepare(part, card.geometry)) for part in parts]
    assert card.guards == learn(measures, [part.shape[:2] for part in parts])
    assert (card.guards.normals, card.guards.height_px.most) == (9, 72)


def test_test_parts_are_left_alone_and_an_empty_frame_is_not(bundle: Path, manifest: Path):
    """Good parts and defects of the test split can be judged; a flat frame of their size cannot."""
    card, data = read_card(bundle), read_manifest(manifest)
    for entry in data.of(Split.TEST):
        part = load_part(data, entry)
        assert complaints(prepare(part, card.geometry), part.shape[:2], card.guards) == {}
    empty = np.full((72, 96, 3), 120, np.uint8)
    found = complaints(prepare(empty, card.geometry), (72, 96), card.guards)
    assert set(found) == {Guard.FOCUS, Guard.MISSING}


def test_bundle_show_says_the_limits_in_one_line(bundle: Path):
    """Or that there are none, and what to do."""
    card = read_card(bundle)
    assert f"guards         {card.guards}\n" in card_text(card)
    old = card_text(card.model_copy(update={"guards": None}))
    assert "guards         none: made before there were any; export again\n" in old


def test_bundles_without_guards_still_open(bundle: Path):
    """A card of before reads as it was, with none."""
    values = json.loads((bundle / CARD).read_text(encoding="utf-8"))
    del values["guards"]
    card = parse_record(json.dumps(values), Card, CARD)
    assert card.guards is None
    opened = open_bundle(bundle, allow_refused=True)
    assert card == opened.card.model_copy(update={"guards": None})

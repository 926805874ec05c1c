"""Forgotten pictures: who says so, what had come from them, what is offered no more."""

import numpy as np
import pytest

from inspection.bench.redness import gate_of, make_bundle
from inspection.bundles.saving import save_arrays
from inspection.bundles.seal import seal_bundle, verify_bundle, write_gate
from inspection.core.errors import HubError
from inspection.core.records import Label, Manifest, ManifestEntry, Split, write_record
from inspection.hub import forgetting
from inspection.hub.asking import Refused
from inspection.hub.challengers import challenge, list_challengers
from inspection.hub.forgetting import (
    forget,
    learnt_forgotten,
    list_forgotten,
    tainted,
    withdraw_forgotten,
)
from inspection.hub.hub import Hub
from inspection.hub.models import add_bundle, choose
from inspection.hub.overview import overview
from inspection.hub.wire.models import NewChoice
from inspection.hub.wire.people import Role
from inspection.hub.wire.retraining import ChallengerState, Comparison, NewForgotten

HAND, CLEAN, TESTED = "1" * 64, "2" * 64, "3" * 64


def entry(sha256: str, split: Split) -> ManifestEntry:
    return ManifestEntry(
        path=f"{sha256[0]}.png",
        sha256=sha256,
        height_px=32,
        width_px=64,
        mode="RGB",
        label=Label.GOOD,
        group=sha256[0],
        split=split,
    )


def taught(hub: Hub, folder, *sha256s: str, bank: tuple[int, ...] = (), day: int = 0) -> str:
    """Add a bundle fitted on pictures, whose bank has a vector of each tile named."""
    make_bundle(folder, gated=False, day=day)
    entries = [entry(one, Split.FIT) for one in sha256s] + [entry(TESTED, Split.TEST)]
    write_record(folder / "manifest.json", Manifest(root=".", layout="plain", entries=entries))
    if bank:
        save_arrays({"tile": np.array(bank), "cell": np.array(bank)}, folder / "bank.npz")
    seal_bundle(folder)
    write_gate(folder, gate_of(verify_bundle(folder)))
    return add_bundle(hub, folder, "test").bundle_id


def test_what_came_from_a_forgotten_picture_is_named(hub, tmp_path):
    """Bundles that were fitted, calibrated or tested on it, and the vectors of their banks."""
    one = taught(hub, tmp_path / "one", CLEAN, HAND, bank=(0, 1, 1, 1, 0))
    other = taught(hub, tmp_path / "other", HAND, CLEAN, bank=(0, 1, 0), day=1)
    taught(hub, tmp_path / "third", CLEAN, day=2)
    found = forget(hub, NewForgotten(sha256=HAND, comment="a hand in the picture"), "eva")
    assert (found.who, found.why) == ("eva", "a hand in the picture")
    assert (set(found.bundles), found.vectors) == ({one, other}, 3 + 2)
    assert tainted(hub, (one, other)) == {one: 1, other: 1}
    tested = forget(hub, NewForgotten(sha256=TESTED, comment="blurred"), "eva")
    assert (len(tested.bundles), tested.vectors) == (3, 0)
    assert [one.sha256 for one in list_forgotten(hub)] == [TESTED, HAND]


def test_forgetting_again_changes_nothing(sqlite_hub):
    first = forget(sqlite_hub, NewForgotten(sha256=HAND, comment="a hand"), "eva")
    again = forget(sqlite_hub, NewForgotten(sha256=HAND, comment="another reason"), "tom")
    assert first == again


def test_pictures_of_a_set_that_are_forgotten_are_counted(sqlite_hub):
    entries = [entry(one, Split.FIT) for one in (HAND, CLEAN)]
    manifest = Manifest(root=".", layout="plain", entries=entries)
    assert learnt_forgotten(sqlite_hub, manifest) == 0
    forget(sqlite_hub, NewForgotten(sha256=HAND, comment="a hand"), "eva")
    assert learnt_forgotten(sqlite_hub, manifest) == 1
    assert tainted(sqlite_hub, ()) == {}


def test_a_challenger_that_learnt_from_it_is_withdrawn_and_a_champion_is_to_be_trained(
    sqlite_hub, tmp_path
):
    champion = taught(sqlite_hub, tmp_path / "one", HAND)
    bundle_id = taught(sqlite_hub, tmp_path / "other", HAND, CLEAN, day=1)
    clean = taught(sqlite_hub, tmp_path / "third", CLEAN, day=2)
    choose(sqlite_hub, "line-1", NewChoice(bundle_id=champion, comment="first"), "ann")
    alike = Comparison(better=False, not_worse=True, frozen=None, recent=None, words="As good.")
    for line, one in (("line-1", bundle_id), ("line-2", clean)):
        challenge(sqlite_hub, line, "redness", one, champion, alike, ChallengerState.HELD)
    forget(sqlite_hub, NewForgotten(sha256=HAND, comment="a hand"), "eva")
    states = {one.bundle_id: one.state for one in list_challengers(sqlite_hub)}
    assert states == {bundle_id: ChallengerState.WITHDRAWN, clean: ChallengerState.HELD}
    (need,) = (one for one in overview(sqlite_hub, 8).needs if one.page == "retraining")
    assert (need.line, need.what.split(";")[1]) == ("line-1", " train it again")


def challenged(hub: Hub, folder, bundle_id: str) -> None:
    champion = taught(hub, folder, CLEAN, day=9)
    alike = Comparison(better=False, not_worse=True, frozen=None, recent=None, words="As good.")
    challenge(hub, "line-1", "redness", bundle_id, champion, alike, ChallengerState.SHADOW)


def test_a_picture_is_forgotten_with_what_came_of_it_or_not_at_all(hub, tmp_path, monkeypatch):
    """Whatever ends the hub in between, no challenger goes on by what was forgotten."""
    challenged(hub, tmp_path / "champion", taught(hub, tmp_path / "one", HAND))
    wish = NewForgotten(sha256=HAND, comment="a hand")

    def broken(*_args: object) -> None:
        raise HubError("the disk is gone")

    with monkeypatch.context() as fault:
        fault.setattr(forgetting, "withdraw_all", broken)
        with pytest.raises(HubError, match="the disk is gone"):
            forget(hub, wish, "eva")
    assert list_forgotten(hub) == ()
    assert [one.state for one in list_challengers(hub)] == [ChallengerState.SHADOW]
    forget(hub, wish, "eva")
    assert [one.state for one in list_challengers(hub)] == [ChallengerState.WITHDRAWN]


def test_a_challenger_that_comes_after_is_found_at_the_next_look(sqlite_hub, tmp_path):
    """Its job asked whether it may go on just before the picture was forgotten."""
    hub = sqlite_hub
    bundle_id = taught(hub, tmp_path / "one", HAND)
    assert withdraw_forgotten(hub) == 0
    forget(hub, NewForgotten(sha256=HAND, comment="a hand"), "eva")
    challenged(hub, tmp_path / "champion", bundle_id)
    assert (withdraw_forgotten(hub), withdraw_forgotten(hub)) == (1, 0)
    (found,) = list_challengers(hub)
    assert found.words == "It learnt from a picture that was forgotten."


def test_an_engineer_forgets_over_the_wire_and_it_is_audited(sqlite_plant):
    engineer = sqlite_plant.person(Role.ENGINEER)
    engineer.forget(NewForgotten(sha256=HAND, comment="a hand"))
    (listed,) = engineer.forgotten()
    assert (listed.sha256, listed.bundles, listed.vectors) == (HAND, (), 0)
    entries = sqlite_plant.person(Role.ADMIN).audit().items
    assert [one.subject for one in entries if one.action == "picture forget"] == [HAND]


def test_a_reviewer_forgets_nothing(sqlite_plant):
    with pytest.raises(Refused) as refusal:
        sqlite_plant.person(Role.REVIEWER).forget(NewForgotten(sha256=HAND, comment="a hand"))
    assert refusal.value.status == 403

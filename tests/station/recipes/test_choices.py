"""A choice at the hub brings an older bundle back, and keeps it until a newer one is made."""

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from inspection.bundles import graph
from inspection.bundles.seal import verify_bundle
from inspection.bundles.signing import KEYS_VARIABLE
from inspection.core.decision import Verdict
from inspection.station.recipes.standing import STANDINGS
from tests.station.bundles import make_bundle
from tests.station.recipes.hub import Hub, running_hub
from tests.station.recipes.test_recipes import score, seen
from tests.station.recipes.test_updates import Bench


@pytest.fixture(autouse=True)
def _own_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv(KEYS_VARIABLE, str(tmp_path / "keys"))


def at(day: float) -> datetime:
    """Give a moment so many days after the configured bundle was made."""
    return datetime(2025, 3, 1, tzinfo=UTC) + timedelta(days=day)


@contextmanager
def bench(folder: Path, hub: Hub, trial_parts: int = 1) -> Iterator[Bench]:
    """Open a station that looks at a hub and a stick; gain 1 is configured, made on day 0."""
    places = [hub.address, str(folder / "stick")]
    trial = {"trial_parts": trial_parts, "trial_faults": 1}
    opened = Bench(folder, updates={"bundles": places, "poll_ms": 50, **trial})
    try:
        yield opened
    finally:
        for source in opened.updates._sources:
            source.close()


@pytest.fixture
def hub() -> Iterator[Hub]:
    """Run a hub."""
    with running_hub() as running:
        yield running


@pytest.fixture
def older(tmp_path: Path) -> Path:
    """A bundle of gain 2 that was made a day before the configured one."""
    return make_bundle(tmp_path / "older", gain=2, day=-1)


@pytest.fixture
def newer(tmp_path: Path) -> Path:
    """A bundle of gain 3 that was made a day after the configured one."""
    return make_bundle(tmp_path / "newer", gain=3, day=1)


def passes_its_trial(station: Bench) -> None:
    """Judge the one part a trial takes."""
    station.recipes.judged(seen(station.recipes))


def test_older_bundle_a_person_chose_comes_back_on_trial(
    tmp_path: Path, hub: Hub, older: Path, newer: Path
):
    """What judged before is not fetched again, and is on trial as any other."""
    with bench(tmp_path, hub) as station:
        for bundle, when, wanted in [(older, 1, 0.4), (newer, 2, 0.6)]:
            hub.choose(bundle, at(when))
            assert station.look() == wanted
            passes_its_trial(station)
        hub.asked.clear()
        older_id = hub.choose(older, at(3))
        assert station.look() == 0.4
        assert hub.asked == ["/v1/stations/station-1/bundles?challengers=true"]
        (status,) = station.recipes.statuses()
        assert (status.bundle_id, status.trial) == (older_id, True)


@pytest.mark.parametrize(("day", "wanted"), [(2.9, 0.4), (3.1, 0.6)], ids=["before", "after"])
def test_stick_overrides_a_choice_only_with_what_was_made_after_it(
    tmp_path: Path, hub: Hub, older: Path, day: float, wanted: float
):
    """A person rolled back for a reason the bundles made before did not know of."""
    hub.choose(older, at(3))
    with bench(tmp_path, hub) as station:
        assert station.look() == 0.4
        passes_its_trial(station)
        make_bundle(tmp_path / "stick", gain=3, day=day)
        assert (station.look(), station.look()) == (wanted, wanted)


def test_choice_survives_a_restart_without_the_hub(tmp_path: Path, hub: Hub, older: Path):
    """It is older than the configured bundle, and still what a person wanted."""
    hub.choose(older, at(3))
    with bench(tmp_path, hub) as station:
        assert station.look() == 0.4
    hub.status = 503
    make_bundle(tmp_path / "stick", gain=3, day=2)
    for _ in range(2):  # on trial, and after it
        with bench(tmp_path, hub) as station:
            assert station.look() == 0.4
            passes_its_trial(station)
            assert station.look() == 0.4


def test_configured_bundle_made_after_the_choice_judges(tmp_path: Path, hub: Hub, older: Path):
    """Whoever configures a newer bundle than the person could know of gets it."""
    hub.choose(older, at(3))
    with bench(tmp_path, hub) as station:
        assert station.look() == 0.4
    shutil.rmtree(tmp_path / "bundle")
    make_bundle(tmp_path / "bundle", gain=4, day=4)
    with bench(tmp_path, hub) as station:
        assert (score(station.recipes), station.look()) == (0.8, 0.8)


def test_chosen_bundle_that_judges_already_only_holds_its_place(tmp_path: Path, hub: Hub):
    """Nothing is fetched nor on trial, and after a restart without the hub it still holds."""
    with bench(tmp_path, hub) as station:
        hub.choose(tmp_path / "bundle", at(3))
        assert station.look() == 0.2
        assert station.note == "chosen by a person on 2025-03-04 00:00 UTC"
        assert (station.copies, station.recipes.statuses()[0].trial) == ([], False)
    hub.status = 503
    make_bundle(tmp_path / "stick", gain=3, day=2)
    with bench(tmp_path, hub) as station:
        assert station.look() == 0.2


def test_choice_of_the_bundle_before_ends_a_trial_at_once(tmp_path: Path, hub: Hub, newer: Path):
    """Who rolls back does not wait for 200 parts, and the one on trial may be chosen again."""
    with bench(tmp_path, hub, trial_parts=200) as station:
        newer_id = hub.choose(newer, at(2))
        assert station.look() == 0.6
        before = hub.choose(tmp_path / "bundle", at(3))
        shutil.copytree(newer, tmp_path / "stick")
        assert (station.look(), station.look()) == (0.2, 0.2)
        assert station.note == f"chosen by a person while {newer_id[:12]} was on trial"
        (status,) = station.recipes.statuses()
        assert (status.bundle_id, status.trial, station.copies) == (before, False, [newer_id])
        hub.choose(newer, at(4))
        assert station.look() == 0.6


def test_bundle_refused_here_stays_refused_whoever_chooses_it(
    tmp_path: Path, hub: Hub, newer: Path
):
    """The page says why a choice is not followed; another choice is."""
    with bench(tmp_path, hub) as station:
        newer_id = hub.choose(newer, at(2))
        assert station.look() == 0.6
        station.recipes.judged(seen(station.recipes, verdict=Verdict.FAULT))
        hub.choose(newer, at(3))
        station.recipes.note("redness", "")
        assert station.look() == 0.2
        assert station.note.startswith(f"{newer_id[:12]} refused: 1 of 1 parts on trial were FAULT")
        hub.choose(tmp_path / "bundle", at(4))
        assert station.look() == 0.2
        assert station.note.startswith("chosen by a person on")


def test_choice_before_a_failed_trial_holds_after_it(tmp_path: Path, hub: Hub, older: Path):
    """What a person rolled back from does not return because a later choice was no good."""
    make_bundle(tmp_path / "stick", gain=3, day=1)
    hub.choose(older, at(2))
    with bench(tmp_path, hub) as station:
        assert station.look() == 0.4
        passes_its_trial(station)
        hub.choose(make_bundle(tmp_path / "third", gain=4, day=-2), at(3))
        assert station.look() == 0.8
        station.recipes.judged(seen(station.recipes, verdict=Verdict.FAULT))
        assert (station.look(), station.look()) == (0.4, 0.4)
    with bench(tmp_path, hub) as station:
        assert station.look() == 0.4


def test_choice_that_cannot_be_opened_at_a_start_is_tried_again_without_the_hub(
    tmp_path: Path, hub: Hub, older: Path, monkeypatch: pytest.MonkeyPatch
):
    """Short memory at a start does not undo what a person chose."""
    hub.choose(older, at(3))
    with bench(tmp_path, hub) as station:
        assert station.look() == 0.4
    hub.status = 503
    compile_graph = graph.compile_graph

    def starve(*_: object) -> None:
        raise RuntimeError("[CPU] bad allocation")

    fails = iter([starve])
    with monkeypatch.context() as patch:
        patch.setattr(graph, "compile_graph", lambda *one: next(fails, compile_graph)(*one))
        again = bench(tmp_path, hub)
        station = again.__enter__()
    assert score(station.recipes) == 0.2
    assert station.look() == 0.4
    again.__exit__(None, None, None)


def test_standings_from_before_there_were_choices_are_read(tmp_path: Path, hub: Hub, newer: Path):
    """A station that is updated goes on with what was in force."""
    hub.choose(newer, at(2))
    with bench(tmp_path, hub) as station:
        assert station.look() == 0.6
        path = station.config.data_dir / STANDINGS
    left = json.loads(path.read_text())
    for key in ("chosen_at", "previous_chosen_at"):
        del left["bundles"]["redness"][key]
    path.write_text(json.dumps(left))
    with bench(tmp_path, hub) as station:
        assert score(station.recipes) == 0.6


def test_hub_cannot_make_a_bundle_newer_than_its_card_says(tmp_path: Path, hub: Hub, older: Path):
    """Only a choice lifts an older bundle, and the choice before a hub's word on its date."""
    hub.lend(older, created_at=at(9))
    with bench(tmp_path, hub) as station:
        assert station.look() == 0.2
        hub.listed = []
        hub.lend(tmp_path / "bundle", created_at=at(9))
        assert station.look() == 0.2
        assert station.recipes.in_force()["redness"].rank == at(0)
        assert verify_bundle(tmp_path / "bundle") == station.recipes.statuses()[0].bundle_id

"""A real station follows a hub's challenger: into the shadow, into a rollout, and back."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Event as Flag

import pytest

from inspection.bundles.signing import KEYS_VARIABLE
from inspection.core.guards import Guard
from inspection.hub.challengers import challenge, get_challenger
from inspection.hub.hub import Hub
from inspection.hub.models import add_bundle, choose
from inspection.hub.pictures import find_picture
from inspection.hub.queue import queue_of
from inspection.hub.refusals import NotThere
from inspection.hub.wire.models import NewChoice
from inspection.hub.wire.people import Role
from inspection.hub.wire.retraining import Challenger, ChallengerState
from inspection.hub.wire.review import Why
from inspection.retraining import rollout
from inspection.retraining.rolling import roll
from inspection.retraining.settings import RetrainingConfig
from inspection.station.clock import SYSTEM_CLOCK
from inspection.station.outputs.hub import HubOutput
from inspection.station.service import _tell_scored
from inspection.station.shadow import WAITING, Shadow
from tests.hub.challenge import COMPARISON
from tests.hub.conftest import Served, served
from tests.station.bundles import make_bundle
from tests.station.outputs.status import status
from tests.station.recipes.test_updates import Bench
from tests.station.rig import Rig, part

RULES = {"shadow_parts": 10, "shadow_h": 0.0, "stage_parts": 5, "disagreements": 1.0}
RULES |= {"latency_factor": 1000.0}  # a busy machine is no harm of the bundle's


@pytest.fixture(autouse=True)
def _own_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv(KEYS_VARIABLE, str(tmp_path / "keys"))


def soon(wanted: Callable[[], bool]) -> None:
    until = time.monotonic() + 10
    while not wanted() and time.monotonic() < until:
        time.sleep(0.01)
    assert wanted()


class Station:
    """A station of one recipe with all that follows a hub, its parts handed in by the test."""

    def __init__(self, plant: Served, folder: Path) -> None:
        (folder / "token").write_text(plant.station_token())
        place = {"url": plant.url, "token_file": folder / "token", "status_ms": 100}
        updates = {"bundles": [plant.url], "trial_parts": 3, "poll_ms": 50}
        guards = dict.fromkeys([*Guard, "frozen"], "off")
        hub = {"kind": "hub", **place}
        self.bench = Bench(folder, outputs=[hub], updates=updates, guards=guards)
        config = self.bench.config
        (settings,) = config.outputs
        self.output = HubOutput(
            settings, config.line, config.station, config.actions, lambda _event: []
        )
        self.output.connect()
        self.shadow = Shadow(config, lambda one: _tell_scored(recipes, [self.output], one))
        recipes = self.bench.recipes
        self.rig = Rig(config, recipes, beside=self.shadow.take)
        self.count = 0

    def follow(self) -> None:
        """Look at the hub, and tell it how the station stands."""
        self.bench.updates.look(Flag())
        self.output.beat(status(bundles=self.bench.recipes.statuses()))

    def judge(self, *reds: int) -> list[str]:
        """Judge parts, bring their events to the hub; gives the verdicts."""
        self.rig.signalled.clear()
        for first in range(0, len(reds), WAITING):
            at, lot = SYSTEM_CLOCK.now(), reds[first : first + WAITING]
            numbers = range(self.count + 1, self.count + len(lot) + 1)
            self.count += len(lot)
            named = zip(numbers, lot, strict=True)
            self.rig.run([part(str(number), red, captured_at=at) for number, red in named])
            while self.shadow._ended < self.shadow._taken:
                time.sleep(0.001)
        events = self.rig.signalled
        assert self.output.deliver(events) == len(events)
        return [str(event.verdict) for event in events]

    def close(self) -> None:
        """Let go of the hub."""
        self.shadow.close()
        self.output.close()
        for source in self.bench.updates._sources:
            source.close()


@pytest.fixture
def plant(sqlite_hub: Hub) -> Iterator[Served]:
    with served(sqlite_hub) as running:
        yield running


@pytest.fixture
def station(plant: Served, tmp_path: Path) -> Iterator[Station]:
    opened = Station(plant, tmp_path)
    yield opened
    opened.close()


def look(hub: Hub, allowed: str) -> None:
    policy = {"allowed": allowed, "rollout": RULES}
    product = {"line": "line-1", "product": "default", "bundle": "redness"}
    product |= {"manifest": "set.json", "train": "train.yaml"}
    config = RetrainingConfig.model_validate({"policy": policy, "products": [product]})
    roll(hub, config, hub.now())


def has_picture(hub: Hub, event_id: str, name: str) -> bool:
    try:
        return find_picture(hub, event_id, name).bytes > 0
    except NotThere:
        return False


@pytest.fixture
def champion(plant: Served, station: Station, tmp_path: Path) -> str:
    """Let a bundle judge by a person's word, and a rival score thrice as high in its shadow."""
    judging = add_bundle(plant.hub, tmp_path / "bundle", "test").bundle_id
    choose(plant.hub, "line-1", NewChoice(bundle_id=judging, comment="the first"), "ann")
    station.follow()
    rival = add_bundle(plant.hub, make_bundle(tmp_path / "rival", gain=3, day=1), "test").bundle_id
    challenge(plant.hub, "line-1", "redness", rival, judging, COMPARISON, ChallengerState.SHADOW)
    station.follow()
    soon(lambda: now(plant.hub).waiting == ("station-1",))
    return judging


def now(hub: Hub) -> Challenger:
    return get_challenger(hub, 1)


def test_a_station_scores_beside_and_sends_what_they_differ_on(
    plant: Served, station: Station, champion: str
):
    """40 % red is PASS for the champion, REJECT for the rival: its picture comes, no other PASS."""
    hub = plant.hub
    assert station.judge(*[20] * 9, 102) == ["PASS"] * 10
    soon(lambda: now(hub).shadow.parts == 10)
    assert (now(hub).shadow.disagreements, now(hub).shadow.faults) == (1, 0)
    event = station.rig.signalled[-1]
    assert {frame.bundle_id for frame in event.frames} == {champion}
    station.judge(20)  # with it comes what was said before its event was there
    soon(lambda: len(queue_of(hub, "line-1", "ann", 10)) == 1)
    (item,) = queue_of(hub, "line-1", "ann", 10)
    assert (item.event_id, item.why) == (event.event_id, Why.SHADOW)
    soon(lambda: has_picture(hub, event.event_id, event.frames[0].image))
    first = plant.person(Role.VIEWER).event("id-1")
    assert (first.event.frames[0].image, first.pictures) == ("0000000001-main.png", ())


def test_a_station_comes_into_a_rollout_and_goes_back(
    plant: Served, station: Station, champion: str, monkeypatch: pytest.MonkeyPatch
):
    """What it rejects on the line takes it back at the next look, without a person."""
    monkeypatch.setattr(rollout, "LEAST_CHAMPION", 10)
    monkeypatch.setattr(rollout, "LEAST_JUDGED", 20)
    hub = plant.hub
    station.judge(*[20] * 10)
    soon(lambda: now(hub).shadow.parts == 10)
    look(hub, "shadow")
    assert now(hub).state is ChallengerState.SHADOW  # as far as it may come by itself
    look(hub, "promote")
    assert (now(hub).state, now(hub).stations) == (ChallengerState.ROLLOUT, ("station-1",))
    station.follow()
    assert station.judge(20, 102, 20, 20) == ["PASS", "REJECT", "PASS", "PASS"]
    look(hub, "promote")
    assert "4 of 2,000 parts judged" in now(hub).words
    station.judge(*[102] * 20)
    look(hub, "nothing")
    assert now(hub).state is ChallengerState.WITHDRAWN
    assert "21 of 24 parts did not pass, the champion's 0 of 10" in now(hub).words
    station.follow()
    assert station.judge(102) == ["PASS"]
    (running,) = station.bench.recipes.statuses()
    assert (running.bundle_id, station.bench.recipes.challengers()) == (champion, {})

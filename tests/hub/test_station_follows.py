"""A station and the real hub understand each other: thresholds, choices, status."""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event as Flag

import pytest

from inspection.bundles.seal import verify_bundle
from inspection.bundles.signing import KEYS_VARIABLE
from inspection.core.decision import Band
from inspection.hub.models import add_bundle
from inspection.hub.wire.models import NewChoice
from inspection.hub.wire.people import Role
from inspection.hub.wire.thresholds import NewThresholds
from inspection.station.outputs.hub import HubOutput
from inspection.station.outputs.settings import ActionSettings, HubSettings
from inspection.station.recipes.thresholds import ThresholdUpdates
from tests.hub.conftest import Served
from tests.station.bundles import make_bundle
from tests.station.outputs.status import status
from tests.station.recipes.test_recipes import seen
from tests.station.recipes.test_updates import Bench


@pytest.fixture(autouse=True)
def _own_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv(KEYS_VARIABLE, str(tmp_path / "keys"))


def soon(wanted: Callable[[], bool]) -> None:
    """Wait until something is so, for at most the five seconds a person is promised."""
    until = time.monotonic() + 5
    while not wanted() and time.monotonic() < until:
        time.sleep(0.01)
    assert wanted()


def follow(plant: Served, folder: Path) -> Bench:
    """Open a station that takes bundles and thresholds of the hub, whose bundle the hub has."""
    (folder / "token").write_text(plant.station_token())
    hub = {"kind": "hub", "url": plant.url, "token_file": folder / "token"}
    updates = {"bundles": [plant.url], "thresholds": plant.url, "poll_ms": 1000, "trial_parts": 1}
    station = Bench(folder, outputs=[hub], updates=updates)
    add_bundle(plant.hub, folder / "bundle", "test")
    return station


def test_band_applied_at_the_hub_is_in_force_at_the_station(sqlite_plant: Served, tmp_path: Path):
    """It is there while a request of the station stands at the hub, without a poll in between."""
    station, stop = follow(sqlite_plant, tmp_path), Flag()
    bundle_id = verify_bundle(tmp_path / "bundle")
    updates = ThresholdUpdates(station.config, station.recipes)
    with ThreadPoolExecutor(1) as pool:
        ended = pool.submit(updates.run, stop)
        time.sleep(1.2)  # the first request that waits stands
        band = Band(review_above=0.1, reject_above=0.3)
        new = NewThresholds(bundle_id=bundle_id, band=band, stations=("station-1",), comment="x")
        sqlite_plant.person(Role.ENGINEER).set_thresholds("line-1", new)
        try:
            soon(lambda: station.recipes.of("default")["main"].band == band)
        finally:
            stop.set()
            ended.result(timeout=5)
    for source in station.updates._sources:
        source.close()


def test_bundle_is_promoted_and_rolled_back_at_the_hub(sqlite_plant: Served, tmp_path: Path):
    """The older one judges again, as the person chose."""
    station, engineer = follow(sqlite_plant, tmp_path), sqlite_plant.person(Role.ENGINEER)
    newer = add_bundle(sqlite_plant.hub, make_bundle(tmp_path / "newer", gain=2, day=1), "test")
    for bundle_id, wanted in [
        (newer.bundle_id, 0.4),
        (verify_bundle(tmp_path / "bundle"), 0.2),
        (newer.bundle_id, 0.4),
    ]:
        engineer.choose("line-1", NewChoice(bundle_id=bundle_id, comment="try it"))
        assert (station.look(), station.look()) == (wanted, wanted), station.note
        station.recipes.judged(seen(station.recipes))
    for source in station.updates._sources:
        source.close()


def test_status_of_a_station_is_seen_at_the_hub(sqlite_plant: Served, tmp_path: Path):
    """It comes by the token of the station, beside the events."""
    (tmp_path / "token").write_text(sqlite_plant.station_token())
    values = {"kind": "hub", "url": sqlite_plant.url, "token_file": tmp_path / "token"}
    output = HubOutput(
        HubSettings.model_validate(values), "line-1", "station-1", ActionSettings(), lambda _: []
    )
    output.beat(status(beat=7))
    viewer = sqlite_plant.person(Role.VIEWER)
    soon(lambda: viewer.stations()[0].status is not None)
    output.close()
    assert viewer.stations()[0].status == status(beat=7)

"""Thresholds of the hub come into force at once, and stay whatever the hub does."""

import json
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from threading import Event as Flag

import pytest

from inspection.bundles.seal import verify_bundle
from inspection.bundles.signing import KEYS_VARIABLE, own_keys
from inspection.bundles.thresholds import SignedRecord, ThresholdRecord, sign_thresholds
from inspection.core.decision import Band
from inspection.station.recipes import thresholds
from inspection.station.recipes.opening import open_recipes
from inspection.station.recipes.recipes import Recipes
from inspection.station.recipes.thresholds import ThresholdUpdates
from inspection.station.settings import StationConfig
from tests.station.bundles import make_bundle
from tests.station.recipes.hub import Hub, running_hub
from tests.station.recipes.test_recipes import configure

SOON_S = 10


@pytest.fixture(autouse=True)
def _own_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv(KEYS_VARIABLE, str(tmp_path / "keys"))


@pytest.fixture
def hub() -> Iterator[Hub]:
    """Run a hub."""
    with running_hub() as running:
        yield running


@pytest.fixture
def config(tmp_path: Path, hub: Hub) -> StationConfig:
    """A station that follows the hub's threshold records."""
    make_bundle(tmp_path / "bundle")
    return configure(tmp_path, thresholds=f"{hub.address}/", poll_ms=50)


def record(config: StationConfig, reject: float, minute: int = 0) -> SignedRecord:
    """Sign thresholds for the station's bundle."""
    return sign_thresholds(
        ThresholdRecord(
            bundle_id=verify_bundle(config.recipes["default"]["main"].bundle),
            band=Band(review_above=0.1, reject_above=reject),
            who="weber",
            when=datetime(2025, 3, 1, 6, minute, tzinfo=UTC),
            why="glare",
        )
    )


def reject(recipes: Recipes) -> float:
    """Give the threshold in force."""
    return recipes.of("default")["main"].band.reject_above


def note(recipes: Recipes) -> str:
    """Give what the station's page says."""
    return recipes.statuses()[0].note


@contextmanager
def started(config: StationConfig) -> Iterator[tuple[Recipes, ThresholdUpdates]]:
    """Open a station as its start does, and let go of the hub in the end."""
    recipes = open_recipes(config)
    updates = ThresholdUpdates(config, recipes)
    with closing(updates._source):
        yield recipes, updates


@contextmanager
def running(config: StationConfig) -> Iterator[Recipes]:
    """Run the thread of a station."""
    recipes, stop = open_recipes(config), Flag()
    updates = ThresholdUpdates(config, recipes)
    with ThreadPoolExecutor(1) as pool:
        ended = pool.submit(updates.run, stop)
        try:
            yield recipes
        finally:
            stop.set()
            ended.result(timeout=SOON_S)


def wait_for(wanted: Callable[[], bool]) -> None:
    """Wait until something is so."""
    until = time.monotonic() + SOON_S
    while not wanted() and time.monotonic() < until:
        time.sleep(0.005)
    assert wanted()


def test_record_is_in_force_while_the_hub_is_waited_at(config: StationConfig, hub: Hub):
    """A station hears of a record at once, in a request that stood there before."""
    with running(config) as recipes:
        for minute, wanted in enumerate((0.3, 0.6, 0.3)):
            wait_for(lambda: hub.standing)
            assert hub.asked[-1] == "/v1/stations/station-1/thresholds?wait_s=20"
            hub.apply(record(config, wanted, minute))
            wait_for(lambda wanted=wanted: reject(recipes) == wanted)
        assert (note(recipes), len(hub.asked) <= 6) == ("", True)


def test_records_are_in_force_before_the_first_part_and_kept(config: StationConfig, hub: Hub):
    """What the hub gave once judges after a restart without it, in `selftest` and `replay`, too."""
    hub.apply(record(config, 0.3))
    with started(config) as (recipes, _):
        assert (reject(recipes), hub.tokens) == (0.3, {None})
    asked = len(hub.asked)
    hub.status = 503
    assert (reject(open_recipes(config)), len(hub.asked)) == (0.3, asked)
    with started(config) as (recipes, updates):
        assert reject(recipes) == 0.3
        assert "thresholds: answered 503; wanted 200; the thresholds in force stay" in note(recipes)
        hub.status = 200
        updates.look()
        assert note(recipes) == ""


def test_records_that_did_not_change_are_not_sent_again(config: StationConfig, hub: Hub):
    """After 304 the station goes on with what it was given before, whatever became of that."""
    with started(config) as (recipes, updates):
        hub.apply(record(config, 0.3))
        config.data_dir.write_text("no folder")
        updates.look()
        assert (reject(recipes), "cannot be written" in note(recipes)) == (0.8, True)
        config.data_dir.unlink()
        updates.look()
        assert (reject(recipes), note(recipes)) == (0.3, "")


def test_token_is_that_of_the_output_to_the_same_hub(
    config: StationConfig, hub: Hub, tmp_path: Path
):
    """It stands in one place of the configuration, and is read for each request."""
    (tmp_path / "token").write_text("secret")
    outputs = [{"kind": "hub", "url": hub.address, "token_file": tmp_path / "token"}]
    config = config.model_validate(config.model_dump() | {"outputs": outputs})
    with started(config) as (_, updates):
        (tmp_path / "token").write_text("renewed")
        updates.look()
    assert hub.tokens == {"Bearer secret", "Bearer renewed"}


def test_record_of_a_stranger_is_refused_and_hides_no_other(
    config: StationConfig, hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """A hub that is taken over sets no thresholds: it cannot sign them."""
    own = own_keys()
    hub.apply(record(config, 0.3))
    changed = json.loads(json.dumps(hub.records[0]))
    changed["text"] = changed["text"].replace("0.3", "0.9")
    monkeypatch.setenv(KEYS_VARIABLE, str(tmp_path / "stranger"))
    hub.apply(record(config, 0.7, 2))
    hub.records.insert(0, changed)
    with started(config.model_copy(update={"trusted_keys": own})) as (recipes, _):
        assert reject(recipes) == 0.3
        assert "which is not among the trusted keys" in note(recipes)
        assert "(1 more in the log)" in note(recipes)


JUNK = {
    "revoked": ({"status": 401}, "answered 401; wanted 200; give the station a token the hub"),
    "broken": ({"status": 500}, "answered 500; wanted 200"),
    "no records": ({"records": [{"text": 3}]}, "answers no list of threshold records"),
    "without end": ({"records": [{"text": "x" * 1_000_000}] * 9}, "more than 8,000,000 bytes"),
    "no list": ({"records": {"error": "?"}}, "answers no list of threshold records"),
}


@pytest.mark.parametrize(("changes", "said"), JUNK.values(), ids=JUNK)
def test_hub_that_answers_junk_leaves_the_thresholds_in_force(
    config: StationConfig, hub: Hub, changes: dict[str, object], said: str
):
    """It is said, and a hub that comes to its senses is heard again."""
    hub.apply(record(config, 0.3))
    with running(config) as recipes:
        before = vars(hub) | {}
        vars(hub).update(changes)
        wait_for(lambda: said in note(recipes))
        assert reject(recipes) == 0.3
        vars(hub).update(status=200, records=before["records"])
        hub.apply(record(config, 0.6, 1))
        wait_for(lambda: (reject(recipes), note(recipes)) == (0.6, ""))


def test_of_junk_only_the_beginning_is_told(config: StationConfig, hub: Hub):
    """A million wrong records would else be a note of 300 MB on the page and in the log."""
    hub.records = [1] * 2_000_000
    with started(config) as (recipes, _):
        assert "answers no list of threshold records (0: " in note(recipes)
        assert len(note(recipes)) < 500


def test_hub_that_does_not_wait_is_asked_no_oftener_than_a_folder(
    config: StationConfig, hub: Hub, tmp_path: Path
):
    """An older hub, or one that answers everything at once, is left in peace for `poll_ms`."""
    hub.waits = False
    updates = config.updates.model_copy(update={"poll_ms": 200})
    with running(config.model_copy(update={"updates": updates})) as recipes:
        began_s = time.monotonic()
        hub.apply(record(config, 0.3))
        wait_for(lambda: reject(recipes) == 0.3)
        wait_for(lambda: len(hub.asked) > 4)
        assert len(hub.asked) <= 2 + (time.monotonic() - began_s) / 0.2


def test_station_ends_while_the_hub_waits(config: StationConfig, hub: Hub):
    """A request that may stand for 20 s holds nothing up, and its end is no trouble to speak of."""
    with running(config) as recipes:
        wait_for(lambda: hub.asked[-1].endswith("?wait_s=20"))
        began_s = time.monotonic()
    assert (time.monotonic() - began_s < 5, note(recipes)) == (True, "")


def test_hub_that_drips_holds_up_no_start(
    config: StationConfig, hub: Hub, monkeypatch: pytest.MonkeyPatch
):
    """A station opens its line with the thresholds it has."""
    monkeypatch.setattr(thresholds, "START_S", 0.1)
    hub.drips_after = b"HTTP/1.1 200 OK\r\nETag: "
    with started(config) as (recipes, _):
        assert reject(recipes) == 0.8
        assert "no whole answer within 0.1 s; look at the network" in note(recipes)

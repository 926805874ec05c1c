"""Signed thresholds come into force while the station runs, and stay in force."""

import shutil
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from threading import Event as Flag

import pytest

from inspection.bundles.bundle import read_card
from inspection.bundles.seal import verify_bundle
from inspection.bundles.signing import KEYS_VARIABLE, own_keys
from inspection.bundles.thresholds import ThresholdRecord, set_thresholds, sign_thresholds
from inspection.core.decision import Band
from inspection.core.errors import ConfigError
from inspection.station.recipes import records
from inspection.station.recipes.opening import open_recipes, open_tested
from inspection.station.recipes.recipes import Recipes
from inspection.station.recipes.thresholds import ThresholdUpdates
from inspection.station.settings import StationConfig
from tests.station.bundles import make_bundle
from tests.station.recipes.test_recipes import configure, copied, known, with_golden_parts

pytestmark = pytest.mark.fast


@pytest.fixture(autouse=True)
def _own_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv(KEYS_VARIABLE, str(tmp_path / "keys"))


@pytest.fixture
def config(tmp_path: Path) -> StationConfig:
    """A station that follows a folder of threshold records."""
    make_bundle(tmp_path / "bundle")
    (tmp_path / "records").mkdir()
    return configure(tmp_path, thresholds=tmp_path / "records", poll_ms=50)


def put(
    config: StationConfig, reject: float, minute: int = 0, bundle_id: str = "", review: float = 0.1
) -> Path:
    """Set thresholds as a person does."""
    record = ThresholdRecord(
        bundle_id=bundle_id or verify_bundle(config.recipes["default"]["main"].bundle),
        band=Band(review_above=review, reject_above=reject),
        who="weber",
        when=datetime(2025, 3, 1, 6, minute, tzinfo=UTC),
        why="glare",
    )
    card = read_card(config.recipes["default"]["main"].bundle)
    return set_thresholds(config.updates.thresholds, record, card)


def start(config: StationConfig) -> tuple[Recipes, ThresholdUpdates]:
    """Open a station as its start does."""
    recipes = open_recipes(config)
    return recipes, ThresholdUpdates(config, recipes)


def reject(recipes: Recipes) -> float:
    """Give the threshold in force."""
    return recipes.of("default")["main"].band.reject_above


def note(recipes: Recipes) -> str:
    """Give what the station's page says."""
    return recipes.statuses()[0].note


def test_record_is_in_force_from_the_next_part_on(config: StationConfig):
    """A record that appears changes the band, not the bundle; an older band can be restored."""
    recipes, updates = start(config)
    assert reject(recipes) == 0.8
    for minute, wanted in enumerate((0.3, 0.6, 0.3)):
        put(config, wanted, minute)
        before = recipes.of("default")["main"]
        updates.look()
        assert (reject(recipes), note(recipes)) == (wanted, "")
        assert recipes.of("default")["main"].bundle is before.bundle


def test_record_is_in_force_before_the_first_part(config: StationConfig):
    """A station that starts reads the records before it judges."""
    put(config, 0.3)
    recipes, _ = start(config)
    assert reject(recipes) == 0.3


@pytest.mark.parametrize("folder_is_there", [True, False])
def test_record_stays_in_force_over_a_restart(config: StationConfig, folder_is_there):
    """A station keeps copies: a share that is not mounted changes no threshold."""
    put(config, 0.3)
    start(config)
    if not folder_is_there:
        shutil.rmtree(config.updates.thresholds)
    recipes, _ = start(config)
    assert reject(recipes) == 0.3
    assert ("is not there; the thresholds in force stay" in note(recipes)) is not folder_is_there


def test_record_taken_out_of_the_folder_stays_in_force(config: StationConfig):
    """The folder only grows: deleting a file there takes nothing back, a newer record does."""
    path = put(config, 0.3)
    recipes, updates = start(config)
    path.unlink()
    updates.look()
    assert reject(recipes) == 0.3


@pytest.mark.parametrize("text", ["", "{", None], ids=["empty", "torn", "changed"])
def test_damaged_record_is_refused_noted_and_logged_once(config: StationConfig, text, caplog):
    """Whoever changes a record changes nothing: the band before stays, and the page says why."""
    put(config, 0.3)
    recipes, updates = start(config)
    path = put(config, 0.6, 1)
    path.write_text(path.read_text().replace("0.6", "0.7") if text is None else text)
    for _ in range(3):
        updates.look()
    assert reject(recipes) == 0.3
    assert f"{path}: no sound threshold record" in note(recipes)
    reasons = [getattr(record, "reason", "") for record in caplog.records]
    assert sum("no sound threshold record" in reason for reason in reasons) == 1


def test_record_that_is_whole_later_is_taken_then(config: StationConfig):
    """A file still being copied is no record yet, and one when it is complete."""
    recipes, updates = start(config)
    path = put(config, 0.3)
    whole = path.read_text()
    path.write_text(whole[:50])
    updates.look()
    assert reject(recipes) == 0.8
    path.write_text(whole)
    updates.look()
    assert (reject(recipes), note(recipes)) == (0.3, "")


def test_record_of_a_stranger_is_refused(
    config: StationConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """A station that names keys follows no other's thresholds."""
    own = own_keys()
    recipes, updates = start(config.model_copy(update={"trusted_keys": own}))
    monkeypatch.setenv(KEYS_VARIABLE, str(tmp_path / "stranger"))
    put(config, 0.3)
    updates.look()
    assert (reject(recipes), "not among the trusted keys" in note(recipes)) == (0.8, True)


def test_record_for_another_bundle_waits_for_it(config: StationConfig, tmp_path: Path):
    """It changes nothing, is said, and is in force from the first part of its bundle."""
    recipes, updates = start(config)
    newer = make_bundle(tmp_path / "newer", gain=2, day=1)
    put(config, 0.3, bundle_id=verify_bundle(newer))
    updates.look()
    assert reject(recipes) == 0.8
    assert "which does not judge here; it waits for it" in note(recipes)
    recipes.swap("redness", open_tested(copied(config, newer), config))
    assert reject(recipes) == 0.3
    updates.look()
    assert "waits" not in note(recipes)


def test_record_that_cannot_be_kept_is_not_in_force_yet(config: StationConfig):
    """A band that would not survive a restart does not judge; with room it does."""
    recipes, updates = start(config)
    config.data_dir.write_text("no folder")
    put(config, 0.3)
    updates.look()
    assert (reject(recipes), "cannot be written" in note(recipes)) == (0.8, True)
    config.data_dir.unlink()
    updates.look()
    assert reject(recipes) == 0.3


def test_station_without_folder_takes_the_bands_of_its_bundles(config: StationConfig):
    """Without `updates.thresholds` no record counts, an earlier one neither."""
    put(config, 0.3)
    start(config)
    without = config.updates.model_copy(update={"thresholds": None})
    recipes, updates = start(config.model_copy(update={"updates": without}))
    updates.look()
    assert reject(recipes) == 0.8


def test_thread_brings_a_record_into_force_within_a_poll(config: StationConfig):
    """Run beside a line, it needs nobody."""
    recipes, updates = start(config)
    stop = Flag()
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(updates.run, stop)
        put(config, 0.3)
        until = time.monotonic() + 10
        while reject(recipes) != 0.3 and time.monotonic() < until:
            time.sleep(0.01)
        stop.set()
        running.result(timeout=10)
    assert reject(recipes) == 0.3


def test_opened_recipes_have_the_bands_in_force_and_write_nothing(config: StationConfig):
    """The start-of-shift check, `selftest` and `replay` judge as the parts are judged."""
    put(config, 0.3)
    recipes = open_recipes(config)
    assert (reject(recipes), config.data_dir.exists()) == (0.3, False)
    start(config)
    shutil.rmtree(config.updates.thresholds)
    assert reject(open_recipes(config)) == 0.3


def test_record_in_force_at_the_start_stays_when_it_cannot_be_kept(config: StationConfig):
    """Parts are judged by the band the start-of-shift check was made with."""
    put(config, 0.3)
    recipes = open_recipes(config)
    config.data_dir.write_text("no folder")
    ThresholdUpdates(config, recipes)
    assert (reject(recipes), "cannot be written" in note(recipes)) == (0.3, True)


def test_record_that_misjudges_a_golden_part_is_not_in_force(
    config: StationConfig, tmp_path, caplog
):
    """The band before stays, the part is named once; after a restart it is the same."""
    config = with_golden_parts(config, known(tmp_path / "known", good=10, defect=140))
    recipes, updates = start(config)
    put(config, 0.5)
    updates.look()
    assert reject(recipes) == 0.5
    put(config, 0.6, 1, review=0.01)  # the good part scores 0.04
    for _ in range(3):
        updates.look()
    assert reject(recipes) == 0.5
    assert "refused, the thresholds before stay (default/main " in note(recipes)
    assert "a.png: REVIEW; wanted PASS" in note(recipes)
    reasons = [getattr(record, "reason", "") for record in caplog.records]
    assert sum("wanted PASS" in reason for reason in reasons) == 1
    assert reject(start(config)[0]) == 0.5
    put(config, 0.7, 2)
    updates.look()
    assert reject(recipes) == 0.7


def test_older_record_than_the_one_in_force_is_not_held_against_golden_parts(
    config: StationConfig, tmp_path: Path
):
    """A folder that only grows is not judged again at each start: only what would judge is."""
    for minute, review in enumerate((0.01, 0.1)):
        put(config, 0.6, minute, review=review)
    config = with_golden_parts(config, known(tmp_path / "known", good=10, defect=140))
    recipes, _ = start(config)
    assert (reject(recipes), note(recipes)) == (0.6, "")


def run_until(updates: ThresholdUpdates, wanted: Callable[[], bool]) -> None:
    """Run the thread until something is so, for at most ten seconds."""
    stop = Flag()
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(updates.run, stop)
        until = time.monotonic() + 10
        while not wanted() and not running.done() and time.monotonic() < until:
            time.sleep(0.01)
        stop.set()
        running.result(timeout=10)
    assert wanted()


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (PermissionError(13, "Permission denied"), "cannot be read (Permission denied)"),
        (OSError(116, "Stale file handle"), "cannot be read (Stale file handle)"),
        (ValueError("odd"), "no look for thresholds: ValueError: odd"),
    ],
)
def test_thread_outlives_whatever_goes_wrong(
    config: StationConfig, monkeypatch: pytest.MonkeyPatch, error, said, caplog
):
    """A share that loses its rights is noted and logged once; the band stays, then goes on."""
    put(config, 0.3)
    recipes, updates = start(config)

    def fail(_: Path) -> None:
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(records, "record_files", fail)
        run_until(updates, lambda: said in note(recipes))
        updates_again = [getattr(record, "reason", "") for record in caplog.records]
        assert (reject(recipes), sum(said in one for one in updates_again)) == (0.3, 1)
    run_until(updates, lambda: note(recipes) == "")


def beyond(config: StationConfig, approved_by: str | None) -> None:
    """Put a signed record there that lets everything pass, whatever the tools would refuse."""
    record = ThresholdRecord(
        bundle_id=verify_bundle(config.recipes["default"]["main"].bundle),
        band=Band(review_above=1e6, reject_above=1e6),
        who="eve",
        approved_by=approved_by,
        when=datetime(2025, 3, 2, tzinfo=UTC),
        why="a test",
    )
    sign_thresholds(record).write(config.updates.thresholds)


@pytest.mark.parametrize("approved_by", [None, "eve"])
def test_one_person_does_not_disarm_a_station(config: StationConfig, approved_by: str | None):
    """A record beyond the card's limits is in force nowhere, at the start or later, and is told."""
    recipes, updates = start(config)
    beyond(config, approved_by)
    updates.look()
    assert (reject(recipes), "a second person" in note(recipes)) == (0.8, True)
    assert reject(open_recipes(config)) == 0.8


def test_two_persons_override_the_limits_and_the_station_shows_it(config: StationConfig):
    """Both names stand in the status while the thresholds are in force."""
    recipes, updates = start(config)
    assert recipes.statuses()[0].override == ""
    beyond(config, "bob")
    updates.look()
    assert reject(recipes) == 1e6
    assert recipes.statuses()[0].override.endswith("set by eve, approved by bob")


def test_a_station_without_four_eyes_believes_one_person(config: StationConfig):
    """The station's own setting says so; the statement stands in the record all the same."""
    config = config.model_copy(update={"four_eyes": False})
    recipes, updates = start(config)
    beyond(config, None)
    updates.look()
    assert reject(recipes) == 0.8
    beyond(config, "eve")
    updates.look()
    assert reject(recipes) == 1e6


def test_a_recipes_own_thresholds_lie_within_the_limits(config: StationConfig):
    """A configuration disarms no station, either."""
    recipe = config.recipes["default"]["main"]
    band = Band(review_above=1e6, reject_above=1e6)
    disarmed = {"default": {"main": recipe.model_copy(update={"band": band})}}
    with pytest.raises(ConfigError, match=r"recipes.default.main.band: review_above 1e\+06"):
        open_recipes(config.model_copy(update={"recipes": disarmed}))

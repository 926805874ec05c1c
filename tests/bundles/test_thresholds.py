"""Threshold records: signed, in order, reversible; what is unsound never counts."""

import json
import os
import re
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from inspection.bundles.seal import verify_bundle
from inspection.bundles.signing import KEYS_VARIABLE, Purpose, SignedText, own_keys, sign_text
from inspection.bundles.thresholds import (
    ThresholdRecord,
    list_thresholds,
    newest,
    read_thresholds,
    set_thresholds,
)
from inspection.core.decision import Band
from inspection.core.errors import BundleCorrupt, BundleError, ConfigError
from tests.bundles.conftest import make_card
from tests.command import done, inspection

pytestmark = pytest.mark.fast

WHEN = datetime(2025, 3, 1, 6, tzinfo=UTC)
ID = "ab" * 32
CARD = make_card()


@pytest.fixture(autouse=True)
def _own_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv(KEYS_VARIABLE, str(tmp_path / "keys"))


def _record(minute: int = 0, review: float = 0.5, **changes: object) -> ThresholdRecord:
    values = {
        "bundle_id": ID,
        "band": Band(review_above=review, reject_above=0.9),
        "who": "weber",
        "when": WHEN + timedelta(minutes=minute),
        "why": "glare",
    }
    return ThresholdRecord.model_validate(values | changes)


def _reviews(folder: Path) -> list[tuple[float, str]]:
    return [(one.record.band.review_above, one.state) for one in list_thresholds(folder)]


def test_record_is_read_as_it_was_written(tmp_path: Path):
    """A record keeps band, person, time and reason; its file is named by time and content."""
    path = set_thresholds(tmp_path / "records", _record(), CARD)
    signed = read_thresholds(path)
    assert signed.record == _record()
    assert path.name == f"20250301T060000.000000Z-{signed.sha256[:12]}.json"


def test_each_record_names_the_one_it_replaces(tmp_path: Path):
    """The chain of records of one scope is told by their hashes, back to the first."""
    paths = [set_thresholds(tmp_path, _record(minute), CARD) for minute in range(3)]
    signed = [read_thresholds(path) for path in paths]
    assert [one.record.previous for one in signed] == [None, signed[0].sha256, signed[1].sha256]


def test_older_band_is_restored_by_a_new_record(tmp_path: Path):
    """The newest record is in force, whatever its band; the earlier ones stay to be read."""
    for minute, review in enumerate((0.5, 0.7, 0.5)):
        set_thresholds(tmp_path, _record(minute, review), CARD)
    assert _reviews(tmp_path) == [(0.5, "replaced"), (0.7, "replaced"), (0.5, "in force")]


SCOPES = {
    "both for every camera": ({}, {}, "replaced"),
    "newer for one camera": ({}, {"camera": "top"}, "in force"),
    "newer for every camera": ({"camera": "top"}, {}, "replaced"),
    "other product": ({"product": "a"}, {"product": "b"}, "in force"),
    "other bundle": ({}, {"bundle_id": "cd" * 32}, "in force"),
}


@pytest.mark.parametrize(("before", "after", "state"), SCOPES.values(), ids=SCOPES)
def test_record_is_replaced_by_a_newer_one_for_all_its_frames(tmp_path: Path, before, after, state):
    """A newer record replaces another only where it covers all frames of it."""
    set_thresholds(tmp_path, _record(0, 0.5, **before), CARD)
    set_thresholds(tmp_path, _record(1, 0.7, **after), CARD)
    assert _reviews(tmp_path) == [(0.5, state), (0.7, "in force")]


COVERED = {
    "every frame": ({}, True),
    "its product": ({"product": "plate"}, True),
    "another product": ({"product": "ring"}, False),
    "its camera": ({"product": "plate", "camera": "top"}, True),
    "another camera": ({"camera": "side"}, False),
    "another bundle": ({"bundle_id": "cd" * 32}, False),
}


@pytest.mark.parametrize(("scope", "covered"), COVERED.values(), ids=COVERED)
def test_record_covers_what_it_names(scope, covered):
    """What a record does not name it covers whole."""
    assert _record(**scope).covers(ID, "plate", "top") is covered


def test_newest_of_none_is_none():
    """Without a record nothing is in force."""
    assert newest([]) is None


def _with_band(text: str) -> str:
    values = json.loads(text)
    inner = json.loads(values["text"])
    inner["band"]["reject_above"] = 99
    return json.dumps({**values, "text": json.dumps(inner)})


DAMAGE = {
    "band changed": (_with_band, "its signature does not fit its content"),
    "torn": (lambda text: text[: len(text) // 2], "Invalid JSON"),
    "empty": (lambda _: "", "Invalid JSON"),
    "unsigned": (lambda text: json.loads(text)["text"], "signature"),
}


@pytest.mark.parametrize(("damage", "found"), DAMAGE.values(), ids=DAMAGE)
def test_damaged_record_is_refused_and_listed_as_such(tmp_path: Path, damage, found):
    """A record that was changed, torn or never signed is an error that says what to do."""
    path = set_thresholds(tmp_path, _record(), CARD)
    path.write_text(damage(path.read_text()))
    with pytest.raises(BundleCorrupt, match=rf"(?s)no sound threshold record \(.*{found}.*set"):
        read_thresholds(path)
    (listed,) = list_thresholds(tmp_path)
    assert (listed.record, listed.path) == (None, path)
    assert "no sound threshold record" in listed.state


ODD = {
    "FIFO": os.mkfifo,
    "folder": os.mkdir,
    "link to a sound record": lambda path: path.symlink_to(
        set_thresholds(path.parent.parent / "outside", _record(), CARD)
    ),
    "device": lambda path: path.symlink_to("/dev/zero"),
    "1 MB of junk": lambda path: path.write_text(f"[{'[],' * 300_000}[]]"),
}


@pytest.mark.parametrize("odd", ODD.values(), ids=ODD)
def test_what_is_no_file_of_a_record_is_refused_unread(tmp_path: Path, odd):
    """It is listed as damaged, holds nobody up, and the records beside it are read."""
    folder = tmp_path / "records"
    set_thresholds(folder, _record(), CARD)
    odd(folder / "20250301.json")
    with ThreadPoolExecutor(1) as pool:
        odd_one, sound = pool.submit(list_thresholds, folder).result(60)
    assert (odd_one.record, sound.record) == (None, _record())
    assert re.search(r"regular file|symbolic links|more than 50,000 bytes", odd_one.state)


def test_signed_text_of_another_kind_is_no_threshold_record(tmp_path: Path):
    """A sound signature on something else, a gate record say, is refused as well."""
    path = tmp_path / "other.json"
    path.write_text(
        SignedText(text="{}", signature=sign_text(Purpose.THRESHOLDS, "{}")).model_dump_json()
    )
    with pytest.raises(BundleCorrupt, match=r"no sound threshold record .*not a Th"):
        read_thresholds(path)


def test_record_of_a_stranger_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Where keys are named, a record of another key does not count and says whose it is."""
    monkeypatch.setenv(KEYS_VARIABLE, str(tmp_path / "stranger"))
    path = set_thresholds(tmp_path / "records", _record(), CARD)
    stranger = own_keys()[2]
    monkeypatch.setenv(KEYS_VARIABLE, str(tmp_path / "keys"))
    trusted = own_keys()[2]
    with pytest.raises(BundleError, match=f"signed by {stranger}, which is not among the trusted"):
        read_thresholds(path, (trusted,))
    assert read_thresholds(path, (trusted, stranger)).record == _record()


def test_record_that_would_not_be_in_force_is_refused(tmp_path: Path):
    """A clock that went back, or a record of the future, is said instead of ignored."""
    set_thresholds(tmp_path, _record(5), CARD)
    message = "newest record for this bundle is of 2025-03-01 06:05 UTC.*check this machine's clock"
    with pytest.raises(ConfigError, match=message):
        set_thresholds(tmp_path, _record(5, 0.7), CARD)
    assert _reviews(tmp_path) == [(0.5, "in force")]


def test_damaged_file_does_not_keep_a_record_from_being_set(tmp_path: Path):
    """One unreadable file is listed; new records are set beside it."""
    (tmp_path / "20990101T000000.000000Z-0.json").write_text("{")
    set_thresholds(tmp_path, _record(), CARD)
    assert [one.state for one in list_thresholds(tmp_path) if one.record] == ["in force"]


def test_band_upside_down_is_refused():
    """REVIEW must not begin above REJECT."""
    with pytest.raises(ValueError, match="review_above must not lie above reject_above"):
        _record(review=1.0)


def test_folder_that_is_not_there_is_named(tmp_path: Path):
    """Listing a folder that does not exist says so."""
    with pytest.raises(BundleError, match="no such folder; name one that holds threshold records"):
        list_thresholds(tmp_path / "none")


def test_commands_set_and_list_records(bundle: Path, tmp_path: Path):
    """A person sets thresholds on the command line and reads them back, with who and why."""
    band = ("--review-above", "0.5", "--reject-above", "0.9")
    about = ("--who", "weber", "--why", "glare", "--out", str(tmp_path / "records"))
    shown = done("thresholds", "set", str(bundle), *band, *about)
    assert "in force" in shown.out
    listed = json.loads(done("thresholds", "list", str(tmp_path / "records"), "--json").out)
    (record,) = (one["record"] for one in listed)
    assert (record["bundle_id"], record["who"], record["why"]) == (
        verify_bundle(bundle),
        "weber",
        "glare",
    )
    assert record["band"] == {"review_above": 0.5, "reject_above": 0.9}


def test_command_refuses_a_band_upside_down(bundle: Path, tmp_path: Path):
    """Wrong thresholds on the command line write nothing and exit 2."""
    band = ("--review-above", "0.9", "--reject-above", "0.5")
    about = ("--who", "weber", "--why", "glare", "--out", str(tmp_path / "records"))
    ended = inspection("thresholds", "set", str(bundle), *band, *about)
    assert (ended.code, "must not lie above" in ended.err) == (2, True)
    assert not (tmp_path / "records").exists()


def test_thresholds_beyond_their_cards_limits_take_a_second_person(tmp_path: Path):
    """One person who sets them is refused; with a second one both stand in the record."""
    beyond = {"band": Band(review_above=1e6, reject_above=1e6)}
    with pytest.raises(ConfigError, match=r"beyond 0 to 0.9.*second person.*--approved-by"):
        set_thresholds(tmp_path, _record(**beyond), CARD)
    for same in ("weber", "Weber "):
        with pytest.raises(ConfigError, match="second person"):
            set_thresholds(tmp_path, _record(**beyond, approved_by=same), CARD)
    path = set_thresholds(tmp_path, _record(**beyond, approved_by="maier"), CARD)
    record = read_thresholds(path).record
    assert record.override(CARD).endswith("set by weber, approved by maier")
    assert _record().override(CARD) == ""


def test_one_person_counts_where_four_eyes_are_not_asked_for():
    """A station with four_eyes: false believes who approves what he set himself."""
    record = _record(band=Band(review_above=9, reject_above=9), approved_by="weber")
    assert record.refusal(CARD, four_eyes=False) == ""
    assert "second person" in record.refusal(CARD)

"""Records: read only what is sound, written whole or not at all, hashed by their content."""

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from inspection.core.errors import DatasetError, InspectionError
from inspection.core.records import (
    SCHEMA_VERSION,
    Event,
    Interval,
    Label,
    Manifest,
    ManifestEntry,
    Split,
    Weights,
    hash_file,
    hash_json,
    parse_record,
    read_manifest,
    read_record,
    write_record,
    write_text,
)

pytestmark = pytest.mark.fast

FRAME = {
    "camera": "main",
    "source": "Prüfling/a.png",
    "source_sha256": "cd" * 32,
    "bundle_id": "ab" * 32,
    "band": {"review_above": 0.5, "reject_above": 0.8},
    "verdict": "REVIEW",
    "score": 0.625,
    "reason": "",
}
EVENT = {
    "event_id": "e1",
    "sequence": 1,
    "part_id": "p1",
    "product": "default",
    "line": "line-1",
    "station": "station-1",
    "verdict": "REVIEW",
    "reason": "",
    "frames": [FRAME],
    "captured_at": "2025-03-01T06:30:00Z",
    "judged_at": "2025-03-01T06:30:01Z",
    "latency_ms": 4.5,
}


def _entry(path="a.png", label=Label.GOOD, split=Split.FIT, **changes):
    values = {"sha256": "00" * 32, "height_px": 30, "width_px": 40, "mode": "L", "group": path}
    return ManifestEntry(path=path, label=label, split=split, **(values | changes))


def _manifest(root: object, *entries: ManifestEntry) -> Manifest:
    return Manifest(root=str(root), layout="plain", entries=entries or (_entry(),))


def test_record_comes_back_as_it_was_written(tmp_path: Path):
    """What is written is read back equal, and the folder for it is made."""
    event = Event.model_validate(EVENT)
    path = tmp_path / "new" / "event.json"
    write_record(path, event)
    assert read_record(path, Event) == event
    assert [entry.name for entry in path.parent.iterdir()] == ["event.json"]


@pytest.mark.parametrize("version", [SCHEMA_VERSION + 1, 7, 10**30])
def test_newer_schema_is_refused_with_both_versions(version):
    """A record of a newer program says which schema it has and which this one reads."""
    text = json.dumps(EVENT | {"schema_version": version, "field_of_tomorrow": 1})
    message = f"event: Event of schema {version}; this program reads up to 1; update it"
    with pytest.raises(InspectionError, match=f"^{re.escape(message)}$"):
        parse_record(text, Event, "event")


BROKEN = {
    "not JSON": ("{", "event: not JSON (Expecting property name enclosed in double quotes"),
    "empty": ("", "event: not JSON (Expecting value"),
    "a list": ("[]", "event: not a Event: 1 validation error"),
    "unknown field": (json.dumps(EVENT | {"colour": 1}), "event: not a Event: 1 validation"),
    "missing field": (
        json.dumps({**EVENT, "frames": [FRAME | {"band": {}}]}),
        "event: not a Event: 3 validation",
    ),
    "NaN score": (
        json.dumps(EVENT | {"frames": [FRAME | {"score": float("nan")}]}),
        "event: not a Event: 2 valid",
    ),
    "no frame": (json.dumps(EVENT | {"frames": []}), "event: not a Event: 1 validation"),
    "naive time": (json.dumps(EVENT | {"judged_at": "2025-03-01T06:30:01"}), "event: not a Eve"),
    "unknown verdict": (json.dumps(EVENT | {"verdict": "OK"}), "event: not a Event: 1 valid"),
    "version as text": (json.dumps(EVENT | {"schema_version": "1"}), "event: not a Event: 1 va"),
    "version true": (json.dumps(EVENT | {"schema_version": True}), "event: not a Event: 1 vali"),
}


@pytest.mark.parametrize(("text", "message"), BROKEN.values(), ids=BROKEN)
def test_broken_record_is_refused_by_name(text, message):
    """What is no sound record is refused with its name; nothing is filled in or dropped."""
    with pytest.raises(InspectionError, match=f"^{re.escape(message)}"):
        parse_record(text, Event, "event")


def test_worst_frame_decides():
    """A defect stands above what could not be judged; of equals the farthest above its band."""
    seen = [("PASS", 0.1), ("FAULT", None), ("REJECT", 0.9), ("REJECT", 0.95), ("REVIEW", 0.6)]
    frames = [
        FRAME | {"camera": str(number), "verdict": verdict, "score": score}
        for number, (verdict, score) in enumerate(seen)
    ]
    assert Event.model_validate(EVENT | {"frames": frames}).deciding.camera == "3"
    assert Event.model_validate(EVENT | {"frames": frames[:2]}).deciding.camera == "1"


def test_missing_record_is_named(tmp_path: Path):
    """A record that is not there is refused with its path and what was wanted."""
    with pytest.raises(InspectionError, match=r"run\.json: cannot be read .* wanted a Event; make"):
        read_record(tmp_path / "run.json", Event)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(st.dictionaries(st.text(), json_values, min_size=2), st.randoms())
@settings(max_examples=30)
def test_hash_does_not_depend_on_key_order(values, random):
    """The same keys and values in any order have one hash."""
    keys = list(values)
    random.shuffle(keys)
    assert hash_json({key: values[key] for key in keys}) == hash_json(values)


@given(json_values, json_values)
@settings(max_examples=30)
def test_hash_tells_different_values_apart(one, other):
    """Different JSON values have different hashes."""
    same = json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)
    assert (hash_json(one) == hash_json(other)) is same


def test_hash_of_a_file_is_its_sha256(tmp_path: Path):
    """hash_file is what sha256sum prints."""
    path = tmp_path / "a"
    path.write_bytes(b"abc")
    assert hash_file(path).startswith("ba7816bf8f01cfea414140de5dae2223")


def test_moving_the_folder_keeps_the_manifests_hash():
    """The hash speaks of the entries: another root is the same set, another entry is not."""
    here, there = _manifest("here"), _manifest("/there")
    assert here.sha256 == there.sha256
    assert here.sha256 != _manifest("here", _entry("b.png")).sha256
    assert here.sha256 != _manifest("here", _entry(), _entry("b.png")).sha256


@pytest.mark.parametrize("split", [Split.FIT, Split.CALIBRATE])
def test_defect_outside_test_is_refused(split):
    """No defect ever enters the bank or the thresholds."""
    message = f"bad.png: a defect stands in '{split}'; wanted 'test'"
    with pytest.raises(ValidationError, match=message):
        _entry("bad.png", Label.DEFECT, split)
    assert _entry("bad.png", Label.DEFECT, Split.TEST).split is Split.TEST


def test_defect_in_fit_is_refused_when_read_from_a_file(tmp_path: Path):
    """A manifest edited by hand into such a state is refused by file and image."""
    write_record(tmp_path / "m.json", _manifest(tmp_path, _entry("bad.png")))
    text = (tmp_path / "m.json").read_text().replace('"good"', '"defect"')
    (tmp_path / "m.json").write_text(text)
    with pytest.raises(DatasetError, match=r"m\.json: not a Manifest: .*(?s:.)*bad\.png: a defect"):
        read_manifest(tmp_path / "m.json")


def test_a_split_gives_its_entries_or_refuses_when_empty():
    """of() gives the entries of one split in order; an empty split is an error with the remedy."""
    entries = (_entry("a"), _entry("b", split=Split.TEST), _entry("c"))
    manifest = _manifest("set", *entries)
    assert manifest.of(Split.FIT) == (entries[0], entries[2])
    with pytest.raises(DatasetError, match="manifest of set: split 'calibrate' is empty; run insp"):
        manifest.of(Split.CALIBRATE)


def test_manifest_is_read_with_its_root_made_absolute(tmp_path: Path):
    """A root relative to the file is found wherever the reader stands."""
    (tmp_path / "set").mkdir()
    write_record(tmp_path / "set" / "m.json", _manifest("."))
    found = read_manifest(tmp_path / "set" / "m.json")
    assert found.root == str((tmp_path / "set").resolve())
    assert found.sha256 == _manifest(".").sha256


def test_folder_in_place_of_a_manifest_tells_how_to_make_one(tmp_path: Path):
    """The folder of the images is not their manifest; the message gives the command."""
    message = f"{tmp_path}: is a folder; wanted a manifest; make one with inspection dataset check"
    with pytest.raises(DatasetError, match=f"^{re.escape(message)}"):
        read_manifest(tmp_path)


def test_manifest_whose_images_are_gone_is_refused(tmp_path: Path):
    """A root that is no folder is named with the remedy."""
    write_record(tmp_path / "m.json", _manifest("gone"))
    with pytest.raises(DatasetError, match=r"m\.json: root .*gone is no folder; put the images ba"):
        read_manifest(tmp_path / "m.json")


def test_missing_or_newer_manifest_is_a_data_set_error(tmp_path: Path):
    """Both are the data set's fault, so that the command line says so."""
    with pytest.raises(DatasetError, match=r"m\.json: cannot be read"):
        read_manifest(tmp_path / "m.json")
    newer = _manifest(".").model_dump(mode="json") | {"schema_version": 2}
    write_text(tmp_path / "m.json", json.dumps(newer))
    with pytest.raises(DatasetError, match="Manifest of schema 2; this program reads up to 1"):
        read_manifest(tmp_path / "m.json")


def test_records_say_themselves_in_one_line():
    """Random weights are said loudly, others plainly; an interval with four digits."""
    weights = Weights(name="resnet18", source="hub", sha256="0123456789abcdef")
    assert str(weights) == "resnet18 (hub, 0123456789ab)"
    loud = str(weights.model_copy(update={"source": "random"}))
    assert loud == "resnet18 (random, 0123456789ab) – RANDOM WEIGHTS, verdicts mean nothing on " + (
        "real parts"
    )
    assert str(Interval(value=0.98123, low=0.97, high=1)) == "0.9812 [0.9700, 1.0000]"


FULL_DISK = """
import resource, signal, sys
from pathlib import Path
from inspection.core.errors import InspectionError
from inspection.core.records import write_text
signal.signal(signal.SIGXFSZ, getattr(signal, sys.argv[2]))
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, resource.RLIM_INFINITY))
try:
    write_text(Path(sys.argv[1]), "new" * 10_000)
except InspectionError as error:
    print(error)
"""


def _write_on_full_disk(path: Path, reaction: str) -> subprocess.CompletedProcess[str]:
    """Let another process write 30 kB where 4 kB fit; SIG_DFL kills it in the middle."""
    arguments = [sys.executable, "-c", FULL_DISK, str(path), reaction]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    return subprocess.run(
        arguments, capture_output=True, text=True, timeout=60, env=environment, check=False
    )


def test_full_disk_keeps_the_old_text_and_leaves_nothing(tmp_path: Path):
    """When the disk is full the old file stands as it was, with no half file beside it."""
    path = tmp_path / "card.json"
    path.write_text("old")
    done = _write_on_full_disk(path, "SIG_IGN")
    said = f"{path}: cannot be written (File too large); free space or rights\n"
    assert (done.returncode, done.stdout) == (0, said)
    assert [(one.name, one.read_text()) for one in tmp_path.iterdir()] == [("card.json", "old")]


def test_a_reader_of_the_old_text_reads_it_to_its_end(tmp_path: Path):
    """The new text takes the place of the old file at once and never writes into it."""
    path = tmp_path / "card.json"
    path.write_text("old" * 10_000)
    with path.open() as reader:
        assert reader.read(3) == "old"
        write_text(path, "new")
        assert reader.read() == "old" * 9_999
    assert path.read_text() == "new"


def test_killed_in_the_middle_of_a_write_keeps_the_old_text(tmp_path: Path):
    """A process killed while writing leaves the old file and a hidden rest the next write takes."""
    path = tmp_path / "card.json"
    path.write_text("old")
    assert _write_on_full_disk(path, "SIG_DFL").returncode == -signal.SIGXFSZ
    assert path.read_text() == "old"
    assert sorted(one.name for one in tmp_path.iterdir()) == [".card.json.partial", "card.json"]
    write_text(path, "new")
    assert [(one.name, one.read_text()) for one in tmp_path.iterdir()] == [("card.json", "new")]

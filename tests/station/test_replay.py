import json
from pathlib import Path

import numpy as np
import pytest

from inspection.core.decision import Band, Verdict
from inspection.core.errors import StationError
from inspection.core.guards import complaints, learn, measure
from inspection.core.records import Event, FrameRecord, parse_record
from inspection.station.heart import read_status
from inspection.station.replay import GUARDED, replay
from inspection.station.service import serve
from inspection.station.spool import Spool
from inspection.station.state import StationState
from tests.command import inspection
from tests.station.bundles import make_bundle
from tests.station.events import event
from tests.station.sources.files import encoded, put
from tests.station.test_service import configure, fill


@pytest.fixture(autouse=True)
def _own_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("INSPECTION_KEYS", str(tmp_path / "keys"))


def judged(folder: Path):
    """Run a station over three parts and give its configuration."""
    config = configure(folder, outputs=())
    fill(folder)
    serve(config)
    return config


def test_same_bundle_says_the_same(tmp_path: Path):
    """Kept frames are judged as they were; what was not kept is counted."""
    found = replay(judged(tmp_path), bundle=None, band=None)
    assert [(one.part_id, one.then) for one in found.frames] == [
        ("153", "REVIEW"),
        ("255", "REJECT"),
    ]
    assert [one.score_now for one in found.frames] == [one.score_then for one in found.frames]
    assert (found.changed, found.not_kept) == ((), 1)


def test_another_band_changes_verdicts_not_scores(tmp_path: Path):
    """What-if thresholds go before those in force; the record does not change."""
    config = judged(tmp_path)
    found = replay(config, bundle=None, band=Band(review_above=0.7, reject_above=0.7))
    assert [(one.then, one.now) for one in found.changed] == [(Verdict.REVIEW, Verdict.PASS)]
    assert replay(config, bundle=None, band=None).changed == ()


def test_another_bundle_judges_by_its_own_band(tmp_path: Path):
    """A bundle at a desk may be one its gate refused; later events only, if asked."""
    config = judged(tmp_path)
    other = make_bundle(tmp_path / "other", gated=False, name="other")
    found = replay(config, bundle=other, band=None, after=2)
    assert [one.part_id for one in found.frames] == ["255"]


def test_picture_that_cannot_be_read_is_a_fault(tmp_path: Path):
    """A torn picture does not end the replay."""
    config = judged(tmp_path)
    next((config.data_dir / "pictures" / "REVIEW").glob("*-main.png")).write_bytes(b"torn")
    [changed] = replay(config, bundle=None, band=None).changed
    assert changed.now is Verdict.FAULT
    assert "not an image file" in changed.reason


@pytest.mark.parametrize(("guarded", "not_by_pixels"), [("FAULT", 2), ("REVIEW", 0)])
def test_frozen_camera_changes_no_verdict(tmp_path: Path, guarded: str, not_by_pixels: int):
    """That a frame came again is not in its pixels: FAULT is left out, REVIEW stays REVIEW."""
    config = configure(tmp_path, outputs=(), guards={"frozen": guarded})
    for name in ("a", "b", "c"):
        put(tmp_path / "in", f"{name}.png", encoded(51, (30, 70)))
    assert serve(config).counts[Verdict(guarded)] == 2
    found = replay(config, bundle=None, band=None)
    assert (found.changed, found.not_by_pixels, found.not_kept) == ((), not_by_pixels, 1)
    assert [one.now for one in found.frames] == [Verdict.REVIEW] * (2 - not_by_pixels)


@pytest.mark.parametrize(
    ("changes", "judged_again"),
    [
        ({"reason": "no score within 1000 ms; lighten the machine's load"}, False),
        (
            {"reason": "waited beyond the deadline before it could be judged", "bundle_id": ""},
            False,
        ),
        ({"reason": "MemoryError: "}, False),
        ({"reason": "file name 'x' does not match", "bundle_id": ""}, False),
        ({"reason": "focus 1; wanted at least 2 as the good parts have", "bundle_id": ""}, True),
        ({"reason": "score is nan", "band": Band(review_above=0.5, reject_above=0.8)}, True),
    ],
    ids=["no score", "waited", "no memory", "strange name", "guard", "map that is no number"],
)
def test_only_what_pixels_decided_is_judged_again(
    tmp_path: Path, changes: dict[str, object], judged_again: bool
):
    """A FAULT of the machine or of the line says nothing about a bundle, and is counted."""
    config = configure(tmp_path, outputs=())
    faulty = event(1, Verdict.FAULT)
    values = faulty.frames[0].model_dump() | {"image": "1.png"} | changes
    with Spool(config.data_dir) as spool:
        frames = (FrameRecord.model_validate(values),)
        spool.append(faulty.model_copy(update={"frames": frames}))
    put(config.data_dir / "pictures" / "FAULT", "1.png", encoded(51, (30, 70)))
    found = replay(config, bundle=None, band=None)
    assert (len(found.frames), found.not_by_pixels) == ((1, 0) if judged_again else (0, 1))
    assert found.not_kept == 0


def test_every_complaint_of_a_guard_is_known_by_its_words():
    """By them a FAULT of a guard, which another bundle may see otherwise, is told from others."""
    normal = np.random.default_rng(0).integers(90, 140, (1, 48, 64, 3), np.uint8)
    limits = learn([measure(normal)] * 30, [(48, 64)] * 30)
    said = complaints(np.zeros((1, 48, 64, 3), np.uint8), (24, 64), limits)
    assert len(said) == 4
    assert all(GUARDED in words for words in said.values())


def test_no_record_yet_is_no_fault_of_the_disk(tmp_path: Path):
    """Before the first run that is said by every command, and none begins a record."""
    config = configure(tmp_path, outputs=())
    config.data_dir.mkdir()
    path = tmp_path / "station.yaml"
    path.write_text(config.model_dump_json())
    asked = inspection("station", "replay", path)
    assert asked.code == 3
    assert "found no record yet; wanted that of a station that ran at least once" in asked.err
    assert inspection("station", "status", path).code == 3
    assert inspection("station", "selftest", path).code == 0
    assert list(config.data_dir.iterdir()) == []


def test_replay_of_a_running_station_ends(tmp_path: Path):
    """It takes the record as it is when it begins, and reads beside the writer."""
    config = judged(tmp_path)
    with Spool(config.data_dir) as spool:
        spool.append(event(4))
        found = replay(config, bundle=None, band=None)
    assert (len(found.frames), found.not_kept) == (2, 2)


def test_status_of_a_station_that_ran(tmp_path: Path):
    """The last snapshot stays; before the first there is none."""
    config = configure(tmp_path)
    with pytest.raises(StationError, match="found no status; wanted that of a station that ran"):
        read_status(config.data_dir)
    judged(tmp_path)
    status, age_s = read_status(config.data_dir)
    assert (status.state, status.sequence) == (StationState.STOPPED, 3)
    assert 0 <= age_s < 600


def test_commands_of_a_station_say_it_to_people(tmp_path: Path):
    """selftest, status and replay by the command line, on a station that has ended."""
    config = judged(tmp_path)
    path = tmp_path / "station.yaml"
    path.write_text(config.model_dump_json())
    tested = inspection("station", "selftest", path)
    assert (tested.code, "self-test passed" in tested.out) == (0, True)
    shown = inspection("station", "status", path)
    assert (shown.code, "STOPPED" in shown.out) == (1, True)
    again = inspection("station", "replay", path, "--review-above", "0.7", "--reject-above", "0.7")
    assert again.code == 0
    counted = "2 frames judged again, 1 verdicts change, 1 frames not kept, 0 not judged by their"
    assert counted in again.out
    told = json.loads(inspection("station", "replay", path, "--json").out)
    assert (len(told["frames"]), told["not_kept"], told["not_by_pixels"]) == (2, 1, 0)
    half = inspection("station", "replay", path, "--review-above", "0.7")
    assert (half.code, "found one; wanted both or none" in half.err) == (2, True)


def test_events_are_printed_as_json_lines(tmp_path: Path):
    """What another command reads: one event in each line, oldest first, from a place on."""
    config = judged(tmp_path)
    file = tmp_path / "station.yaml"
    file.write_text(config.model_dump_json())
    said = inspection("station", "events", file, "--after", "1")
    events = [parse_record(line, Event, "line") for line in said.out.splitlines()]
    assert said.code == 0
    assert [(one.sequence, one.verdict) for one in events] == [(2, "REVIEW"), (3, "REJECT")]

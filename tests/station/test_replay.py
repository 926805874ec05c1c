from pathlib import Path

import pytest

from inspection.core.decision import Band, Verdict
from inspection.core.errors import StationError
from inspection.station.heart import read_status
from inspection.station.replay import replay
from inspection.station.service import serve
from inspection.station.state import StationState
from tests.command import inspection
from tests.station.bundles import make_bundle
from tests.station.test_service import configure, fill


@pytest.fixture(autouse=True)
def _own_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("INSPECTION_SIGNING_KEY", str(tmp_path / "signing.key"))


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
    assert "2 frames judged again, 1 verdicts change, 1 frames not kept" in again.out
    half = inspection("station", "replay", path, "--review-above", "0.7")
    assert (half.code, "found one; wanted both or none" in half.err) == (2, True)

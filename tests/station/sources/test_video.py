from pathlib import Path
from threading import Event as Flag

import cv2
import numpy as np
import pytest

from inspection.core.errors import StationError
from inspection.station.clock import SYSTEM_CLOCK
from inspection.station.part import Intake, Part
from inspection.station.sources.cameras import CamerasSource
from inspection.station.sources.settings import CamerasSettings
from inspection.station.sources.trigger import IntervalTriggers
from tests.station.sources.files import (
    drained,
    eventually,
    next_part,
    reason,
    red,
    running,
    write_video,
)

GREYS = [10, 60, 110, 160, 210]


def source(cameras: dict[str, Path | str], every_ms: int = 0, **camera: object) -> CamerasSource:
    """Play video files in the place of cameras."""
    settings = CamerasSettings.model_validate(
        {
            "kind": "cameras",
            "product": "cap",
            "trigger": {"kind": "interval", "every_ms": every_ms},
            "cameras": {
                name: {"address": str(path), "grey": True} | camera
                for name, path in cameras.items()
            },
        }
    )
    triggers = IntervalTriggers(every_ms, "cap", SYSTEM_CLOCK)
    return CamerasSource(settings, triggers, SYSTEM_CLOCK)


def played(cameras: dict[str, Path | str], every_ms: int = 0, **camera: object) -> list[Part]:
    """Play to the end."""
    intake = Intake(100)
    source(cameras, every_ms, **camera).run(intake, Flag())
    return drained(intake)


@pytest.mark.parametrize("every_ms", [0, 1])
def test_each_frame_is_a_part(tmp_path: Path, every_ms: int):
    """All frames come in order, without a deadline, and then the source is at its end."""
    path = write_video(tmp_path / "shift.avi", GREYS)
    parts = played({"main": path}, every_ms)
    assert [part.part_id for part in parts] == [f"shift-{number:06d}" for number in range(5)]
    assert [red(part) for part in parts] == pytest.approx(GREYS, abs=3)
    assert {part.product for part in parts} == {"cap"}
    assert {part.arrived_s for part in parts} == {None}
    assert parts[0].frames[0].source == str(path)


def test_identities_stand_over_restarts(tmp_path: Path):
    """Played again, a frame is the same part; in another file or place it is another."""
    path = write_video(tmp_path / "a.avi", GREYS)
    other = write_video(tmp_path / "b.avi", GREYS)
    first, again, elsewhere = (
        [part.event_id for part in played({"main": video})] for video in (path, path, other)
    )
    assert first == again
    assert len(set(first) | set(elsewhere)) == 2 * len(GREYS)


def test_other_recording_of_the_same_size_is_other_parts(tmp_path: Path):
    """Uncompressed videos of one length have one size; the path is the line's, for every shift."""
    path = tmp_path / "shift.avi"

    def recorded(greys: list[int]) -> tuple[int, set[str]]:
        writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"I420"), 10, (64, 48))
        for grey in greys:
            writer.write(np.full((48, 64, 3), grey, np.uint8))
        writer.release()
        return path.stat().st_size, {part.event_id for part in played({"main": path})}

    size, first = recorded(GREYS)
    same_size, other = recorded(GREYS[::-1])
    assert (size, len(first)) == (same_size, len(GREYS))
    assert not first & other
    assert recorded(GREYS) == (size, first)


def test_video_waits_for_the_loop(tmp_path: Path):
    """A full intake makes no FAULT: the next frame is read when there is room."""
    path = write_video(tmp_path / "a.avi", GREYS)
    intake = Intake(1)
    with running(source({"main": path}), intake) as raised:
        parts = [next_part(intake) for _ in GREYS]
        eventually(lambda: len(intake) == 0)
    assert raised == []
    assert [red(part) for part in parts] == pytest.approx(GREYS, abs=3)


def test_stop_is_heard_in_the_middle(tmp_path: Path):
    """A stop does not wait for the end of the video."""
    path = write_video(tmp_path / "a.avi", GREYS)
    intake = Intake(1)
    with running(source({"main": path}), intake):
        eventually(lambda: len(intake) == 1)
    assert len(drained(intake)) == 1


def test_videos_of_several_cameras_go_together(tmp_path: Path):
    """Frames of one number are one part; a video that ends early is its camera's Fault."""
    left = write_video(tmp_path / "left.avi", [10, 60, 110])
    right = write_video(tmp_path / "right.avi", [200, 150])
    parts = played({"left": left, "right": right})
    shown = [[red(part, at) for at in (0, 1)] for part in parts[:2]]
    assert np.allclose(shown, [[10, 200], [60, 150]], atol=3)
    assert red(parts[2], 0) == pytest.approx(110, abs=3)
    assert "the video of camera 'right' has ended" in reason(parts[2], 1)


def test_frames_that_cannot_be_used_are_faults(tmp_path: Path):
    """A frame that is refused is a part all the same."""
    path = write_video(tmp_path / "a.avi", GREYS[:2], hw=(16, 4))
    assert ["wanted sides from 8" in reason(part) for part in played({"main": path})] == [True] * 2


def test_cut_off_video_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    """A file that ends before its header says is played as far as it goes, with a warning."""
    path = write_video(tmp_path / "a.avi", GREYS * 20)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert 0 < len(played({"main": path})) < 100
    (record,) = [record for record in caplog.records if record.message == "video ended"]
    assert record.levelname == "WARNING"


REFUSED = {
    "missing": ("gone.avi", "gone.avi' is no file; correct the camera's address"),
    "no video": ("notes.txt", "notes.txt' is no video that can be read"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_is_no_video_is_refused(tmp_path: Path, kind: str):
    """A wrong address ends the station at once."""
    name, message = REFUSED[kind]
    (tmp_path / "notes.txt").write_text("no frames here")
    with pytest.raises(StationError, match=message):
        played({"main": tmp_path / name})


def test_videos_and_cameras_do_not_mix(tmp_path: Path):
    """A camera cannot wait for a video, nor a PLC trigger one."""
    with pytest.raises(StationError, match="camera 'a' is a video file and camera 'b' is none"):
        source({"a": "parts.avi", "b": "0"})
    settings = CamerasSettings.model_validate(
        {
            "kind": "cameras",
            "cameras": {"a": {"address": "parts.avi"}},
            "trigger": {"kind": "modbus"},
        }
    )
    with pytest.raises(StationError, match="camera 'a' is a video file; wanted trigger interval"):
        CamerasSource(settings, IntervalTriggers(0, "cap", SYSTEM_CLOCK), SYSTEM_CLOCK)

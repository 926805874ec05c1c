"""Frames of parts from every kind of source."""

from pathlib import Path
from threading import Event as Flag

import cv2
import numpy as np
import pytest

from inspection.core.errors import ConfigError
from inspection.station.clock import SYSTEM_CLOCK
from inspection.station.frames.intake import FramesIntake, make_intake
from inspection.station.frames.settings import FramesSettings
from inspection.station.outputs.modbus import PlcTriggers
from inspection.station.part import Intake, Share
from inspection.station.sources.gather import Gatherer
from inspection.station.sources.settings import CamerasSettings, FolderSettings
from inspection.station.sources.trigger import IntervalTriggers, Trigger
from inspection.station.sources.video import play
from tests.fakes import StillClock
from tests.station.events import event
from tests.station.rig import configure
from tests.station.sources.files import drained
from tests.station.sources.test_gather import files
from tests.station.sources.test_push import encoded, line

PATTERN = r"(?P<part>\d+)_(?P<frame>\w+?)(?P<last>_end)?"
FRAMES = FramesSettings(count=2, wait_ms=60_000)


def named(*sources: str) -> list[tuple[str, Share | None]]:
    """Read part id and frame from file names."""
    settings = FolderSettings(name_pattern=PATTERN)
    due = Gatherer(settings, lambda _: ("main",)).due(files(*sources), (), 0)
    return [(one.name.part_id, one.name.share) for one in due]


def test_file_names_say_part_frame_and_end():
    """Each frame is handed in by itself; a number that is none is a stranger's."""
    assert named("a/7_1.png", "a/7_2_end.png", "b/7_02.png", "8_two.png") == [
        ("7", Share(1, last=False, of="a")),
        ("7", Share(2, last=True, of="a")),
        ("7", Share(2, last=False, of="b")),
        ("8_two", None),
    ]


def test_interval_triggers_count_frames():
    """So many in a row are one part, whose id they share."""
    frames = FramesSettings(count=3, first=0)
    triggers = IntervalTriggers(0, "cap", StillClock(), frames)
    found = [triggers.wait(0) for _ in range(7)]
    assert [one.part_id[-2:] for one in found] == ["01", "01", "01", "02", "02", "02", "03"]
    assert [one.frame for one in found] == [0, 1, 2, 0, 1, 2, 0]
    assert [one.number for one in found] == [1, 2, 3, 4, 5, 6, 7]


def test_frames_of_a_video_are_frames_of_parts(tmp_path: Path):
    """Its last part may lack some, and says so."""
    path = tmp_path / "roll.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 10, (40, 24))
    for level in (10, 60, 110, 160, 210):
        writer.write(np.full((24, 40, 3), level, np.uint8))
    writer.release()
    settings = CamerasSettings.model_validate(
        {"kind": "cameras", "cameras": {"main": {"address": str(path)}}}
    )
    intake = FramesIntake(99, FRAMES, SYSTEM_CLOCK)
    play(settings, intake, Flag(), FRAMES)
    intake.end(stopped=False)
    parts = drained(intake)
    assert [(one.part_id, len(one.frames), one.lacking) for one in parts] == [
        ("roll-000000", 2, ""),
        ("roll-000001", 2, ""),
        ("roll-000002", 1, "frames 1 of 2; no more frames come"),
    ]


def test_triggers_of_a_plc_are_answered_by_their_last():
    """The part is in place with its last frame; a part that lacks one has fewer triggers."""
    triggers = PlcTriggers()
    triggers.frames = 3
    for number, part_id in enumerate(("A", "A", "A", "B", "B", "C"), 1):
        assert triggers.count(Trigger(number, part_id, "cap"), 0)
    whole = event(1, part_id="A")
    frame = whole.frames[0]
    three = tuple(frame.model_copy(update={"frame": n}) for n in (1, 2, 3))
    assert triggers.answered_by(whole.model_copy(update={"frames": three})).number == 3
    two = event(2, part_id="B").model_copy(update={"frames": three[:2]})
    assert triggers.answered_by(two).number == 5
    assert triggers.busy
    one = event(3, part_id="C").model_copy(update={"frames": three[:1]})
    assert triggers.answered_by(one).number == 6
    assert not triggers.busy


def test_triggers_of_the_next_part_under_the_same_id_are_not_answered_by_this_one():
    """No more than the frames an event has: else the part in place would be released unseen."""
    triggers = PlcTriggers()
    triggers.frames = 2
    for number in range(1, 5):
        triggers.count(Trigger(number, "A", "cap"), 0)
    frame = event(1).frames[0]
    two = tuple(frame.model_copy(update={"frame": n}) for n in (1, 2))
    assert triggers.answered_by(event(1, part_id="A", frames=two)).number == 2
    assert triggers.answered_by(event(2, part_id="A", frames=two)).number == 4


def framed(folder: Path):
    """Run a line that is pushed frames of parts."""
    return line(folder, frames=FRAMES)


def ask(running, number: int, grey: int, **more):
    """Push one frame."""
    return running.post(encoded(grey), params={"part_id": "7", "frame": number, **more})


def test_pushed_frames_are_answered_with_the_event_of_their_part(tmp_path: Path):
    """One that waits is told so; whoever asks later or sends it again is told the verdict."""
    with framed(tmp_path) as running:
        first = ask(running, 1, 40)
        assert first.status_code == 202
        assert ask(running, 1, 40).status_code == 202
        last = ask(running, 2, 50)
        assert (last.status_code, last.json()["part_id"]) == (200, "7")
        assert [one["frame"] for one in last.json()["frames"]] == [1, 2]
        asked = running.client.get(first.json()["ask"])
        assert asked.json()["event_id"] == last.json()["event_id"]
        again = ask(running, 2, 50)
        answer = again if again.status_code == 200 else running.client.get(again.json()["ask"])
        assert answer.json()["event_id"] == last.json()["event_id"]
        assert len(running.events) == 1


@pytest.mark.parametrize(
    ("params", "wanted"),
    [
        ({"part_id": "7"}, "part_id and frame once"),
        ({"part_id": "7", "frame": "two"}, "frame as a number"),
        ({"part_id": "7", "frame": "1", "last": "yes"}, "last as true or false"),
        ({"part_id": "7", "frame": "1", "of": "3"}, "nothing else"),
    ],
)
def test_frame_that_does_not_say_which_it_is_is_refused(tmp_path: Path, params, wanted: str):
    """It would be judged as another."""
    with framed(tmp_path) as running:
        reply = running.post(encoded(40), params=params)
        assert reply.status_code == 400
        assert wanted in reply.json()["error"]


def test_whole_part_says_no_frame(tmp_path: Path):
    """Where parts have one frame, a number is a mistake."""
    with line(tmp_path) as running:
        assert running.post(params={"part_id": "7", "frame": 1}).status_code == 400


@pytest.mark.parametrize(
    ("changes", "wanted"),
    [
        ({"frames": {"count": 3}}, "does not say which frame"),
        ({"source": {"kind": "folder", "name_pattern": PATTERN}}, "set `frames`"),
        (
            {
                "frames": {"count": 3},
                "source": {"kind": "push", "token_file": "push.token"},
                "web": {},
                "actions": {"review": "release"},
                "guards": {"exposure": "FAULT", "focus": "FAULT"},
            },
            "would be released",
        ),
        (
            {
                "frames": {"count": 3, "ends": "marker"},
                "source": {"kind": "cameras", "trigger": {"kind": "modbus"}},
                "outputs": [{"kind": "modbus"}],
            },
            "cannot say",
        ),
        (
            {"frames": {"count": 3, "ends": "next"}, "source": {"kind": "cameras"}},
            "tells no part from the next",
        ),
        ({"frames": {"count": 3, "fusion": {"kind": "tiles"}}}, "step_px or offsets_px"),
        (
            {"frames": {"count": 3, "fusion": {"kind": "tiles", "offsets_px": [[0, 0]]}}},
            "1 places for 3 frames",
        ),
        ({"frames": {"count": 1}}, "greater than or equal to 2"),
    ],
)
def test_settings_that_do_not_fit_are_refused(tmp_path: Path, changes: dict, wanted: str):
    """With the cause, before any part."""
    with pytest.raises((ConfigError, ValueError), match=wanted):
        configure(tmp_path, **changes)


def test_intake_without_frames_is_the_plain_one():
    """A station whose parts have one frame works as before."""
    assert type(make_intake(3, None, SYSTEM_CLOCK)) is Intake
    assert isinstance(make_intake(3, FRAMES, SYSTEM_CLOCK), FramesIntake)

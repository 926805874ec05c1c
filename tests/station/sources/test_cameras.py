"""Cameras, real threads and a real intake; only the driver is a double."""

import math
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from queue import Empty, Queue
from threading import Event as Flag
from threading import Lock, Thread

import numpy as np
import pytest

from inspection.core.errors import ImageError, StationError
from inspection.core.imaging import Rgb
from inspection.station.clock import SYSTEM_CLOCK
from inspection.station.part import Fault, Intake, Part
from inspection.station.sources import reader as reader_module
from inspection.station.sources.camera import CameraDown
from inspection.station.sources.cameras import CamerasSource
from inspection.station.sources.settings import CamerasSettings
from inspection.station.sources.trigger import IntervalTriggers, Trigger
from tests.station.sources.files import drained, eventually, next_part, reason, red, running

FRAME_S = 0.01
STALL_MS = 150


class Free:
    """A camera that runs freely: a frame each 10 ms, whose grey value counts them."""

    rest_s = 0.0

    def __init__(self) -> None:
        self.frames = 0
        self.opened = self.closed = 0
        self.refusals: list[Exception] = []  # of the next openings
        self.trouble: Exception | None = None  # of the next frame
        self.silent = False  # gives no frame in time
        self.hangs = Flag()  # cleared: the driver does not come back
        self.hangs.set()
        self._lock = Lock()

    def open(self) -> None:
        """Count."""
        self.opened += 1
        if self.refusals:
            raise self.refusals.pop(0)

    def grab(self) -> Rgb | None:
        """Give the next frame."""
        assert self._lock.acquire(blocking=False), "two threads in one driver"
        try:
            return self._next()
        finally:
            self._lock.release()

    def _next(self) -> Rgb | None:
        time.sleep(FRAME_S)
        self.hangs.wait()
        if self.trouble is not None:
            trouble, self.trouble = self.trouble, None
            raise trouble
        if self.silent:
            time.sleep(STALL_MS / 1000)
            return None
        self.frames += 1
        return np.full((12, 20, 3), self.frames % 256, np.uint8)

    def rest(self) -> None:
        """Throw the next frame away."""
        if self.grab() is None:
            raise CameraDown("no frame to throw away")

    def close(self) -> None:
        """Count."""
        self.closed += 1


class Pulled:
    """Triggers that the test pulls."""

    def __init__(self) -> None:
        self._pulled: Queue[Trigger] = Queue()
        self._number = 0
        self.closed = Flag()

    def pull(self, *, overtaken: bool = False) -> None:
        """Trigger."""
        self._number += 1
        self._pulled.put(Trigger(self._number, f"part-{self._number}", "cap", overtaken))

    def wait(self, timeout_s: float) -> Trigger | None:
        """Give the next pull."""
        try:
            return self._pulled.get(timeout=timeout_s)
        except Empty:
            return None

    def close(self) -> None:
        """Note it."""
        self.closed.set()


@pytest.fixture(autouse=True)
def _hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader_module, "FIRST_PAUSE_S", 0.01)
    monkeypatch.setattr(reader_module, "LONGEST_PAUSE_S", 0.05)


def source(
    doubles: Mapping[str, Free],
    triggers: Pulled | None = None,
    stall_ms: int = STALL_MS,
    deadline_s: float = math.inf,
) -> CamerasSource:
    """Make a source of doubles; without triggers it takes every frame."""
    every_ms = 0 if triggers is None else 1
    settings = CamerasSettings.model_validate(
        {
            "kind": "cameras",
            "trigger": {"kind": "interval", "every_ms": every_ms},
            "cameras": {
                name: {"address": str(at), "stall_ms": stall_ms} for at, name in enumerate(doubles)
            },
        }
    )
    return CamerasSource(
        settings,
        triggers or IntervalTriggers(0, "cap", SYSTEM_CLOCK),
        SYSTEM_CLOCK,
        lambda camera, every_frame: list(doubles.values())[int(camera.address)],
        deadline_s=deadline_s,
    )


def works(intake: Intake, camera: Free, openings: int = 1) -> None:
    """Wait until a camera was opened so often and the source has no complaint."""
    eventually(lambda: camera.opened >= openings and camera.frames and not intake.source_state)


def test_trigger_makes_one_part_of_all_cameras():
    """Each trigger is one part, with a frame of each camera, under its own id."""
    left, right, triggers, intake = Free(), Free(), Pulled(), Intake(10)
    with running(source({"left": left, "right": right}, triggers), intake) as raised:
        works(intake, left)
        works(intake, right)
        before_s = SYSTEM_CLOCK.monotonic()
        for _ in range(3):
            triggers.pull()
            eventually(lambda: len(intake) == triggers._number)
        parts = drained(intake)
    assert raised == []
    assert [part.part_id for part in parts] == ["part-1", "part-2", "part-3"]
    assert len({part.event_id for part in parts}) == 3
    assert {part.product for part in parts} == {"cap"}
    for part in parts:
        assert [(frame.camera, frame.source) for frame in part.frames] == [
            ("left", "0"),
            ("right", "1"),
        ]
        assert all(red(part, at) for at in (0, 1))
        assert before_s <= part.arrived_s <= SYSTEM_CLOCK.monotonic()
    assert (left.opened, left.closed) == (1, 1)


def test_frame_is_exposed_after_its_trigger():
    """The frame under way at the trigger is thrown away; the part gets one begun afterwards."""
    camera, triggers, intake = Free(), Pulled(), Intake(10)
    with running(source({"main": camera}, triggers), intake):
        works(intake, camera)
        for _ in range(5):
            time.sleep(0.013)
            before = camera.frames
            triggers.pull()
            assert red(next_part(intake)) >= before + 1


def test_silent_camera_is_a_fault_and_works_again():
    """No frame in stall_ms: FAULT with the remedy, state set, reopened until it works."""
    camera, healthy, triggers, intake = Free(), Free(), Pulled(), Intake(10)
    camera.rest = lambda: time.sleep(0.001)  # so that only a part finds it silent
    with running(source({"main": camera, "other": healthy}, triggers), intake) as raised:
        works(intake, camera)
        works(intake, healthy)
        camera.silent = True
        triggers.pull()
        part = next_part(intake)
        assert (
            reason(part) == "camera 'main' gave no frame within 150 ms; check its cable and power"
        )
        assert red(part, 1)
        eventually(lambda: "camera 'main' gave no frame" in intake.source_state)
        triggers.pull()
        assert "check its cable and power" in reason(next_part(intake))
        camera.silent = False
        works(intake, camera, openings=2)
        triggers.pull()
        assert red(next_part(intake))
    assert raised == []
    assert camera.closed == camera.opened
    assert healthy.opened == 1


def test_hanging_driver_holds_nobody_up():
    """A driver that does not come back costs its own frame; other cameras and parts go on."""
    camera, healthy, triggers, intake = Free(), Free(), Pulled(), Intake(10)
    with running(source({"main": camera, "other": healthy}, triggers), intake) as raised:
        works(intake, camera)
        works(intake, healthy)
        camera.hangs.clear()
        began_s = time.monotonic()
        for _ in range(3):
            triggers.pull()
            part = next_part(intake)
            assert reason(part)
            assert red(part, 1)
        eventually(lambda: "camera 'main' gave no frame" in intake.source_state)
        assert time.monotonic() - began_s < 5
        camera.hangs.set()
        works(intake, camera, openings=2)
        triggers.pull()
        assert red(next_part(intake))
    assert raised == []


def test_part_does_not_wait_for_its_frame_beyond_the_deadline():
    """A camera may stall for a day; the part and those behind it are FAULT in time all the same."""
    camera, triggers, intake = Free(), Pulled(), Intake(10)
    cameras = source({"main": camera}, triggers, stall_ms=86_400_000, deadline_s=0.2)
    with running(cameras, intake) as raised:
        works(intake, camera)
        camera.hangs.clear()
        time.sleep(2 * FRAME_S)  # the driver hangs now
        for _ in range(3):
            triggers.pull()
        first, second, third = (next_part(intake) for _ in range(3))
        assert reason(first) == (
            "camera 'main' gave no frame within the deadline of 200 ms; check its frame rate, or "
            "raise deadline_ms"
        )
        assert "still owes the frame" in reason(second)
        assert "still owes the frame" in reason(third)
        camera.hangs.set()
    assert raised == []


def test_overtaken_part_is_a_fault_without_a_frame():
    """It gets its event; a frame taken now would show the next part under its id."""
    camera, triggers, intake = Free(), Pulled(), Intake(10)
    with running(source({"main": camera}, triggers), intake):
        works(intake, camera)
        triggers.pull(overtaken=True)
        triggers.pull()
        left, there = next_part(intake), next_part(intake)
    assert (left.part_id, there.part_id) == ("part-1", "part-2")
    assert reason(left).startswith("the part moved on before a camera was asked for its frame")
    assert red(there)


def test_triggers_are_closed_before_the_cameras_and_what_was_taken_is_a_part():
    """Closing a camera takes seconds; a trigger taken in them would never get its event."""

    class LastMoment(Pulled):
        def close(self) -> None:
            if not self.closed.is_set():
                self.pull()
            super().close()

    camera, triggers, intake = Free(), LastMoment(), Intake(10)
    closed_first: list[bool] = []
    camera.close = lambda: closed_first.append(triggers.closed.is_set())
    with running(source({"main": camera}, triggers), intake) as raised:
        works(intake, camera)
    assert (raised, closed_first) == ([], [True])
    assert [part.part_id for part in drained(intake)] == ["part-1"]


def test_whatever_a_driver_raises_is_told_and_survived():
    """An error nobody thought of is the camera's state and its part's FAULT; no thread dies."""
    camera, triggers, intake = Free(), Pulled(), Intake(10)
    with running(source({"main": camera}, triggers), intake) as raised:
        works(intake, camera)
        camera.refusals = [RuntimeError("strange")] * 10_000
        camera.trouble = ZeroDivisionError("strange")
        eventually(lambda: intake.source_state == "camera 'main': RuntimeError: strange")
        triggers.pull()
        assert reason(next_part(intake)) == "camera 'main': RuntimeError: strange"
        camera.refusals.clear()
        works(intake, camera, openings=3)
        triggers.pull()
        assert red(next_part(intake))
    assert raised == []


def test_trouble_of_the_triggers_ends_the_run_loudly():
    """What breaks beside the cameras comes out of `run`, and the cameras are closed."""

    class Broken(Pulled):
        def wait(self, timeout_s: float) -> Trigger | None:
            raise StationError("register map is gone")

    camera, triggers = Free(), Broken()
    with pytest.raises(StationError, match="register map is gone"):
        source({"main": camera}, triggers).run(Intake(1), Flag())
    assert triggers.closed.is_set()
    eventually(lambda: camera.closed == camera.opened)


def test_trouble_while_handing_in_ends_the_run_loudly():
    """What breaks where parts are put together comes out of `run`, too."""

    class Full(Intake):
        def put(self, part):
            raise MemoryError("no room")

    camera, triggers, intake = Free(), Pulled(), Full(1)
    with running(source({"main": camera}, triggers), intake) as raised:
        works(intake, camera)
        triggers.pull()
        eventually(lambda: raised)
    assert [type(error) for error in raised] == [MemoryError]


def test_unusable_frame_is_a_fault_and_the_camera_goes_on():
    """One damaged frame costs one part, not the connection."""
    camera, triggers, intake = Free(), Pulled(), Intake(10)
    camera.rest = lambda: time.sleep(0.001)  # only parts get frames
    with running(source({"main": camera}, triggers), intake):
        works(intake, camera)
        camera.trouble = ImageError("frame is incomplete")
        triggers.pull()
        assert reason(next_part(intake)) == "frame is incomplete"
        triggers.pull()
        assert red(next_part(intake))
        assert intake.source_state == ""
    assert camera.opened == 1


def test_trigger_before_the_camera_is_there_is_a_fault():
    """A part that comes while the camera is being opened is FAULT at once, not pictured late."""
    camera, triggers, intake = Free(), Pulled(), Intake(10)
    camera.refusals = [CameraDown("camera '0' cannot be opened")] * 1_000
    triggers.pull()
    with running(source({"main": camera}, triggers), intake):
        first = next_part(intake)
        eventually(lambda: "cannot be opened" in intake.source_state)
        camera.refusals.clear()
        works(intake, camera)
    assert "camera" in reason(first)


def test_triggers_faster_than_frames_are_faults():
    """A part whose frame would be exposed late, with the next part in view, is FAULT."""
    camera, triggers, intake = Free(), Pulled(), Intake(100)
    with running(source({"main": camera}, triggers), intake):
        works(intake, camera)
        for _ in range(5):
            triggers.pull()
        eventually(lambda: len(intake) == 5)
        first, *others = drained(intake)
    assert red(first)
    assert "still owes the frame of the part before" in reason(others[0])


def test_full_queue_makes_faults_not_gaps():
    """A line faster than the judge: every part is there, those beyond the limit as FAULT."""
    camera, triggers, intake = Free(), Pulled(), Intake(2)
    with running(source({"main": camera}, triggers), intake):
        works(intake, camera)
        for number in range(1, 5):
            triggers.pull()
            eventually(lambda number=number: len(intake) == number)
        parts = drained(intake)
    assert [part.part_id for part in parts] == ["part-1", "part-2", "part-3", "part-4"]
    assert red(parts[1])
    assert "2 parts are waiting already" in reason(parts[2])


def test_every_frame_is_a_part():
    """Without an interval no frame is left out, and the deadline runs from each frame."""
    camera, intake = Free(), Intake(1_000)
    with running(source({"main": camera}), intake):
        eventually(lambda: len(intake) >= 20)
    parts = drained(intake)
    assert [red(part) for part in parts] == list(range(1, len(parts) + 1))
    assert len({part.event_id for part in parts}) == len(parts)
    arrivals = [part.arrived_s for part in parts]
    assert arrivals == sorted(arrivals)
    assert arrivals[-1] - arrivals[0] >= (len(parts) - 1) * FRAME_S * 0.5


def test_outage_without_triggers_is_one_fault():
    """Nobody knows of parts that passed a dead camera: one FAULT says so, the state all along."""
    camera, intake = Free(), Intake(1_000)
    with running(source({"main": camera}), intake):
        eventually(lambda: len(intake) >= 3)
        camera.silent = True
        eventually(lambda: "gave no frame" in intake.source_state)
        eventually(lambda: camera.opened >= 3)
        camera.silent = False
        works(intake, camera, openings=3)
        seen = camera.frames
        eventually(lambda: camera.frames > seen + 3)
    parts = drained(intake)
    faults = [part for part in parts if not isinstance(part.frames[0].pixels, np.ndarray)]
    assert len(faults) == 1
    assert reason(faults[0]).startswith("camera 'main' gave no frame within 150 ms")


def test_half_an_outage_without_triggers_is_no_gap():
    """While one of two cameras gives frames, each is a part with the other's Fault."""
    dead, healthy, intake = Free(), Free(), Intake(1_000)
    dead.refusals = [CameraDown("camera '0' cannot be opened")] * 100_000
    with running(source({"dead": dead, "healthy": healthy}), intake):
        eventually(lambda: len(intake) >= 5)
        parts = drained(intake)
    assert "cannot be opened" in reason(parts[-1], 0)
    assert red(parts[-1], 1)


class Triggered:
    """A camera that makes a frame of each trigger from its first `grab` on, and keeps it."""

    rest_s = 1.0

    def __init__(self) -> None:
        self.opened = 0
        self.opened_s = math.inf
        self.started_s = math.inf
        self.trouble: Exception | None = None  # of the next frame
        self.late_s = 0.0  # of the next frame
        self.frames: Queue[int] = Queue()

    def open(self) -> None:
        """Note when."""
        self.opened += 1
        self.opened_s = time.monotonic()

    def grab(self) -> Rgb | None:
        """Give the oldest frame; its grey value is its trigger's number."""
        self.started_s = min(self.started_s, time.monotonic())
        try:
            number = self.frames.get(timeout=STALL_MS / 1000)
        except Empty:
            return None
        late_s, self.late_s = self.late_s, 0.0
        time.sleep(late_s)
        trouble, self.trouble = self.trouble, None
        if trouble is not None:
            raise trouble
        return np.full((12, 20, 3), number % 256, np.uint8)

    def rest(self) -> None:
        """Be there."""

    def close(self) -> None:
        """Forget the frames that nobody asked for."""
        self.opened_s = self.started_s = math.inf
        self.frames = Queue()


def trigger(cameras: list[Triggered], ended: Flag) -> None:
    """Trigger all cameras each 10 ms, but not while some begin: then lines must stand."""
    number = 0
    while not ended.wait(FRAME_S):
        running_s = min(camera.started_s for camera in cameras)
        fresh = [c for c in cameras if c.opened_s < math.inf and c.started_s == math.inf]
        if any(camera.opened_s < running_s for camera in fresh):
            continue
        number += 1
        for camera in cameras:
            if camera.started_s < math.inf:
                camera.frames.put(number)


@contextmanager
def line(*cameras: Triggered) -> Iterator[None]:
    """Let parts pass."""
    ended = Flag()
    thread = Thread(target=trigger, args=(list(cameras), ended))
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def apart(part: Part) -> int | None:
    """Count the triggers between a part's two frames; none where one is a Fault."""
    if any(isinstance(frame.pixels, Fault) for frame in part.frames):
        return None
    return abs((red(part, 0) - red(part, 1) + 128) % 256 - 128)


BREAKS = {
    "breaks off": lambda camera: setattr(camera, "trouble", CameraDown("cable is out")),
    "is late": lambda camera: setattr(camera, "late_s", 3 * STALL_MS / 1000),
}


@pytest.mark.parametrize("kind", BREAKS)
def test_pairs_stay_pairs_when_one_camera(kind: str):
    """The other went on without it and would stay a frame ahead: both begin anew, together."""
    left, right, intake = Triggered(), Triggered(), Intake(10_000)
    with line(left, right), running(source({"left": left, "right": right}), intake) as raised:
        for openings in (1, 2):
            eventually(lambda openings=openings: left.opened >= openings)
            drained(intake)
            pairs = [apart(next_part(intake)) for _ in range(100)]
            assert set(pairs) <= {0, None}
            assert pairs.count(0) > 20
            BREAKS[kind](left)
    assert raised == []


def test_stop_leaves_no_false_alarm():
    """Stopping while every frame is taken makes no part of the frame that was not waited for."""
    camera, intake = Free(), Intake(1_000)
    with running(source({"main": camera}), intake):
        eventually(lambda: len(intake) >= 3)
        camera.silent = True
        time.sleep(2 * FRAME_S)
    assert all(isinstance(part.frames[0].pixels, np.ndarray) for part in drained(intake))

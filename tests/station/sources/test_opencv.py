"""OpenCV's driver; where there is no camera, `cv2.VideoCapture` is a double at that border."""

import time

import cv2
import numpy as np
import pytest

from inspection.core.errors import ImageError
from inspection.station.clock import SYSTEM_CLOCK
from inspection.station.part import Fault, Intake, Part
from inspection.station.sources import reader as reader_module
from inspection.station.sources.camera import CameraDown
from inspection.station.sources.cameras import CamerasSource
from inspection.station.sources.opencv import OpenCvCamera, is_video
from inspection.station.sources.settings import CameraSettings, CamerasSettings
from inspection.station.sources.trigger import IntervalTriggers
from tests.station.sources.files import drained, eventually, next_part, reason, running

FRAME_S = 0.02


class Device:
    """A USB camera behind `cv2.VideoCapture`: a frame each 20 ms, read out after its exposure."""

    def __init__(self) -> None:
        self.plugged = True
        self.hangs_s = 0.0
        self.least_buffers = 1
        self.takes_exposure = True
        self.shape: tuple[int, ...] = (12, 20, 3)
        self.settings: dict[int, float] = {}
        self.openings: list[tuple[object, ...]] = []

    def open(self, *address: object) -> "Capture":
        """Stand in for `cv2.VideoCapture`."""
        self.openings.append(address)
        return Capture(self)


class Capture:
    """What OpenCV gives of an open camera; a frame's colour is the number of its readout.

    Frames are read out into free buffers one after the other; the frame that was given last
    occupies its buffer until the next is asked for.
    """

    def __init__(self, device: Device) -> None:
        self._device = device
        self._buffers = 4
        self._unread: list[int] = []
        self._next = under_way() + 1  # the first that nobody has looked for
        self._number = 0

    def isOpened(self) -> bool:  # noqa: N802 - OpenCV's name
        """Say whether it is there."""
        return self._device.plugged

    def set(self, name: int, value: float) -> bool:
        """Take a setting."""
        self._device.settings[name] = value
        if name == cv2.CAP_PROP_BUFFERSIZE:
            self._buffers = max(int(value), self._device.least_buffers)
        return self._device.takes_exposure

    def get(self, name: int) -> float:
        """Say how many buffers there are."""
        assert name == cv2.CAP_PROP_BUFFERSIZE
        return self._buffers

    def grab(self) -> bool:
        """Take the oldest frame of the buffers, or wait for the next."""
        time.sleep(self._device.hangs_s)
        now = under_way()
        ended = [*self._unread, *range(self._next, now)]
        self._unread = ended[: self._buffers - 1]
        if self._unread:
            self._number = self._unread.pop(0)
            self._next = max(self._next, now)
            return self._device.plugged
        self._number = max(self._next, now + 1 if self._buffers == 1 else now)
        self._next = self._number + 1
        while self._device.plugged and under_way() <= self._number:
            time.sleep(FRAME_S / 10)
        return self._device.plugged

    def read(self) -> tuple[bool, np.ndarray | None]:
        """Grab and decode: blue, green and red hold the number."""
        if not self.grab():
            return False, None
        number = [self._number % 256, self._number // 256 % 256, self._number // 256**2 % 256]
        return True, np.full(self._device.shape, number[: self._device.shape[-1]], np.uint8)

    def release(self) -> None:
        """Let it go."""


def under_way() -> int:
    """Give the number of the frame that is being read out; the next is being exposed."""
    return int(time.monotonic() / FRAME_S)


def number_of(pixels: np.ndarray) -> int:
    """Read the number in a frame's RGB."""
    red, green, blue = (int(value) for value in pixels[0, 0])
    return blue + 256 * green + 256**2 * red


@pytest.fixture
def device(monkeypatch: pytest.MonkeyPatch) -> Device:
    """Put a double in the place of OpenCV's camera."""
    double = Device()
    monkeypatch.setattr(cv2, "VideoCapture", double.open)
    monkeypatch.setattr(reader_module, "FIRST_PAUSE_S", 0.01)
    return double


def opened(*, every_frame: bool = False, **settings: object) -> OpenCvCamera:
    """Open a camera alone."""
    camera = OpenCvCamera(CameraSettings.model_validate(settings), every_frame=every_frame)
    camera.open()
    return camera


def line(every_ms: int, **settings: object) -> CamerasSource:
    """Make a source of one USB camera."""
    wanted = CamerasSettings.model_validate(
        {
            "kind": "cameras",
            "cameras": {"main": {"stall_ms": 200} | settings},
            "trigger": {"kind": "interval", "every_ms": every_ms},
        }
    )
    triggers = IntervalTriggers(every_ms, "default", SYSTEM_CLOCK)
    return CamerasSource(wanted, triggers, SYSTEM_CLOCK)


def is_fault(part: Part) -> bool:
    """Say whether the part has no picture."""
    return isinstance(part.frames[0].pixels, Fault)


@pytest.mark.parametrize("least_buffers", [1, 4])
@pytest.mark.parametrize("rested", [0, 1, 5])
def test_a_parts_frame_is_exposed_after_it_was_asked_for(
    device: Device, rested: int, least_buffers: int
):
    """Whatever lies in buffers or is under way, the part's exposure begins after its trigger."""
    device.least_buffers = least_buffers
    camera = opened()
    for _ in range(rested):
        camera.rest()
    time.sleep(6 * FRAME_S)
    exposed_now = under_way() + 1
    assert number_of(camera.grab()) > exposed_now


def test_every_frame_comes_in_order(device: Device):
    """Where every frame is a part, buffered frames are not thrown away."""
    camera = opened(every_frame=True)
    time.sleep(2 * FRAME_S)
    numbers = [number_of(camera.grab()) for _ in range(3)]
    assert numbers == list(range(numbers[0], numbers[0] + 3))


def test_blue_and_red_are_swapped_once(device: Device):
    """OpenCV's BGR leaves the driver as RGB."""
    before = under_way()
    camera = opened(every_frame=True)
    assert before <= number_of(camera.grab()) < under_way()


def test_grey_camera_that_sends_colour_is_refused(device: Device):
    """What the configuration says of a camera is checked on each frame."""
    with pytest.raises(ImageError, match="set grey: false"):
        opened(every_frame=True, grey=True).grab()
    device.shape = (12, 20, 1)
    assert opened(every_frame=True, grey=True).grab().shape == (12, 20, 3)
    with pytest.raises(ImageError, match="set grey: true"):
        opened(every_frame=True).grab()


def test_exposure_is_set_by_hand(device: Device):
    """An exposure time switches the automatic off and is given in V4L2's 100 µs."""
    opened(exposure_us=5_000.0)
    assert device.settings[cv2.CAP_PROP_AUTO_EXPOSURE] == 1
    assert device.settings[cv2.CAP_PROP_EXPOSURE] == 50
    device.takes_exposure = False
    with pytest.raises(CameraDown, match="'0' does not take an exposure time of 5000 µs"):
        opened(exposure_us=5_000.0)


def test_network_cameras_get_time_limits(device: Device):
    """OpenCV must not wait half a minute for a stream that is dead."""
    opened(address="rtsp://user:secret@cam.line/1", exposed=True, stall_ms=700)
    ((address, backend, limits),) = device.openings
    assert (address, backend) == ("rtsp://user:secret@cam.line/1", cv2.CAP_FFMPEG)
    assert limits == [cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, 5_000, cv2.CAP_PROP_READ_TIMEOUT_MSEC, 700]
    device.plugged = False
    with pytest.raises(CameraDown, match=r"'rtsp://cam\.line/1' cannot be opened; check its cable"):
        opened(address="rtsp://user:secret@cam.line/1", exposed=True)


@pytest.mark.parametrize(
    ("address", "video"),
    [("0", False), ("/dev/video2", False), ("rtsp://cam/1", False), ("parts.avi", True)],
)
def test_videos_are_known_by_their_address(address: str, video: bool):
    """A number, a device and a network address are cameras; everything else is a file."""
    assert is_video(CameraSettings(address=address)) is video
    assert not is_video(CameraSettings(address=address, driver="aravis"))


@pytest.mark.parametrize("every_ms", [0, 10])
def test_unplugged_camera_is_a_fault_until_it_is_back(device: Device, every_ms: int):
    """Pulled out and plugged in again, with triggers and without: FAULT, state, then frames."""
    intake = Intake(10_000)
    with running(line(every_ms), intake) as raised:
        eventually(lambda: not intake.source_state and len(intake) > 2)
        device.plugged = False
        eventually(lambda: "camera '0' cannot be opened" in intake.source_state)
        eventually(lambda: any(is_fault(part) for part in drained(intake)))
        device.plugged = True
        eventually(lambda: not intake.source_state)
        drained(intake)
        eventually(lambda: not is_fault(next_part(intake)))
    assert raised == []


def test_hanging_driver_is_a_fault_in_time(device: Device):
    """A read that does not return is not waited for longer than stall_ms."""
    intake = Intake(10_000)
    with running(line(50), intake):
        eventually(lambda: not intake.source_state and len(intake) > 2)
        device.hangs_s = 1.0
        time.sleep(0.5)  # some triggers, the first of which waits for its frame in vain
        eventually(lambda: "gave no frame within 200 ms" in intake.source_state)
        faults = [reason(part) for part in drained(intake) if is_fault(part)]
        assert any("gave no frame within 200 ms" in fault for fault in faults)
        device.hangs_s = 0
        eventually(lambda: not intake.source_state)

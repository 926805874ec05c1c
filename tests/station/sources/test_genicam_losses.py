"""Streams with gaps: Aravis's functions are doubles at the border of its C library."""

import ctypes
import time
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pytest

from inspection.core.errors import ImageError
from inspection.station.clock import SYSTEM_CLOCK
from inspection.station.part import Fault, Intake, Part
from inspection.station.sources import genicam, reader
from inspection.station.sources.camera import CameraDown
from inspection.station.sources.cameras import CamerasSource
from inspection.station.sources.genicam import AravisCamera
from inspection.station.sources.settings import CameraSettings, CamerasSettings
from inspection.station.sources.trigger import IntervalTriggers
from tests.station.sources.files import drained, eventually, reason, red, running

HW = (12, 20)
MONO8 = 0x01080001


class Came(NamedTuple):
    """One buffer as the stream gives it; its grey value is its number."""

    number: int
    status: int = 0
    shortages: int = 0
    """How often no buffer was free until it was read."""


class Library:
    """Cameras by address, each with the frames of its one stream; a handle is an address."""

    def __init__(self, streams: Mapping[str, Sequence[Came]], payload: int = 240) -> None:
        self._streams = {name: list(stream) for name, stream in streams.items()}
        self._pixels = {
            number: np.full(HW, number % 256, np.uint8)
            for stream in streams.values()
            for number, *_ in stream
        }
        self._payload = payload
        self._shortages = 0
        self.calls: list[str] = []
        self.allocated = 0
        self.free = 0

    def __getattr__(self, name: str) -> object:
        """Give a function that only notes its call."""

        def noted(*_arguments: object) -> int:
            self.calls.append(name)
            return 0

        return noted

    def arv_camera_new(self, address: bytes, _error: object) -> str:
        """Open it; a camera can be opened once."""
        self.calls.append("arv_camera_new")
        return address.decode()

    def arv_camera_get_payload(self, _camera: str, _error: object) -> int:
        """Give the bytes of a frame."""
        return self._payload

    def arv_camera_is_gv_device(self, _camera: str) -> int:
        """It is."""
        return 1

    def arv_camera_create_stream(self, camera: str, *_rest: object) -> str:
        """Give the camera's one stream."""
        return camera

    def arv_buffer_new_allocate(self, _size: int) -> Came:
        """Count."""
        self.allocated += 1
        return Came(-1)

    def arv_stream_push_buffer(self, _stream: str, _buffer: Came) -> None:
        """Count."""
        self.free += 1

    def arv_stream_timeout_pop_buffer(self, stream: str, timeout_us: int) -> Came | None:
        """Give the next frame of the list."""
        assert "arv_camera_start_acquisition" in self.calls
        if not self._streams[stream]:
            time.sleep(timeout_us / 1e6)
            return None
        self.free -= 1
        return self._streams[stream].pop(0)

    def arv_stream_get_statistics(self, _stream: str, *counts: ctypes.c_uint64) -> None:
        """Tell the shortages."""
        counts[2].value = self._shortages

    def arv_buffer_get_status(self, buffer: Came) -> int:
        """Tell."""
        return buffer.status

    def arv_buffer_get_frame_id(self, buffer: Came) -> int:
        """Tell."""
        self._shortages = max(self._shortages, buffer.shortages)
        return buffer.number

    def arv_buffer_get_image_pixel_format(self, _buffer: Came) -> int:
        """Tell."""
        return MONO8

    def arv_buffer_get_image_height(self, _buffer: Came) -> int:
        """Tell."""
        return HW[0]

    def arv_buffer_get_image_width(self, _buffer: Came) -> int:
        """Tell."""
        return HW[1]

    def arv_buffer_get_image_data(self, buffer: Came, size: ctypes.c_size_t) -> int:
        """Give the address of its pixels."""
        size.value = self._pixels[buffer.number].nbytes
        return self._pixels[buffer.number].ctypes.data


def settings(address: str) -> CameraSettings:
    """Make the settings of a camera."""
    return CameraSettings(driver="aravis", address=address, grey=True, stall_ms=200)


def opened(monkeypatch: pytest.MonkeyPatch, library: Library) -> AravisCamera:
    """Open the camera `cam`, whose every frame is wanted."""
    monkeypatch.setattr(genicam, "load_aravis", lambda: library)
    camera = AravisCamera(settings("cam"), every_frame=True)
    camera.open()
    return camera


def given(camera: AravisCamera) -> list[int | str]:
    """Grab until nothing comes any more: the number of each frame, or why there is none."""
    found: list[int | str] = []
    while True:
        try:
            pixels = camera.grab()
        except (ImageError, CameraDown) as error:
            found.append(str(error))
            if isinstance(error, CameraDown):
                return found
            continue
        if pixels is None:
            return found
        found.append(int(pixels[0, 0, 0]))


def has(found: int | str, text: str) -> bool:
    """Say whether it is an error with this text."""
    return isinstance(found, str) and text in found


def test_each_missing_number_is_told_before_the_next_frame(monkeypatch: pytest.MonkeyPatch):
    """Two numbers are missing: two errors that say so, then the frame that came."""
    library = Library({"cam": [Came(1), Came(4), Came(5)]})
    camera = opened(monkeypatch, library)
    first, lost, more, *others = given(camera)
    assert (first, others) == (1, [4, 5])
    assert has(lost, "camera 'cam': frame is lost, one of 2 before number 4; wanted every frame; ")
    assert more == lost
    assert library.free == library.allocated  # every buffer is back


def test_incomplete_frame_is_one_frame_and_no_loss(monkeypatch: pytest.MonkeyPatch):
    """Its number may be another's of long ago, and is not looked at."""
    camera = opened(monkeypatch, Library({"cam": [Came(8), Came(3, status=3), Came(10)]}))
    before, incomplete, after = given(camera)
    assert (before, after) == (8, 10)
    assert has(incomplete, "frame is incomplete (missing packets)")


def test_outage_is_not_a_thousand_parts(monkeypatch: pytest.MonkeyPatch):
    """Numbers that do not go on are one error that ends the stream; the next begins anew."""
    library = Library({"cam": [Came(5_000), Came(1), Came(2)]})
    camera = opened(monkeypatch, library)
    first, error = given(camera)
    assert first == 5_000 % 256
    assert has(error, "camera 'cam' lost frames before its number 1, and nobody knows how many")
    camera.close()
    camera.open()
    assert given(camera) == [2]


def test_camera_without_numbers_that_lacked_buffers_is_an_outage(monkeypatch: pytest.MonkeyPatch):
    """What the full buffers held is given; then nobody knows how many are lost."""
    monkeypatch.setattr(genicam, "MOST_BUFFERS", 4)
    stream = [Came(0), Came(0, shortages=7), *[Came(0)] * 5]
    found = given(opened(monkeypatch, Library({"cam": stream})))
    assert found[:-1] == [0] * 5
    assert has(found[-1], "and nobody knows how many")


@pytest.mark.parametrize(
    ("payload", "buffers"), [(240, 64), (5_000_000, 26), (100_000_000, 4)], ids="{}".format
)
def test_buffers_are_as_many_as_their_memory_allows(
    monkeypatch: pytest.MonkeyPatch, payload: int, buffers: int
):
    """64 of small frames, 128 MiB of larger ones, never fewer than 4."""
    library = Library({"cam": []}, payload)
    opened(monkeypatch, library)
    assert library.allocated == buffers


def test_camera_is_started_when_its_first_frame_is_asked_for(monkeypatch: pytest.MonkeyPatch):
    """Cameras that are asked together begin together, however long each took to open."""
    library = Library({"cam": [Came(1)]})
    camera = opened(monkeypatch, library)
    assert "arv_camera_start_acquisition" not in library.calls
    assert given(camera) == [1]
    assert library.calls.count("arv_camera_start_acquisition") == 1


def numbers_of(part: Part) -> list[int | None]:
    """Give the numbers of a part's frames; none for a Fault."""
    frames = range(len(part.frames))
    return [None if isinstance(part.frames[at].pixels, Fault) else red(part, at) for at in frames]


def test_frame_lost_on_one_camera_leaves_the_others_in_pairs(monkeypatch: pytest.MonkeyPatch):
    """Each camera loses its own frames; the k-th frames stay one part."""
    monkeypatch.setattr(reader, "FIRST_PAUSE_S", 60)
    library = Library(
        {
            "left": [Came(number) for number in range(1, 12) if number not in {4, 5}],
            "right": [Came(number) for number in range(1, 12) if number != 8],
        }
    )
    monkeypatch.setattr(genicam, "load_aravis", lambda: library)
    wanted = CamerasSettings(
        kind="cameras", cameras={name: settings(name) for name in ("left", "right")}
    )
    intake = Intake(1_000)
    line = CamerasSource(wanted, IntervalTriggers(0, "default", SYSTEM_CLOCK), SYSTEM_CLOCK)
    with running(line, intake) as raised:
        eventually(lambda: len(intake) >= 11)
    parts = drained(intake)[:11]
    assert raised == []
    assert [numbers_of(part) for part in parts] == [
        [None if number in {4, 5} else number, None if number == 8 else number]
        for number in range(1, 12)
    ]
    assert "camera 'left': frame is lost, one of 2" in reason(parts[3], 0)

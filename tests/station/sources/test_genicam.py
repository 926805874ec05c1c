"""GenICam through Aravis: its bytes by table, and its own fake GigE Vision camera as a process."""

import ctypes
import fcntl
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from inspection.core.errors import ImageError, StationError
from inspection.station.clock import SYSTEM_CLOCK
from inspection.station.part import Fault, Intake, Part
from inspection.station.sources import genicam, reader
from inspection.station.sources.camera import CameraDown
from inspection.station.sources.cameras import CamerasSource
from inspection.station.sources.genicam import FORMATS, AravisCamera, frame_of
from inspection.station.sources.settings import CameraSettings, CamerasSettings
from inspection.station.sources.trigger import IntervalTriggers
from tests.station.sources.files import drained, eventually, next_part, reason, running

HW = (12, 20)
HOST = "127.0.0.1"  # the fake camera takes no other address of the loopback
FAKE_CAMERA = shutil.which("arv-fake-gv-camera-0.8")
NUMBERS = {kind.name: number for number, kind in FORMATS.items()}

fake_camera_there = pytest.mark.skipif(
    FAKE_CAMERA is None, reason="needs the Debian package aravis-tools (fake GigE Vision camera)"
)


def payload(values: np.ndarray) -> np.ndarray:
    """Give values as the bytes of a buffer, with a few that follow."""
    return np.frombuffer(values.tobytes() + bytes(5), np.uint8)


@pytest.mark.fast
def test_mono_and_colour_are_read_as_they_are_named():
    """Mono has two axes; RGB stays and BGR is swapped."""
    mono = np.arange(240, dtype=np.uint8).reshape(HW)
    assert (frame_of(payload(mono), NUMBERS["Mono8"], HW) == mono).all()
    colour = np.dstack([mono, mono // 2, mono // 3])
    assert (frame_of(payload(colour), NUMBERS["RGB8"], HW) == colour).all()
    assert (frame_of(payload(colour), NUMBERS["BGR8"], HW) == colour[..., ::-1]).all()


@pytest.mark.fast
@pytest.mark.parametrize("bits", [10, 12, 14, 16])
def test_deep_mono_keeps_its_upper_byte(bits: int):
    """Of the declared bits the upper eight are kept; nothing is stretched to what is there."""
    values = np.full(HW, 2 ** (bits - 1) + 3, "<u2")
    values[0, 0] = 2**bits - 1
    frame = frame_of(payload(values), NUMBERS[f"Mono{bits}"], HW)
    assert (frame.dtype, frame.shape) == (np.uint8, HW)
    assert (frame[0, 0], frame[1, 1]) == (255, 128)


@pytest.mark.fast
@pytest.mark.parametrize("pattern", ["RG", "GR", "GB", "BG"])
def test_bayer_is_demosaiced_by_its_declared_pattern(pattern: str):
    """A mosaic of one colour comes back as this colour: red 200, green 100, blue 30."""
    levels = {"R": 200, "G": 100, "B": 30}
    rows = {"RG": "RGGB", "GR": "GRBG", "GB": "GBRG", "BG": "BGGR"}[pattern]
    tile = np.array([levels[colour] for colour in rows], np.uint8).reshape(2, 2)
    mosaic = np.tile(tile, (HW[0] // 2, HW[1] // 2))
    frame = frame_of(payload(mosaic), NUMBERS[f"Bayer{pattern}8"], HW)
    assert frame[5, 5].tolist() == [200, 100, 30]


@pytest.mark.fast
def test_other_formats_and_short_frames_are_refused():
    """A packed or unknown format is refused by its number, a short frame by its size."""
    with pytest.raises(ImageError, match=r"pixel format is 0x010c0006 .* wanted one of Mono8, "):
        frame_of(np.zeros(1_000, np.uint8), 0x010C0006, HW)
    with pytest.raises(ImageError, match="Mono16, 12×20 px, has 479 bytes; wanted 480"):
        frame_of(np.zeros(479, np.uint8), NUMBERS["Mono16"], HW)
    with pytest.raises(ImageError, match="Mono12 holds 4096; wanted at most 4095"):
        frame_of(payload(np.full(HW, 4096, "<u2")), NUMBERS["Mono12"], HW)


@pytest.mark.fast
def test_missing_library_names_its_package(monkeypatch: pytest.MonkeyPatch):
    """Without Aravis the station says what to install, before it starts."""
    monkeypatch.setattr(genicam, "LIBRARY", "libaravis-of-nobody.so.0")
    monkeypatch.setattr(genicam, "load_aravis", genicam.load_aravis.__wrapped__)
    with pytest.raises(StationError, match=r"install the Debian package libaravis-0\.8-0"):
        source(every_ms=10)


class FakeCamera:
    """Aravis's GigE Vision camera, a process that can be stopped and started."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Switch it on."""
        self._process = subprocess.Popen(
            [FAKE_CAMERA, "-i", HOST], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        eventually(answers)

    def stop(self) -> None:
        """Pull its plug."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        self._process = None


def answers() -> bool:
    """Say whether a camera can be opened."""
    camera = AravisCamera(CameraSettings(driver="aravis", address=HOST), every_frame=False)
    try:
        camera.open()
    except CameraDown:
        return False
    finally:
        camera.close()
    return True


@contextmanager
def alone() -> Iterator[None]:
    """Keep other test processes of this machine from the camera's fixed port."""
    with (Path(tempfile.gettempdir()) / "fake-gv-camera.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@pytest.fixture
def fake_camera() -> Iterator[FakeCamera]:
    """Give a camera that is on."""
    with alone():
        camera = FakeCamera()
        try:
            camera.start()
            yield camera
        finally:
            camera.stop()


def source(every_ms: int, **camera: object) -> CamerasSource:
    """Make a source of the fake camera."""
    settings = CamerasSettings.model_validate(
        {
            "kind": "cameras",
            "cameras": {
                "main": {"driver": "aravis", "address": HOST, "grey": True, "stall_ms": 500}
                | camera
            },
            "trigger": {"kind": "interval", "every_ms": every_ms},
        }
    )
    triggers = IntervalTriggers(every_ms, "default", SYSTEM_CLOCK)
    return CamerasSource(settings, triggers, SYSTEM_CLOCK)


def has_picture(part: Part) -> bool:
    """Say whether the part was pictured."""
    return not isinstance(part.frames[0].pixels, Fault)


@fake_camera_there
def test_triggered_frames_come_from_the_camera(fake_camera: FakeCamera):
    """Each trigger gives a new frame of the camera, grey as it is, in three channels."""
    intake = Intake(100)
    with running(source(100, exposure_us=5_000.0), intake) as raised:
        eventually(lambda: sum(map(has_picture, list(intake._parts))) >= 3)
    pictured = [part for part in drained(intake) if has_picture(part)]
    assert raised == []
    frames = [part.frames[0].pixels for part in pictured]
    assert {(frame.shape, frame.dtype) for frame in frames} == {((512, 512, 3), np.dtype(np.uint8))}
    assert all((frame[..., 0] == frame[..., 2]).all() for frame in frames)
    assert not (frames[0] == frames[1]).all()
    assert frames[0].max() < 200  # its ramp reaches 254 with the camera's own 10 ms
    assert pictured[0].frames[0].source == HOST


@fake_camera_there
def test_every_frame_of_a_free_running_camera_is_a_part(fake_camera: FakeCamera):
    """Without an interval the camera's own trigger settings stand and each frame is a part."""
    intake = Intake(100)
    with running(source(0), intake) as raised:
        for _ in range(4):
            eventually(lambda: has_picture(next_part(intake)))
    assert raised == []


@fake_camera_there
@pytest.mark.parametrize(
    ("buffers", "enough"), [(genicam.MOST_BUFFERS, True), (genicam.LEAST_BUFFERS, False)]
)
def test_each_frame_that_was_lost_is_a_fault(
    fake_camera: FakeCamera, monkeypatch: pytest.MonkeyPatch, buffers: int, enough: bool
):
    """A station held up for half a second: parts and FAULTs are as many as the camera's numbers."""
    monkeypatch.setattr(genicam, "MOST_BUFFERS", buffers)
    aravis, read = genicam.load_aravis(), AravisCamera._pixels
    numbers: list[int] = []

    def held_up(camera: AravisCamera, buffer: int) -> np.ndarray:
        time.sleep(0.5 if len(numbers) == 3 else 0)
        numbers.append(aravis.arv_buffer_get_frame_id(buffer))
        return read(camera, buffer)

    monkeypatch.setattr(AravisCamera, "_pixels", held_up)
    intake = Intake(1_000)
    with running(source(0, stall_ms=5_000), intake) as raised:
        eventually(lambda: len(numbers) >= 20)
    parts = drained(intake)
    assert raised == []
    made = numbers[-1] - numbers[0] + 1
    assert len(parts) in {made, made - 1}  # the last one may come when the station stops
    faults = [reason(part) for part in parts if not has_picture(part)]
    lost = [why for why in faults if "frame is lost, one of " in why]
    assert len(lost) == made - len(numbers)
    assert (lost == []) == enough
    torn = [why for why in faults if why not in lost]  # came, but not whole: the machine is busy
    assert all("frame is incomplete" in why for why in torn)


@fake_camera_there
def test_wrong_grey_is_each_frames_fault(fake_camera: FakeCamera):
    """A mono camera that is configured as colour is refused by what was found."""
    intake = Intake(100)
    with running(source(0, grey=False), intake):
        wanted = "frame has one grey channel; wanted colour"
        eventually(lambda: wanted in reason(next_part(intake)))


@fake_camera_there
def test_camera_without_power_is_a_fault_until_it_is_back(
    fake_camera: FakeCamera, monkeypatch: pytest.MonkeyPatch
):
    """Plug pulled: FAULT and the source's state; plug back in: frames again, by itself."""
    monkeypatch.setattr(reader, "FIRST_PAUSE_S", 0.05)
    intake = Intake(10_000)
    with running(source(200), intake) as raised:
        eventually(lambda: not intake.source_state and len(intake) > 2)
        fake_camera.stop()
        eventually(lambda: intake.source_state)
        faults = [part for part in drained(intake) if not has_picture(part)]
        assert any("check its cable and power" in reason(part) for part in faults)
        fake_camera.start()
        eventually(lambda: not intake.source_state)
        drained(intake)
        eventually(lambda: has_picture(next_part(intake)))
    assert raised == []


@fake_camera_there
def test_declared_functions_are_the_librarys(fake_camera: FakeCamera):
    """Every function that is declared is there, and a refusal of the camera is its own words."""
    aravis = genicam.load_aravis()
    for name in (*genicam.FAILING, *genicam.SURE):
        assert isinstance(getattr(aravis, name), ctypes._CFuncPtr)
    camera = AravisCamera(
        CameraSettings(driver="aravis", address="no such camera"), every_frame=True
    )
    with pytest.raises(CameraDown, match=r"camera 'no such camera': .*not found.*check its cable"):
        camera.open()
    camera.close()

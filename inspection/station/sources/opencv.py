"""Drives USB and RTSP cameras and reads video files through OpenCV."""

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from inspection.core.errors import StationError
from inspection.core.imaging import Rgb
from inspection.station.sources.camera import CameraDown, public_address, rgb_of
from inspection.station.sources.settings import CameraSettings

OPEN_MS = 5_000  # for an RTSP camera to answer
V4L2_MANUAL = 1  # V4L2_EXPOSURE_MANUAL
V4L2_EXPOSURE_US = 100  # one unit of V4L2_CID_EXPOSURE_ABSOLUTE


def is_video(settings: CameraSettings) -> bool:
    """Say whether the address is a video file: no camera's number, device or network address."""
    address = settings.address
    live = address.isdecimal() or "://" in address or address.startswith("/dev/")
    return settings.driver == "opencv" and not live


class OpenCvCamera:
    """A camera that runs freely and is never told when a part is there.

    A USB camera gets a single buffer, which is empty until the next frame is asked for. Of what it
    gives then the first frame may have been exposed before, so it is thrown away and the second is
    the part's; a driver that keeps more buffers has them all emptied first. A network camera is
    kept empty by `rest`, but how long ago it exposed what it sends nobody can tell: parts that do
    not stand still need a GenICam camera. With `every_frame` no frame is thrown away here, but what
    the driver or the network loses nobody can tell either: that, too, needs a GenICam camera.

    OpenCV waits by its own clocks: network streams get `stall_ms`, a USB camera waits up to ten
    seconds in the driver.
    """

    rest_s = 0.0

    def __init__(self, settings: CameraSettings, *, every_frame: bool) -> None:
        self._settings = settings
        self._every_frame = every_frame
        self._name = f"camera '{public_address(settings.address)}'"
        self._capture: cv2.VideoCapture | None = None
        self._old_frames = 0  # that may come before the part's

    def open(self) -> None:
        """Connect, and set the exposure time if there is one.

        Raises:
            CameraDown: it does not answer or does not take the exposure time.
        """
        self._capture = _capture_of(self._settings)
        if not self._capture.isOpened():
            raise CameraDown(f"{self._name} cannot be opened; check its cable, power and address")
        if not self._every_frame:
            self._old_frames = _shorten_queue(self._capture)
        exposure_us = self._settings.exposure_us
        if exposure_us is not None:
            units = max(1, round(exposure_us / V4L2_EXPOSURE_US))
            self._capture.set(cv2.CAP_PROP_AUTO_EXPOSURE, V4L2_MANUAL)
            if not self._capture.set(cv2.CAP_PROP_EXPOSURE, units):
                raise CameraDown(
                    f"{self._name} does not take an exposure time of {exposure_us:g} µs; wanted a "
                    "USB camera that does; set it in the camera and remove exposure_us"
                )

    def grab(self) -> Rgb | None:
        """Give the next frame, RGB; none when OpenCV gave up waiting for it.

        Raises:
            CameraDown: it is not open.
            ImageError: it is no 8-bit frame, or grey and colour are mixed up.
        """
        capture = self._opened()
        if not all(capture.grab() for _ in range(self._old_frames)):
            return None
        there, frame = capture.read()
        if not there:
            return None
        return rgb_of(_swapped(frame), self._name, grey=self._settings.grey)

    def rest(self) -> None:
        """Throw the next frame away, undecoded where the camera's format allows.

        Raises:
            CameraDown: there was none.
        """
        if not self._opened().grab():
            raise CameraDown(f"{self._name} gives no frames any more; check its cable and power")

    def close(self) -> None:
        """Let the device or the connection go."""
        if self._capture is not None:
            self._capture.release()
        self._capture = None

    def _opened(self) -> cv2.VideoCapture:
        if self._capture is None:
            raise CameraDown(f"{self._name} is not open")
        return self._capture


class Video:
    """A video file.

    Raises:
        StationError: there is no such file, or it is no video.
    """

    def __init__(self, settings: CameraSettings) -> None:
        self.path = Path(settings.address)
        self._settings = settings
        self._capture = cv2.VideoCapture(settings.address, cv2.CAP_FFMPEG)
        if not self._capture.isOpened():
            found = "is no video that can be read" if self.path.is_file() else "is no file"
            raise StationError(f"video '{self.path}' {found}; correct the camera's address")
        self.frame_count = int(self._capture.get(cv2.CAP_PROP_FRAME_COUNT))
        """What the file says of itself; an estimate in some formats."""

    def read(self) -> Rgb | None:
        """Give the next frame, RGB; none at the end.

        Raises:
            ImageError: it is no 8-bit frame, or grey and colour are mixed up.
        """
        there, frame = self._capture.read()
        if not there:
            return None
        return rgb_of(_swapped(frame), str(self.path), grey=self._settings.grey)

    def close(self) -> None:
        """Close the file."""
        self._capture.release()


def _capture_of(settings: CameraSettings) -> cv2.VideoCapture:
    if settings.address.isdecimal():
        return cv2.VideoCapture(int(settings.address))
    if settings.address.startswith("/dev/"):
        return cv2.VideoCapture(settings.address, cv2.CAP_V4L2)
    patience = [
        *(cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, OPEN_MS),
        *(cv2.CAP_PROP_READ_TIMEOUT_MSEC, settings.stall_ms),
    ]
    return cv2.VideoCapture(settings.address, cv2.CAP_FFMPEG, patience)


def _shorten_queue(capture: cv2.VideoCapture) -> int:
    """Let the driver keep few frames; give how many may have been exposed before one is asked for.

    With one buffer it is the frame that is read out next. With more there are also those that lie
    in the others and the one under way.
    """
    capture.set(cv2.CAP_PROP_BUFFERSIZE, 1)
    buffers = int(capture.get(cv2.CAP_PROP_BUFFERSIZE))  # 0: a network stream does not know
    return buffers + 1 if buffers > 1 else 1


def _swapped(frame: NDArray[np.generic]) -> NDArray[np.generic]:
    """Turn OpenCV's BGR into RGB; other shapes and types are for `rgb_of` to refuse."""
    if frame.ndim == 3 and frame.shape[2] == 3 and frame.dtype == np.uint8:
        return np.asarray(cv2.cvtColor(frame, cv2.COLOR_BGR2RGB), np.uint8)
    return frame

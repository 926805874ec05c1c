"""Drives GenICam cameras (GigE Vision, USB3 Vision) through Aravis 0.8 by its C interface.

Needs nothing but Debian's libaravis-0.8-0: the few functions are declared here as its headers
declare them.
"""

import ctypes
from contextlib import suppress
from functools import cache
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from inspection.core.errors import ImageError, StationError
from inspection.core.imaging import Rgb
from inspection.station.sources.camera import CameraDown, rgb_of
from inspection.station.sources.lost import MOST_LOST, LostFrames
from inspection.station.sources.settings import CameraSettings

LIBRARY = "libaravis-0.8.so.0"
LEAST_BUFFERS = 4  # one that is given, one that is filled, and the network's delay
MOST_BUFFERS = 64  # two seconds of 30 frames/s: longer than a station under load holds a thread up
BUFFERS_BYTES = 128 * 2**20  # of one camera, so that four of them fit into a small station's memory
CHECK_S = 1.0  # between two looks whether an idle camera is still there
CONTINUOUS = 0  # ARV_ACQUISITION_MODE_CONTINUOUS
AUTO_OFF = 0  # ARV_AUTO_OFF
STATUS = {  # ArvBufferStatus; 0 is success
    1: "cleared",
    2: "timeout",
    3: "missing packets",
    4: "wrong packet id",
    5: "size mismatch",
    6: "filling",
    7: "aborted",
}


class _GError(ctypes.Structure):
    _fields_ = (
        ("domain", ctypes.c_uint32),
        ("code", ctypes.c_int),
        ("message", ctypes.c_char_p),
    )


_Error = ctypes.POINTER(_GError)
_Object = ctypes.c_void_p
# Result, then arguments, as in arvcamera.h, arvstream.h and arvbuffer.h; a GError** follows the
# arguments of those that can fail.
FAILING: dict[str, tuple[Any, ...]] = {
    "arv_camera_new": (_Object, ctypes.c_char_p),
    "arv_camera_set_acquisition_mode": (None, _Object, ctypes.c_int),
    "arv_camera_is_software_trigger_supported": (ctypes.c_int, _Object),
    "arv_camera_set_trigger": (None, _Object, ctypes.c_char_p),
    "arv_camera_software_trigger": (None, _Object),
    "arv_camera_clear_triggers": (None, _Object),
    "arv_camera_is_exposure_auto_available": (ctypes.c_int, _Object),
    "arv_camera_set_exposure_time_auto": (None, _Object, ctypes.c_int),
    "arv_camera_set_exposure_time": (None, _Object, ctypes.c_double),
    "arv_camera_get_payload": (ctypes.c_uint, _Object),
    "arv_camera_create_stream": (_Object, _Object, ctypes.c_void_p, ctypes.c_void_p),
    "arv_camera_start_acquisition": (None, _Object),
    "arv_camera_stop_acquisition": (None, _Object),
}
SURE: dict[str, tuple[Any, ...]] = {
    "arv_camera_is_gv_device": (ctypes.c_int, _Object),
    "arv_stream_push_buffer": (None, _Object, _Object),
    "arv_stream_try_pop_buffer": (_Object, _Object),
    "arv_stream_timeout_pop_buffer": (_Object, _Object, ctypes.c_uint64),  # µs
    "arv_stream_get_statistics": (None, _Object, *(ctypes.POINTER(ctypes.c_uint64),) * 3),
    "arv_buffer_new_allocate": (_Object, ctypes.c_size_t),
    "arv_buffer_get_status": (ctypes.c_int, _Object),
    "arv_buffer_get_frame_id": (ctypes.c_uint64, _Object),
    "arv_buffer_get_image_data": (_Object, _Object, ctypes.POINTER(ctypes.c_size_t)),
    "arv_buffer_get_image_width": (ctypes.c_int, _Object),
    "arv_buffer_get_image_height": (ctypes.c_int, _Object),
    "arv_buffer_get_image_padding": (
        None,
        *(_Object, ctypes.POINTER(ctypes.c_int), ctypes.POINTER(ctypes.c_int)),
    ),
    "arv_buffer_get_image_pixel_format": (ctypes.c_uint32, _Object),
    "g_object_unref": (None, _Object),
    "g_error_free": (None, _Error),
}


class PixelFormat(NamedTuple):
    """How the bytes of one GenICam pixel format become pixels."""

    name: str
    channels: int = 1
    significant_bits: int = 8
    """Of each value; the values of more than 8 bits fill 16, little endian."""
    conversion: int | None = None
    """OpenCV's colour conversion to RGB, if any."""


FORMATS = {  # by GenICam's number (PFNC); OpenCV names a Bayer pattern by its first four pixels
    0x01080001: PixelFormat("Mono8"),
    0x01100003: PixelFormat("Mono10", significant_bits=10),
    0x01100005: PixelFormat("Mono12", significant_bits=12),
    0x01100025: PixelFormat("Mono14", significant_bits=14),
    0x01100007: PixelFormat("Mono16", significant_bits=16),
    0x01080008: PixelFormat("BayerGR8", conversion=cv2.COLOR_BayerGRBG2RGB),
    0x01080009: PixelFormat("BayerRG8", conversion=cv2.COLOR_BayerRGGB2RGB),
    0x0108000A: PixelFormat("BayerGB8", conversion=cv2.COLOR_BayerGBRG2RGB),
    0x0108000B: PixelFormat("BayerBG8", conversion=cv2.COLOR_BayerBGGR2RGB),
    0x02180014: PixelFormat("RGB8", channels=3),
    0x02180015: PixelFormat("BGR8", channels=3, conversion=cv2.COLOR_BGR2RGB),
}


def frame_of(
    payload: NDArray[np.uint8], pixel_format: int, hw: tuple[int, int]
) -> NDArray[np.uint8]:
    """Turn a GenICam image into uint8 H×W×3 RGB, or H×W for a mono format.

    Of more than 8 significant bits the upper 8 are kept, as for 16-bit files.

    Args:
        payload: the image's bytes, uint8, one axis, rows without padding; more bytes may follow.
        pixel_format: GenICam's number of the format.
        hw: height and width, pixels.

    Raises:
        ImageError: a format that is not taken, too few bytes, or values beyond the format's bits.
    """
    if (known := FORMATS.get(pixel_format)) is None:
        taken = ", ".join(kind.name for kind in FORMATS.values())
        raise ImageError(
            f"pixel format is {pixel_format:#010x} (GenICam's number); wanted one of {taken}; set "
            "PixelFormat in the camera"
        )
    height_px, width_px = hw
    deep = known.significant_bits > 8
    wanted = height_px * width_px * known.channels * (2 if deep else 1)
    if payload.size < wanted:
        raise ImageError(
            f"frame of {known.name}, {height_px}×{width_px} px, has {payload.size:,} bytes; wanted "
            f"{wanted:,}; let the camera send whole frames"
        )
    values = payload[:wanted]
    shape = hw if known.channels == 1 else (*hw, known.channels)
    pixels = (_upper_byte(values.view("<u2"), known) if deep else values).reshape(shape)
    if known.conversion is None:
        return pixels
    return np.asarray(cv2.cvtColor(pixels, known.conversion), np.uint8)


def _upper_byte(values: NDArray[np.uint16], known: PixelFormat) -> NDArray[np.uint8]:
    shifted = values >> (known.significant_bits - 8)
    if shifted.max(initial=0) > 255:
        raise ImageError(
            f"frame of {known.name} holds {values.max()}; wanted at most "
            f"{2**known.significant_bits - 1}; check PixelFormat in the camera"
        )
    return shifted.astype(np.uint8)


class AravisCamera:
    """A GenICam camera, exposed by software trigger when a part is there.

    With `every_frame` the camera's own trigger settings stand (hardware trigger, free running), and
    each frame it makes is given, in order, or told as lost. It is started when its first frame is
    asked for: cameras that are asked together begin together. Otherwise its trigger settings are
    overwritten, and switched off when the camera is let go; its stored settings are never changed.

    Raises:
        StationError: Aravis is not installed.
    """

    rest_s = CHECK_S

    def __init__(self, settings: CameraSettings, *, every_frame: bool) -> None:
        self._settings = settings
        self._every_frame = every_frame
        self._name = f"camera '{settings.address}'"
        self._aravis = load_aravis()
        self._camera: int | None = None
        self._stream: int | None = None
        self._running = False
        self._lost: LostFrames | None = None  # where every frame is wanted
        self._held: int | None = None  # a frame that comes after those that are lost
        self._missing = 0  # of these, still to be told
        self._loss = ""

    def open(self) -> None:
        """Connect, set trigger and exposure; start, unless every frame is wanted.

        Raises:
            CameraDown: it does not answer or refuses a setting.
        """
        self._camera = self._call("arv_camera_new", self._settings.address.encode())
        self._call("arv_camera_set_acquisition_mode", self._camera, CONTINUOUS)
        if not self._every_frame:
            if not self._call("arv_camera_is_software_trigger_supported", self._camera):
                raise CameraDown(
                    f"{self._name} has no software trigger; wanted one for parts that are "
                    "triggered; take every frame instead (interval, every_ms 0)"
                )
            self._call("arv_camera_set_trigger", self._camera, b"Software")
        self._set_exposure()
        payload = self._call("arv_camera_get_payload", self._camera)
        self._stream = self._call("arv_camera_create_stream", self._camera, None, None)
        buffers = LEAST_BUFFERS
        if self._every_frame:
            buffers = min(MOST_BUFFERS, max(LEAST_BUFFERS, BUFFERS_BYTES // max(payload, 1)))
            by_id = bool(self._aravis.arv_camera_is_gv_device(self._camera))
            self._lost = LostFrames(self._settings.address, buffers, numbers_tell=by_id)
        for _ in range(buffers):
            buffer = self._aravis.arv_buffer_new_allocate(payload)
            self._aravis.arv_stream_push_buffer(self._stream, buffer)
        if not self._every_frame:
            self._call("arv_camera_start_acquisition", self._camera)

    def grab(self) -> Rgb | None:
        """Trigger and give the frame, RGB, or give the camera's next frame; none in stall_ms.

        Raises:
            CameraDown: it broke off, or lost frames and nobody knows how many.
            ImageError: the frame is incomplete, lost, or of a format that is not taken.
        """
        if self._lost is not None:
            return self._next_frame(self._lost)
        while buffer := self._aravis.arv_stream_try_pop_buffer(self._stream):
            self._aravis.arv_stream_push_buffer(self._stream, buffer)  # came too late
        self._call("arv_camera_software_trigger", self._camera)
        if not (buffer := self._wait()):
            return None
        try:
            return self._pixels(buffer)
        finally:
            self._aravis.arv_stream_push_buffer(self._stream, buffer)

    def rest(self) -> None:
        """See that the camera still answers.

        Raises:
            CameraDown: it does not.
        """
        self._call("arv_camera_get_payload", self._camera)

    def close(self) -> None:
        """Stop the camera and let it go; one that is gone takes some seconds to be given up."""
        camera, stream, self._camera, self._stream = self._camera, self._stream, None, None
        held, self._held, self._running = self._held, None, False
        if camera and stream:
            with suppress(CameraDown):  # it is gone already
                self._call("arv_camera_stop_acquisition", camera)
                if not self._every_frame:
                    self._call("arv_camera_clear_triggers", camera)
        for opened in filter(None, (held, stream, camera)):
            self._aravis.g_object_unref(opened)

    def _set_exposure(self) -> None:
        exposure_us = self._settings.exposure_us
        if exposure_us is None:
            return
        if self._call("arv_camera_is_exposure_auto_available", self._camera):
            self._call("arv_camera_set_exposure_time_auto", self._camera, AUTO_OFF)
        self._call("arv_camera_set_exposure_time", self._camera, exposure_us)

    def _next_frame(self, lost: LostFrames) -> Rgb | None:
        """Give the camera's next frame, after one ImageError for each that is lost before it."""
        if not self._running:
            self._call("arv_camera_start_acquisition", self._camera)
            self._running = True
        if self._held is None:
            self._held = self._wait()
            if self._held is None:
                return None
            self._missing = self._missing_before(self._held, lost)
        if self._missing:
            self._missing -= 1
            raise ImageError(self._loss)
        buffer, self._held = self._held, None
        try:
            return self._pixels(buffer)
        finally:
            lost.note_shortages(self._shortages())
            self._aravis.arv_stream_push_buffer(self._stream, buffer)

    def _missing_before(self, buffer: int, lost: LostFrames) -> int:
        complete = self._aravis.arv_buffer_get_status(buffer) == 0
        number = self._aravis.arv_buffer_get_frame_id(buffer) if complete else None
        if (missing := lost.before(number)) is None:
            raise CameraDown(
                f"{self._name} lost frames before its number {number}, and nobody knows how many; "
                f"wanted numbered frames and at most {MOST_LOST:,} lost in a row; check that the "
                "camera was not reset, its network, and what else keeps this computer busy"
            )
        self._loss = (
            f"{self._name}: frame is lost, one of {missing} before number {number}; wanted every "
            "frame; check the network, and what else keeps this computer busy"
        )
        return missing

    def _shortages(self) -> int:
        completed, failed, without_buffer = (ctypes.c_uint64() for _ in range(3))
        self._aravis.arv_stream_get_statistics(self._stream, completed, failed, without_buffer)
        return without_buffer.value

    def _wait(self) -> int | None:
        """Give the buffer of the next frame, or none."""
        timeout_us = self._settings.stall_ms * 1000
        buffer: int | None = self._aravis.arv_stream_timeout_pop_buffer(self._stream, timeout_us)
        return buffer

    def _pixels(self, buffer: int) -> Rgb:
        aravis = self._aravis
        if (status := aravis.arv_buffer_get_status(buffer)) != 0:
            raise ImageError(
                f"{self._name}: frame is incomplete ({STATUS.get(status, 'unknown status')}); "
                "check the network: packet size, cable, and who else uses it"
            )
        padding_x, padding_y = ctypes.c_int(), ctypes.c_int()
        aravis.arv_buffer_get_image_padding(buffer, padding_x, padding_y)
        if padding_x.value:
            raise ImageError(
                f"{self._name}: rows end with {padding_x.value} bytes of padding; wanted none; "
                "choose a width without"
            )
        byte_count = ctypes.c_size_t()
        address = aravis.arv_buffer_get_image_data(buffer, byte_count)
        lent = (ctypes.c_uint8 * byte_count.value).from_address(address)
        frame = frame_of(
            np.array(lent),  # a copy: the buffer goes back
            aravis.arv_buffer_get_image_pixel_format(buffer),
            (aravis.arv_buffer_get_image_height(buffer), aravis.arv_buffer_get_image_width(buffer)),
        )
        return rgb_of(frame, self._name, grey=self._settings.grey)

    def _call(self, function: str, *arguments: bytes | float | None) -> Any:
        """Call a function that can fail; its GError is the camera's trouble."""
        error = _Error()
        given = getattr(self._aravis, function)(*arguments, ctypes.byref(error))
        if not error:
            return given
        message = error.contents.message.decode("utf-8", "replace")
        self._aravis.g_error_free(error)
        raise CameraDown(f"{self._name}: {message}; check its cable, power and address")


@cache
def load_aravis() -> ctypes.CDLL:
    """Load Aravis and declare its functions; GLib's are found through it.

    Raises:
        StationError: it is not installed, or too old.
    """
    try:
        aravis = ctypes.CDLL(LIBRARY)
        for name, (given, *arguments) in FAILING.items():
            _declare(aravis, name, given, (*arguments, ctypes.POINTER(_Error)))
        for name, (given, *arguments) in SURE.items():
            _declare(aravis, name, given, tuple(arguments))
    except (OSError, AttributeError) as error:
        raise StationError(
            f"Aravis cannot be used ({error}); wanted {LIBRARY} from 0.8.26; install the Debian "
            "package libaravis-0.8-0"
        ) from error
    return aravis


def _declare(aravis: ctypes.CDLL, name: str, given: Any, arguments: tuple[Any, ...]) -> None:
    function = getattr(aravis, name)
    function.restype = given
    function.argtypes = arguments

"""Reads one camera in a thread of its own, and opens it anew until it works again."""

import logging
from collections.abc import Callable
from concurrent.futures import Future
from queue import Empty, SimpleQueue
from threading import Event as Flag
from threading import Thread
from typing import TypeVar

from inspection.core.errors import ImageError, InspectionError
from inspection.core.imaging import Rgb
from inspection.station.clock import Clock
from inspection.station.sources.camera import Camera, CameraDown

logger = logging.getLogger(__name__)

T = TypeVar("T")
FIRST_PAUSE_S = 0.5  # before a camera is opened anew; doubles
LONGEST_PAUSE_S = 10.0
OPENING_S = 10.0  # how long other cameras wait to begin together with one that is being opened
ASK_S = 0.5  # how late a stop is heard while no frame is wanted
JOIN_S = 5.0  # a driver that hangs longer is left behind when the station stops


class CameraReader:
    """One camera, its thread and what is wrong with it.

    The driver may hang: whoever asks for a frame waits as long as he likes, not for the driver.
    Whatever the driver raises is the camera's state, and the camera is closed and opened anew; the
    thread ends only with the station.

    Args:
        name: the camera's name in the recipe.
        camera: its driver.
        stall_s: the camera is stalled when it gives nothing so long.
        every_frame: frames are asked for all the time and none is thrown away.
        clock: monotonic clock.
    """

    def __init__(
        self, name: str, camera: Camera, *, stall_s: float, every_frame: bool, clock: Clock
    ) -> None:
        self.name = name
        self.no_frame = (
            f"camera '{name}' gave no frame within {stall_s * 1000:.0f} ms; check its cable and "
            "power"
        )
        self.stall_s = stall_s
        self._camera = camera
        self._every_frame = every_frame
        self._clock = clock
        self._asked: SimpleQueue[Future[Rgb]] = SimpleQueue()
        self._last: Future[Rgb] = Future()
        self._last.cancel()
        self._stop = Flag()
        self._opening = f"camera '{name}' is being opened"
        self._why = self._opening
        self._ready = False  # open, so frames may be asked for
        self._begun = False  # a frame was asked for since it was opened
        self._anew = Flag()
        self._closed_s = 0.0  # since when it is not open
        self._alive_s = 0.0
        self._thread = Thread(target=self._run, name=f"camera {name}", daemon=True)

    @property
    def state(self) -> str:
        """Empty while the camera works, else what is wrong; a driver that hangs is seen, too."""
        if self._every_frame and not (self._ready and self._begun):
            return self._why or self._opening
        return self._why or self._hangs

    @property
    def opening(self) -> bool:
        """Whether it is being opened and nothing is known to be wrong."""
        if self._ready or self._why not in {"", self._opening}:
            return False
        return self._clock.monotonic() - self._closed_s < OPENING_S

    @property
    def begun(self) -> bool | None:
        """Whether it was asked for a frame since it was opened; none while it is not open."""
        return self._begun if self._ready else None

    @property
    def _hangs(self) -> str:
        silent_s = self._clock.monotonic() - self._alive_s
        return self.no_frame if silent_s > self.stall_s + self._rest_s else ""

    @property
    def _rest_s(self) -> float:
        return ASK_S if self._every_frame else self._camera.rest_s

    def start(self) -> None:
        """Open the camera and read it until `stop`."""
        self._closed_s = self._clock.monotonic()
        self._thread.start()

    def stop(self) -> None:
        """Let the thread close the camera and end."""
        self._stop.set()

    def begin_anew(self) -> None:
        """Let an open camera be closed and opened again, without its being at fault."""
        if not self._ready:
            return
        logger.info("camera begins anew", extra={"camera": self.name})
        self._closed_s = self._clock.monotonic()
        self._ready = False
        self._anew.set()
        woken: Future[Rgb] = Future()
        woken.cancel()
        self._asked.put(woken)

    def give_up(self) -> None:
        """Let an open camera begin anew that owes a frame whose part is handed in without it."""
        if self._ready:
            self._note(CameraDown(self.no_frame))
            self.begin_anew()

    def join(self) -> None:
        """Wait for the thread's end; a driver that hangs is left behind for the process to end."""
        self._thread.join(JOIN_S)
        if self._thread.is_alive():
            logger.warning("camera driver hangs", extra={"camera": self.name})

    def ask(self) -> Future[Rgb]:
        """Ask for the next frame; it fails at once while the camera is down.

        So it does while the camera still owes the frame of the part before: the next one would be
        exposed too late, perhaps with another part in view. A future that is given up is to be
        cancelled, so that its frame is not waited for.
        """
        asked: Future[Rgb] = Future()
        why = self._hangs if self._ready else self.state
        if not why and not self._every_frame and not self._last.done():
            why = (
                f"camera '{self.name}' still owes the frame of the part before; wanted triggers no "
                "faster than its frames; slow the line or raise the camera's frame rate"
            )
        if why and self._every_frame:
            self.give_up()  # the frame it is not asked for must not become the next part's
        if why:
            asked.set_exception(CameraDown(why))
        else:
            self._begun = True
            self._last = asked
            self._asked.put(asked)
        return asked

    def _run(self) -> None:
        pause_s = FIRST_PAUSE_S
        while not self._stop.is_set():
            try:
                self._open_and_read()
            except Exception as error:  # noqa: BLE001 - whatever a driver does is its camera's state
                if not self._why:  # it worked until now
                    pause_s = FIRST_PAUSE_S
                self._note(error)
                self._ready = False
                self._refuse_waiting()
                self._stop.wait(pause_s)
                pause_s = min(2 * pause_s, LONGEST_PAUSE_S)
            self._refuse_waiting()

    def _open_and_read(self) -> None:
        self._anew.clear()
        self._begun = False
        try:
            self._camera.open()
            if not self._every_frame:
                self._frame()  # some open and then give nothing
            self._alive_s = self._clock.monotonic()
            if self._why == self._opening:  # nothing is known to be wrong
                self._why = ""
            self._ready = True
            while not (self._stop.is_set() or self._anew.is_set()):
                self._alive_s = self._clock.monotonic()
                self._step()
        finally:
            self._camera.close()

    def _step(self) -> None:
        """Answer whoever asked for a frame, or keep the camera ready for him."""
        try:
            asked = self._asked.get(timeout=self._rest_s)
        except Empty:
            if not self._every_frame:
                self._timed(self._camera.rest)
            return
        if not asked.set_running_or_notify_cancel():
            return
        try:
            asked.set_result(self._frame())
        except ImageError as error:  # this frame's fault; the camera goes on
            asked.set_exception(error)
        except Exception as error:
            asked.set_exception(CameraDown(self._worded(error)))
            raise

    def _frame(self) -> Rgb:
        pixels = self._timed(self._camera.grab)
        if pixels is None:
            raise CameraDown(self.no_frame)
        if self._why:
            logger.info("camera works", extra={"camera": self.name})
        self._alive_s = self._clock.monotonic()
        self._why = ""
        return pixels

    def _timed(self, step: Callable[[], T]) -> T:
        """Let the driver do something; after a stall its buffers hold old frames, so it is over."""
        began_s = self._clock.monotonic()
        done = step()
        if self._ready and self._clock.monotonic() - began_s > self.stall_s:
            raise CameraDown(self.no_frame)
        return done

    def _note(self, error: Exception) -> None:
        why = self._worded(error)
        if why != self._why:
            logger.warning("camera down", extra={"camera": self.name, "reason": why})
        self._why = why

    def _worded(self, error: Exception) -> str:
        if isinstance(error, InspectionError):
            return str(error)
        return f"camera '{self.name}': {type(error).__name__}: {error}"

    def _refuse_waiting(self) -> None:
        while not self._asked.empty():
            asked = self._asked.get()
            if asked.set_running_or_notify_cancel():
                asked.set_exception(CameraDown(self._why or f"camera '{self.name}' is closed"))

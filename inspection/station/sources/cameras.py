"""Brings parts from cameras: each trigger makes one part of every camera's next frame.

Triggers are never held up by a slow camera: frames are asked for at once, and parts are put
together beside, in the order of their triggers. A camera that gives nothing is its frames' Fault.
"""

import math
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import ExitStack
from datetime import datetime
from threading import Event as Flag
from typing import NamedTuple

from inspection.core.errors import ImageError, StationError
from inspection.core.imaging import Rgb
from inspection.station.clock import Clock
from inspection.station.frames.settings import FramesSettings
from inspection.station.part import Fault, Frame, Intake, Part, Share, identify
from inspection.station.sources.camera import Camera, CameraDown, public_address
from inspection.station.sources.genicam import AravisCamera
from inspection.station.sources.opencv import OpenCvCamera, is_video
from inspection.station.sources.reader import CameraReader
from inspection.station.sources.settings import CameraSettings, CamerasSettings, IntervalTrigger
from inspection.station.sources.trigger import Trigger, Triggers
from inspection.station.sources.video import play
from inspection.station.spool import Intent

WAIT_S = 0.2  # how late a stop is heard, and a change of a camera's state seen
OVERTAKEN = (
    "the part moved on before a camera was asked for its frame; wanted each part in place until "
    "then; slow the line"
)
AHEAD = 1  # frames asked for while one is waited for, when every frame is taken

Drive = Callable[[CameraSettings, bool], Camera]


def drive(settings: CameraSettings, every_frame: bool) -> Camera:
    """Give the driver of a camera.

    Raises:
        StationError: what it needs is not installed.
    """
    if settings.driver == "aravis":
        return AravisCamera(settings, every_frame=every_frame)
    return OpenCvCamera(settings, every_frame=every_frame)


class _Shot(NamedTuple):
    """One trigger and the frames asked for it, in the cameras' order."""

    trigger: Trigger
    event_id: str
    captured_at: datetime
    arrived_s: float
    asked: tuple[Future[Rgb], ...]


class CamerasSource:
    """Cameras that look at each part together, or video files in their place.

    Without an interval (`every_ms` 0) every frame is a part; a camera that gives none makes one
    part with its Fault, and no more until it works again. Of several cameras the k-th frames since
    they began together are one part. With triggers each trigger is a part.

    Args:
        settings: the cameras and what triggers them.
        triggers: say when a part is there; not asked for video files.
        clock: for the time of each trigger.
        drive: gives the driver of a camera, and whether every frame is wanted of it.
        deadline_s: a part that was triggered waits no longer for its frames; without one, for the
            cameras' `stall_ms`.
        frames: each trigger is a frame of a part; none: a part.
        record: of the station, which event ids belong to.
        note: makes durable that a part is there before its cameras look; not called where every
            frame is taken, because then no part waits for one.

    Raises:
        StationError: a driver is not installed, or video files do not fit the other settings.
    """

    def __init__(  # noqa: PLR0913 - two for tests, two of the record
        self,
        settings: CamerasSettings,
        triggers: Triggers,
        clock: Clock,
        drive: Drive = drive,
        *,
        deadline_s: float = math.inf,
        frames: FramesSettings | None = None,
        record: str = "",
        note: Callable[[Intent], None] | None = None,
    ) -> None:
        self._record, self._note = record, note
        self._settings = settings
        self._triggers = triggers
        self._clock = clock
        self._deadline_s, self._frames = deadline_s, frames
        self._every_frame = (
            isinstance(settings.trigger, IntervalTrigger) and settings.trigger.every_ms == 0
        )
        self._dark = True  # no camera gave anything for the last part
        self._videos = _are_videos(settings)
        cameras = {} if self._videos else settings.cameras
        self._readers = [self._reader(*named, drive) for named in cameras.items()]

    def _reader(self, name: str, camera: CameraSettings, drive: Drive) -> CameraReader:
        return CameraReader(
            name,
            drive(camera, self._every_frame),
            stall_s=camera.stall_ms / 1000,
            every_frame=self._every_frame,
            clock=self._clock,
        )

    def run(self, intake: Intake, stop: Flag) -> None:
        """Hand in a part for each trigger until `stop` is set, or each frame of the videos.

        Raises:
            StationError: a video cannot be read.
        """
        if self._videos:
            play(self._settings, intake, stop, self._frames, self._record)
            return
        with ExitStack() as opened:
            for reader in self._readers:
                reader.start()
                opened.callback(reader.join)
            for reader in self._readers:  # called before any join
                opened.callback(reader.stop)
            pool = opened.enter_context(ThreadPoolExecutor(1, "parts"))  # one: in order
            opened.callback(self._triggers.close)
            self._bring(pool, intake, stop)

    def _bring(self, pool: ThreadPoolExecutor, intake: Intake, stop: Flag) -> None:
        unfinished: deque[Future[None]] = deque()

        def begin(trigger: Trigger) -> None:
            unfinished.append(pool.submit(self._hand_in, self._ask(trigger), intake, stop))

        while not stop.is_set():
            intake.source_state = self._state()
            self._check(unfinished)
            if (trigger := self._triggers.wait(WAIT_S)) is not None:
                begin(trigger)
        self._triggers.close()  # before the cameras, which take seconds to close
        while (trigger := self._triggers.wait(0)) is not None:
            begin(trigger)
        for part in unfinished:
            part.result()

    def _check(self, unfinished: deque[Future[None]]) -> None:
        """Let what went wrong beside end the run; taking every frame, wait for the oldest part."""
        while unfinished and (
            unfinished[0].done() or (self._every_frame and len(unfinished) > AHEAD)
        ):
            unfinished.popleft().result()

    def _ask(self, trigger: Trigger) -> _Shot:
        """Make the part durable, then ask the cameras for their frames of it."""
        captured_at, arrived_s = self._clock.now(), self._clock.monotonic()
        number, part_id, product, *_ = trigger
        product = product or self._settings.product
        event_id = identify(self._record, part_id, product, captured_at.isoformat(), str(number))
        why = OVERTAKEN if trigger.overtaken else self._out_of_step()
        if self._note is not None and not self._every_frame:
            try:
                self._note(Intent(event_id, part_id, product, captured_at))
            except StationError as error:
                why = f"the part was not photographed: {error}"
        asked = tuple(_refused(why) if why else reader.ask() for reader in self._readers)
        return _Shot(trigger, event_id, captured_at, arrived_s, asked)

    def _out_of_step(self) -> str:
        """Say why no camera may be asked now, where parts are paired by the count of frames.

        A camera that was opened later than the others would shift the pairs for ever. So cameras
        that are open begin together, and those that went on while one was down are opened anew with
        it. One that is down is not waited for: the others' frames are parts with its Fault.
        """
        if not self._every_frame:
            return ""
        begun = [reader.begun for reader in self._readers]
        if True in begun and False in begun and None not in begun:
            for reader in self._readers:
                if reader.begun:
                    reader.begin_anew()
        return "; ".join(reader.state for reader in self._readers if reader.opening)

    def _hand_in(self, shot: _Shot, intake: Intake, stop: Flag) -> None:
        """Wait for the frames of one part and hand it in."""
        if self._every_frame:
            self._await(shot.asked, self._clock.monotonic(), stop)
            self._give_up_late(shot, stop)
            shot = shot._replace(captured_at=self._clock.now(), arrived_s=self._clock.monotonic())
            if self._says_nothing_new(shot, stop):
                return
        else:
            self._await(shot.asked, shot.arrived_s, stop)
        intake.source_state = self._state()
        intake.put(self._part(shot, stopped=stop.is_set()))

    def _await(self, asked: Sequence[Future[Rgb]], since_s: float, stop: Flag) -> None:
        """Wait until each frame is there or its camera's time is over."""
        for reader, frame in zip(self._readers, asked, strict=True):
            until_s = since_s + self._limit_s(reader)
            while not stop.is_set() and (left_s := until_s - self._clock.monotonic()) > 0:
                if wait([frame], min(left_s, WAIT_S)).done:
                    break

    def _give_up_late(self, shot: _Shot, stop: Flag) -> None:
        """Open cameras anew whose frame would come when its part is handed in already."""
        for reader, frame in zip(self._readers, shot.asked, strict=True):
            if not frame.done() and not stop.is_set():
                reader.give_up()

    def _limit_s(self, reader: CameraReader) -> float:
        """Give how long a frame is waited for; the deadline of a free-running part begins later."""
        return reader.stall_s if self._every_frame else min(reader.stall_s, self._deadline_s)

    def _missing(self, reader: CameraReader) -> str:
        """Say why there is no frame when its time is over."""
        if self._limit_s(reader) == reader.stall_s:
            return reader.no_frame
        return (
            f"camera '{reader.name}' gave no frame within the deadline of "
            f"{self._deadline_s * 1000:.0f} ms; check its frame rate, or raise deadline_ms"
        )

    def _says_nothing_new(self, shot: _Shot, stop: Flag) -> bool:
        """Say whether no camera gave anything, and this part would say so once more."""
        before, self._dark = self._dark, not any(_came(frame) for frame in shot.asked)
        if self._dark:
            stop.wait(WAIT_S)  # cameras that are down refuse at once
        return self._dark and (before or stop.is_set())

    def _part(self, shot: _Shot, *, stopped: bool) -> Part:
        _, part_id, product, _, frame = shot.trigger
        return Part(
            event_id=shot.event_id,
            part_id=part_id,
            product=product or self._settings.product,
            frames=tuple(
                Frame(
                    reader.name,
                    public_address(self._settings.cameras[reader.name].address),
                    _pixels(asked, "the station stopped" if stopped else self._missing(reader)),
                )
                for reader, asked in zip(self._readers, shot.asked, strict=True)
            ),
            captured_at=shot.captured_at,
            arrived_s=shot.arrived_s,
            intents=() if self._note is None or self._every_frame else (shot.event_id,),
            share=None if self._frames is None else Share(frame),
        )

    def _state(self) -> str:
        return "; ".join(filter(None, (reader.state for reader in self._readers)))


def _refused(why: str) -> Future[Rgb]:
    asked: Future[Rgb] = Future()
    asked.set_exception(CameraDown(why))
    return asked


def _came(asked: Future[Rgb]) -> bool:
    """Say whether the camera gave a frame, were it one that cannot be used."""
    return asked.done() and (asked.exception() is None or isinstance(asked.exception(), ImageError))


def _pixels(asked: Future[Rgb], otherwise: str) -> Rgb | Fault:
    if not asked.done():
        asked.cancel()  # the camera need not wait for it
        return Fault(otherwise)
    error = asked.exception()
    return asked.result() if error is None else Fault(str(error))


def _are_videos(settings: CamerasSettings) -> bool:
    """Say whether all cameras are video files.

    Raises:
        StationError: only some are, or they are to be triggered.
    """
    videos = [name for name, camera in settings.cameras.items() if is_video(camera)]
    live = settings.cameras.keys() - set(videos)
    if videos and live:
        raise StationError(
            f"camera '{videos[0]}' is a video file and camera '{min(live)}' is none; wanted video "
            "files only or none; correct the addresses"
        )
    if videos and not isinstance(settings.trigger, IntervalTrigger):
        raise StationError(
            f"camera '{videos[0]}' is a video file; wanted trigger interval, because a video waits "
            "for nobody; correct the trigger or the address"
        )
    return bool(videos)

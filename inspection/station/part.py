"""What sources hand to the loop: a part with one frame per camera, and the queue between them."""

import hashlib
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from threading import Condition
from typing import NamedTuple

from inspection.core.fusion import view_of
from inspection.core.imaging import Rgb
from inspection.core.records import Event


class Stamp(NamedTuple):
    """What changes when a file's bytes change; ctime shows even a copy that keeps its mtime."""

    size: int
    mtime_ns: int
    ctime_ns: int


@dataclass(frozen=True)
class Fault:
    """Why something could not be done with one part."""

    reason: str


@dataclass(frozen=True)
class Frame:
    """One camera's frame of a part: its pixels, uint8 H×W×3 RGB, or why there are none."""

    camera: str
    source: str
    """Where it is from: path relative to the watched folder, camera address, `POST /frames`."""
    pixels: Rgb | Fault
    encoded: bytes | None = None
    """The file as captured; none for the raw frames of a camera."""
    sha256: str = ""
    """Of `encoded`; empty without it."""
    number: int | None = None
    """Which of the part's frames of this camera; none where it has one."""

    @property
    def view(self) -> str:
        """Names it within its part: the camera and, where there are several frames, its number."""
        return view_of(self.camera, self.number)


@dataclass(frozen=True)
class Share:
    """What a source says of a frame where a part has several: it is handed in as a part itself."""

    number: int | None = None
    """None counts them as they come."""
    last: bool = False
    """The part has no further frame."""
    of: str = ""
    """Tells its part from others of the same id and product, like its folder."""


def _nobody(_event: Event) -> None:
    """Nobody waits for the verdict."""


@dataclass(frozen=True)
class Part:
    """One part to be judged."""

    event_id: str
    """The same whenever the same part is handed in again, so that it gets one event."""
    part_id: str
    product: str
    frames: tuple[Frame, ...]
    captured_at: datetime
    arrived_s: float | None
    """Monotonic seconds from which the deadline counts; none counts from the loop's turn."""
    stamps: tuple[tuple[str, Stamp], ...] = ()
    """Files to be remembered as judged, (source, stamp), in the event's own transaction."""
    gone: tuple[str, ...] = ()
    """Files remembered as judged that were removed since, to be forgotten likewise."""
    answer: Callable[[Event], None] = _nobody
    """Called in the loop's thread with the durable event, also with an earlier one of the same
    event_id; must not block."""
    intents: tuple[str, ...] = ()
    """What was noted of it before its cameras looked; forgotten in the event's transaction."""
    share: Share | None = None
    """Set while it is but a frame of a part."""
    wanted: int | None = None
    """Frames the part has; none: nobody can say, or one."""
    lacking: str = ""
    """Why it is REVIEW at best: frames that did not come."""
    late: str = ""
    """It is a frame that came after the event of its part, which has this event_id."""


def with_missing_cameras(part: Part, cameras: tuple[str, ...]) -> Part:
    """Add a FAULT frame for every camera of the product that brought none."""
    numbers = dict.fromkeys(frame.number for frame in part.frames) or {None: None}
    brought = {(frame.camera, frame.number) for frame in part.frames}
    frames = tuple(
        Frame(
            camera,
            "",
            Fault(f"camera '{camera}' brought no frame; wanted one of each camera"),
            number=number,
        )
        for number in numbers
        for camera in sorted(cameras)
        if (camera, number) not in brought
    )
    return replace(part, frames=part.frames + frames)


def identify(record: str, *identity: str) -> str:
    """Give the event id of a part: the same for the same part, and another in every other record.

    Args:
        record: of the station, see `Spool.record_id`; random, so no two stations share one.
        identity: what tells the part from all others of that record.
    """
    return hashlib.sha256("\n".join((record, *identity)).encode()).hexdigest()[:32]


class Intake:
    """The queue from the sources to the loop, in order of arrival; for several threads."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._parts: deque[Part] = deque()
        self._changed = Condition()
        self.source_state = ""
        """Empty while the source works, else what is wrong with it, for people."""

    def __len__(self) -> int:
        return len(self._parts)

    def put(self, part: Part) -> bool:
        """Hand in a part that cannot wait: beyond the limit its frames become FAULT, at once.

        Returns:
            Whether it went on to be judged; false only for a frame that waits for others.
        """
        with self._changed:
            if self._with_pixels() >= self._limit:
                part = without_pixels(part, self._limit)
            self._parts.append(part)
            self._changed.notify_all()
            return True

    def offer(self, part: Part, timeout_s: float) -> bool:
        """Hand in a part that can wait, like a file; false when there was no room in time."""
        with self._changed:
            if not self._changed.wait_for(lambda: self._with_pixels() < self._limit, timeout_s):
                return False
            self._parts.append(part)
            self._changed.notify_all()
            return True

    def _with_pixels(self) -> int:
        """Count the parts that take memory; those without pixels and bytes are soon done with."""
        return sum(
            any(frame.encoded or not isinstance(frame.pixels, Fault) for frame in part.frames)
            for part in self._parts
        )

    def take(self, timeout_s: float) -> Part | None:
        """Give the part that waits longest; none when there was none in time."""
        with self._changed:
            if not self._changed.wait_for(lambda: bool(self._parts), timeout_s):
                return None
            part = self._parts.popleft()
            self._changed.notify_all()
            return part


def without_pixels(part: Part, limit: int) -> Part:
    """Make the frames of a part FAULT for which there is no room beside so many others."""
    fault = Fault(
        f"{limit} parts are waiting already; wanted room for it; lower the line's rate or raise "
        "queue_parts"
    )
    return replace(
        part, frames=tuple(replace(frame, pixels=fault, encoded=None) for frame in part.frames)
    )

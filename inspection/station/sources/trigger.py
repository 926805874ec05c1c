"""Says when the cameras look at the next part, and which part that is."""

import secrets
import time
from typing import NamedTuple, Protocol

from inspection.station.clock import Clock
from inspection.station.frames.settings import FramesSettings


class Trigger(NamedTuple):
    """One part stands before the cameras now."""

    number: int
    """Counts the triggers of one process, or is the PLC's own count."""
    part_id: str
    product: str
    overtaken: bool = False
    """The part moved on before this was given; nobody can look at it any more."""
    frame: int | None = None
    """Its number among the frames of the part; none where nobody knows."""


class Triggers(Protocol):
    """Whatever knows when a part stands before the cameras."""

    def wait(self, timeout_s: float) -> Trigger | None:
        """Wait for the next trigger and give it without delay; none when none came in time.

        The cameras' frames are exposed after this returns, so a trigger is given while its part
        still stands there, or as overtaken. Must not raise what passes by itself.
        """
        ...

    def close(self) -> None:
        """Take no part from now on; `wait` still gives, at once, those that were taken."""
        ...


def count_frames(index: int, frames: FramesSettings | None) -> tuple[int, int | None]:
    """Give which part the index-th picture shows and which of its frames it is, all from 0.

    Returns:
        The part's place; the frame's number as `frames.first` begins it, none where a part has one.
    """
    if frames is None:
        return index, None
    part, frame = divmod(index, frames.count)
    return part, frames.first + frame


class IntervalTriggers:
    """A part at fixed times, or whenever asked.

    A part id is the station's start, four random hex digits and the trigger's number, as in
    `20250301T063000Z-7f3a-000001`: the random digits keep ids of two starts apart even where the
    wall clock was set back between them.

    Args:
        every_ms: from part to part, ms; 0 gives a trigger whenever asked. Times that have passed
            unasked are left out, not made up for.
        product: product code of every part.
        clock: wall clock for the part ids, monotonic clock for the interval.
        frames: where parts have several: so many triggers in a row are one part; its number counts.
    """

    def __init__(
        self, every_ms: int, product: str, clock: Clock, frames: FramesSettings | None = None
    ) -> None:
        self._frames = frames
        self._every_s = every_ms / 1000
        self._product = product
        self._clock = clock
        self._run = f"{clock.now():%Y%m%dT%H%M%SZ}-{secrets.token_hex(2)}"
        self._due_s = clock.monotonic()
        self._number = 0
        self._closed = False

    def wait(self, timeout_s: float) -> Trigger | None:
        """Wait for the next of the fixed times; none when it is not reached in time."""
        if self._closed:
            return None
        left_s = self._due_s - self._clock.monotonic()
        time.sleep(max(0.0, min(left_s, timeout_s)))
        if left_s > timeout_s:
            return None
        self._due_s = self._next_due_s()
        self._number += 1
        number, frame = count_frames(self._number - 1, self._frames)
        return Trigger(self._number, f"{self._run}-{number + 1:06d}", self._product, frame=frame)

    def close(self) -> None:
        """Give no trigger any more."""
        self._closed = True

    def _next_due_s(self) -> float:
        """Give the first of the fixed times that lies ahead."""
        if not self._every_s:
            return self._due_s
        passed = (self._clock.monotonic() - self._due_s) // self._every_s
        return self._due_s + self._every_s * (max(passed, 0) + 1)

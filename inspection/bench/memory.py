"""Parts in memory for a station under test: frames in turn, one by one, at a pace or as a flood."""

import time
from collections.abc import Callable, MutableSequence, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from threading import Event as Flag
from threading import Semaphore

from inspection.core.imaging import Rgb
from inspection.core.records import Event
from inspection.station.part import Frame, Intake, Part


@dataclass
class MemorySource:
    """A source whose frames lie in memory, so that nothing but the station is measured."""

    cameras: Sequence[str]
    """Each part has a frame of each."""
    frames: Sequence[Rgb]
    """uint8 H×W×3 RGB, used in turn; neighbours must differ."""
    parts: int
    """How many; whoever is called `between` may end it sooner."""
    pace_s: float | None = 0.0
    """Time from part to part, whatever the station does; 0 waits for each verdict; none keeps the
    queue full."""
    between: Callable[[int], None] | None = None
    """Called after each part, in the source's thread."""
    took_ms: MutableSequence[float] = field(default_factory=list)
    """From handing a part in to its durable, signalled event, in the order of verdicts."""
    span_s: float = 0.0
    """From handing the first part in to the last verdict."""
    _answered: Semaphore = field(default_factory=lambda: Semaphore(0))

    def run(self, intake: Intake, stop: Flag) -> None:
        """Hand in all parts and wait for the last verdict; see `Source`."""
        began_s = time.perf_counter()
        number = 0
        while number < self.parts:
            if stop.is_set():
                return
            self._hand_in(number, intake, stop)
            if self.pace_s:
                time.sleep(max(0.0, began_s + (number + 1) * self.pace_s - time.perf_counter()))
            elif self.pace_s is not None:
                self._answered.acquire()
            if self.between is not None:
                self.between(number)
            number += 1
        if self.pace_s != 0:
            for _ in range(self.parts):
                self._answered.acquire()
        self.span_s = time.perf_counter() - began_s

    def _hand_in(self, number: int, intake: Intake, stop: Flag) -> None:
        first, name = number * len(self.cameras), f"part-{number:06d}"
        frames = tuple(
            Frame(camera, "memory", self.frames[(first + index) % len(self.frames)])
            for index, camera in enumerate(self.cameras)
        )
        arrived_s = None if self.pace_s is None else time.monotonic()
        answer = partial(self._answer, time.perf_counter())
        part = Part(name, name, "default", frames, datetime.now(UTC), arrived_s, answer=answer)
        if self.pace_s is not None:
            intake.put(part)
            return
        while not stop.is_set() and not intake.offer(part, 0.5):
            pass

    def _answer(self, handed_s: float, _event: Event) -> None:
        self.took_ms.append((time.perf_counter() - handed_s) * 1e3)
        self._answered.release()

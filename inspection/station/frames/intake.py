"""The queue to the loop where parts have several frames: what is handed in waits for the others."""

from collections.abc import Sequence
from threading import Event as Flag

from inspection.station.clock import Clock
from inspection.station.frames.grouping import Grouping
from inspection.station.frames.settings import FramesSettings
from inspection.station.part import Intake, Part, without_pixels
from inspection.station.sources.source import Source


class FramesIntake(Intake):
    """Takes frames and gives parts; for several threads.

    What waits for further frames is bounded by `frames.open_parts`, not by the queue's limit.
    """

    def __init__(self, limit: int, settings: FramesSettings, clock: Clock) -> None:
        super().__init__(limit)
        self._grouping, self._clock = Grouping(settings), clock

    def put(self, part: Part) -> bool:
        """Hand in a frame that cannot wait; says whether it went on to be judged."""
        with self._changed:
            now_s = self._clock.monotonic()
            self._append(self._grouping.add(part, now_s))
            return not self._grouping.holds(part.event_id)

    def offer(self, part: Part, timeout_s: float) -> bool:
        """Hand in a frame that can wait; false when there was no room in time."""
        with self._changed:
            if not self._changed.wait_for(lambda: self._with_pixels() < self._limit, timeout_s):
                return False
            self._parts.extend(self._grouping.add(part, self._clock.monotonic()))
            self._changed.notify_all()
            return True

    def take(self, timeout_s: float) -> Part | None:
        """Give the part that waits longest; those whose frames did not come in time, too."""
        with self._changed:
            self._append(self._grouping.due(self._clock.monotonic()))
        return super().take(timeout_s)

    def end(self, *, stopped: bool) -> None:
        """Hand in what waits for frames, for none will come any more."""
        with self._changed:
            self._parts.extend(self._grouping.end(self._clock.monotonic(), stopped=stopped))
            self._changed.notify_all()

    def _append(self, parts: Sequence[Part]) -> None:
        """Queue parts that cannot wait: those for which there is no room become FAULT."""
        for part in parts:
            full = self._with_pixels() >= self._limit
            self._parts.append(without_pixels(part, self._limit) if full else part)
        if parts:
            self._changed.notify_all()


def make_intake(limit: int, settings: FramesSettings | None, clock: Clock) -> Intake:
    """Make the queue a station needs."""
    return Intake(limit) if settings is None else FramesIntake(limit, settings, clock)


def bring(source: Source, intake: Intake, stop: Flag) -> None:
    """Let a source bring parts until there are no more, and hand in what then waits for frames.

    Raises:
        StationError: as the source does.
    """
    try:
        source.run(intake, stop)
    finally:
        if isinstance(intake, FramesIntake):
            intake.end(stopped=stop.is_set())

"""What a destination of events got, in which order."""

import time
from dataclasses import dataclass, field
from threading import Lock


@dataclass
class Heard:
    """The events one destination got; `take` is called in its thread."""

    events: dict[int, str] = field(default_factory=dict)
    """Sequence → event_id, or part id where only that comes, as each came first."""
    at_s: list[float] = field(default_factory=list)
    """When each of them came, monotonic."""
    again: int = 0
    """Events that came once more, as they had come before."""
    wrong: int = 0
    """Events that did not follow on the last new one, or came again under another id."""
    _lock: Lock = field(default_factory=Lock)

    @property
    def last(self) -> int:
        """Sequence of the last new event; 0 before the first."""
        return len(self.events)

    def take(self, sequence: int, event_id: str) -> None:
        """Note one event."""
        with self._lock:
            known = self.events.get(sequence)
            if known is not None:
                self.again += 1
                self.wrong += known != event_id
                return
            self.wrong += sequence != len(self.events) + 1
            self.events[sequence] = event_id
            self.at_s.append(time.monotonic())

    def after_s(self, moment_s: float) -> float | None:
        """Give the seconds from a moment to the first new event after it; none before that."""
        with self._lock:
            return next((at_s - moment_s for at_s in self.at_s if at_s > moment_s), None)

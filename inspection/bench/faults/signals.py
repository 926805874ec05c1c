"""The signal of a station under fault: an output that appends each delivery to a file.

Every line has 64 bytes, so that none crosses a page and a kill leaves whole lines only. Times are
those of the system's monotonic clock, which all processes share.
"""

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from inspection.core.records import Event
from inspection.station.spool import SpoolReader
from inspection.station.state import StationState, StationStatus

LINE_BYTES = 64
NAME = "signal"
_PLACE, _EVENT, _STATE = "place", "event", "state"


class SignalFile:
    """Appends a line per event, one per connection and one per change of the station's state."""

    name = NAME
    batch = 8
    from_start = True

    def __init__(self, path: Path, data_dir: Path) -> None:
        self._data_dir = data_dir
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        self._state: StationState | None = None

    def connect(self) -> None:
        """Note the durable place in the outbox, behind which events may come once more."""
        with SpoolReader(self._data_dir) as record:
            self._write(_PLACE, str(record.delivered().get(NAME, 0)))

    def deliver(self, events: Sequence[Event]) -> int:
        """Append the events."""
        for event in events:
            self._write(_EVENT, f"{event.sequence} {event.event_id}")
        return len(events)

    def beat(self, status: StationStatus) -> None:
        """Note a new state."""
        if status.state is not self._state:
            self._state = status.state
            self._write(_STATE, status.state)

    def close(self) -> None:
        """Let the file go."""
        os.close(self._file)

    def _write(self, kind: str, words: str) -> None:
        line = f"{kind} {time.monotonic():.3f} {words}"
        os.write(self._file, f"{line:<{LINE_BYTES - 1}}\n".encode())


@dataclass(frozen=True)
class Signal:
    """One event that left the station."""

    sequence: int
    event_id: str
    at_s: float


@dataclass
class Connection:
    """What was signalled from one connection of the output to the next: that of a life."""

    place: int
    """Sequence up to which everything was acknowledged durably when it began."""
    at_s: float
    signals: list[Signal] = field(default_factory=list)


@dataclass
class Signals:
    """All that a station let out, over all its lives."""

    connections: list[Connection] = field(default_factory=list)
    states: list[tuple[float, StationState]] = field(default_factory=list)
    """When the station said that it came into each state."""

    @property
    def all(self) -> list[Signal]:
        """Every signal in order, those that came again too."""
        return [signal for connection in self.connections for signal in connection.signals]


def read_signals(path: Path) -> Signals:
    """Read the file as far as it is written; none is an empty one."""
    found = Signals()
    for line in path.read_text(encoding="ascii").splitlines() if path.exists() else ():
        kind, at_s, *words = line.split()
        if kind == _PLACE:
            found.connections.append(Connection(int(words[0]), float(at_s)))
        elif kind == _EVENT:
            signal = Signal(int(words[0]), words[1], float(at_s))
            found.connections[-1].signals.append(signal)
        else:
            found.states.append((float(at_s), StationState(words[0])))
    return found

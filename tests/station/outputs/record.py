"""What a courier needs in a test: a record and an output in memory, and patience."""

import threading
import time
from collections.abc import Callable, Sequence

from inspection.core.records import Event
from inspection.station.outputs.courier import BackOff, Courier
from inspection.station.outputs.output import OutputDown
from inspection.station.state import StationStatus
from tests.station.events import event

SOON = BackOff(first_s=0.0005, most_s=0.002)
WAIT_S = 20.0


class Record:
    """Committed events, as the spool's readers give them; counts the reads."""

    def __init__(self, count: int = 0) -> None:
        self.events = [event(number) for number in range(1, count + 1)]
        self.reads = 0
        self.open = 0
        self.threads: set[str] = set()

    def __call__(self) -> "Record":
        """Open it."""
        self.open += 1
        self.threads.add(threading.current_thread().name)
        return self

    def after(self, sequence: int, limit: int) -> list[Event]:
        """Give the first events behind a sequence."""
        self.reads += 1
        return [found for found in self.events if found.sequence > sequence][:limit]

    def close(self) -> None:
        """Close it."""
        self.open -= 1

    def commit(self, courier: Courier, count: int = 1) -> None:
        """Do what the loop does: write an event, then publish it; and so on."""
        for _ in range(count):
            self.events.append(event(len(self.events) + 1))
            courier.publish(self.events[-1])


class Acknowledged(list[int]):
    """The sequences in the order they were acknowledged."""

    def __call__(self, name: str, sequence: int) -> None:
        """Take one acknowledgement."""
        self.append(sequence)


class ScriptedOutput:
    """Does what its script says, one step per delivery or connection, then takes everything."""

    name = "scripted"
    batch = 4
    from_start = True

    def __init__(self, script: Sequence[object] = ()) -> None:
        self.script = list(script)
        self.deliveries: list[tuple[list[int], int]] = []
        """Sequences of each delivery, and how many of them were acknowledged."""
        self.connections = 0
        self.closed = 0
        self.beats = 0
        self.beat_error: Exception | None = None
        self.gate = threading.Event()
        self.gate.set()

    def connect(self) -> None:
        """Connect, unless the script says otherwise."""
        self.connections += 1
        if self.script and self.script[0] == "no connection":
            self.script.pop(0)
            raise OutputDown("no connection")

    def deliver(self, events: Sequence[Event]) -> int:
        """Do the next step of the script; none left takes everything."""
        self.gate.wait(WAIT_S)
        sequences = [found.sequence for found in events]
        self.deliveries.append((sequences, 0))
        step = self.script.pop(0) if self.script else len(events)
        if isinstance(step, Exception):
            raise step
        count = min(step, len(events)) if isinstance(step, int) else len(events)
        self.deliveries[-1] = sequences, count
        return count

    def beat(self, status: StationStatus) -> None:
        """Count it, and fail as told."""
        self.beats += 1
        if self.beat_error is not None:
            raise self.beat_error

    def close(self) -> None:
        """Count it."""
        self.closed += 1


def until(condition: Callable[[], object]) -> None:
    """Wait until something is so."""
    end = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.001)

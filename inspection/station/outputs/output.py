"""What the station asks of a destination of events."""

from collections.abc import Sequence
from typing import Protocol

from inspection.core.errors import StationError
from inspection.core.records import Event
from inspection.station.state import StationStatus


def refused_by(output: str) -> str:
    """Name the counter of events that an output never takes; they stay in the record."""
    return f"refused by {output}"


class OutputDown(StationError):
    """A destination cannot be reached or did not acknowledge now; it is tried again."""


class OutputGone(StationError):
    """A destination will never come back in this process; the station must end."""


class Output(Protocol):
    """One destination; `beat` is called in another thread than the rest.

    Only `deliver` moves the destination's place in the outbox, so what it does not acknowledge is
    delivered again under the same event_id and sequence, in order.
    """

    name: str
    """Its place in the outbox."""
    batch: int
    """Most events it takes at once."""
    from_start: bool
    """Whether, when it is new, it gets the whole record; else what is recorded from then on."""

    def connect(self) -> None:
        """Reach the destination; called again after each OutputDown.

        Raises:
            OutputDown: not now.
            OutputGone: never.
        """
        ...

    def deliver(self, events: Sequence[Event]) -> int:
        """Deliver events, in order; give how many of them, from the first, are acknowledged.

        May wait for the acknowledgement as long as its own time-out; a person's or a PLC's for at
        most a second or two without returning 0.

        Raises:
            OutputDown: the connection was lost; connect again.
            OutputGone: never again.
        """
        ...

    def beat(self, status: StationStatus) -> None:
        """Tell the station's state, once per heartbeat; must not wait.

        Raises:
            OutputDown: the heartbeat found that the connection is lost; connect again.
        """
        ...

    def close(self) -> None:
        """Say that the station leaves, drive the safe output, let go; called once, last."""
        ...

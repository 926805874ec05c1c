"""Watches the heartbeat of a station: whether its snapshots are still fresh."""

import time
from collections.abc import Callable

from inspection.station.state import StationStatus

SILENT_BEATS = 3
SILENT_S = 2.0  # a heartbeat may always be so late: the machine may be busy


def silent_after_s(heartbeat_ms: int) -> float:
    """Give the seconds without a heartbeat after which a station does not answer any more."""
    return max(SILENT_BEATS * heartbeat_ms / 1000, SILENT_S)


class Pulse:
    """The last snapshot, and for how long its heartbeat has stood still on the monotonic clock."""

    def __init__(self, status: Callable[[], StationStatus]) -> None:
        self._look_up = status
        self._status = status()
        self._beaten_s = time.monotonic()

    def look(self) -> None:
        """Take a new snapshot."""
        before, self._status = self._status, self._look_up()
        if self._status.beat != before.beat:
            self._beaten_s = time.monotonic()

    def status(self) -> StationStatus:
        """Give the last snapshot."""
        return self._status

    def silent_s(self) -> float:
        """Give the seconds since the heartbeat was last seen to move."""
        return time.monotonic() - self._beaten_s

"""The station's view of time: a wall clock for records, a monotonic one for every duration."""

import time
from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    """What the station asks of time."""

    def now(self) -> datetime:
        """Give the wall clock, aware UTC; it may jump back and forth."""
        ...

    def monotonic(self) -> float:
        """Give seconds that never run backwards, from an arbitrary start."""
        ...


class SystemClock:
    """The clocks of this computer."""

    def now(self) -> datetime:
        """Give the wall clock, aware UTC."""
        return datetime.now(UTC)

    def monotonic(self) -> float:
        """Give seconds since an arbitrary start."""
        return time.monotonic()


SYSTEM_CLOCK = SystemClock()

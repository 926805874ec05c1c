"""What the outage scenarios ask of whatever takes a station's events."""

from typing import Any, Protocol

from inspection.bench.faults.heard import Heard


class Destination(Protocol):
    """One destination that can be stopped and cut off; it runs from entering to leaving."""

    name: str
    heard: Heard

    @property
    def settings(self) -> dict[str, Any]:
        """The output as it stands in the station's configuration."""
        ...

    @property
    def safe(self) -> bool | None:
        """Whether it drives the safe output now; none where it hears of events only."""
        ...

    @property
    def beat(self) -> int:
        """The last heartbeat that came."""
        ...

    def stop(self) -> None:
        """Be gone."""
        ...

    def start(self) -> None:
        """Be there again."""
        ...

    def go_dumb(self) -> None:
        """Be half-open: connected, but nothing comes through."""
        ...

    def heal(self) -> None:
        """Be reachable again by a new connection."""
        ...

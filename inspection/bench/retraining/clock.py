"""A hub whose time a simulation sets."""

from dataclasses import dataclass, fields
from datetime import datetime

from inspection.hub.hub import Hub, open_hub
from inspection.hub.settings import HubConfig


@dataclass
class SetClock:
    """Stands until it is set."""

    now: datetime


@dataclass(frozen=True)
class TimedHub(Hub):
    """A hub that believes a clock of ours."""

    clock: SetClock

    def now(self) -> datetime:
        """Give the time that is set."""
        return self.clock.now


def open_timed_hub(config: HubConfig, clock: SetClock) -> TimedHub:
    """Open a hub on a clock of ours; raises as `open_hub`."""
    hub = open_hub(config)
    return TimedHub(**{one.name: getattr(hub, one.name) for one in fields(hub)}, clock=clock)

"""A line with doubles around it: hands parts to the real loop, record and picture keeper."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from threading import Event as Flag

import numpy as np

from inspection.core.errors import StationError
from inspection.core.records import Event
from inspection.station.clock import SYSTEM_CLOCK, Clock
from inspection.station.health import Health, Surroundings
from inspection.station.loop import Beside, Line
from inspection.station.part import Fault, Frame, Intake, Part
from inspection.station.pictures import Pictures
from inspection.station.settings import StationConfig
from inspection.station.sources.settings import CAMERA
from inspection.station.spool import Spool, SpoolReader
from inspection.station.state import StationStatus
from tests.fakes import TableJudges

WALL = datetime(2025, 3, 1, 6, tzinfo=UTC)


def pixels(red: int, hw: tuple[int, int] = (12, 20)) -> np.ndarray:
    """Make a uniform non-square frame of one grey value."""
    return np.full((*hw, 3), red, np.uint8)


def part(name: str, red: int | Fault, **changes) -> Part:
    """Make a part with one raw frame of one grey value, or without."""
    shown = red if isinstance(red, Fault) else pixels(red)
    values = {
        "event_id": f"id-{name}",
        "part_id": name,
        "product": "default",
        "frames": (Frame(CAMERA, f"camera {CAMERA}", shown),),
        "captured_at": WALL,
        "arrived_s": None,
    }
    return Part(**(values | changes))


def configure(folder: Path, **changes: object) -> StationConfig:
    """Configure a station with its data in `folder/data` and a generous deadline."""
    source = {"kind": "folder", "path": folder / "in", "settle_ms": 0, "poll_ms": 1, "once": True}
    values = {"data_dir": folder / "data", "deadline_ms": 60_000, "outputs": [], "source": source}
    return StationConfig.model_validate(values | changes)


@dataclass
class Rig:
    """What one run of the loop is made of; `run` judges parts until there are none left."""

    config: StationConfig
    judges: TableJudges = field(default_factory=TableJudges)
    clock: Clock = SYSTEM_CLOCK
    signalled: list[Event] = field(default_factory=list)
    signal: Callable[[Event], None] | None = None
    health: Health = field(init=False)
    stop: Flag = field(default_factory=Flag)
    beside: Beside | None = None
    ended: Callable[[], bool] = lambda: True

    def __post_init__(self) -> None:
        self.health = Health(self.config, {}, [], self.clock)
        self.intake = Intake(self.config.queue_parts)

    def run(self, parts: Sequence[Part] = ()) -> StationStatus:
        """Judge parts, in order, with whatever waits in the intake before them."""
        for one in parts:
            self.intake._parts.append(one)  # as if there were room for all
        with Spool(self.config.data_dir) as spool:
            budget = self.config.spool.budget_mb * 1_000_000
            pictures = Pictures(self.config.data_dir, budget, spool.count)
            try:
                line = Line(
                    self.config,
                    self.judges,
                    spool,
                    pictures,
                    self.health,
                    self.signal or self.signalled.append,
                    self.clock,
                    self.beside,
                )
                line.run(self.intake, self.stop, self.ended)
            except StationError as error:
                line.give_up(self.intake, str(error))
                raise
            finally:
                pictures.close()
        return self.health.beat(Surroundings())


def recorded(config: StationConfig) -> list[Event]:
    """Read all events of a station."""
    with SpoolReader(config.data_dir) as record:
        return record.after(0)

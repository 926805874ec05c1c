"""Writes parts into a watched folder and runs a station over it, for the station's tests."""

import io
from pathlib import Path
from threading import Event as Flag

import numpy as np
from PIL import Image

from inspection.core.records import Event
from inspection.station.clock import SYSTEM_CLOCK, Clock
from inspection.station.loop import Emit, StationCounts, run_station
from inspection.station.settings import StationConfig
from inspection.station.spool import Spool
from tests.fakes import TableScorer


def encoded(red: int, hw: tuple[int, int] = (12, 20), kind: str = "PNG") -> bytes:
    """Encode a uniform non-square part of one grey value."""
    stream = io.BytesIO()
    Image.fromarray(np.full((*hw, 3), red, np.uint8)).save(stream, kind, quality=95)
    return stream.getvalue()


def put(folder: Path, name: str, content: bytes) -> Path:
    """Put a file into the folder as an atomic rename does."""
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    partial.write_bytes(content)
    return partial.replace(path)


def configure(folder: Path, **changes: object) -> StationConfig:
    """Configure a station that judges `folder/in` once, files being whole at first sight."""
    (folder / "in").mkdir(exist_ok=True)
    values = {
        "source": folder / "in",
        "data_dir": folder / "data",
        "settle_ms": 0,
        "poll_ms": 1,
        "once": True,
        "deadline_ms": 60_000,
    }
    return StationConfig.model_validate({**values, **changes})


def ignore(event: Event) -> None:
    """Take a signal and do nothing."""


def run(
    config: StationConfig,
    judge: TableScorer | None = None,
    emit: Emit = ignore,
    clock: Clock = SYSTEM_CLOCK,
) -> StationCounts:
    """Run a station until its folder is judged."""
    return run_station(config, judge or TableScorer(), emit, Flag(), clock)


def recorded(config: StationConfig) -> list[Event]:
    """Read all events of a station that is not running."""
    with Spool(config.data_dir) as spool:
        return list(spool.events())

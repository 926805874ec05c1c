"""A station as a process of its own, for tests that kill it, fill its disk or press Ctrl-C.

The process is forked from a server that has the imports done, so that a life costs milliseconds.
"""

import os
import resource
import signal
from dataclasses import dataclass
from datetime import datetime
from multiprocessing import get_context
from multiprocessing.process import BaseProcess
from pathlib import Path

from inspection.core.decision import Judgement
from inspection.core.errors import SpoolFull
from inspection.core.imaging import Rgb
from inspection.core.records import Event
from inspection.station.clock import SystemClock
from inspection.station.loop import run_station
from inspection.station.settings import StationConfig
from inspection.station.stopping import stop_on_signals
from tests.fakes import TableScorer

DONE, FULL = 0, 17  # exit codes


@dataclass(frozen=True)
class Life:
    """What one life of the station meets."""

    takes_s: float = 0.002
    dies_in: str = ""  # "judge", "clock" (after the overlay, before the event) or "signal"
    dies_at: int = 0  # the how manyeth part
    file_limit_bytes: int = 0  # no file may grow beyond, as on a full disk
    hold_s: float = 0  # time each signal takes


def start(config: StationConfig, signals: Path, life: Life) -> BaseProcess:
    """Start a station that appends the event_id of each signal to a file."""
    context = get_context("forkserver")
    context.set_forkserver_preload([__name__])
    process = context.Process(target=_live, args=(config, signals, life))
    process.start()
    return process


class _Mortal:
    """Kills its own process, as kill -9 does, at the given call."""

    def __init__(self, calls: int) -> None:
        self.calls = calls

    def call(self) -> None:
        self.calls -= 1
        if self.calls == 0:
            os.kill(os.getpid(), signal.SIGKILL)


class _MortalScorer(TableScorer):
    def __init__(self, life: Life) -> None:
        super().__init__(takes_s=life.takes_s)
        self.death = _Mortal(life.dies_at if life.dies_in == "judge" else 0)

    def judge(self, pixels: Rgb) -> Judgement:
        self.death.call()
        return super().judge(pixels)


class _MortalClock(SystemClock):
    def __init__(self, life: Life) -> None:
        self.death = _Mortal(life.dies_at if life.dies_in == "clock" else 0)

    def now(self) -> datetime:
        self.death.call()
        return super().now()


def _live(config: StationConfig, signals: Path, life: Life) -> None:
    death = _Mortal(life.dies_at if life.dies_in == "signal" else 0)
    target = os.open(signals, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    if life.file_limit_bytes:
        resource.setrlimit(resource.RLIMIT_FSIZE, (life.file_limit_bytes, life.file_limit_bytes))

    def emit(event: Event) -> None:
        death.call()
        os.write(target, f"{event.event_id}\n".encode())
        stop.wait(life.hold_s)

    with stop_on_signals() as stop:
        try:
            run_station(config, _MortalScorer(life), emit, stop, _MortalClock(life))
        except SpoolFull:
            os._exit(FULL)
    os._exit(DONE)

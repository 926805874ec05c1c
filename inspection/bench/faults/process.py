"""A station as a process of its own, to be killed, starved and led astray.

It is the whole station, `serve`, forked from a server that has the imports done, so that a life
costs a fifth of a second. No OpenVINO core is made before the fork.
"""

import logging
import os
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, Self

from inspection.bench.faults.ledger import Ledger, account
from inspection.bench.faults.signals import LINE_BYTES, SignalFile, Signals, read_signals
from inspection.bench.redness import encode_part
from inspection.bundles.signing import Purpose, own_keys
from inspection.core.errors import InspectionError
from inspection.core.records import Event, read_record
from inspection.station.heart import STATUS_FILE
from inspection.station.service import serve
from inspection.station.settings import StationConfig
from inspection.station.sources.source import Source
from inspection.station.spool import SpoolReader
from inspection.station.state import StationState, StationStatus

logger = logging.getLogger(__name__)

DONE, FAILED = 0, 3  # exit codes, as those of the command
WAIT_S = 60.0  # for anything a station must do; far beyond what it needs on a busy machine
LOOK_S = 0.002
BEAT_MS = 50
PRELOADED = [__name__]
"""Modules the server imports before it forks."""


@dataclass(frozen=True)
class Life:
    """How one process of a station goes."""

    config: StationConfig
    signals: Path
    log: Path
    prepare: tuple[Callable[[], None], ...] = ()
    """Called in the process before the station is; may break whatever a fault breaks."""
    source: Callable[[], Source] | None = None
    """Makes what takes the place of the configured source."""


def live(life: Life) -> None:
    """Be the station; ends the process."""
    logging.basicConfig(filename=life.log, level=logging.INFO, force=True)
    for prepare in life.prepare:
        prepare()
    output = SignalFile(life.signals, life.config.data_dir)
    try:
        serve(life.config, [output], life.source() if life.source else None)
    except InspectionError:
        logger.exception("station ended")
        sys.exit(FAILED)


def wait_for(condition: Callable[[], bool], what: str) -> float:
    """Wait until something is so; give the seconds it took.

    Raises:
        InspectionError: it was not so in time.
    """
    began_s = time.monotonic()
    while not condition():
        if time.monotonic() - began_s > WAIT_S:
            raise InspectionError(f"{what}: not within {WAIT_S:.0f} s; look into the station's log")
        time.sleep(LOOK_S)
    return time.monotonic() - began_s


def _station_keys() -> tuple[str, ...]:
    """Give the keys of this process: the server that forks its stations may have others."""
    return tuple(key for key in own_keys() if not key.startswith(Purpose.BACKUP))


class Station:
    """One station of a scenario: its folders, its process, and the parts that went in.

    Args:
        work: a folder for all of it.
        bundle: judges.
        data_dir: where the station keeps its record; else below `work`.
        outputs: beside the CSV file.
        changes: of its configuration.
    """

    def __init__(
        self,
        work: Path,
        bundle: Path,
        *,
        data_dir: Path | None = None,
        outputs: Sequence[Mapping[str, Any]] = (),
        **changes: Any,
    ) -> None:
        self._incoming = work / "incoming"
        self._incoming.mkdir(parents=True)
        self._signals, self._log = work / "signals", work / "station.log"
        self.csv = work / "events.csv"
        source = {"kind": "folder", "path": self._incoming, "settle_ms": 0, "poll_ms": 1}
        values = {
            "data_dir": data_dir or work / "data",
            "source": source,
            "recipes": {"default": {"main": {"bundle": bundle}}},
            "inference": {"threads": 1},
            "deadline_ms": 60_000,
            "outputs": [{"kind": "csv", "path": self.csv}, *outputs],
            "heartbeat_ms": BEAT_MS,
            "updates": {"poll_ms": 50},
            "trusted_keys": _station_keys(),
        }
        self.config = StationConfig.model_validate(values | changes)
        self.part_ids: list[str] = []
        """Of the parts that went in."""
        self._starts_s: list[float] = []
        self._process: BaseProcess | None = None

    def __enter__(self) -> Self:
        """Give the station, not started yet."""
        return self

    def __exit__(self, *_error: object) -> None:
        """Kill what runs of it still."""
        if self._process is not None:
            self._process.kill()
            self._process.join()
            self._process.close()
            self._process = None

    def put(self, count: int) -> None:
        """Put further parts into the watched folder, as an atomic rename does."""
        for number in range(len(self.part_ids), len(self.part_ids) + count):
            name, content = encode_part(number)
            partial = self._incoming / f".{name}.partial"
            partial.write_bytes(content)
            partial.rename(self._incoming / name)
            self.part_ids.append(Path(name).stem)

    def start(
        self, *prepare: Callable[[], None], source: Callable[[], Source] | None = None
    ) -> None:
        """Start a process; see `Life`."""
        context = get_context("forkserver")
        context.set_forkserver_preload(PRELOADED)
        life = Life(self.config, self._signals, self._log, prepare, source)
        self._starts_s.append(time.monotonic())
        self._process = context.Process(target=live, args=(life,), daemon=True)
        self._process.start()

    @property
    def alive(self) -> bool:
        """Whether its process runs."""
        return self._process is not None and self._process.is_alive()

    @property
    def pid(self) -> int:
        """Process id of the station that runs."""
        if self._process is None or self._process.pid is None:
            raise InspectionError("no station runs; wanted one; start it")
        return self._process.pid

    def kill(self) -> None:
        """Kill -9."""
        os.kill(self.pid, signal.SIGKILL)
        self.join()

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Ask it to end by a signal, and give its exit code."""
        os.kill(self.pid, number)
        return self.join()

    def join(self) -> int:
        """Wait for its end and give its exit code, negative for a signal."""
        process = self._process
        if process is None:
            raise InspectionError("no station runs; wanted one; start it")
        process.join(WAIT_S)
        code = process.exitcode
        if code is None:
            raise InspectionError(f"the station did not end within {WAIT_S:.0f} s; see {self._log}")
        process.close()
        self._process = None
        return code

    def wait(self, condition: Callable[[], bool], what: str) -> float:
        """Wait for something a living station does; give the seconds it took.

        Raises:
            InspectionError: it did not come, or the station ended.
        """

        def alive_or_done() -> bool:
            if not self.alive:
                raise InspectionError(f"{what}: the station ended before it; see {self._log}")
            return condition()

        return wait_for(alive_or_done, what)

    def signals(self) -> Signals:
        """Give all that left the station until now."""
        return read_signals(self._signals)

    def signal_bytes(self) -> int:
        """Give the length of what left the station, which costs less than to read it."""
        return self._signals.stat().st_size if self._signals.exists() else 0

    def signalled(self, count: int) -> bool:
        """Say whether so many events have left the station, each counted once."""
        if self.signal_bytes() < count * LINE_BYTES:
            return False
        return len({signal.event_id for signal in self.signals().all}) >= count

    def _connected(self) -> bool:
        some = self.signals().connections
        return bool(some) and some[-1].at_s > self._starts_s[-1]

    def works(self) -> bool:
        """Say whether this process has let an event out that no earlier one did."""
        signals = self.signals().all
        before = {sent.sequence for sent in signals if sent.at_s <= self._starts_s[-1]}
        return bool(signals) and signals[-1].sequence > max(before, default=0)

    def recoveries_s(self) -> list[float]:
        """Give the seconds from start to first signal of each process that came so far."""
        firsts_s = [some.signals[0].at_s for some in self.signals().connections if some.signals]
        return [at_s - max(s for s in self._starts_s if s < at_s) for at_s in firsts_s]

    def said(self, state: StationState) -> bool:
        """Say whether this process has ever said that it is in a state."""
        return any(now is state for at_s, now in self.signals().states if at_s > self._starts_s[-1])

    def status(self) -> StationStatus:
        """Give what `inspection station status` would show."""
        return read_record(self.config.data_dir / STATUS_FILE, StationStatus)

    def events(self) -> list[Event]:
        """Give the whole record."""
        with SpoolReader(self.config.data_dir) as record:
            return record.after(0)

    def timed_events(self) -> list[tuple[float, Event]]:
        """Give every event that was signalled, with the time of its first signal."""
        first_s: dict[int, float] = {}
        for sent in self.signals().all:
            first_s.setdefault(sent.sequence, sent.at_s)
        return [(first_s[e.sequence], e) for e in self.events() if e.sequence in first_s]

    @property
    def has_beaten(self) -> bool:
        """Whether there is a status."""
        return (self.config.data_dir / STATUS_FILE).exists()

    def note(self) -> str:
        """Give what became of the last update of the bundle; empty before the first look at it."""
        bundles = self.status().bundles if self.has_beaten else ()  # none while they are opened
        return bundles[0].note if bundles else ""

    def finish(self) -> Ledger:
        """Let a running station judge all that is there, end it, and take stock.

        Raises:
            InspectionError: it does not get there, or does not end well.
        """
        count = len(self.part_ids)
        self.wait(self._connected, "the station's outputs")  # before, a signal ends it at once
        self.wait(lambda: self.signalled(count), f"{count} parts judged and signalled")
        code = self.stop()
        if code != DONE:
            raise InspectionError(f"the station ended with {code}; wanted {DONE}; see {self._log}")
        return self.account()

    def account(self, part_ids: Sequence[str] | None = None) -> Ledger:
        """Take stock of a station that has ended; `part_ids` are else of what was put in."""
        parts = self.part_ids if part_ids is None else part_ids
        return account(parts, self.events(), self.signals(), self.csv, self.config.data_dir)

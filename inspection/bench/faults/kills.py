"""Kill -9: at random points of a station's life, and at named steps of its loop."""

import os
import random
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np

from inspection.bench.faults.ledger import Ledger
from inspection.bench.faults.process import WAIT_S, Station
from inspection.bench.faults.scenario import Finding, Row, Scene
from inspection.bench.faults.triggers import TriggeredStation
from inspection.bundles.bundle import Bundle
from inspection.core.command import INSPECTION
from inspection.core.errors import InspectionError
from inspection.core.records import Event, write_record
from inspection.station.outputs.couriers import Couriers
from inspection.station.part import Intake
from inspection.station.sources.reader import CameraReader
from inspection.station.spool import Spool

LIVES = 50  # of one station; a new one begins with an empty record
LANES = 2  # stations at once
PARTS_PER_LIFE = 6
AT_WORK = 0.75  # share of the kills that wait for the first part of that life
WORK_S = 0.06  # they come within this time after it
START_S = 0.2  # the others come within this time after the start
KILLED = -signal.SIGKILL
NEW_PARTS, CALLS = 4, 2  # each step is met twice at least with so many new parts
FRAMES = 2  # of a part, where it has several

Kind = Callable[[Path, Path], Station]
KINDS: dict[str, Kind] = {
    "watched folder": Station,
    "camera triggers": TriggeredStation,
    "camera triggers, parts of two frames": partial(TriggeredStation, frames=FRAMES),
}
"""What brings the parts of a station that is killed; each has its share of the kills."""

RECORDING: dict[str, tuple[Any, str]] = {
    "before the transaction": (Spool, "append"),
    "within the transaction": (Event, "model_dump_json"),
    "between event and signal": (Couriers, "publish"),
    "between signal and acknowledgement": (Spool, "acknowledge"),
}
STEPS: dict[str, dict[str, tuple[Any, str]]] = {
    "watched folder": {
        "in the judge": (Bundle, "judge_tiles"),
        **RECORDING,
        "with a file half-written": (Path, "replace"),
    },
    "camera triggers": {
        "before the part is noted": (Spool, "note"),
        "between note and shutter": (CameraReader, "ask"),
        "between shutter and queue": (Intake, "put"),
        **RECORDING,
    },
}
"""Each step, of each kind of station, as the function at whose call the process dies."""


def kill_at_random(scene: Scene) -> Finding:
    """Kill stations at random points while parts arrive, and see that nothing is lost."""
    ledger = Ledger()
    rows: list[Row] = []
    recoveries_s: list[float] = []
    kills = scene.options.kills
    for number, (kind, make) in enumerate(KINDS.items()):
        share = kills * (number + 1) // len(KINDS) - kills * number // len(KINDS)
        found = _kill_kind(make, scene.work / str(number), scene.bundle, share)
        ledger += found.ledger
        recoveries_s += found.recoveries_s
        rows += [(f"{kind}: {what}", value) for what, value in found.rows(share)]
    rows += [
        ("from start to first signal, process forked, median s", float(np.median(recoveries_s))),
        ("the command itself, from start to READY, median s", _restart_s(scene)),
    ]
    return Finding(ledger.goals("kill -9 at random"), rows)


def kill_at_steps(scene: Scene) -> Finding:
    """Kill stations at each of the named steps, and see that nothing is lost."""
    ledger, rows = Ledger(), []
    for kind, steps in STEPS.items():
        for step, where in steps.items():
            with KINDS[kind](scene.work / f"{kind}-{step}", scene.bundle) as station:
                found = _killed_at(step, where, station, scene.options.step_kills)
            ledger += found
            rows.append((f"{kind}, kill -9 {step}: signals sent again", found.again))
    return Finding(ledger.goals("kill -9 at named steps"), rows)


def die_at(where: tuple[Any, str], call: int) -> None:
    """Let this process kill itself at the how manyeth call of a function of some class."""
    owner, name = where
    real: Callable[..., object] = getattr(owner, name)
    calls = count(1)

    def mortal(*args: object, **kwargs: object) -> object:
        if next(calls) == call:
            os.kill(os.getpid(), signal.SIGKILL)
        return real(*args, **kwargs)

    setattr(owner, name, mortal)


def _restart_s(scene: Scene) -> float:
    """Give the median of the seconds the command takes to be READY after a kill."""
    work = scene.work / "command"
    config, address = work / "station.yaml", work / "supervisor"
    write_record(config, Station(work, scene.bundle).config)
    command = [*INSPECTION, "station", "run", str(config)]
    took_s = []
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as supervisor:
        supervisor.bind(str(address))
        supervisor.settimeout(WAIT_S)
        environment = os.environ | {"NOTIFY_SOCKET": str(address)}
        for _ in range(scene.options.restarts + 1):
            began_s = time.monotonic()
            with (work / "command.log").open("ab") as log:
                process = subprocess.Popen(command, env=environment, stderr=log)  # noqa: S603 - our own command, no shell
            try:
                while supervisor.recv(64) != b"READY=1":  # the last process's heartbeats
                    pass
                took_s.append(time.monotonic() - began_s)
            finally:
                process.kill()
                process.wait()
    return float(np.median(took_s[1:]))  # before the first nothing was killed


def _killed_at(step: str, where: tuple[Any, str], station: Station, lives: int) -> Ledger:
    for _ in range(lives):
        station.put(NEW_PARTS)
        station.start(partial(die_at, where, random.randint(1, CALLS)))
        if (code := station.join()) != KILLED:
            raise InspectionError(f"{step}: the station ended with {code}; wanted {KILLED}")
    station.start()
    return station.finish()


@dataclass(frozen=True)
class _Story:
    """What came of stations that were killed over and over."""

    ledger: Ledger = field(default_factory=Ledger)
    recoveries_s: tuple[float, ...] = ()
    """From each start to the first signal of that life."""
    unseen: int = 0
    """Triggers at which the process died before a camera was asked for the part."""

    def __add__(self, other: "_Story") -> "_Story":
        """Put two together."""
        return _Story(
            self.ledger + other.ledger,
            self.recoveries_s + other.recoveries_s,
            self.unseen + other.unseen,
        )

    def rows(self, kills: int) -> Iterator[Row]:
        """Show what was seen."""
        yield "kill -9", kills
        yield "lives that came to their first signal", len(self.recoveries_s)
        yield "parts", self.ledger.parts
        yield "signals sent again, same event_id", self.ledger.again
        yield "triggers before whose shutter the process died", self.unseen


def _kill_kind(make: Kind, work: Path, bundle: Path, kills: int) -> _Story:
    """Kill stations of one kind, each some times, two at once."""
    lives = [min(LIVES, kills - done) for done in range(0, kills, LIVES)]
    folders = [work / str(number) for number in range(len(lives))]
    with ThreadPoolExecutor(LANES) as lanes:
        return sum(lanes.map(partial(_killed, make, bundle), folders, lives), _Story())


def _killed(make: Kind, bundle: Path, work: Path, lives: int) -> _Story:
    """Kill one station over and over."""
    with make(work, bundle) as station:
        station.put(PARTS_PER_LIFE)
        for _ in range(lives):
            station.start()
            station.put(PARTS_PER_LIFE // 2)
            if random.random() < AT_WORK:
                station.wait(station.works, "a part")
                station.put(PARTS_PER_LIFE // 2)
                time.sleep(random.uniform(0, WORK_S))
            else:
                time.sleep(random.uniform(0, START_S))
            station.kill()
        station.start()
        ledger = station.finish()
        unseen = station.unseen() if isinstance(station, TriggeredStation) else 0
        story = _Story(ledger, tuple(station.recoveries_s()), unseen)
    shutil.rmtree(work)  # 200 records and their pictures are much
    return story

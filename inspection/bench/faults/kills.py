"""Kill -9: at random points of a station's life, and at named steps of its loop."""

import os
import random
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np

from inspection.bench.faults.ledger import Ledger
from inspection.bench.faults.process import WAIT_S, Station
from inspection.bench.faults.scenario import Finding, Row, Scene
from inspection.bundles.bundle import Bundle
from inspection.core.command import INSPECTION
from inspection.core.errors import InspectionError
from inspection.core.records import Event, write_record
from inspection.station.outputs.couriers import Couriers
from inspection.station.spool import Spool

LIVES = 50  # of one station; a new one begins with an empty record
LANES = 2  # stations at once
PARTS_PER_LIFE = 6
AT_WORK = 0.75  # share of the kills that wait for the station's first signal
WORK_S = 0.06  # they come within this time after it
START_S = 0.2  # the others come within this time after the start
KILLED = -signal.SIGKILL
NEW_PARTS, CALLS = 4, 2  # each step is met twice at least with so many new parts

STEPS: dict[str, tuple[Any, str]] = {
    "in the judge": (Bundle, "judge_tiles"),
    "before the transaction": (Spool, "append"),
    "within the transaction": (Event, "model_dump_json"),
    "between event and signal": (Couriers, "publish"),
    "between signal and acknowledgement": (Spool, "acknowledge"),
    "with a file half-written": (Path, "replace"),
}
"""Each step as the function at whose call the process dies."""


def kill_at_random(scene: Scene) -> Finding:
    """Kill a station at random points while new files arrive, and see that nothing is lost."""
    lives = [
        min(LIVES, scene.options.kills - done) for done in range(0, scene.options.kills, LIVES)
    ]
    with ThreadPoolExecutor(LANES) as lanes:
        stories = list(lanes.map(partial(_killed, scene), range(len(lives)), lives))
    ledger = sum((ledger for ledger, _ in stories), Ledger())
    recovered_s = [seconds for _, some in stories for seconds in some]
    rows: list[Row] = [
        ("kill -9", sum(lives)),
        ("of them after the first signal of that life", len(recovered_s) - len(lives)),
        ("parts", ledger.parts),
        ("signals sent again, same event_id", ledger.again),
        ("from start to first signal, process forked, median s", float(np.median(recovered_s))),
        ("the command itself, from start to READY, median s", _restart_s(scene)),
    ]
    return Finding(ledger.goals("kill -9 at random"), rows)


def kill_at_steps(scene: Scene) -> Finding:
    """Kill a station at each of the named steps, and see that nothing is lost."""
    ledger, rows = Ledger(), []
    for number, step in enumerate(STEPS):
        with Station(scene.work / str(number), scene.bundle) as station:
            found = _killed_at(step, station, scene.options.step_kills)
        ledger += found
        rows.append((f"kill -9 {step}, signals sent again", found.again))
    return Finding(ledger.goals("kill -9 at named steps"), rows)


def die_at(step: str, call: int) -> None:
    """Let this process kill itself at the how manyeth call of a step."""
    owner, name = STEPS[step]
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


def _killed_at(step: str, station: Station, lives: int) -> Ledger:
    for _ in range(lives):
        station.put(NEW_PARTS)
        station.start(partial(die_at, step, random.randint(1, CALLS)))
        if (code := station.join()) != KILLED:
            raise InspectionError(f"{step}: the station ended with {code}; wanted {KILLED}")
    station.start()
    return station.finish()


def _killed(scene: Scene, number: int, lives: int) -> tuple[Ledger, list[float]]:
    """Kill one station over and over; give what came of it, and seconds from start to signal."""
    with Station(scene.work / str(number), scene.bundle) as station:
        station.put(PARTS_PER_LIFE)
        for _ in range(lives):
            station.start()
            station.put(PARTS_PER_LIFE // 2)
            if random.random() < AT_WORK:
                station.wait(station.works, "a signal")
                station.put(PARTS_PER_LIFE // 2)
                time.sleep(random.uniform(0, WORK_S))
            else:
                time.sleep(random.uniform(0, START_S))
            station.kill()
        station.start()
        return station.finish(), station.recoveries_s()

"""What is left of a plant's events when hub, database and network die at random meanwhile."""

import logging
import random
import sqlite3
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from zlib import crc32

from sqlalchemy import distinct, func, select

from inspection.bench.faults.network import HOST, Network
from inspection.bench.frame import Goal, Table
from inspection.bench.hub.postgres import Postgres, running_postgres
from inspection.bench.hub.process import HubProcess
from inspection.bench.hub.stations import (
    SimulatedStation,
    enrol_stations,
    make_events,
    make_picture,
)
from inspection.core.errors import InspectionError
from inspection.hub.hub import Hub, open_hub
from inspection.hub.tables import events, hours, pictures
from inspection.station.outputs.courier import Courier

logger = logging.getLogger(__name__)

STATIONS = 20
SHOTS, SIDE_PX = 50, 24  # distinct pictures of each station, 2 kB, each shown by many events
ILLUSTRATED = 4  # one event in so many has a picture
CALM_S, TROUBLE_S = (0.5, 3.0), (0.2, 2.0)
WAIT_S = 1_800.0


def measure_chaos(kind: str, each: int) -> tuple[list[Goal], Table]:
    """Send events from all stations while something dies every few seconds; count what is there.

    Args:
        kind: SQLite or PostgreSQL.
        each: events of each station.

    Raises:
        InspectionError: not everything arrived in time after the last death.
    """
    logging.getLogger(Courier.__module__).setLevel(logging.CRITICAL)  # outages are the point
    with tempfile.TemporaryDirectory() as work:
        folder = Path(work)
        if kind == "SQLite":
            deaths, found = _run(f"sqlite:///{folder}/hub.sqlite", None, folder, each)
        else:
            with running_postgres(folder, durable=True) as server:
                deaths, found = _run(server.create("hub"), server, folder, each)
    sent, shown = STATIONS * each, STATIONS * -(-each // ILLUSTRATED)
    goals = [
        Goal.at_most(f"{kind}: events lost", 0, sent - found.ids, "events"),
        Goal.at_most(f"{kind}: events stored twice", 0, found.rows - found.ids, "events"),
        Goal.at_most(f"{kind}: events miscounted", 0, abs(found.counted - sent), "events"),
        Goal.at_most(f"{kind}: pictures lost", 0, shown - found.pictures, "pictures"),
    ]
    title = f"{kind}: what died while {sent} events came from {STATIONS} stations"
    rows = tuple(sorted(deaths.items()))
    return goals, Table(title=title, columns=("what", "times"), rows=rows)


@dataclass(frozen=True)
class Found:
    """What the hub has at the end."""

    rows: int
    ids: int
    counted: int
    """By the counters that pages show."""
    pictures: int


def _run(url: str, server: Postgres | None, folder: Path, each: int) -> tuple[Counter[str], Found]:
    shots = folder / "shots"
    shots.mkdir()
    with HubProcess(folder, url) as hub, Network(hub.port) as network:
        opened = open_hub(hub.config)
        stations = []
        for enrolled in enrol_stations(opened, STATIONS, folder):
            names = [f"{enrolled.station}-{number}.png" for number in range(SHOTS)]
            for name in names:
                (shots / name).write_bytes(make_picture(crc32(name.encode()), SIDE_PX))
            turns = [
                names[turn // ILLUSTRATED] if turn % ILLUSTRATED == 0 else None
                for turn in range(SHOTS * ILLUSTRATED)
            ]
            record = make_events(enrolled, each, turns)
            where = f"http://{HOST}:{network.port}"
            stations.append(SimulatedStation(enrolled, where, record, shots))
        chaos = Chaos(hub, network, server)
        for station in stations:
            station.start()
        until = time.monotonic() + WAIT_S
        with chaos.raging():
            in_time = all(one.wait(max(0.0, until - time.monotonic())) for one in stations)
        for station in stations:
            station.stop()
        found = count(opened)
        opened.close()
    if not in_time:
        raise InspectionError(f"after {WAIT_S:.0f} s the hub had {found.ids} events; see hub.log")
    return chaos.deaths, found


class Chaos:
    """Lets hub, database and network die in turn at random, and brings each back."""

    def __init__(self, hub: HubProcess, network: Network, server: Postgres | None) -> None:
        self.deaths: Counter[str] = Counter()
        self._hub, self._network, self._server = hub, network, server
        self._over = threading.Event()

    @contextmanager
    def raging(self) -> Iterator[None]:
        """Go on for as long as the block takes; all is well again when it has ended."""
        thread = threading.Thread(target=self._rage, name="chaos")
        thread.start()
        try:
            yield
        finally:
            self._over.set()
            thread.join()

    def _rage(self) -> None:
        dice = random.Random(0)
        server = self._server
        strike = self._lock_file if server is None else partial(self._kill_database, server)
        deaths: Sequence[Callable[[float], str]] = (self._kill_hub, strike, self._cut_network)
        while not self._over.wait(dice.uniform(*CALM_S)):
            name = dice.choice(deaths)(dice.uniform(*TROUBLE_S))
            self.deaths[name] += 1
            logger.info("died and came back: %s (%d)", name, self.deaths[name])

    def _kill_hub(self, pause_s: float) -> str:
        self._hub.kill()
        time.sleep(pause_s)
        self._hub.start()
        return "hub killed"

    def _kill_database(self, server: Postgres, pause_s: float) -> str:
        server.kill()
        time.sleep(pause_s)
        server.start()
        return "database killed"

    def _lock_file(self, pause_s: float) -> str:
        """Hold SQLite's file as a backup program of somebody else would."""
        path = self._hub.config.database.removeprefix("sqlite:///")
        with closing(sqlite3.connect(path, timeout=30)) as connection:
            connection.execute("BEGIN IMMEDIATE")
            time.sleep(pause_s)
        return "database locked"

    def _cut_network(self, pause_s: float) -> str:
        self._network.go_dumb()
        time.sleep(pause_s)
        self._network.heal()
        return "network dumb"


def count(hub: Hub) -> Found:
    """Count what a hub has."""
    with hub.database.reading() as connection:
        return Found(
            rows=connection.execute(select(func.count(events.c.id))).scalar_one(),
            ids=connection.execute(select(func.count(distinct(events.c.event_id)))).scalar_one(),
            counted=connection.execute(select(func.sum(hours.c.parts))).scalar_one() or 0,
            pictures=connection.execute(select(func.count()).select_from(pictures)).scalar_one(),
        )

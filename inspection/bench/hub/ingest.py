"""How many events with their pictures a hub takes per second."""

import statistics
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from zlib import crc32

from sqlalchemy import func, select

from inspection.bench.frame import Goal, Table
from inspection.bench.hub.postgres import running_postgres
from inspection.bench.hub.process import HubProcess
from inspection.bench.hub.stations import (
    enrol_stations,
    make_events,
    make_picture,
)
from inspection.bench.hub.wire import Wire
from inspection.bench.soak import resident_bytes
from inspection.core.errors import InspectionError
from inspection.hub.hub import open_hub
from inspection.hub.tables import events, pictures
from inspection.station.settings import MB

STATIONS, ROUNDS = 20, 3
SIDE_PX = 182  # of a picture of noise: 100 kB
WANTED_PER_S = 300.0
DATABASES = ("SQLite", "PostgreSQL")


@contextmanager
def database_of(kind: str, folder: Path) -> Iterator[str]:
    """Give the URL of an empty database, durable as a plant's."""
    if kind == "SQLite":
        yield f"sqlite:///{folder}/hub.sqlite"
        return
    with running_postgres(folder, durable=True) as server:
        yield server.create("hub")


def measure_ingest(each: int) -> tuple[list[Goal], Table]:
    """Send events, each with a picture of 100 kB, from all stations at once to a hub process.

    Args:
        each: events of each station.

    Raises:
        InspectionError: something did not arrive.
    """
    goals, rows = [], []
    for kind in DATABASES:
        rates = []
        for _ in range(ROUNDS):
            with tempfile.TemporaryDirectory() as work:
                seconds, resident = _ingest(kind, Path(work), each)
            rates.append(STATIONS * each / seconds)
            rows.append((kind, STATIONS * each, round(seconds, 2), round(rates[-1]), resident / MB))
        rate = statistics.median(rates)
        goals.append(Goal.at_least(f"ingest into {kind}", WANTED_PER_S, rate, "events/s"))
    columns = ("database", "events with picture", "s", "events/s", "hub's memory, MB")
    title = f"{STATIONS} stations at once; clients, hub and database share the machine"
    return goals, Table(title=title, columns=columns, rows=tuple(rows))


def _ingest(kind: str, folder: Path, each: int) -> tuple[float, int]:
    """Give the seconds until the hub had everything, and its memory then."""
    shots = folder / "shots"
    shots.mkdir()
    with database_of(kind, folder) as url, HubProcess(folder, url) as hub:
        opened = open_hub(hub.config)
        stations = []
        for enrolled in enrol_stations(opened, STATIONS, folder):
            names = [f"{enrolled.station}-{number}.png" for number in range(each)]
            for name in names:
                (shots / name).write_bytes(make_picture(crc32(name.encode()), SIDE_PX))
            record = make_events(enrolled, each, names)
            stations.append(Wire(enrolled, hub.port, record, shots))
        began_s = time.perf_counter()
        with ThreadPoolExecutor(STATIONS) as pool:
            list(pool.map(Wire.send, stations))
        seconds = time.perf_counter() - began_s
        resident = resident_bytes(hub.pid)
        with opened.database.reading() as connection:
            found = [
                connection.execute(select(func.count()).select_from(table)).scalar_one()
                for table in (events, pictures)
            ]
        opened.close()
    if found != [STATIONS * each] * 2:
        raise InspectionError(f"{kind}: {found} events and pictures of {STATIONS * each} arrived")
    return seconds, resident

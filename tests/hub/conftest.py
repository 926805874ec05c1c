"""Hubs for tests: on SQLite and on PostgreSQL, open in this process or served on loopback."""

import itertools
import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import uvicorn
from argon2 import PasswordHasher
from sqlalchemy import text

from inspection.bench.hub.postgres import Postgres, postgres_programs, running_postgres
from inspection.core.connections import Connections
from inspection.hub import accounts, service
from inspection.hub.accounts import add_account
from inspection.hub.client import HubClient
from inspection.hub.desk import Desk
from inspection.hub.hub import Hub, open_hub
from inspection.hub.settings import HubConfig
from inspection.hub.stations import enrol
from inspection.hub.wire.line import NewStation
from inspection.hub.wire.people import Login, NewAccount, Role

PASSWORD = "correct horse battery"
NUMBERS = itertools.count(1)


@pytest.fixture(scope="session", autouse=True)
def _quick_passwords() -> Iterator[None]:
    """Hashes passwords weakly: a real hash takes 0.2 s by design, and most tests log in."""
    with pytest.MonkeyPatch.context() as patch:
        quick = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
        patch.setattr(accounts, "HASHER", quick)
        yield


@pytest.fixture(scope="session")
def postgres(tmp_path_factory) -> Iterator[Postgres]:
    if postgres_programs() is None:
        pytest.skip("PostgreSQL is not installed; apt-get install postgresql")
    with TemporaryDirectory() as own, running_postgres(Path(own), durable=False) as server:
        open_hub(
            _config(tmp_path_factory.mktemp("template"), server.create("template_hub"))
        ).close()
        yield server


@pytest.fixture(scope="session")
def empty_sqlite(tmp_path_factory) -> Path:
    """A migrated SQLite file, for tests to copy."""
    folder = tmp_path_factory.mktemp("sqlite")
    open_hub(_config(folder, f"sqlite:///{folder}/hub.sqlite")).close()
    return folder / "hub.sqlite"


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request, tmp_path) -> str:
    """An empty database of each kind: a test that takes it runs on both."""
    if request.param == "postgresql":
        server = request.getfixturevalue("postgres")
        return server.create(f"hub_{next(NUMBERS)}_{os.getpid()}", "template_hub")
    return _copied(request.getfixturevalue("empty_sqlite"), tmp_path)


@pytest.fixture
def sqlite_url(empty_sqlite, tmp_path) -> str:
    """An empty SQLite database, for tests of what has nothing to do with databases."""
    return _copied(empty_sqlite, tmp_path)


def _copied(empty: Path, folder: Path) -> str:
    shutil.copy(empty, folder / "hub.sqlite")
    return f"sqlite:///{folder}/hub.sqlite"


def _config(folder: Path, url: str, **changes) -> HubConfig:
    values = {
        "database": url,
        "artefacts": str(folder / "artefacts"),
        "cache_dir": folder / "cache",
    }
    return HubConfig.model_validate(values | changes)


class Served:
    """A hub served on loopback by a thread, with a client for each role and for stations."""

    def __init__(self, hub: Hub, url: str, clients: ExitStack) -> None:
        self.hub, self.url, self._clients = hub, url, clients

    def client(self, token: str | None = None) -> HubClient:
        """Give a client with this token."""
        client = HubClient(self.url, token)
        self._clients.callback(client.close)
        return client

    def person(self, role: Role, name: str | None = None) -> HubClient:
        """Log in as somebody of this role, made on first use."""
        name = name or f"{role}-1"
        with self.hub.database.reading() as connection:
            known = connection.execute(
                text("SELECT 1 FROM accounts WHERE account = :name"), {"name": name}
            ).one_or_none()
        if known is None:
            add_account(self.hub, NewAccount(account=name, role=role, password=PASSWORD), "test")
        session = self.client().login(Login(account=name, password=PASSWORD))
        return self.client(session.token)

    def station_token(self, station: str = "station-1", line: str = "line-1") -> str:
        """Enrol a station and give its token."""
        return enrol(self.hub, NewStation(station=station, line=line), "test").token


@contextmanager
def served(hub: Hub, desk: Desk | None = None) -> Iterator[Served]:
    """Serve an open hub on a free port of loopback, and what stands for the retraining."""
    connections = Connections(1_000)
    listener = connections.listen("127.0.0.1", 0, 128)
    settings = service._uvicorn(hub, desk, connections)
    settings.timeout_graceful_shutdown = 1
    server = uvicorn.Server(settings)
    thread = threading.Thread(target=server.run, args=([listener],), daemon=True)
    thread.start()
    until = time.monotonic() + 30
    while not server.started and time.monotonic() < until:
        time.sleep(0.01)
    with ExitStack() as clients:
        try:
            yield Served(hub, f"http://127.0.0.1:{listener.getsockname()[1]}", clients)
        finally:
            server.should_exit = True
            thread.join(10)
            listener.close()


@pytest.fixture
def make_hub(tmp_path) -> Iterator[Callable[..., Hub]]:
    """Gives a function that opens hubs on a database, with settings of HubConfig."""
    with ExitStack() as open_hubs:

        def make(url: str, **changes) -> Hub:
            hub = open_hub(_config(tmp_path, url, **changes))
            open_hubs.callback(hub.close)
            return hub

        yield make


@pytest.fixture
def hub(make_hub, database_url) -> Hub:
    """An open, empty hub; once on each database."""
    return make_hub(database_url)


@pytest.fixture
def sqlite_hub(make_hub, sqlite_url) -> Hub:
    """An open, empty hub on SQLite."""
    return make_hub(sqlite_url)


@pytest.fixture
def plant(hub) -> Iterator[Served]:
    """A served, empty hub; once on each database."""
    with served(hub) as running:
        yield running


@pytest.fixture
def sqlite_plant(sqlite_hub) -> Iterator[Served]:
    """A served, empty hub on SQLite."""
    with served(sqlite_hub) as running:
        yield running

"""A PostgreSQL server of one's own on loopback, for benches and tests; it can be killed."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import create_engine, text

from inspection.bench.faults.network import HOST, free_port
from inspection.core.errors import InspectionError

WAIT_S = 120


def postgres_programs() -> Path | None:
    """Give where PostgreSQL's programs lie; Debian does not put initdb on the path."""
    found = shutil.which("initdb")
    places = [Path(found).parent] if found else sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    return places[-1] if places else None


class Postgres:
    """One server over its data folder.

    Args:
        folder: empty, to keep the data in; started by root, it becomes that of the user postgres.
        durable: as a plant runs it; else without fsync, for tests that cut no power.
    """

    def __init__(self, folder: Path, *, durable: bool) -> None:
        programs = postgres_programs()
        if programs is None:
            raise InspectionError("PostgreSQL is not installed; run apt-get install postgresql")
        self._programs, self._data, self._durable = programs, folder / "data", durable
        self.port = free_port()
        if os.geteuid() == 0:  # initdb refuses root, and Debian made a user for it
            shutil.chown(folder, "postgres")
        self._run("initdb", "-D", str(self._data), "-U", "hub", "-A", "trust", "--no-sync")
        self.start()
        self._server = create_engine(self.url("postgres"), isolation_level="AUTOCOMMIT")

    def url(self, name: str) -> str:
        """Give the URL of a database."""
        return f"postgresql+psycopg://hub@{HOST}:{self.port}/{name}"

    def create(self, name: str, template: str = "template1") -> str:
        """Make a database and give its URL."""
        with self._server.connect() as connection:
            connection.execute(text(f"CREATE DATABASE {name} TEMPLATE {template}"))
        return self.url(name)

    def start(self) -> None:
        """Start, or start again after a kill; returns when it answers."""
        options = [f"-p {self.port}", "-k ''", f"-c listen_addresses={HOST}"]
        options += ["-c max_connections=200", "-c shared_buffers=256MB"]
        options += [] if self._durable else ["-c fsync=off"]
        log = str(self._data / "log")
        self._pg_ctl("-w", "-l", log, "-o", " ".join(options), "start")

    def kill(self) -> None:
        """End at once, as kill -9 of all its processes does; what was committed is in its log."""
        self._pg_ctl("-m", "immediate", "stop")

    def stop(self) -> None:
        """End for good."""
        self._server.dispose()
        self.kill()

    def _pg_ctl(self, *arguments: str) -> None:
        self._run("pg_ctl", "-D", str(self._data), *arguments)

    def _run(self, program: str, *arguments: str) -> None:
        command = [str(self._programs / program), *arguments]
        if os.geteuid() == 0:
            command = ["runuser", "-u", "postgres", "--", *command]
        done = subprocess.run(  # noqa: S603 - our own command, no shell
            command, capture_output=True, text=True, cwd="/", timeout=WAIT_S, check=False
        )
        if done.returncode != 0:
            raise InspectionError(f"{program}: ended with {done.returncode}: {done.stderr[-500:]}")


@contextmanager
def running_postgres(folder: Path, *, durable: bool) -> Iterator[Postgres]:
    """Run a server over a folder for as long as the block takes."""
    server = Postgres(folder, durable=durable)
    try:
        yield server
    finally:
        server.stop()

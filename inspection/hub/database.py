"""Opens the hub's database, SQLite or PostgreSQL, brought up to date by Alembic's migrations."""

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from threading import Lock
from typing import Any, TypeVar

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, Engine, Table, create_engine, event, make_url
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from inspection.core.errors import ConfigError, HubError
from inspection.core.folders import make_private
from inspection.core.limits import MAX_TEXT_BYTES, read_file
from inspection.hub.group_commit import GroupCommit
from inspection.hub.settings import HubConfig

T = TypeVar("T")
FILE = "sqlite:///"
MIGRATIONS = Path(__file__).with_name("migrations")
MIGRATING = 5_107_001  # key of the advisory lock, any number nobody else takes
BUSY_MS = 30_000  # so long a writer waits for another hub on the same SQLite file
# libpq's: a PostgreSQL whose machine or network is gone without a word must not hold every thread.
IMPATIENT = {
    "connect_timeout": 5,
    "tcp_user_timeout": 20_000,  # ms
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 2,
}


class Database:
    """The tables, for several threads and, as far as rows go, several hubs at once."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        # SQLite has one writer: queueing here is fair, its own busy handler is not.
        self._writing: contextlib.AbstractContextManager[Any] = (
            Lock() if engine.dialect.name == "sqlite" else contextlib.nullcontext()
        )
        self._commits = GroupCommit(self.writing)

    @property
    def engine(self) -> Engine:
        """The engine, for migrations and backups."""
        return self._engine

    @contextlib.contextmanager
    def reading(self) -> Iterator[Connection]:
        """Read; each statement sees what was committed when it began.

        Raises:
            HubError: the database does not answer.
        """
        with _translated(), self._engine.connect() as connection:
            yield connection

    @contextlib.contextmanager
    def writing(self) -> Iterator[Connection]:
        """Write all or nothing; durable when the block has ended.

        Raises:
            HubError: the database does not answer or does not take it.
        """
        with _translated(), self._writing, self._engine.begin() as connection:
            if connection.dialect.name == "sqlite":
                connection.exec_driver_sql("BEGIN IMMEDIATE")
            yield connection

    def writing_with_others(self, work: Callable[[Connection], T]) -> T:
        """Write as `writing` does, in one commit with what other threads write meanwhile.

        Args:
            work: writes; run again, alone, when what others wrote beside it was refused.

        Raises:
            InspectionError: as `work` does, or as `writing`.
        """
        return self._commits.run(work)

    def close(self) -> None:
        """Let go of all connections."""
        self._engine.dispose()


def open_database(config: HubConfig) -> Database:
    """Open the configured database and bring its tables up to date.

    Raises:
        ConfigError: the URL is none, or its database is none of ours.
        HubError: it cannot be reached, or is of a newer program.
    """
    engine = _engine(config)
    database = Database(engine)
    migrate(database)
    return database


def migrate(database: Database) -> None:
    """Bring the tables up to date; what is there stays.

    Raises:
        HubError: the database cannot be reached, or is of a newer program.
    """
    with database.writing() as connection:
        if connection.dialect.name == "postgresql":  # two hubs may start at once
            connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({MIGRATING})")
        command.upgrade(alembic_config(connection), "head")


def alembic_config(connection: Connection | None = None) -> Config:
    """Give Alembic's settings, for a connection that is open."""
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    config.attributes["connection"] = connection
    return config


def insert_new(
    connection: Connection, table: Table, rows: Sequence[Mapping[str, Any]], key: str
) -> list[Any]:
    """Insert the rows whose key is not there yet; give the keys of those that were inserted."""
    if not rows:
        return []
    dialect = postgresql if connection.dialect.name == "postgresql" else sqlite
    statement = dialect.insert(table).on_conflict_do_nothing().returning(table.c[key])
    return list(connection.execute(statement, list(rows)).scalars())


def require_there(config: HubConfig) -> None:
    """Demand that the database was made before, where it is one in a file.

    Raises:
        ConfigError: it is not there.
    """
    path = Path(config.database.removeprefix(FILE))
    if config.database.startswith(FILE) and not path.is_file():
        raise ConfigError(
            f"database: {path.absolute()} is not there; wanted that of a hub that was served "
            "before; go to the folder its paths are relative to"
        )


def _engine(config: HubConfig) -> Engine:
    try:
        url = make_url(config.database)
        name = url.get_backend_name()
        if name not in {"sqlite", "postgresql"}:
            raise ArgumentError("it is neither SQLite nor PostgreSQL")
        if config.database_password_file is not None:
            file = read_file(config.database_password_file, MAX_TEXT_BYTES, follow=True)
            password = file.decode().splitlines()[0]
            url = url.set(password=password)
        if name == "postgresql":
            return create_engine(
                url, pool_size=20, max_overflow=20, pool_pre_ping=True, connect_args=IMPATIENT
            )
        if url.database and url.database != ":memory:":
            make_private(Path(url.database))
        engine = create_engine(url, pool_size=20, max_overflow=20)
    except (ArgumentError, NoSuchModuleError, OSError, IndexError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"database: cannot be opened ({error}); wanted sqlite:///PATH or "
            "postgresql+psycopg://USER@HOST/NAME"
        ) from error
    event.listen(engine, "connect", _prepare_sqlite)
    return engine


def _prepare_sqlite(connection: Any, _record: Any) -> None:
    connection.isolation_level = None  # transactions begin where we say so
    cursor = connection.cursor()
    for pragma in (
        f"busy_timeout = {BUSY_MS}",
        "journal_mode = WAL",
        "synchronous = FULL",  # what is acknowledged survives a power cut
        "foreign_keys = ON",
        "cache_size = -65536",  # KiB
    ):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


@contextlib.contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except (DBAPIError, PoolTimeout) as error:
        cause = error.orig if isinstance(error, DBAPIError) else error
        raise HubError(
            f"database: {type(cause).__name__}: {cause}; look whether it runs, has room "
            "and is the hub's own"
        ) from error

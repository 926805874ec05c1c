"""The durable record of a station: one event per part in SQLite, written before its signal.

One connection writes, in the loop's thread: WAL, synchronous=FULL, so an event is on the disk when
`append` returns. Everybody else reads by a connection of their own that can change nothing, or
hands the writer what may become durable with the next event: places in the outbox and counters.
"""

import fcntl
import sqlite3
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from threading import Lock
from types import TracebackType
from typing import NamedTuple, Self, TextIO

from inspection.core.decision import Verdict
from inspection.core.errors import SpoolFull, StationError
from inspection.core.folders import make_private
from inspection.core.records import Event, parse_record
from inspection.station.part import Stamp
from inspection.station.schema import MIGRATIONS, no_record, require_current, require_known

Stamps = Sequence[tuple[str, Stamp]]

DATABASE = "events.sqlite"
LOCK_FILE = "station.lock"
"""Locked by the station's process for as long as it lives."""
EVENTS_DROPPED = "events"
"""Counter of events the byte budget took."""


class Intent(NamedTuple):
    """A part that stands before the cameras: durable before they look, until it has its event."""

    event_id: str
    part_id: str
    product: str
    captured_at: datetime


class SpoolReader:
    """Reads the record of a station, running or not; for one thread.

    Every method raises StationError when the database is damaged and SpoolFull when the disk fails.
    """

    def __init__(self, data_dir: Path) -> None:
        self.path = data_dir / DATABASE
        with self._refusals():
            self._database = self._connect()

    def __enter__(self) -> Self:
        """Give the open record."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the connection."""
        self.close()

    def close(self) -> None:
        """Close the connection."""
        self._database.close()

    def find(self, event_id: str) -> Event | None:
        """Give the event of this id, or none."""
        return next(self._events("WHERE event_id = ?", event_id), None)

    def after(self, sequence: int, limit: int = -1) -> list[Event]:
        """Give the events behind a place in the record, in order; all of them without a limit."""
        return list(self._events("WHERE sequence > ? ORDER BY sequence LIMIT ?", sequence, limit))

    def latest(self, count: int) -> list[Event]:
        """Give the last events, newest first."""
        return list(self._events("ORDER BY sequence DESC LIMIT ?", count))

    def last_sequence(self) -> int:
        """Give the sequence of the last event; 0 before the first."""
        return int(self._one("SELECT coalesce(max(sequence), 0) FROM events"))

    def stamp_of(self, source: str) -> Stamp | None:
        """Give the stamp under which a source was judged last, or none."""
        query = "SELECT size, mtime_ns, ctime_ns FROM files WHERE source = ?"
        with self._refusals():
            row = self._database.execute(query, (source,)).fetchone()
        return None if row is None else Stamp(*row)

    def sources(self) -> set[str]:
        """Give every source that has a stamp."""
        with self._refusals():
            return {source for (source,) in self._database.execute("SELECT source FROM files")}

    def counts(self) -> dict[Verdict, int]:
        """Count all events ever recorded by verdict, zeros too."""
        counters = self.counters()
        return {verdict: counters.get(verdict, 0) for verdict in Verdict}

    def counters(self) -> dict[str, int]:
        """Give all counters by name."""
        with self._refusals():
            return dict(self._database.execute("SELECT name, value FROM counters").fetchall())

    def delivered(self) -> dict[str, int]:
        """Give up to which event each destination has acknowledged."""
        with self._refusals():
            query = "SELECT destination, sequence FROM outbox"
            return dict(self._database.execute(query).fetchall())

    def used_bytes(self) -> int:
        """Give the bytes of the database that hold something; freed ones are used again."""
        pages, free, size = (
            int(self._one(f"PRAGMA {name}"))
            for name in ("page_count", "freelist_count", "page_size")
        )
        return (pages - free) * size

    def _connect(self) -> sqlite3.Connection:
        return self._open_file("mode=ro")

    def _open_file(self, how: str) -> sqlite3.Connection:
        """Open the database by SQLite's own words for it, which stand behind the file's URI."""
        uri = f"{self.path.absolute().as_uri()}?{how}"
        return sqlite3.connect(uri, uri=True, isolation_level=None, timeout=5)

    def _one(self, query: str) -> int:
        with self._refusals():
            return int(self._database.execute(query).fetchone()[0])

    def _events(self, which: str, *values: str | int) -> Iterator[Event]:
        with self._refusals():
            query = f"SELECT sequence, record FROM events {which}"  # noqa: S608 - fixed words
            for sequence, record in self._database.execute(query, values):
                yield parse_record(record, Event, f"{self.path}: event {sequence}")

    @contextmanager
    def _refusals(self) -> Iterator[None]:
        """Translate what SQLite refuses; a repeated event_id stays a programmer's mistake."""
        try:
            yield
        except sqlite3.DatabaseError as error:
            code = error.sqlite_errorname if hasattr(error, "sqlite_errorname") else ""
            if code.startswith(("SQLITE_CORRUPT", "SQLITE_NOTADB")):
                raise StationError(
                    f"{self.path}: the event database is damaged ({error}); copy {self.path}* "
                    f'aside and repair it with "sqlite3 {DATABASE} .recover"; with an empty '
                    "one every file still in the folder is judged again under a new event_id"
                ) from error
            if isinstance(error, sqlite3.OperationalError):
                raise SpoolFull(f"{self.path}: {self._trouble(error)}") from error
            raise
        except PermissionError as error:
            raise StationError(f"{self.path}: {self._trouble(error.strerror)}") from error
        except OSError as error:
            raise SpoolFull(f"{self.path}: {self._trouble(error.strerror)}") from error

    def _trouble(self, reason: object) -> str:
        return f"cannot be read ({reason}); check the disk, and that this user may read it"


class DeskReader(SpoolReader):
    """Reads the record from outside the station's process, for as long as one query takes.

    A record that no process has open is one file. It is read as it lies: that needs no right to
    write, and leaves no file beside it, for one of another user would keep the station out. Whoever
    goes on reading opens it anew, because a station that starts meanwhile is not seen.

    Raises:
        StationError: no station of this version ever wrote a record there.
    """

    def __init__(self, data_dir: Path) -> None:
        super().__init__(data_dir)
        try:
            require_current(self._one("PRAGMA user_version"), self.path)
        except BaseException:
            self.close()
            raise

    def _connect(self) -> sqlite3.Connection:
        if not self.path.exists():
            raise no_record(self.path)
        is_open = self.path.with_name(f"{DATABASE}-wal").exists()
        return self._open_file("mode=ro" if is_open else "immutable=1")


class Spool(SpoolReader):
    """Writes the record of one station, in the order in which its parts were judged.

    Opening takes the folder for this process; the lock falls with the process, however it ends.
    `acknowledge` and `count` may be called by any thread, `note` by one, all else by one.
    """

    def __init__(self, data_dir: Path) -> None:
        self.path = data_dir / DATABASE
        self._pending = Lock()
        self._turn = Lock()  # held by who writes: SQLite would let the other one poll
        self._noting: sqlite3.Connection | None = None  # of `note`, beside the loop's
        self._acknowledged: dict[str, int] = {}
        self._counted: Counter[str] = Counter()
        self._lock = _lock(data_dir)
        try:
            self._open()
        except BaseException:
            self._lock.close()
            raise

    def close(self) -> None:
        """Close the database and let the folder go."""
        super().close()
        if self._noting is not None:
            self._noting.close()
        self._lock.close()

    def reopen(self) -> None:
        """Connect anew after a write failed; what reached the disk all the same is there then."""
        super().close()
        self._open()

    @property
    def next_sequence(self) -> int:
        """The sequence the next event must carry."""
        return self._last + 1

    @property
    def record_id(self) -> str:
        """What tells this record from every other: 32 random hexadecimal digits."""
        return self._record_id

    def note(self, intent: Intent) -> None:
        """Make durable that a part is there, before its cameras look.

        Raises:
            SpoolFull: the disk does not take it.
        """
        row = (*intent[:3], intent.captured_at.isoformat())
        with self._refusals(), self._turn:
            if self._noting is None:
                self._noting = sqlite3.connect(
                    self.path, isolation_level=None, timeout=5, check_same_thread=False
                )
                self._noting.execute("PRAGMA synchronous = FULL")
            self._noting.execute("INSERT INTO intents VALUES (?, ?, ?, ?)", row)

    def intents(self) -> tuple[Intent, ...]:
        """Give what an earlier process left: parts without an event, oldest first."""
        with self._refusals():
            rows = self._database.execute("SELECT * FROM intents ORDER BY captured_at").fetchall()
        return tuple(
            Intent(event_id, part_id, product, datetime.fromisoformat(captured_at))
            for event_id, part_id, product, captured_at in rows
        )

    def append(
        self,
        event: Event,
        stamps: Stamps = (),
        gone: Sequence[str] = (),
        intents: Sequence[str] = (),
    ) -> None:
        """Write one event, and under which stamps its files were judged; durable on return.

        Args:
            event: carries `next_sequence`.
            stamps: sources and their stamps.
            gone: sources whose stamps are of no use any more.
            intents: of its part, which has its event now.
        """
        with self._writing() as database:
            row = (event.sequence, event.event_id, event.model_dump_json())
            database.execute("INSERT INTO events VALUES (?, ?, ?)", row)
            _count(database, {event.verdict: 1})
            _write_stamps(database, stamps, gone)
            _forget_intents(database, intents)
        self._last = event.sequence

    def amend(self, event: Event) -> None:
        """Replace the last event by what it turned out to be before anybody heard of it."""
        with self._writing() as database:
            query = "SELECT record FROM events WHERE sequence = ?"
            (record,) = database.execute(query, (event.sequence,)).fetchone()
            before = parse_record(record, Event, f"{self.path}: event {event.sequence}")
            row = (event.model_dump_json(), event.sequence)
            database.execute("UPDATE events SET record = ? WHERE sequence = ?", row)
            _count(database, {before.verdict: -1})
            _count(database, {event.verdict: 1})

    def remember(
        self, stamps: Stamps, gone: Sequence[str] = (), intents: Sequence[str] = ()
    ) -> None:
        """Write new stamps of files whose bytes were judged before, and forget intents, if any."""
        if not stamps and not intents:
            return
        with self._writing() as database:
            _write_stamps(database, stamps, gone)
            _forget_intents(database, intents)

    def acknowledge(self, destination: str, sequence: int) -> None:
        """Note that a destination has all events up to one; durable with the next write.

        A process killed before that delivers some of them again, under the same event_id.
        """
        with self._pending:
            self._acknowledged[destination] = sequence

    def count(self, name: str, by: int = 1) -> None:
        """Count something up; durable with the next write."""
        with self._pending:
            self._counted[name] += by

    def flush(self) -> None:
        """Make places in the outbox and counters durable, if there are new ones."""
        if self._acknowledged or self._counted:
            with self._writing():
                pass

    def forget(self, destinations: tuple[str, ...], most: int) -> int:
        """Delete the oldest events that every destination has; give how many.

        Args:
            destinations: who must have acknowledged an event before it may go; without any, nobody.
            most: how many to delete at most.
        """
        with self._writing() as database:
            places = dict(database.execute("SELECT destination, sequence FROM outbox"))
            common = min((places.get(name, 0) for name in destinations), default=self._last)
            done = database.execute(
                "DELETE FROM events WHERE sequence IN "
                "(SELECT sequence FROM events WHERE sequence <= ? ORDER BY sequence LIMIT ?)",
                (min(common, self._last - 1), most),  # the last one says where to go on
            )
            _count(database, {EVENTS_DROPPED: done.rowcount})
        return int(done.rowcount)

    def _connect(self) -> sqlite3.Connection:
        make_private(self.path)
        return sqlite3.connect(self.path, isolation_level=None, timeout=5)

    def _trouble(self, reason: object) -> str:
        return (
            f"the event cannot be made durable ({reason}), so its verdict is not signalled; free "
            "the disk, check its health, close other writers"
        )

    def _open(self) -> None:
        with self._refusals():
            self._database = self._connect()
        try:
            self._prepare()
            self._last = self.last_sequence()
            self._record_id = self._identity()
        except BaseException:
            self._database.close()
            raise

    def _identity(self) -> str:
        with self._refusals():
            return str(self._database.execute("SELECT record_id FROM identity").fetchone()[0])

    def _prepare(self) -> None:
        """Set durability, and bring the schema to this program's version in one transaction."""
        with self._refusals():
            mode = self._database.execute("PRAGMA journal_mode = WAL").fetchone()[0]
            if mode != "wal":
                raise StationError(
                    f"{self.path}: journal mode is '{mode}'; wanted 'wal'; put data_dir on a "
                    "local disk"
                )
            self._database.execute("PRAGMA synchronous = FULL")
            version = self._one("PRAGMA user_version")
            require_known(version, self.path)
            if version < len(MIGRATIONS):
                with self._transaction():
                    for statements in MIGRATIONS[version:]:
                        for statement in statements:
                            self._database.execute(statement)
                    self._database.execute(f"PRAGMA user_version = {len(MIGRATIONS)}")

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        """Open a transaction that also takes along what other threads have noted."""
        with self._pending:
            acknowledged, counted = self._acknowledged, self._counted
            self._acknowledged, self._counted = {}, Counter()
        try:
            with self._refusals(), self._transaction():
                for place in acknowledged.items():
                    self._database.execute("REPLACE INTO outbox VALUES (?, ?)", place)
                _count(self._database, counted)
                yield self._database
        except BaseException:
            with self._pending:
                self._acknowledged = acknowledged | self._acknowledged
                self._counted += counted
            raise

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        with self._turn:
            self._database.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._database.execute("COMMIT")
            except BaseException:
                if self._database.in_transaction:
                    self._database.execute("ROLLBACK")
                raise


def _forget_intents(database: sqlite3.Connection, intents: Sequence[str]) -> None:
    database.executemany("DELETE FROM intents WHERE event_id = ?", ((one,) for one in intents))


def _write_stamps(database: sqlite3.Connection, stamps: Stamps, gone: Sequence[str]) -> None:
    database.executemany("DELETE FROM files WHERE source = ?", ((source,) for source in gone))
    for source, stamp in stamps:
        database.execute("REPLACE INTO files VALUES (?, ?, ?, ?)", (source, *stamp))


def _count(database: sqlite3.Connection, counted: Mapping[str, int]) -> None:
    for name, by in counted.items():
        database.execute(
            "INSERT INTO counters VALUES (?, ?) ON CONFLICT DO UPDATE SET value = value + ?",
            (name, by, by),
        )


def _lock(data_dir: Path) -> TextIO:
    """Take the folder for this process.

    Raises:
        StationError: another station process has it, or it cannot be made.
    """
    path = data_dir / LOCK_FILE
    try:
        data_dir.mkdir(parents=True, exist_ok=True)
        stream = path.open("a")
    except OSError as error:
        raise StationError(
            f"data_dir '{data_dir}' cannot be used ({error.strerror}); name a folder this user "
            "may write to"
        ) from error
    try:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        stream.close()
        raise StationError(
            f"data_dir '{data_dir}': another station process is using it; stop that one or name "
            "another data_dir"
        ) from error
    return stream

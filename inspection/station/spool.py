"""The durable record of a station: one event per part in SQLite, written before its signal."""

import fcntl
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self, TextIO

from inspection.core.decision import Verdict
from inspection.core.errors import SpoolFull, StationError
from inspection.core.records import Event, parse_record
from inspection.station.source import Stamp

# One entry per schema version; a newer program appends, never edits. user_version counts them.
MIGRATIONS = (
    (
        """CREATE TABLE events (
             seq INTEGER PRIMARY KEY AUTOINCREMENT,
             event_id TEXT NOT NULL UNIQUE,
             part_id TEXT NOT NULL,
             verdict TEXT NOT NULL,
             score REAL,
             source TEXT NOT NULL,
             source_sha256 TEXT NOT NULL,
             judged_at TEXT NOT NULL,
             record TEXT NOT NULL -- the whole Event as JSON
           )""",
        """CREATE TABLE files ( -- under which stamp a source was judged last
             source TEXT PRIMARY KEY,
             size INTEGER NOT NULL,
             mtime_ns INTEGER NOT NULL,
             ctime_ns INTEGER NOT NULL
           ) WITHOUT ROWID""",
    ),
)


@dataclass(frozen=True)
class VerdictCounts:
    """Number of events of each verdict."""

    passed: int = 0
    review: int = 0
    reject: int = 0
    fault: int = 0

    @property
    def total(self) -> int:
        """Number of all events."""
        return self.passed + self.review + self.reject + self.fault

    def plus(self, verdict: Verdict) -> "VerdictCounts":
        """Give the counts after one more event."""
        return VerdictCounts(
            self.passed + (verdict is Verdict.PASS),
            self.review + (verdict is Verdict.REVIEW),
            self.reject + (verdict is Verdict.REJECT),
            self.fault + (verdict is Verdict.FAULT),
        )

    def __str__(self) -> str:
        """Say all four, zeros too."""
        return f"{self.passed} PASS, {self.review} REVIEW, {self.reject} REJECT, {self.fault} FAULT"


class Spool:
    """The events of one station, in the order they were judged.

    Opening takes the folder for this process; the lock falls with the process, however it ends.
    Every method raises SpoolFull when something cannot be written (disk full, I/O error) and
    StationError when the database is damaged.
    """

    def __init__(self, data_dir: Path) -> None:
        self._path = data_dir / "events.sqlite"
        self._lock = _lock(data_dir)
        try:
            with self._refusals():
                self._database = sqlite3.connect(self._path, isolation_level=None, timeout=5)
            try:
                self._prepare()
            except BaseException:
                self._database.close()
                raise
        except BaseException:
            self._lock.close()
            raise

    def __enter__(self) -> Self:
        """Give the open spool."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the database and let the folder go."""
        self.close()

    def close(self) -> None:
        """Close the database and let the folder go."""
        self._database.close()
        self._lock.close()

    def append(self, event: Event, stamp: Stamp | None) -> None:
        """Write one event, and under which stamp its file was judged; durable when it returns."""
        row = (
            event.event_id,
            event.part_id,
            event.verdict,
            event.score,
            event.source,
            event.source_sha256,
            event.judged_at.isoformat(),
            event.model_dump_json(),
        )
        with self._refusals(), self._transaction():
            self._database.execute(
                "INSERT INTO events (event_id, part_id, verdict, score, source, source_sha256, "
                "judged_at, record) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                row,
            )
            if stamp is not None:
                self._write_stamp(event.source, stamp)

    def remember(self, source: str, stamp: Stamp) -> None:
        """Write a new stamp of a file whose bytes were judged before."""
        with self._refusals(), self._transaction():
            self._write_stamp(source, stamp)

    def has(self, event_id: str) -> bool:
        """Say whether the event is recorded."""
        with self._refusals():
            query = "SELECT 1 FROM events WHERE event_id = ?"
            return self._database.execute(query, (event_id,)).fetchone() is not None

    def stamp_of(self, source: str) -> Stamp | None:
        """Give the stamp under which a source was judged last, or none."""
        with self._refusals():
            query = "SELECT size, mtime_ns, ctime_ns FROM files WHERE source = ?"
            row = self._database.execute(query, (source,)).fetchone()
        return None if row is None else Stamp(*row)

    def events(self) -> Iterator[Event]:
        """Give all events in the order they were judged, whatever the wall clock said."""
        with self._refusals():
            for seq, record in self._database.execute(
                "SELECT seq, record FROM events ORDER BY seq"
            ):
                yield parse_record(record, Event, f"{self._path}: event {seq}")

    def counts(self) -> VerdictCounts:
        """Count all events by verdict."""
        with self._refusals():
            query = "SELECT verdict, count(*) FROM events GROUP BY verdict"
            found = dict(self._database.execute(query).fetchall())
        passed, review = found.get(Verdict.PASS, 0), found.get(Verdict.REVIEW, 0)
        return VerdictCounts(
            passed, review, found.get(Verdict.REJECT, 0), found.get(Verdict.FAULT, 0)
        )

    def _prepare(self) -> None:
        """Set durability, and bring the schema to this program's version in one transaction."""
        with self._refusals():
            mode = self._database.execute("PRAGMA journal_mode = WAL").fetchone()[0]
            if mode != "wal":
                raise StationError(
                    f"{self._path}: journal mode is '{mode}'; wanted 'wal'; put data_dir on a "
                    "local disk"
                )
            self._database.execute("PRAGMA synchronous = FULL")
            version = self._database.execute("PRAGMA user_version").fetchone()[0]
            if version > len(MIGRATIONS):
                raise StationError(
                    f"{self._path}: schema {version} is newer than this program "
                    f"({len(MIGRATIONS)}); update the program or name another data_dir"
                )
            if version < len(MIGRATIONS):
                with self._transaction():
                    for statements in MIGRATIONS[version:]:
                        for statement in statements:
                            self._database.execute(statement)
                    self._database.execute(f"PRAGMA user_version = {len(MIGRATIONS)}")

    def _write_stamp(self, source: str, stamp: Stamp) -> None:
        self._database.execute("REPLACE INTO files VALUES (?, ?, ?, ?)", (source, *stamp))

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._database.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._database.execute("COMMIT")
        except BaseException:
            if self._database.in_transaction:
                self._database.execute("ROLLBACK")
            raise

    @contextmanager
    def _refusals(self) -> Iterator[None]:
        """Translate what SQLite refuses; a repeated event_id stays a programmer's mistake."""
        try:
            yield
        except sqlite3.DatabaseError as error:
            code = error.sqlite_errorname if hasattr(error, "sqlite_errorname") else ""
            if code.startswith(("SQLITE_CORRUPT", "SQLITE_NOTADB")):
                raise StationError(
                    f"{self._path}: the event database is damaged ({error}); copy {self._path}* "
                    f'aside and repair it with "sqlite3 events.sqlite .recover"; with an empty '
                    "one every file still in the folder is judged again under the same event_id"
                ) from error
            if isinstance(error, sqlite3.OperationalError):
                raise SpoolFull(
                    f"{self._path}: the event cannot be made durable ({error}), so its verdict "
                    "was not signalled; free the disk, check its health, close other writers, "
                    "then start the station again"
                ) from error
            raise


def _lock(data_dir: Path) -> TextIO:
    """Take the folder for this process.

    Raises:
        StationError: another station process has it, or it cannot be made.
    """
    path = data_dir / "station.lock"
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

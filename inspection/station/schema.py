"""The tables of a station's record, version after version, and which of them this program reads."""

from pathlib import Path

from inspection.core.errors import StationError

# One entry per schema version; a newer program appends, never edits. user_version counts them.
MIGRATIONS = (
    (
        """CREATE TABLE identity ( -- one row: what tells this record from every other
             record_id TEXT PRIMARY KEY
           ) WITHOUT ROWID""",
        "INSERT INTO identity VALUES (lower(hex(randomblob(16))))",
        """CREATE TABLE intents ( -- parts whose cameras were to look, and that have no event yet
             event_id TEXT PRIMARY KEY,
             part_id TEXT NOT NULL,
             product TEXT NOT NULL,
             captured_at TEXT NOT NULL
           ) WITHOUT ROWID""",
        """CREATE TABLE events (
             sequence INTEGER PRIMARY KEY,
             event_id TEXT NOT NULL UNIQUE,
             record TEXT NOT NULL -- the whole Event as JSON
           )""",
        """CREATE TABLE files ( -- under which stamp a source was judged last
             source TEXT PRIMARY KEY,
             size INTEGER NOT NULL,
             mtime_ns INTEGER NOT NULL,
             ctime_ns INTEGER NOT NULL
           ) WITHOUT ROWID""",
        """CREATE TABLE outbox ( -- up to which event each destination has acknowledged
             destination TEXT PRIMARY KEY,
             sequence INTEGER NOT NULL
           ) WITHOUT ROWID""",
        """CREATE TABLE counters (
             name TEXT PRIMARY KEY, -- a verdict, or what the byte budget dropped
             value INTEGER NOT NULL
           ) WITHOUT ROWID""",
    ),
)


def require_known(version: int, path: Path) -> None:
    """Refuse a record of a newer program.

    Raises:
        StationError: it is one.
    """
    if version > len(MIGRATIONS):
        raise StationError(
            f"{path}: schema {version} is newer than this program ({len(MIGRATIONS)}); update the "
            "program or name another data_dir"
        )


def require_current(version: int, path: Path) -> None:
    """Refuse a record that only a station can begin, or a newer program reads.

    Raises:
        StationError: it is empty or of a newer program.
    """
    require_known(version, path)
    if version == 0:
        raise no_record(path)


def no_record(path: Path) -> StationError:
    """Say that no station has run there."""
    return StationError(
        f"{path}: found no record yet; wanted that of a station that ran at least once; start it "
        "with: inspection station run"
    )

"""Writes a whole hub into a folder that either database can be restored from, and back.

Tables are JSON lines, artefacts their own bytes, and a manifest holds the hash of everything, so
a backup of SQLite moves a hub to PostgreSQL, too. Sessions are left out: people log in again.

    manifest.json          what it is: Contents, signed
    tables/NAME.jsonl      one row a line, times in microseconds since 1970 UTC
    artefacts.jsonl        one artefact a line: Stored
    artefacts/…            under the names they have in the store
"""

import contextlib
import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

from alembic.migration import MigrationContext
from pydantic import Field, ValidationError, field_validator
from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    MetaData,
    Table,
    func,
    insert,
    select,
    union,
)

from inspection.bundles.signing import Purpose, SignedText, check_signature, own_keys, sign
from inspection.core.config import Settings
from inspection.core.errors import BundleError, ConfigError
from inspection.core.limits import (
    MAX_GRAPH_BYTES,
    MAX_RECORD_BYTES,
    MAX_WORDS,
    Moment,
    Short,
    Total,
    open_file,
    read_file,
)
from inspection.core.records import hash_file, write_record
from inspection.hub.artefacts import bundle_file_name, picture_name
from inspection.hub.audit import audit_head, note
from inspection.hub.hub import Hub
from inspection.hub.loop_tables import schedule
from inspection.hub.tables import Utc, bundles, corrections, metadata, pictures, sessions

FORMAT = 2
MANIFEST = "manifest.json"
BATCH = 500  # rows read or written at once
STREAMED = {"yield_per": BATCH}
LEFT_OUT = (sessions, schedule)  # people log in again; what recurs is due at once
TABLES = tuple(table for table in metadata.sorted_tables if table not in LEFT_OUT)
SHA256 = r"^[0-9a-f]{64}$"
ARTEFACT = r"^(pictures/[0-9a-f]{2}/[0-9a-f]{64}|bundles/[0-9a-f]{64}/[^\\]+)$"


class Part(Settings):
    """One file of JSON lines."""

    lines: Total
    sha256: str = Field(pattern=SHA256)


class Stored(Settings):
    """One artefact."""

    name: str = Field(max_length=MAX_WORDS, pattern=ARTEFACT)
    bytes: Total
    sha256: str = Field(pattern=SHA256)

    @field_validator("name")
    @classmethod
    def _stays_in_the_store(cls, name: str) -> str:
        if {"", ".", ".."} & set(name.split("/")):
            raise ValueError(f"'{name}' is no name of an artefact")
        return name


class Contents(Settings):
    """manifest.json: what a backup holds."""

    format: Total
    made_at: Moment
    revision: Short = Field(description="of the tables, Alembic's")
    audit_head: str = Field(pattern=SHA256, description="hash of the last entry")
    tables: dict[Short, Part] = Field(max_length=1_000)
    artefacts: Part
    bytes: Total = Field(description="of all artefacts")
    missing: Total = Field(description="artefacts that have a row but were gone")


def back_up(hub: Hub, folder: Path, actor: str) -> Contents:
    """Write one consistent state of the hub into a new folder, for the owner's eyes only.

    Bounded memory; the hub goes on meanwhile. Rows are read in one transaction, and the artefacts
    they name are copied after it began: those never change.

    Raises:
        ConfigError: the folder is there already, or cannot be written.
        HubError: database or store do not answer.
    """
    if folder.exists():
        raise ConfigError(f"{folder}: is there already; name a new folder")
    partial = folder.with_name(f"{folder.name}.partial")
    with _written(partial):
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(mode=0o700, parents=True)
        contents = _write(hub, partial)
        write_record(partial / MANIFEST, sign(Purpose.BACKUP, contents.model_dump_json()))
        _hide(partial)
        os.sync()
        partial.rename(folder)
    with hub.database.writing() as connection:
        note(
            connection,
            hub.now(),
            actor,
            "backup make",
            folder.name,
            audit_head=contents.audit_head,
        )
    return contents


def restore(
    hub: Hub, folder: Path, actor: str, trusted_keys: tuple[str, ...] | None = None
) -> Contents:
    """Fill an empty hub, on whichever database, from a backup; all of its rows or none.

    Args:
        hub: empty.
        folder: of the backup.
        actor: who restores it.
        trusted_keys: whose backups are believed; none: this machine's own.

    Raises:
        ConfigError: it is no sound backup, signed by somebody else, of another revision, or the hub
            is not empty.
        HubError: database or store do not answer.
    """
    contents = _read_manifest(folder, own_keys() if trusted_keys is None else trusted_keys)
    with hub.database.reading() as connection:
        revision = _revision(connection)
        _refuse_filled(connection)
    if (contents.format, contents.revision) != (FORMAT, revision):
        raise ConfigError(
            f"{folder}: format {contents.format}, revision {contents.revision}; wanted {FORMAT}, "
            f"{revision}; restore it with the version that made it, then update"
        )
    with _written(folder):
        _verify(folder, contents)
        for stored in _artefacts(folder, contents):
            path = folder / "artefacts" / stored.name
            content = read_file(path, MAX_GRAPH_BYTES)
            _match(path, hashlib.sha256(content).hexdigest(), stored.sha256)
            hub.artefacts.renew(stored.name, content)
        with hub.database.writing() as connection:
            _refuse_filled(connection)
            for table in TABLES:
                path = folder / "tables" / f"{table.name}.jsonl"
                _load(connection, table, path, contents.tables[table.name].sha256)
            detail = {"made_at": contents.made_at.isoformat(), "audit_head": contents.audit_head}
            note(connection, hub.now(), actor, "backup restore", folder.name, **detail)
    return contents


def _write(hub: Hub, folder: Path) -> Contents:
    with hub.database.reading() as connection:
        if connection.dialect.name == "sqlite":
            connection.exec_driver_sql("BEGIN")  # else each query sees a state of its own
        else:
            connection.execution_options(isolation_level="REPEATABLE READ")
        tables = {
            table.name: _write_lines(
                folder / "tables" / f"{table.name}.jsonl", _rows(connection, table)
            )
            for table in TABLES
        }
        count = _Count()
        artefacts = _write_lines(
            folder / "artefacts.jsonl",
            (one.model_dump() for one in _copied(hub, connection, folder / "artefacts", count)),
        )
        return Contents(
            format=FORMAT,
            made_at=hub.now(),
            revision=_revision(connection),
            audit_head=audit_head(connection),
            tables=tables,
            artefacts=artefacts,
            bytes=count.bytes,
            missing=count.missing,
        )


@dataclass
class _Count:
    """What was copied, and what was not there."""

    bytes: int = 0
    missing: int = 0


def _copied(hub: Hub, connection: Connection, folder: Path, count: _Count) -> Iterator[Stored]:
    """Copy every artefact that a row names; a picture may have been deleted meanwhile."""
    for name in _names(hub, connection):
        if not hub.artefacts.has(name):
            count.missing += 1
            continue
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as stream:
            stream.writelines(hub.artefacts.pieces(name))
        stored = Stored(name=name, bytes=path.stat().st_size, sha256=hash_file(path))
        count.bytes += stored.bytes
        yield stored


def _names(hub: Hub, connection: Connection) -> Iterator[str]:
    hashes = union(select(pictures.c.sha256), select(corrections.c.sha256))
    for sha256 in connection.execute(hashes, execution_options=STREAMED).scalars():
        yield picture_name(sha256)
    for bundle_id in connection.execute(select(bundles.c.bundle_id)).scalars().all():
        names = hub.artefacts.names(bundle_file_name(bundle_id, "").rstrip("/"))
        yield from (name for name, _ in names if not name.endswith(".partial"))


def _rows(connection: Connection, table: Table) -> Iterator[Mapping[str, Any]]:
    plain = _plain(table)
    query = select(plain).order_by(*(plain.c[key.name] for key in table.primary_key))
    for row in connection.execute(query, execution_options=STREAMED):
        yield row._asdict()


def _load(connection: Connection, table: Table, path: Path, sha256: str) -> None:
    plain = _plain(table)
    lines = _lines(path, sha256)
    while batch := list(islice(lines, BATCH)):
        connection.execute(insert(plain), batch)
    key = table.autoincrement_column
    if key is not None and connection.dialect.name == "postgresql":  # SQLite looks by itself
        sequence = func.pg_get_serial_sequence(table.name, key.name)
        connection.execute(select(func.setval(sequence, func.max(key))))


def _plain(table: Table) -> Table:
    """Give a table without our types: times stay the numbers they are in either database."""
    columns = (
        Column(one.name, BigInteger() if isinstance(one.type, Utc) else one.type)
        for one in table.columns
    )
    return Table(table.name, MetaData(), *columns)


def _write_lines(path: Path, rows: Iterable[Mapping[str, Any]]) -> Part:
    path.parent.mkdir(parents=True, exist_ok=True)
    digest, count = hashlib.sha256(), 0
    with path.open("wb") as stream:
        for row in rows:
            line = json.dumps(row, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"
            digest.update(line)
            stream.write(line)
            count += 1
    return Part(lines=count, sha256=digest.hexdigest())


def _lines(path: Path, sha256: str) -> Iterator[Any]:
    """Read the values of a file, which must be what was signed to its end: it may change meanwhile.

    Raises:
        ConfigError: after the last value, it is not.
    """
    digest = hashlib.sha256()
    with open_file(path) as stream:  # bytes: a text may hold what Python takes for a line's end
        for line in stream:
            digest.update(line)
            yield json.loads(line)
    _match(path, digest.hexdigest(), sha256)


def _hide(folder: Path) -> None:
    """Let nobody but the owner read what lies in a folder."""
    for path in folder.rglob("*"):
        path.chmod(0o700 if path.is_dir() else 0o600)


def _read_manifest(folder: Path, trusted_keys: tuple[str, ...]) -> Contents:
    path = folder / MANIFEST
    try:
        signed = SignedText.model_validate_json(read_file(path, MAX_RECORD_BYTES))
        name = str(path)
        check_signature(Purpose.BACKUP, signed.text, signed.signature, trusted_keys, name)
        contents = Contents.model_validate_json(signed.text)
    except BundleError as error:
        raise ConfigError(
            f"{error}; a hub restores only what it, or a key named by --trusted-key, has signed"
        ) from error
    except (OSError, ValidationError) as error:
        raise ConfigError(f"{path}: no backup's manifest ({error}); name its folder") from error
    if set(contents.tables) != {table.name for table in TABLES}:
        raise ConfigError(f"{path}: other tables than this version's; use the one that made it")
    return contents


def _verify(folder: Path, contents: Contents) -> None:
    """Refuse a backup of which one byte differs; a name is believed only then."""
    parts = {f"tables/{name}.jsonl": part for name, part in contents.tables.items()}
    for name, part in (parts | {"artefacts.jsonl": contents.artefacts}).items():
        _match(folder / name, hash_file(folder / name), part.sha256)
    for stored in _artefacts(folder, contents):
        path = folder / "artefacts" / stored.name
        _match(path, hash_file(path), stored.sha256)


def _match(path: Path, found: str, wanted: str) -> None:
    if found != wanted:
        raise ConfigError(f"{path}: differs from what was backed up; use another copy")


def _artefacts(folder: Path, contents: Contents) -> Iterator[Stored]:
    """Give what is stored; nothing is named before all names are known to be what was signed."""
    path, digest = folder / "artefacts.jsonl", hashlib.sha256()
    with TemporaryFile() as copy:
        with open_file(path) as stream:
            for line in stream:
                digest.update(line)
                copy.write(line)
        _match(path, digest.hexdigest(), contents.artefacts.sha256)
        copy.seek(0)
        yield from map(Stored.model_validate_json, copy)


def _refuse_filled(connection: Connection) -> None:
    for table in TABLES:
        if connection.execute(select(1).select_from(table).limit(1)).first():
            raise ConfigError(
                f"database: there are {table.name} already; restore into an empty hub only"
            )


def _revision(connection: Connection) -> str:
    return str(MigrationContext.configure(connection).get_current_revision())


@contextlib.contextmanager
def _written(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise ConfigError(
            f"{error.filename or folder}: {error.strerror or error}; look at disk and rights"
        ) from error
    except ValueError as error:  # JSON that is none, or of something else
        raise ConfigError(f"{folder}: holds what no backup of ours does ({error})") from error

"""The append-only audit log: who changed what, each entry's hash covering the one before."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from pydantic import JsonValue
from sqlalchemy import Connection, Row, insert, select

from inspection.core.records import hash_json
from inspection.hub.hub import Hub
from inspection.hub.tables import audit
from inspection.hub.wire.message import Page
from inspection.hub.wire.people import AuditCheck, AuditEntry

ACCOUNT_ADD, ACCOUNT_CHANGE = "account add", "account change"  # actions that logic asks for
GENESIS = "0" * 64
BATCH = 1000  # entries read at once


def note(
    connection: Connection, at: datetime, actor: str, action: str, subject: str, **detail: JsonValue
) -> None:
    """Add an entry, in the same transaction as what it tells of; call it last there.

    Args:
        connection: a writing one; until it ends nobody else can add an entry.
        at: the hub's time.
        actor: account, `station NAME`, or `command line`.
        action: noun and verb: `thresholds apply`, `token revoke`.
        subject: what was changed.
        detail: what to know of it; no secrets.
    """
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql("LOCK TABLE audit IN EXCLUSIVE MODE")  # readers go on
    last = connection.execute(
        select(audit.c.id, audit.c.sha256).order_by(audit.c.id.desc()).limit(1)
    ).one_or_none()
    number, previous = (last.id + 1, last.sha256) if last else (1, GENESIS)
    text = json.dumps(detail, sort_keys=True, ensure_ascii=False)
    entry = {
        "id": number,
        "at": at,
        "actor": actor,
        "action": action,
        "subject": subject,
        "detail": text,
        "previous": previous,
    }
    connection.execute(insert(audit).values(**entry, sha256=entry_hash(entry)))


def entry_hash(entry: dict[str, object]) -> str:
    """Hash an entry: its columns but sha256, the time as ISO 8601 in UTC with microseconds."""
    at = entry["at"]
    if isinstance(at, datetime):
        at = at.astimezone(UTC).isoformat(timespec="microseconds")
    return hash_json({**entry, "at": at})


def audit_head(connection: Connection) -> str:
    """Give the hash of the last entry."""
    last = select(audit.c.sha256).order_by(audit.c.id.desc()).limit(1)
    return connection.execute(last).scalar_one_or_none() or GENESIS


def list_entries(hub: Hub, after: int | None, limit: int) -> Page[AuditEntry]:
    """Give entries, the newest first.

    Args:
        hub: open.
        after: number of the last entry of the page before; none begins with the newest.
        limit: most entries of the page.
    """
    query = select(audit).order_by(audit.c.id.desc()).limit(limit + 1)
    if after is not None:
        query = query.where(audit.c.id < after)
    with hub.database.reading() as connection:
        rows = connection.execute(query).all()
    shown = tuple(_entry(row) for row in rows[:limit])
    return Page(items=shown, next=str(shown[-1].id) if len(rows) > limit else None)


def export_entries(hub: Hub) -> Iterator[AuditEntry]:
    """Give all entries, the oldest first."""
    return map(_entry, _rows(hub))


def verify_audit(hub: Hub, head: str | None = None) -> AuditCheck:
    """Check that no entry was changed, deleted, inserted or put elsewhere.

    Whoever can write the whole table can also make the whole chain anew, or cut its end: only a
    hash written down elsewhere shows that.

    Args:
        hub: open.
        head: hash of an entry, written down when it was the last; it must still be there.
    """
    count, previous, known = 0, GENESIS, head in {None, GENESIS}
    for row in _rows(hub):
        if problem := _problem(row, count + 1, previous):
            return AuditCheck(entries=count, sound=False, head=previous, problem=problem)
        count, previous, known = count + 1, row.sha256, known or row.sha256 == head
    problem = "" if known else f"no entry has the hash {head}: the end was cut, or all made anew"
    return AuditCheck(entries=count, sound=known, head=previous, problem=problem)


def _problem(row: Row[Any], number: int, previous: str) -> str:
    """Say what is wrong with the entry that should follow."""
    entry = {name: value for name, value in row._asdict().items() if name != "sha256"}
    if row.id != number:
        return f"entry {number}: is missing; entry {row.id} stands in its place"
    if row.previous != previous:
        return f"entry {number}: does not follow the one before it, whose hash is {previous}"
    if entry_hash(entry) != row.sha256:
        return f"entry {number}: was changed after it was written: its hash does not fit"
    return ""


def _rows(hub: Hub) -> Iterator[Row[Any]]:
    """Give all rows, the oldest first, a batch at a time: nothing is held open between them."""
    last = None
    while True:
        query = select(audit).order_by(audit.c.id).limit(BATCH)
        with hub.database.reading() as connection:
            rows = connection.execute(
                query if last is None else query.where(audit.c.id > last)
            ).all()
        if not rows:
            return
        yield from rows
        last = rows[-1].id


def _entry(row: Row[Any]) -> AuditEntry:
    return AuditEntry.model_validate({**row._asdict(), "detail": json.loads(row.detail)})

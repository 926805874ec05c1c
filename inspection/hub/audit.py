"""The append-only audit log: who changed what, each entry's hash covering the one before."""

import json
from datetime import UTC, datetime

from pydantic import JsonValue
from sqlalchemy import Connection, insert, select

from inspection.core.records import hash_json
from inspection.hub.tables import audit

GENESIS = "0" * 64


def note(
    connection: Connection, at: datetime, actor: str, action: str, subject: str, **detail: JsonValue
) -> None:
    """Add an entry, in the same transaction as what it tells of.

    Args:
        connection: a writing one.
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

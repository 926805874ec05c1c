"""Deletes what is older than the settings keep, in small steps; never what a person looked at.

The counts by hour stay, and so does the audit log.
"""

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from itertools import islice
from threading import Event as Flag

from sqlalchemy import ColumnElement, CompoundSelect, Connection, and_, delete, or_, select, union

from inspection.core.decision import Verdict
from inspection.core.errors import HubError
from inspection.hub.artefacts import picture_name
from inspection.hub.audit import note
from inspection.hub.hub import Hub
from inspection.hub.loop_tables import disagreements, shadows
from inspection.hub.tables import corrections, events, pictures, reviews

logger = logging.getLogger(__name__)
EVERY_S = 3600.0
STEP = 200  # rows or files of one transaction: others wait some ms for it at most
ACTOR = "hub"


@dataclass
class Removed:
    """What one round took."""

    events: int = 0
    pictures: int = 0
    artefacts: int = 0


class Retention:
    """Goes over one hub again and again.

    A file goes when no row named it in two rounds, so that one that was just put, and whose row is
    on its way, stays.
    """

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._unnamed: set[str] = set()

    def run(self, stop: Flag) -> None:
        """Go over the hub now and every hour until `stop` is set."""
        while True:
            try:
                self.round(stop)
            except HubError as error:
                logger.warning("retention put off", extra={"reason": str(error)})
            if stop.wait(EVERY_S):
                return

    def round(self, stop: Flag | None = None) -> Removed:
        """Delete what is too old by now, and say so in the log and, if there was any, the audit.

        Raises:
            HubError: database or store does not answer; what was deleted is.
        """
        hub, settings = self._hub, self._hub.config.retention
        now, removed = hub.now(), Removed()
        stop = stop or Flag()
        for ids in self._old(stop, _before(_ago(now, settings.events_days))):
            removed.events += self._step(ids, _delete_events)
        illustrated = and_(
            or_(
                _before(_ago(now, settings.pictures_days)),
                and_(
                    events.c.verdict == Verdict.PASS,
                    _before(_ago(now, settings.passes_days)),
                ),
            ),
            events.c.event_id.in_(select(pictures.c.event_id)),
        )
        for ids in self._old(stop, illustrated):
            removed.pictures += self._step(ids, _delete_pictures)
        removed.artefacts = self._delete_unnamed(stop)
        logger.info("retention", extra=asdict(removed))
        if removed != Removed():
            with hub.database.writing() as connection:
                note(connection, hub.now(), ACTOR, "retention", "old parts", **asdict(removed))
        return removed

    def _old(self, stop: Flag, condition: ColumnElement[bool]) -> Iterator[list[str]]:
        """Give ids of unreviewed events in small lots, each once, the first to arrive first."""
        last = 0
        while not stop.is_set():
            with self._hub.database.reading() as connection:
                found = connection.execute(
                    select(events.c.id, events.c.event_id)
                    .where(condition, events.c.id > last, events.c.event_id.not_in(_looked_at()))
                    .order_by(events.c.id)
                    .limit(STEP)
                ).all()
            if not found:
                return
            last = found[-1].id
            yield [row.event_id for row in found]

    def _step(self, ids: Sequence[str], remove: Callable[[Connection, Sequence[str]], int]) -> int:
        with self._hub.database.writing() as connection:
            # Locked, so that no review of them can come meanwhile; then asked again.
            locked = select(events.c.event_id).where(events.c.event_id.in_(ids)).with_for_update()
            held = connection.execute(locked.order_by(events.c.id)).scalars().all()
            spared = set(
                connection.execute(
                    union(
                        select(reviews.c.event_id).where(reviews.c.event_id.in_(held)),
                        select(corrections.c.event_id).where(corrections.c.event_id.in_(held)),
                    )
                ).scalars()
            )
            return remove(connection, [one for one in held if one not in spared])

    def _delete_unnamed(self, stop: Flag) -> int:
        """Delete files that neither a picture nor a correction names, nor did a round ago."""
        unnamed: set[str] = set()
        count = 0
        for first in range(256):
            if stop.is_set():
                return count
            names = (name for name, _ in self._hub.artefacts.names(f"pictures/{first:02x}"))
            while step := list(islice(names, STEP)):
                gone, seen = self._sift(step)
                count += gone
                unnamed |= seen
        self._unnamed = unnamed
        return count

    def _sift(self, names: Sequence[str]) -> tuple[int, set[str]]:
        """Delete the unnamed ones of before; give how many, and which are unnamed now."""
        with self._hub.database.reading() as connection:
            found = _unnamed(connection, names)
        old = found & self._unnamed
        if not old:
            return 0, found
        with self._hub.database.writing() as connection:
            if connection.dialect.name == "postgresql":  # nobody names one between look and end
                connection.exec_driver_sql("LOCK TABLE pictures, corrections IN SHARE MODE")
            old = _unnamed(connection, sorted(old))
            for name in old:
                self._hub.artefacts.delete(name)
        return len(old), found - old


def _ago(now: datetime, days: int) -> datetime:
    return now - timedelta(days=days)


def _before(time: datetime) -> ColumnElement[bool]:
    """Ask for what was captured and came before; the first alone believes a station's clock."""
    return and_(events.c.captured_at < time, events.c.received_at < time)


def _looked_at() -> CompoundSelect[str]:
    return union(select(reviews.c.event_id), select(corrections.c.event_id))


def _delete_events(connection: Connection, ids: Sequence[str]) -> int:
    _delete_pictures(connection, ids)
    for table in (shadows, disagreements):  # their counts stay
        connection.execute(delete(table).where(table.c.event_id.in_(ids)))
    return connection.execute(delete(events).where(events.c.event_id.in_(ids))).rowcount


def _delete_pictures(connection: Connection, ids: Sequence[str]) -> int:
    return connection.execute(delete(pictures).where(pictures.c.event_id.in_(ids))).rowcount


def _unnamed(connection: Connection, names: Sequence[str]) -> set[str]:
    """Give those names that no row names; a file half written has a name of its own."""
    sha256s = [name.rpartition("/")[2] for name in names]
    named = connection.execute(
        union(
            select(pictures.c.sha256).where(pictures.c.sha256.in_(sha256s)),
            select(corrections.c.sha256).where(corrections.c.sha256.in_(sha256s)),
        )
    ).scalars()
    return set(names) - {picture_name(sha256) for sha256 in named}

"""Takes in what stations send: batches of events, each stored once, and their own status."""

import logging
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any, Self

from pydantic import (
    StringConstraints,
    ValidationError,
    model_validator,
)
from pydantic_core import from_json, to_json
from sqlalchemy import Connection, case, select, update
from sqlalchemy.dialects import postgresql, sqlite

from inspection.core.errors import ConfigError
from inspection.core.limits import MAX_NAME, MAX_PART_ID, MAX_WORDS
from inspection.core.records import Event, FrameRecord
from inspection.hub.copies import note_copies
from inspection.hub.database import insert_new
from inspection.hub.hub import Hub
from inspection.hub.known import keep_known
from inspection.hub.queue import enqueue
from inspection.hub.refusals import Foreign
from inspection.hub.tables import events, hours, stations
from inspection.hub.wire.line import RefusalCode, Refused, Stored
from inspection.hub.wire.message import WITHOUT_NUL, Name
from inspection.station.state import StationStatus

logger = logging.getLogger(__name__)
BATCH_MOST = 100
KEY = ("line", "hour", "station", "product", "bundle_id", "verdict")  # of `hours`


@dataclass(frozen=True)
class Sender:
    """The station whose token came along."""

    station: str
    line: str


class _Arrived(Event):
    """An event whose values fit the tables' columns; what a newer station adds is ignored."""

    event_id: Name
    part_id: Annotated[str, StringConstraints(max_length=MAX_PART_ID, pattern=WITHOUT_NUL)]
    product: Annotated[str, StringConstraints(max_length=MAX_NAME, pattern=WITHOUT_NUL)]

    @model_validator(mode="after")
    def _frames_fit(self) -> Self:
        for frame in self.frames:
            if any("\0" in text for text in (frame.camera, frame.bundle_id, frame.image or "")):
                raise ValueError(
                    f"camera {frame.camera!r}: its name, bundle_id or image holds NUL; leave it out"
                )
            _require_keepable(frame)
        return self


def _require_keepable(frame: FrameRecord) -> None:
    seen = frame.recognised
    if seen is None:
        return
    texts = (seen.detector, seen.detector_id, *seen.counts)
    named = {one.type for one in seen.found} <= seen.counts.keys()
    if not named or any("\0" in text for text in texts):
        raise ValueError(
            f"camera {frame.camera!r}: its detector or a type holds NUL, or counts do not tell of "
            "all that was found"
        )
    if any(not 0 < count < 2**31 for count in seen.counts.values()):
        raise ValueError(
            f"camera {frame.camera!r}: counts of types {seen.counts}; wanted 1 or more"
        )


@dataclass(frozen=True)
class _Item:
    index: int
    event: _Arrived
    record: str  # the JSON as it came, `action` and unknown keys with it


@dataclass
class _Count:
    """What one hour of a station's verdicts on one product by one bundle gains."""

    parts: int = 0
    latency_sum_ms: float = 0.0
    latency_most_ms: float = 0.0
    score_sum: float = 0.0
    score_squares: float = 0.0
    scores: int = 0

    def add(self, latency_ms: float, score: float | None) -> None:
        self.parts += 1
        self.latency_sum_ms += latency_ms
        self.latency_most_ms = max(self.latency_most_ms, latency_ms)
        if score is not None:
            self.score_sum += score
            self.score_squares += score * score
            self.scores += 1


def store_events(hub: Hub, sender: Sender, body: bytes) -> Stored:
    """Store a batch, durably; an event that is known changes nothing.

    What can never be stored is refused by itself and holds nothing up: the station keeps it.

    Args:
        hub: that stores it.
        sender: whose events they must be.
        body: JSON array of at most 100 events, in order; each an Event's record and `action`.

    Raises:
        ConfigError: not such an array.
        Foreign: one is another station's or line's; none is stored.
    """
    parsed = _parse(body)
    items, refused = _readable(parsed, sender)

    def store(connection: Connection) -> tuple[Refused, ...]:
        return _store(connection, hub, items)

    refused += hub.database.writing_with_others(store) if items else ()
    for one in refused:
        fields = {"station": sender.station, "code": one.code, "reason": one.reason}
        logger.warning("event refused", extra=fields)
    return Stored(stored=len(parsed), refused=tuple(sorted(refused, key=lambda one: one.index)))


def store_event(connection: Connection, hub: Hub, event: Event) -> None:
    """Store an event that was judged here, in the transaction that gave it its sequence."""
    record = event.model_dump_json()
    _store(connection, hub, [_Item(0, _Arrived.model_validate_json(record), record)])


def parse_event(record: str) -> Event:
    """Give the event of a stored record; what this program does not know is left out."""
    return Event.model_validate(from_json(record), extra="ignore")


def keep_status(hub: Hub, sender: Sender, body: bytes) -> None:
    """Keep what a station says of itself, and how far its clock is off; no clock is refused.

    Args:
        hub: that keeps it.
        sender: whose status it must be.
        body: StationStatus as JSON.

    Raises:
        ConfigError: it is none.
        Foreign: it is another station's or line's.
    """
    now = hub.now()
    try:
        status = StationStatus.model_validate_json(body, extra="ignore")
    except ValidationError as error:
        raise ConfigError(f"status of '{sender.station}': {_first(error)}") from error
    _require_own(sender, status.station, status.line)
    values = {
        "seen_at": now,
        "skew_s": (status.at - now).total_seconds(),
        "status": status.model_dump_json(),
    }
    this = update(stations).where(stations.c.station == sender.station).values(values)
    hub.database.writing_with_others(lambda connection: connection.execute(this).rowcount)


def _parse(body: bytes) -> list[object]:
    try:
        parsed = from_json(body, allow_inf_nan=False)
    except ValueError as error:
        raise ConfigError(f"events: not JSON ({error}); wanted an array of events") from error
    if not isinstance(parsed, list) or len(parsed) > BATCH_MOST:
        found = f"{len(parsed)} events" if isinstance(parsed, list) else type(parsed).__name__
        raise ConfigError(f"events: found {found}; wanted an array of at most {BATCH_MOST}")
    return parsed


def _readable(parsed: list[object], sender: Sender) -> tuple[list[_Item], tuple[Refused, ...]]:
    """Give the events that can be taken, and why the others never can."""
    items: list[_Item] = []
    refused: list[Refused] = []
    for index, value in enumerate(parsed):
        try:
            event = _Arrived.model_validate(value, extra="ignore")
        except ValidationError as error:
            refused.append(
                Refused(index=index, code=RefusalCode.INVALID, reason=_first(error)[:MAX_WORDS])
            )
            continue
        _require_own(sender, event.station, event.line)
        items.append(_Item(index, event, to_json(value).decode()))
    return items, tuple(refused)


def _require_own(sender: Sender, station: str, line: str) -> None:
    if (station, line) != (sender.station, sender.line):
        raise Foreign(
            f"station '{station}' of line '{line}': the token is of '{sender.station}' of line "
            f"'{sender.line}'; send what is its own, or enrol the station anew"
        )


def _first(error: ValidationError) -> str:
    first = error.errors(include_url=False, include_context=False)[0]
    return f"{'.'.join(str(one) for one in first['loc'])}: {first['msg']}"


def _store(connection: Connection, hub: Hub, items: Sequence[_Item]) -> tuple[Refused, ...]:
    now = hub.now()
    rows = [_row(item, now) for item in items]
    inserted = set(insert_new(connection, events, rows, "event_id"))
    new: list[dict[str, Any]] = []
    fresh: list[Event] = []
    again: list[_Item] = []
    for item, row in zip(items, rows, strict=True):
        if row["event_id"] in inserted:
            inserted.discard(row["event_id"])  # the same one later in this batch is known
            new.append(row)
            fresh.append(item.event)
        else:
            again.append(item)
    _count(connection, new)
    keep_known(connection, fresh)
    enqueue(connection, hub, new)
    last = items[-1].event
    connection.execute(
        update(stations)
        .where(stations.c.station == last.station)
        .values(seen_at=now, last_sequence=last.sequence)
    )
    note_copies(connection, now, last.station, new)
    return _conflicts(connection, again)


def _row(item: _Item, now: datetime) -> dict[str, Any]:
    event, deciding = item.event, item.event.deciding
    band = deciding.band
    return {
        "event_id": event.event_id,
        "line": event.line,
        "station": event.station,
        "sequence": event.sequence,
        "record_id": event.record_id,
        "part_id": event.part_id,
        "product": event.product,
        "camera": deciding.camera,
        "bundle_id": deciding.bundle_id,
        "score": deciding.score,
        "review_above": None if band is None else band.review_above,
        "reject_above": None if band is None else band.reject_above,
        "verdict": event.verdict.value,
        "captured_at": event.captured_at,
        "received_at": now,
        "latency_ms": event.latency_ms,
        "image": deciding.image,
        "record": item.record,
    }


def _conflicts(connection: Connection, again: Sequence[_Item]) -> tuple[Refused, ...]:
    """Find the events that are known with other content."""
    if not again:
        return ()
    ids = {item.event.event_id for item in again}
    known = {
        row.event_id: row.record
        for row in connection.execute(
            select(events.c.event_id, events.c.record).where(events.c.event_id.in_(ids))
        )
    }
    return tuple(
        Refused(
            index=item.index,
            code=RefusalCode.CONFLICT,
            reason=f"event '{item.event.event_id}': is known with other content, which stays",
        )
        for item in again
        if _Arrived.model_validate(from_json(known[item.event.event_id]), extra="ignore")
        != item.event
    )


def _count(connection: Connection, new: Sequence[Mapping[str, Any]]) -> None:
    """Add new events to the hours, in one order for all hubs, so that none waits in a ring."""
    if not new:
        return
    counts: defaultdict[tuple[Any, ...], _Count] = defaultdict(_Count)
    for row in new:
        hour = row["captured_at"].astimezone(UTC).replace(minute=0, second=0, microsecond=0)
        key = tuple(hour if name == "hour" else row[name] for name in KEY)
        counts[key].add(row["latency_ms"], row["score"])
    rows = [dict(zip(KEY, key, strict=True)) | vars(counts[key]) for key in sorted(counts)]
    dialect = postgresql if connection.dialect.name == "postgresql" else sqlite
    statement = dialect.insert(hours)
    before, more = hours.c, statement.excluded
    sums = ("parts", "latency_sum_ms", "score_sum", "score_squares", "scores")
    most = case(
        (more.latency_most_ms > before.latency_most_ms, more.latency_most_ms),
        else_=before.latency_most_ms,
    )
    connection.execute(
        statement.on_conflict_do_update(
            index_elements=KEY,
            set_={name: before[name] + more[name] for name in sums} | {"latency_most_ms": most},
        ),
        rows,
    )

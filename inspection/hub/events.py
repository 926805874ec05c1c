"""Lists events, the newest first, and gives all of one."""

from collections.abc import Sequence
from typing import Any

from pydantic import Field
from sqlalchemy import BigInteger, Connection, Row, Select, literal, select, tuple_, type_coerce

from inspection.core.decision import Verdict
from inspection.core.limits import MAX_PART_ID
from inspection.hub.hub import Hub
from inspection.hub.ingest import parse_event
from inspection.hub.known import events_with, types_of
from inspection.hub.queue import asked_blindly, is_blind
from inspection.hub.refusals import NotThere
from inspection.hub.reviews import decisions_in_force
from inspection.hub.tables import EPOCH, MICROSECOND, events, pictures, reviews
from inspection.hub.wire.line import EventDetail, EventRow, Picture
from inspection.hub.wire.message import AnyName, Name, Page, Request
from inspection.hub.wire.review import Decision, Review

PLACE = tuple_(type_coerce(events.c.captured_at, BigInteger), events.c.id)
LISTED = [column for column in events.c if column.name != "record"]


class EventsWanted(Request):
    """Which events; each filter exactly, all of them together."""

    line: AnyName | None = None
    station: AnyName | None = None
    product: AnyName | None = None
    verdict: Verdict | None = None
    part_id: str | None = Field(None, max_length=MAX_PART_ID)
    bundle_id: AnyName | None = None
    decision: Decision | None = Field(None, description="of the review in force")
    type: Name | None = Field(None, description="that a second stage named on it")
    after: str | None = Field(
        None,
        max_length=40,
        pattern=r"^-?[0-9]{1,18}\.[0-9]{1,18}$",
        description="`next` of the page before",
    )
    limit: int = Field(50, ge=1, le=500, description="most events of the page")


def list_events(hub: Hub, wanted: EventsWanted, account: str | None = None) -> Page[EventRow]:
    """Give a page of events, the newest captured first, as far as this person may see them."""
    with hub.database.reading() as connection:
        found = connection.execute(events_query(wanted, account)).all()
        rows = event_rows(connection, found[: wanted.limit], account)
    more = len(found) > wanted.limit
    return Page(items=rows, next=_cursor(found[wanted.limit - 1]) if more else None)


def events_query(wanted: EventsWanted, account: str | None = None) -> Select[Any]:
    """Ask for one event more than wanted, in the order of an index."""
    query = select(*LISTED).order_by(events.c.captured_at.desc(), events.c.id.desc())
    for name in ("line", "station", "product", "verdict", "part_id", "bundle_id"):
        if (value := getattr(wanted, name)) is not None:
            query = query.where(events.c[name] == value)
    if wanted.type is not None:
        query = query.where(events.c.event_id.in_(events_with(wanted.type)))
    if wanted.decision is not None:
        decisions = decisions_in_force()
        decided = select(decisions.c.event_id).where(
            decisions.c.decision == wanted.decision,
            decisions.c.event_id.not_in(asked_blindly(account)),
        )
        query = query.where(events.c.event_id.in_(decided))
    if wanted.after is not None:
        captured_us, _, number = wanted.after.partition(".")
        before = tuple_(literal(int(captured_us)), literal(int(number)))
        query = query.where(before > PLACE)
    return query.limit(wanted.limit + 1)


def event_rows(
    connection: Connection, found: Sequence[Row[Any]], account: str | None = None
) -> tuple[EventRow, ...]:
    """Give rows of `events` as lists show them, in the same order.

    Args:
        connection: to read by.
        found: the rows.
        account: who sees them; what he is asked to decide blindly shows no decision, and without a
            name what anybody is asked.
    """
    ids = [row.event_id for row in found]
    decided = decisions_in_force()
    decisions = {
        row.event_id: row.decision
        for row in connection.execute(
            select(decided.c.event_id, decided.c.decision).where(
                decided.c.event_id.in_(ids), decided.c.event_id.not_in(asked_blindly(account))
            )
        )
    }
    here = connection.execute(
        select(pictures.c.event_id, pictures.c.name).where(pictures.c.event_id.in_(ids))
    )
    names = {(row.event_id, row.name) for row in here}
    types = types_of(connection, ids)
    return tuple(
        EventRow(
            **{name: getattr(row, name) for name in EventRow.model_fields if name in events.c},
            picture=row.image if (row.event_id, row.image) in names else None,
            decision=decisions.get(row.event_id),
            types=types.get(row.event_id, {}),
        )
        for row in found
    )


def event_detail(hub: Hub, event_id: str, account: str) -> EventDetail:
    """Give all of one event, as far as this person may see it.

    Raises:
        NotThere: there is none.
    """
    with hub.database.reading() as connection:
        row = connection.execute(select(events).where(events.c.event_id == event_id)).one_or_none()
        if row is None:
            raise NotThere(f"event '{event_id[:128]}': is not here; retention may have taken it")
        kept = select(pictures).where(pictures.c.event_id == event_id).order_by(pictures.c.name)
        return EventDetail(
            event=parse_event(row.record),
            row=event_rows(connection, [row], account)[0],
            pictures=tuple(Picture(**one._mapping) for one in connection.execute(kept)),
            reviews=_reviews(connection, event_id, account),
        )


def _reviews(connection: Connection, event_id: str, account: str) -> tuple[Review, ...]:
    """Give the decisions on an event; who is still to decide must not see another's."""
    log = connection.execute(
        select(reviews).where(reviews.c.event_id == event_id).order_by(reviews.c.id)
    ).all()
    blind = is_blind(connection, event_id, account)
    decided = any(row.reviewer == account for row in log)
    return tuple(
        Review(**row._mapping)
        for row in log
        if row.reviewer == account or (not blind and (decided or not row.second))
    )


def _cursor(row: Row[Any]) -> str:
    return f"{(row.captured_at - EPOCH) // MICROSECOND}.{row.id}"

"""The parts on which a challenger and the champion do not agree.

A part passes where all its frames do. One of which a challenger could not judge a frame is its
fault, and no disagreement: no person can say who is right.
"""

from collections.abc import Collection, Mapping
from datetime import datetime
from typing import NamedTuple

from sqlalchemy import Connection, Select, delete, select, tuple_

from inspection.hub.database import insert_new
from inspection.hub.loop_tables import challengers, disagreements

NEWEST = 1_000  # parts people are asked for at once are among the last so many: no page reads more


class Apart(NamedTuple):
    """A part as a challenger would let it go."""

    passes: bool
    at: datetime


def keep_disagreements(
    connection: Connection, found: Mapping[tuple[str, int], Apart | None]
) -> None:
    """Keep how parts would go, by event_id and challenger; none: the two agree on it now."""
    places = sorted(found)
    if not places:
        return
    mine = tuple_(disagreements.c.event_id, disagreements.c.challenger).in_(places)
    connection.execute(delete(disagreements).where(mine))
    rows = [
        {"event_id": event_id, "challenger": challenger, **one._asdict()}
        for event_id, challenger in places
        if (one := found[event_id, challenger]) is not None
    ]
    insert_new(connection, disagreements, rows, "event_id")


def newest_disagreements(numbers: Collection[int], *, passes: bool) -> Select[tuple[str]]:
    """Ask for the ids of the last parts that a challenger alone would let pass, or alone hold.

    Args:
        numbers: of the challengers.
        passes: whether they would let them pass.
    """
    newest = (
        select(disagreements.c.event_id)
        .where(disagreements.c.challenger.in_(numbers), disagreements.c.passes.is_(passes))
        .order_by(disagreements.c.at.desc())
        .limit(NEWEST)
        .subquery()
    )
    return select(newest.c.event_id)


def is_disagreeing(*event_ids: str) -> Select[tuple[str, str]]:
    """Ask which of these parts a challenger would let go another way: their ids and lines."""
    return (
        select(disagreements.c.event_id, challengers.c.line)
        .join(challengers, challengers.c.id == disagreements.c.challenger)
        .where(disagreements.c.event_id.in_(event_ids))
    )

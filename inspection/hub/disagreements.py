"""Holds what challengers said against what champions did, part by part.

A part passes where all its frames do. One of which a challenger could not judge a frame is its
fault, and no disagreement: no person can say who is right.
"""

from collections.abc import Collection
from datetime import datetime

from sqlalchemy import ColumnElement, Select, Subquery, and_, case, func, select

from inspection.core.decision import Verdict
from inspection.hub.loop_tables import shadows

LAST = 20_000  # frames that are weighed, the newest: no page adds up a million


def compared(line: str, bundle_id: str) -> Subquery:
    """Give what a challenger said of each of the last parts of a line.

    Columns: event_id, fault, passes, champion (1 or 0: whether it passes there), at.
    """
    last = (
        select(shadows)
        .where(shadows.c.line == line, shadows.c.bundle_id == bundle_id)
        .order_by(shadows.c.at.desc())
        .limit(LAST)
        .subquery("last")
    )
    fault = func.max(_is(last.c.verdict, Verdict.FAULT))
    return (
        select(
            last.c.event_id,
            fault.label("fault"),
            func.min(_is(last.c.verdict, Verdict.PASS)).label("passes"),
            func.min(_is(last.c.champion, Verdict.PASS)).label("champion"),
            func.min(last.c.at).label("at"),
        )
        .group_by(last.c.event_id)
        .subquery("compared")
    )


def disagreeing(line: str, bundle_ids: Collection[str], begin: datetime) -> Select[tuple[str]]:
    """Ask for the ids of parts since a time that a challenger would let go another way."""
    since = shadows.c.bundle_id.in_(bundle_ids), shadows.c.line == line, shadows.c.at >= begin
    return _disagreeing().where(*since)


def is_disagreeing(event_id: str) -> Select[tuple[str]]:
    """Ask for the id of a part, if a challenger would let it go another way."""
    return _disagreeing().where(shadows.c.event_id == event_id)


def _disagreeing() -> Select[tuple[str]]:
    fault = func.max(_is(shadows.c.verdict, Verdict.FAULT))
    passes = func.min(_is(shadows.c.verdict, Verdict.PASS))
    champion = func.min(_is(shadows.c.champion, Verdict.PASS))
    return (
        select(shadows.c.event_id)
        .group_by(shadows.c.event_id, shadows.c.bundle_id)
        .having(and_(fault == 0, passes != champion))
    )


def _is(column: ColumnElement[str], verdict: Verdict) -> ColumnElement[int]:
    return case((column == verdict, 1), else_=0)

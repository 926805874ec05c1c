"""Lights a lamp when the scores of late lie elsewhere than before, from the sums kept by hour."""

import math
from datetime import datetime, timedelta
from typing import NamedTuple

from sqlalchemy import Connection, case, func, select

from inspection.hub.tables import hours
from inspection.hub.wire.line import Drift

SHIFT_MOST = 0.5  # standard deviations, a "medium" effect (Cohen 1988, §2.2)
RECENT_LEAST = 100  # scores: their mean then varies by 0.1, so chance alone hardly moves it by 0.5
BEFORE_LEAST = 1000
BEFORE = timedelta(days=30)  # compared with so much before at most; a year ago was another lamp


class _Sums(NamedTuple):
    scores: int
    total: float
    squares: float


def drift_lamps(
    connection: Connection, line: str, begin: datetime, end: datetime
) -> tuple[Drift, ...]:
    """Compare the scores of a time with those of the same bundle before, bundle by bundle.

    Args:
        connection: to read by.
        line: whose scores.
        begin: beginning of an hour.
        end: now; a station's clock may be ahead.
    """
    recent = case((hours.c.hour >= begin, 1), else_=0)
    sums = func.sum(hours.c.scores), func.sum(hours.c.score_sum), func.sum(hours.c.score_squares)
    found = connection.execute(
        select(hours.c.bundle_id, recent.label("recent"), *sums)
        .where(hours.c.line == line, hours.c.hour.between(begin - BEFORE, end), hours.c.scores > 0)
        .group_by(hours.c.bundle_id, recent)
    ).all()
    late = {row[0]: _Sums(int(row[2]), row[3], row[4]) for row in found if row.recent}
    early = {row[0]: _Sums(int(row[2]), row[3], row[4]) for row in found if not row.recent}
    none = _Sums(0, 0.0, 0.0)
    return tuple(_lamp(one, late[one], early.get(one, none)) for one in sorted(late))


def _lamp(bundle_id: str, recent: _Sums, before: _Sums) -> Drift:
    shift = _shift(recent, before)
    lit = shift is not None and abs(shift) > SHIFT_MOST
    if shift is None:
        note = f"too few scores to compare; wanted {RECENT_LEAST} of late and {BEFORE_LEAST} before"
    elif lit:
        way = "up" if shift > 0 else "down"
        note = f"scores went {way} by {abs(shift):.2f} standard deviations; look at light and focus"
    else:
        note = "scores lie where they lay before"
    return Drift(
        bundle_id=bundle_id,
        lit=lit,
        recent=recent.scores,
        before=before.scores,
        shift=shift,
        note=note,
    )


def _shift(recent: _Sums, before: _Sums) -> float | None:
    """Give the shift of the mean in standard deviations of before; none where nothing is known."""
    if recent.scores < RECENT_LEAST or before.scores < BEFORE_LEAST:
        return None
    mean = before.total / before.scores
    variance = before.squares / before.scores - mean * mean
    if variance <= 0:  # one value only, as far as the sums can tell
        return None
    shift = (recent.total / recent.scores - mean) / math.sqrt(variance)
    return shift if math.isfinite(shift) else None

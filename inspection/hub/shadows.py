"""What challengers said of parts that champions decided: taken from stations, and added up."""

import math
from collections import Counter
from collections.abc import Sequence
from datetime import timedelta

from sqlalchemy import Connection, func, select

from inspection.core.decision import Verdict
from inspection.hub.database import insert_new
from inspection.hub.disagreements import LAST, compared
from inspection.hub.hub import Hub
from inspection.hub.ingest import Sender
from inspection.hub.loop_tables import challengers, shadows
from inspection.hub.queue import ask_of_disagreements
from inspection.hub.refusals import Foreign
from inspection.hub.reviews import decisions_in_force
from inspection.hub.tables import events
from inspection.hub.wire.retraining import Shadow, ShadowReport
from inspection.hub.wire.review import Decision

BATCH_MOST = 500
LATE = timedelta(minutes=10)  # what a challenger said may come so long before its event


def take_shadows(hub: Hub, sender: Sender, said: Sequence[Shadow]) -> int:
    """Keep what challengers said at a station; the same again changes nothing.

    Parts on which a challenger does not agree wait for a person, before all others.

    Args:
        hub: that keeps it.
        sender: the station; it speaks of its own parts only.
        said: at most 500, of parts that may not have come yet.

    Returns:
        How many were taken; what is of no challenger of the line is left out.

    Raises:
        Foreign: one is of another station's part.
    """
    if not said:
        return 0
    return hub.database.writing_with_others(lambda connection: _take(connection, hub, sender, said))


def _take(connection: Connection, hub: Hub, sender: Sender, said: Sequence[Shadow]) -> int:
    known = select(challengers.c.bundle_id).where(challengers.c.line == sender.line).distinct()
    of_line = set(connection.execute(known).scalars())
    taken = [one for one in said if one.bundle_id in of_line]
    if not taken:
        return 0
    _require_own(connection, sender, taken)
    place = {"line": sender.line, "station": sender.station}
    insert_new(connection, shadows, [one.model_dump() | place for one in taken], "event_id")
    begin = min(one.at for one in taken) - LATE
    ask_of_disagreements(connection, hub, sender.line, {one.bundle_id for one in taken}, begin)
    return len(taken)


def _require_own(connection: Connection, sender: Sender, said: Sequence[Shadow]) -> None:
    """Refuse what is said of another station's part, as far as the parts are known.

    Raises:
        Foreign: one is.
    """
    foreign = select(events.c.event_id).where(
        events.c.event_id.in_({one.event_id for one in said}), events.c.station != sender.station
    )
    if (event_id := connection.execute(foreign.limit(1)).scalar_one_or_none()) is not None:
        raise Foreign(f"event '{event_id}': is not of station '{sender.station}'")


def report_of(connection: Connection, line: str, bundle_id: str) -> ShadowReport:
    """Add up what a challenger said of the last parts of a line, 20,000 frames at most."""
    part = compared(line, bundle_id).c
    judged = part.fault == 0
    counts = connection.execute(
        select(
            func.count().label("parts"),
            func.count().filter(part.fault == 1).label("faults"),
            func.count().filter(judged, part.passes != part.champion).label("disagreements"),
            func.count().filter(judged, part.passes == 0).label("not_passed"),
            func.count().filter(judged, part.champion == 0).label("champion_not_passed"),
            func.min(part.at).label("since"),
        )
    ).one()
    decided = decisions_in_force()
    right: Counter[bool] = Counter()
    for decision, passes, count in connection.execute(
        select(decided.c.decision, part.passes, func.count())
        .join(decided, decided.c.event_id == part.event_id)
        .where(judged, part.passes != part.champion)
        .where(decided.c.decision.in_((Decision.GOOD, Decision.DEFECT)))
        .group_by(decided.c.decision, part.passes)
    ):
        right[(decision == Decision.GOOD) is (passes == 1)] += count
    return ShadowReport(
        **counts._asdict(),
        reviewed=right.total(),
        challenger_right=right[True],
        champion_right=right[False],
        latency_p99_ms=_latency_p99_ms(connection, line, bundle_id),
    )


def _latency_p99_ms(connection: Connection, line: str, bundle_id: str) -> float | None:
    last = (
        select(shadows.c.latency_ms)
        .where(shadows.c.line == line, shadows.c.bundle_id == bundle_id)
        .where(shadows.c.verdict != Verdict.FAULT)
        .order_by(shadows.c.at.desc())
        .limit(LAST)
    )
    found = connection.execute(last).scalars().all()
    return percentile_99(found) if found else None


def percentile_99(values: Sequence[float]) -> float:
    """Give the smallest of the values that at least 99 % of them do not exceed."""
    return sorted(values)[math.ceil(0.99 * len(values)) - 1]

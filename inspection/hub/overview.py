"""Shows all lines in the last hours, from counts kept by hour: no page counts a million events."""

from collections import Counter
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Row, func, select

from inspection.core.decision import Verdict
from inspection.hub.forgetting import tainted
from inspection.hub.hub import Hub
from inspection.hub.loop_tables import drift_looks
from inspection.hub.models import in_force, wanted_at
from inspection.hub.monitors import read_alarms
from inspection.hub.needs import TODAY, needs_of
from inspection.hub.queue import waiting
from inspection.hub.rates import rate_of
from inspection.hub.refits import tainted_refits
from inspection.hub.reviews import decisions_in_force
from inspection.hub.standing import station_rows
from inspection.hub.tables import events, hours
from inspection.hub.wire.line import Drift, HourCount, LineOverview, Need, Overview, StationRow
from inspection.hub.wire.review import Decision

LOOKS = timedelta(hours=3)  # a block ends every hour; without a look for so long nobody looks
UNNAMED = "unnamed"  # a defect whose type nobody gave
Span = tuple[datetime, datetime]  # what a clock that goes ahead calls later is not of late


def overview(hub: Hub, span_h: int) -> Overview:
    """Give all lines in the last whole hours and this one, and what needs a person now."""
    now = hub.now()
    begin = now.replace(minute=0, second=0, microsecond=0) - timedelta(hours=span_h - 1)
    with hub.database.reading() as connection:
        rows = [row for row in station_rows(connection, hub, {}) if row.retired_at is None]
        counted = connection.execute(
            select(hours.c.line).where(hours.c.hour.between(begin, now)).distinct()
        )
        names = sorted({row.line for row in rows} | set(counted.scalars()))
        lines = tuple(
            _line(connection, (begin, now), [row for row in rows if row.line == name], name)
            for name in names
        )
        chosen = wanted_at(connection)
    per_shift = hub.config.review.per_shift
    needs = [need for line in lines for need in needs_of(line, chosen, per_shift)]
    needs += _of_forgotten(hub)
    needs.sort(key=lambda need: need.urgency)
    return Overview(at=now, span_h=span_h, lines=lines, needs=tuple(needs))


def _line(
    connection: Connection, span: Span, rows: Sequence[StationRow], line: str
) -> LineOverview:
    per_hour = _per_hour(connection, line, span)
    parts = sum(int(row.parts) for row in per_hour)
    verdicts: Counter[Verdict] = Counter()
    for row in per_hour:
        verdicts[Verdict(row.verdict)] += int(row.parts)
    statuses = [row.status for row in rows if row.status is not None]
    return LineOverview(
        line=line,
        stations=tuple(rows),
        hours=tuple(
            HourCount(hour=row.hour, station=row.station, verdict=row.verdict, parts=int(row.parts))
            for row in per_hour
        ),
        parts=parts,
        rates={verdict: rate_of(verdicts[verdict], parts) for verdict in Verdict},
        defects=_defects(connection, line, span[0]),
        late=sum(status.late for status in statuses),
        latency_mean_ms=sum(row.sum_ms for row in per_hour) / parts if parts else None,
        latency_most_ms=max((row.most_ms for row in per_hour), default=None),
        deadline_ms=min((status.deadline_ms for status in statuses), default=None),
        drift=_lamps(connection, line, span),
        waiting=waiting(connection, line),
    )


def _of_forgotten(hub: Hub) -> list[Need]:
    """Say which lines judge by bundles or thresholds made of pictures that were forgotten."""
    with hub.database.reading() as connection:
        chosen = connection.execute(in_force()).all()
        refits = tainted_refits(connection)
    counts = tainted(hub, {row.bundle_id for row in chosen})
    names = {(row.line, row.bundle_id): row.name for row in chosen}
    fitted = [
        Need(
            line=one.line,
            station=None,
            urgency=TODAY,
            what=f"thresholds of bundle '{names[one.line, one.record.bundle_id]}', record "
            f"{one.record.sha256[:12]}, were fitted on {len(one.sha256s)} pictures that were "
            "forgotten; fit them again, or set them by hand",
            page="retraining",
        )
        for one in refits
        if (one.line, one.record.bundle_id) in names
    ]
    return fitted + [
        Need(
            line=row.line,
            station=None,
            urgency=TODAY,
            what=f"bundle '{row.name}' learnt from {counts[row.bundle_id]} pictures that were "
            "forgotten; train it again",
            page="retraining",
        )
        for row in chosen
        if row.bundle_id in counts
    ]


def _lamps(connection: Connection, line: str, span: Span) -> tuple[Drift, ...]:
    """Give the lamps of every alarm that stands, and dark ones of the bundles that are watched.

    Of those that judged in that time, that is, where the hub has looked lately.
    """
    now = span[1]
    standing = read_alarms(connection, now, line, standing=True)
    lit = [
        Drift(
            bundle_id=one.bundle_id,
            lit=True,
            cause=one.cause,
            shift=one.effect,
            note=one.words,
            station=one.station,
        )
        for one in standing
    ]
    looked = connection.execute(
        select(drift_looks.c.at).where(drift_looks.c.line == line, drift_looks.c.at > now - LOOKS)
    )
    if looked.one_or_none() is None:
        return tuple(lit)
    judged = connection.execute(
        select(hours.c.bundle_id)
        .where(hours.c.line == line, hours.c.hour.between(*span), hours.c.bundle_id != "")
        .distinct()
    ).scalars()
    dark = [
        Drift(bundle_id=one, lit=False, cause=None, shift=None, note="the hub has looked lately")
        for one in sorted(judged)
    ]
    return (*lit, *dark)


def _per_hour(
    connection: Connection, line: str, span: Span
) -> Sequence[Row[Any, Any, Any, Any, Any, Any]]:
    """Give hour, station, verdict, parts, sum_ms and most_ms, all bundles together."""
    keys = hours.c.hour, hours.c.station, hours.c.verdict
    return connection.execute(
        select(
            *keys,
            func.sum(hours.c.parts).label("parts"),
            func.sum(hours.c.latency_sum_ms).label("sum_ms"),
            func.max(hours.c.latency_most_ms).label("most_ms"),
        )
        .where(hours.c.line == line, hours.c.hour.between(*span))
        .group_by(*keys)
        .order_by(*keys)
    ).all()


def _defects(connection: Connection, line: str, begin: datetime) -> dict[str, int]:
    """Count the defect types reviewers named on parts of that time, the most frequent first."""
    decisions = decisions_in_force()
    named = func.coalesce(decisions.c.defect, UNNAMED)
    count = func.count()
    found = connection.execute(
        select(named, count)
        .join_from(decisions, events, decisions.c.event_id == events.c.event_id)
        .where(
            decisions.c.decision == Decision.DEFECT,
            decisions.c.at >= begin,  # nobody decides on a part before it was made
            events.c.line == line,
            events.c.captured_at >= begin,
        )
        .group_by(named)
        .order_by(count.desc(), named)
    )
    return {defect: int(number) for defect, number in found}

"""Adds up what challengers say, part by part as it comes, so that no page reads it all again.

A part is what the worst of its frames is, of which some may come later than others: it moves from
one count to the next then.
"""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import Connection, Table, case, select, tuple_
from sqlalchemy.dialects import postgresql, sqlite

from inspection.core.decision import Verdict, severity
from inspection.hub.disagreements import Apart, keep_disagreements
from inspection.hub.loop_tables import shadow_counts, shadow_latencies, shadows
from inspection.hub.wire.retraining import Shadow

WIDER = 1.02  # each bucket of latencies than the one before
SHORTEST_MS = 0.001


class Said(NamedTuple):
    """What was said of a frame, or of a part by the worst of its frames."""

    champion: Verdict
    verdict: Verdict


Frames = Mapping[str, Said]
"""What was said of the frames of a part, by camera."""


def add_up(
    connection: Connection, numbers: Mapping[str, int], said: Iterable[Shadow]
) -> list[Shadow]:
    """Count what is new, and keep the parts on which challenger and champion do not agree.

    Args:
        connection: a writing one, that lets nobody else add up for these challengers.
        numbers: of the challengers, by bundle_id.
        said: of them.

    Returns:
        What is new, to be stored.
    """
    listed = list(said)
    known, before = _stored(connection, numbers, listed)
    after: dict[tuple[str, str], dict[str, Said]] = {one: dict(f) for one, f in before.items()}
    new: list[Shadow] = []
    for one in listed:
        frame = one.event_id, one.bundle_id, one.camera
        if frame not in known:
            known.add(frame)
            frames = after.setdefault((one.event_id, one.bundle_id), {})
            frames[one.camera] = Said(one.champion, one.verdict)
            new.append(one)
    times: dict[tuple[str, str], datetime] = {}
    for one in new:
        place = one.event_id, one.bundle_id
        times[place] = min(one.at, times.get(place, one.at))
    _count_parts(connection, numbers, before, after, times)
    _count_latencies(connection, numbers, new)
    found = {
        (event_id, numbers[bundle_id]): _apart(_part(after[event_id, bundle_id]), at)
        for (event_id, bundle_id), at in times.items()
    }
    keep_disagreements(connection, found)
    return new


def _stored(
    connection: Connection, numbers: Mapping[str, int], said: Sequence[Shadow]
) -> tuple[set[tuple[str, str, str]], dict[tuple[str, str], dict[str, Said]]]:
    """Give what is known of the parts: all frames, and what counts for these challengers.

    What the same bundle said as an earlier challenger stands in that one's counts.

    Returns:
        event_id, bundle_id and camera of the frames; and what was said, by event_id and bundle_id.
    """
    known: set[tuple[str, str, str]] = set()
    counted: dict[tuple[str, str], dict[str, Said]] = {}
    places = {(one.event_id, one.bundle_id) for one in said}
    of_them = tuple_(shadows.c.event_id, shadows.c.bundle_id).in_(sorted(places))
    for row in connection.execute(select(shadows).where(of_them)):
        known.add((row.event_id, row.bundle_id, row.camera))
        if row.challenger == numbers[row.bundle_id]:
            frames = counted.setdefault((row.event_id, row.bundle_id), {})
            frames[row.camera] = Said(Verdict(row.champion), Verdict(row.verdict))
    return known, counted


def _part(frames: Frames) -> Said:
    """Give what was said of a part: the worst on each side; a FAULT of the challenger before all.

    What it could not judge says nothing of the part, whatever it said of the other frames.
    """
    champion = max((one.champion for one in frames.values()), key=severity)
    verdicts = {one.verdict for one in frames.values()}
    worst = Verdict.FAULT if Verdict.FAULT in verdicts else max(verdicts, key=severity)
    return Said(champion, worst)


def _apart(part: Said, at: datetime) -> Apart | None:
    return Apart(passes(part.verdict), at) if disagree(part) else None


def passes(verdict: Verdict) -> bool:
    """Say whether nobody need look at a part."""
    return verdict is Verdict.PASS


def disagree(part: Said) -> bool:
    """Say whether a challenger would let a part go another way."""
    return part.verdict is not Verdict.FAULT and passes(part.verdict) is not passes(part.champion)


def _count_parts(
    connection: Connection,
    numbers: Mapping[str, int],
    before: Mapping[tuple[str, str], Frames],
    after: Mapping[tuple[str, str], Frames],
    times: Mapping[tuple[str, str], datetime],
) -> None:
    moved: Counter[tuple[int, Said]] = Counter()
    since: dict[tuple[int, Said], datetime] = {}
    for place, at in times.items():
        now = numbers[place[1]], _part(after[place])
        moved[now] += 1
        since[now] = min(at, since.get(now, at))
        if place in before:
            left = numbers[place[1]], _part(before[place])
            moved[left] -= 1
            since.setdefault(left, at)
    rows = [
        {
            "challenger": number,
            "champion": said.champion,
            "verdict": said.verdict,
            "parts": count,
            "since": since[number, said],
        }
        for (number, said), count in sorted(moved.items())
        if count
    ]
    _add(connection, shadow_counts, rows, "parts")


def _count_latencies(
    connection: Connection, numbers: Mapping[str, int], new: Sequence[Shadow]
) -> None:
    counted = Counter(
        (numbers[one.bundle_id], bucket_of(one.latency_ms))
        for one in new
        if one.verdict is not Verdict.FAULT
    )
    rows = [
        {"challenger": number, "bucket": bucket, "frames": count}
        for (number, bucket), count in sorted(counted.items())
    ]
    _add(connection, shadow_latencies, rows, "frames")


def _add(
    connection: Connection, table: Table, rows: Sequence[Mapping[str, Any]], column: str
) -> None:
    """Add to the counts of a table; the earlier `since` stays."""
    if not rows:
        return
    dialect = postgresql if connection.dialect.name == "postgresql" else sqlite
    statement = dialect.insert(table)
    now, more = table.c, statement.excluded
    values: dict[str, Any] = {column: now[column] + more[column]}
    if "since" in now:
        values["since"] = case((more.since < now.since, more.since), else_=now.since)
    key = [one.name for one in table.primary_key]
    connection.execute(statement.on_conflict_do_update(index_elements=key, set_=values), rows)


def bucket_of(latency_ms: float) -> int:
    """Give the number of the bucket a latency falls into, whose upper end is WIDER to it, ms."""
    return math.ceil(math.log(max(latency_ms, SHORTEST_MS), WIDER))


def latency_p99_ms(connection: Connection, number: int) -> float | None:
    """Give a challenger's 99th percentile, at most 2 % too large; none without a judged frame."""
    counted = connection.execute(
        select(shadow_latencies.c.bucket, shadow_latencies.c.frames)
        .where(shadow_latencies.c.challenger == number)
        .order_by(shadow_latencies.c.bucket.desc())
    ).all()
    beyond, all_frames = 0, sum(row.frames for row in counted)
    for row in counted:
        beyond += row.frames
        if beyond * 100 > all_frames:  # fewer than 99 % lie below this bucket
            return float(WIDER**row.bucket)
    return None

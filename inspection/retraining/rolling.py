"""Applies the rules of `rollout` to every open challenger; the same again changes nothing.

A move is made on what was seen, so that two hubs that look at once move a challenger once.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Row, Select, select

from inspection.core.decision import Verdict
from inspection.hub.challengers import POLICY, bundle_in_force, move, open_challengers, say
from inspection.hub.hub import Hub
from inspection.hub.refusals import Standing as Refused
from inspection.hub.shadows import percentile_99
from inspection.hub.tables import events, stations
from inspection.hub.wire.retraining import Challenger
from inspection.retraining.rollout import Judged, Stage, Standing, next_stage
from inspection.retraining.settings import Allowed, Policy, RetrainingConfig
from inspection.retraining.timetable import blackout_ends
from inspection.station.state import StationStatus

LAST = 5_000  # parts of each bundle that are weighed, the newest
HOUR = timedelta(hours=1)


def roll(hub: Hub, config: RetrainingConfig, now: datetime) -> tuple[Challenger, ...]:
    """Look at every open challenger once, and let it go on, stay, or be taken back.

    One that no product names begins nothing by itself; what a person began with it goes on, and is
    taken back, by the common policy.

    Args:
        hub: that keeps them.
        config: the policies.
        now: the hub's time.

    Returns:
        Those that were moved, as they were before.

    Raises:
        HubError: the hub's database is away.
    """
    moved = []
    for seen in open_challengers(hub):
        policy = _policy(config, seen)
        stage = next_stage(policy.rollout, policy.allowed, gather(hub, policy, seen, now))
        if _apply(hub, seen, stage):
            moved.append(seen)
    return tuple(moved)


def gather(hub: Hub, policy: Policy, seen: Challenger, now: datetime) -> Standing:
    """Give how a challenger stands, at the hub's time `now`."""
    with hub.database.reading() as connection:
        statuses = _statuses(connection, seen.line)
        judging = bundle_in_force(connection, seen.line, seen.name)
        before = connection.execute(_last(seen.line, seen.champion_id)).all()
        since = connection.execute(
            _last(seen.line, seen.bundle_id).where(
                events.c.captured_at >= seen.since, events.c.station.in_(seen.stations)
            )
        ).all()
    slow_ms = None
    if before:
        slow_ms = policy.rollout.latency_factor * percentile_99([row.latency_ms for row in before])
    return Standing(
        state=seen.state,
        hours=(now - seen.since) / HOUR,
        not_worse=seen.comparison.not_worse,
        shadow=seen.shadow,
        judged=_judged(since, slow_ms),
        champion=_judged(before, slow_ms),
        slow_ms=slow_ms,
        deadline_ms=min((one.deadline_ms for one in statuses), default=None),
        refused=tuple(_refusals(seen, statuses)),
        reached=seen.stations,
        waiting=seen.waiting,
        blackout=blackout_ends(policy, now) is not None,
        replaced=judging not in {None, seen.champion_id},
    )


def _apply(hub: Hub, seen: Challenger, stage: Stage) -> bool:
    """Move a challenger, or keep what was said of it; says whether it was moved."""
    if stage.state is seen.state and not stage.reached:
        say(hub, seen, stage.words)
        return False
    try:
        return move(hub, seen, stage.state, POLICY, stage.words, stage.reached)
    except Refused as error:  # the way back is missing; a person has to bring it
        say(hub, seen, str(error))
        return False


def _policy(config: RetrainingConfig, seen: Challenger) -> Policy:
    for product in config.products:
        if (product.line, product.bundle) == (seen.line, seen.name):
            return config.policy_of(product)
    return config.policy.model_copy(update={"allowed": Allowed.NOTHING})


def _last(line: str, bundle_id: str) -> Select[tuple[str, float]]:
    """Ask for verdict and latency of the last parts a bundle decided on a line."""
    return (
        select(events.c.verdict, events.c.latency_ms)
        .where(events.c.line == line, events.c.bundle_id == bundle_id)
        .order_by(events.c.captured_at.desc())
        .limit(LAST)
    )


def _judged(rows: Sequence[Row[Any]], slow_ms: float | None) -> Judged:
    verdicts = Counter(row.verdict for row in rows)
    return Judged(
        parts=len(rows),
        faults=verdicts[Verdict.FAULT],
        not_passed=verdicts[Verdict.REVIEW] + verdicts[Verdict.REJECT],
        slow=sum(slow_ms is not None and row.latency_ms > slow_ms for row in rows),
    )


def _statuses(connection: Connection, line: str) -> list[StationStatus]:
    """Give what the stations of a line said last."""
    found = connection.execute(
        select(stations.c.status)
        .where(stations.c.line == line, stations.c.retired_at.is_(None))
        .where(stations.c.status.is_not(None))
    )
    return [StationStatus.model_validate_json(one, extra="ignore") for one in found.scalars()]


def _refusals(seen: Challenger, statuses: Sequence[StationStatus]) -> Iterator[str]:
    """Say which stations took a challenger back by themselves, and why."""
    said = f"{seen.bundle_id[:12]} refused"
    for status in statuses:
        notes = {one.note for one in status.bundles if one.name == seen.name}
        if status.station in seen.stations and any(note.startswith(said) for note in notes):
            yield f"{status.station}: {'; '.join(sorted(notes))}"

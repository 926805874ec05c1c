"""Applies the rules of `rollout` to every open challenger; the same again changes nothing.

A move is made on what was seen, so that two hubs that look at once move a challenger once. One
challenger that cannot be looked at keeps no other from being taken back.
"""

import logging
import math
from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from pydantic_core import from_json
from sqlalchemy import ColumnElement, Connection, func, select

from inspection.core.decision import Verdict, severity
from inspection.core.errors import InspectionError
from inspection.hub.challengers import (
    POLICY,
    bundle_in_force,
    get_challenger,
    in_rollout,
    move,
    open_numbers,
    say,
)
from inspection.hub.hub import Hub
from inspection.hub.loop_tables import jobs
from inspection.hub.refusals import Standing as Refused
from inspection.hub.tables import events, stations
from inspection.hub.thresholds import carry_thresholds
from inspection.hub.wire.retraining import OPEN, Challenger, ChallengerState, JobKind
from inspection.metrics.causes import TO_DO
from inspection.retraining.rollout import SILENT_H, Judged, Stage, Standing, next_stage
from inspection.retraining.settings import Allowed, Policy, RetrainingConfig
from inspection.retraining.spoilt import unmended
from inspection.retraining.timetable import blackout_ends
from inspection.station.state import StationStatus

logger = logging.getLogger(__name__)
LAST = 5_000  # parts of the champion that are weighed, the newest
PAST = timedelta(days=30)
HOUR = timedelta(hours=1)


class Part(NamedTuple):
    """What one bundle made of one part."""

    verdict: Verdict
    latency_ms: float
    """Of the whole part, all its bundles together."""


class Heard(NamedTuple):
    """What a station said last."""

    status: StationStatus
    seen_at: datetime
    """By the hub's clock; an event is as good a sign of life."""


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
        InspectionError: some could not be looked at, and why; all others were.
    """
    moved, faults = [], []
    for number in open_numbers(hub):
        try:
            seen = get_challenger(hub, number)
            if seen.state in OPEN and _look(hub, config, seen, now):
                moved.append(seen)
        except Exception as error:  # one challenger's fault, raised at the end
            logger.exception("challenger not looked at", extra={"challenger": number})
            faults.append(f"challenger {number}: {type(error).__name__}: {error}")
    if faults:
        raise InspectionError("; ".join(faults))
    return tuple(moved)


def _look(hub: Hub, config: RetrainingConfig, seen: Challenger, now: datetime) -> bool:
    """Let a challenger go on, stay, or be taken back; says whether it was moved."""
    policy = _policy(config, seen)
    if _has_new_guards_only(hub, seen):
        carry_thresholds(hub, seen.line, seen.champion_id, seen.bundle_id)
    stage = next_stage(policy.rollout, policy.allowed, gather(hub, policy, seen, now))
    return _apply(hub, seen, stage)


def _has_new_guards_only(hub: Hub, seen: Challenger) -> bool:
    """Say whether its scores are the champion's, so that it is held against the same bands."""
    made = select(jobs.c.job_id).where(
        jobs.c.line == seen.line,
        jobs.c.bundle_id == seen.bundle_id,
        jobs.c.kind == JobKind.GUARDS,
    )
    with hub.database.reading() as connection:
        return connection.execute(made.limit(1)).one_or_none() is not None


def gather(hub: Hub, policy: Policy, seen: Challenger, now: datetime) -> Standing:
    """Give how a challenger stands, at the hub's time `now`."""
    most = max(LAST, policy.rollout.stage_parts, policy.rollout.watch_parts)
    with hub.database.reading() as connection:
        statuses = _statuses(connection, seen.line)
        judging = bundle_in_force(connection, seen.line, seen.name)
        rolled = in_rollout(connection, seen.line, seen.name)
        heard = {one.status.station for one in statuses if (now - one.seen_at) / HOUR <= SILENT_H}
        moved = unmended(connection, seen.line, seen.name, heard, now)
        champion, judged = _on_line(connection, seen, most)
    slow_ms = None
    if champion:
        p99_ms = percentile_99([one.latency_ms for one in champion])
        slow_ms = policy.rollout.latency_factor * p99_ms
    return Standing(
        state=seen.state,
        hours=(now - seen.since) / HOUR,
        not_worse=seen.comparison.not_worse,
        shadow=seen.shadow,
        judged=_judged(judged, slow_ms),
        champion=_judged(champion, slow_ms),
        slow_ms=slow_ms,
        deadline_ms=min((one.status.deadline_ms for one in statuses), default=None),
        refused=tuple(_refusals(seen, [one.status for one in statuses])),
        reached=seen.stations,
        waiting=seen.waiting,
        blackout=blackout_ends(policy, now) is not None,
        replaced=judging not in {None, seen.champion_id},
        unmended=TO_DO[moved[0]] if moved else "",
        silent=frozenset({*seen.stations, *seen.waiting} - heard),
        ahead="" if rolled is None or rolled.id == seen.id else rolled.bundle_id,
    )


def percentile_99(values: Sequence[float]) -> float:
    """Give the smallest of the values that at least 99 % of them do not exceed."""
    return sorted(values)[math.ceil(0.99 * len(values)) - 1]


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


def _on_line(connection: Connection, seen: Challenger, most: int) -> tuple[list[Part], list[Part]]:
    """Give what a champion judged, and its challenger; nothing before the rollout, which asks."""
    if seen.state is not ChallengerState.ROLLOUT:
        return [], []
    since = events.c.captured_at >= seen.since
    there = events.c.station.in_(seen.stations)
    judged = _parts(connection, seen.line, seen.bundle_id, most, since, there)
    return _champion_parts(connection, seen), judged


def _champion_parts(connection: Connection, seen: Challenger) -> list[Part]:
    """Give the last parts a champion judged on its line.

    They are looked for between the first and the last it decided, not beyond PAST, so that nobody
    reads through what others judged before and since, nor through a year in which it judged none.
    """
    of_it = events.c.line == seen.line, events.c.bundle_id == seen.champion_id
    at = events.c.captured_at
    first, last = connection.execute(select(func.min(at), func.max(at)).where(*of_it)).one()
    if last is None:
        return []
    during = at.between(max(first, last - PAST), last)
    return _parts(connection, seen.line, seen.champion_id, LAST, during)


def _parts(
    connection: Connection, line: str, bundle_id: str, most: int, *where: ColumnElement[bool]
) -> list[Part]:
    """Give what a bundle made of the last parts of a line of which it judged a frame.

    Whose frame decided does not matter: on a line of two bundles each is held to its own frames.
    """
    found = connection.execute(
        select(events.c.record, events.c.verdict, events.c.latency_ms)
        .where(events.c.line == line, events.c.record.contains(bundle_id), *where)
        .order_by(events.c.captured_at.desc())
        .limit(most)
    )
    parts = (_part(*row, bundle_id=bundle_id) for row in found)
    return [one for one in parts if one is not None]


def _part(record: str, verdict: str, latency_ms: float, *, bundle_id: str) -> Part | None:
    """Give what a bundle made of a part; none where it judged no frame of it.

    One that is FAULT though no frame is came too late, which is a fault of all that judged it.
    """
    frames = from_json(record)["frames"]
    own = {Verdict(one["verdict"]) for one in frames if one["bundle_id"] == bundle_id}
    if not own:
        return None
    late = verdict == Verdict.FAULT and all(one["verdict"] != Verdict.FAULT for one in frames)
    worst = Verdict.FAULT if late or Verdict.FAULT in own else max(own, key=severity)
    return Part(worst, latency_ms)


def _judged(parts: Sequence[Part], slow_ms: float | None) -> Judged:
    verdicts = Counter(one.verdict for one in parts)
    return Judged(
        parts=len(parts),
        faults=verdicts[Verdict.FAULT],
        not_passed=verdicts[Verdict.REVIEW] + verdicts[Verdict.REJECT],
        slow=sum(slow_ms is not None and one.latency_ms > slow_ms for one in parts),
    )


def _statuses(connection: Connection, line: str) -> list[Heard]:
    """Give what the stations of a line said last, and when."""
    found = connection.execute(
        select(stations.c.status, stations.c.seen_at)
        .where(stations.c.line == line, stations.c.retired_at.is_(None))
        .where(stations.c.status.is_not(None), stations.c.seen_at.is_not(None))
    )
    return [
        Heard(StationStatus.model_validate_json(row.status, extra="ignore"), row.seen_at)
        for row in found
    ]


def _refusals(seen: Challenger, statuses: Sequence[StationStatus]) -> Iterator[str]:
    """Say which stations took a challenger back by themselves, and why."""
    said = f"{seen.bundle_id[:12]} refused"
    for status in statuses:
        notes = {one.note for one in status.bundles if one.name == seen.name}
        if status.station in seen.stations and any(note.startswith(said) for note in notes):
            yield f"{status.station}: {'; '.join(sorted(notes))}"

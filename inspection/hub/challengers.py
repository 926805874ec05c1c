"""Bundles on their way to a line: held, scored in the shadow, rolled out, promoted or withdrawn.

A line has one challenger of each name at most that is held or in the shadow, and one in rollout,
for which the other waits, held. Every move is audited, and is made on what was seen, so that of two
hubs one makes it. Choosing a bundle of its name on the line ends it, but not one that is held.
"""

from collections.abc import Collection, Sequence
from typing import Any

from sqlalchemy import Connection, Row, Select, insert, select, update

from inspection.hub.audit import note
from inspection.hub.database import insert_new
from inspection.hub.hub import Hub
from inspection.hub.loop_tables import challengers, rollout_stations
from inspection.hub.models import after_all, in_force, note_choice
from inspection.hub.refusals import NotThere, Standing
from inspection.hub.shadows import report_of
from inspection.hub.tables import MICROSECOND, bundles, stations
from inspection.hub.wire.models import NewChoice
from inspection.hub.wire.retraining import (
    OPEN,
    Challenger,
    ChallengerState,
    Comparison,
    NewStage,
)
from inspection.station.state import StationStatus

MOST = 100  # in one answer
POLICY = "policy"  # who moves what no person moves
BEFORE_ROLLOUT = (ChallengerState.HELD, ChallengerState.SHADOW)
FIRST_SHARE = 0.25  # of a line's stations to which a person's rollout comes first


def challenge(  # noqa: PLR0913 - what a row is made of
    hub: Hub,
    line: str,
    name: str,
    bundle_id: str,
    champion_id: str,
    comparison: Comparison,
    state: ChallengerState,
) -> Challenger:
    """Let a bundle challenge the one that judges on a line; the same again changes nothing.

    A challenger of its name that is held or in the shadow is withdrawn; where one is in rollout,
    this one is held until that has ended. One that was compared with another bundle than judges by
    now is held for a person.

    Args:
        hub: that keeps it.
        line: where the champion judges.
        name: of both bundles.
        bundle_id: the challenger, which is on the hub.
        champion_id: what it was compared with.
        comparison: of the two.
        state: HELD, or SHADOW where nobody need be asked.
    """
    values = {
        "line": line,
        "name": name,
        "bundle_id": bundle_id,
        "champion_id": champion_id,
        "state": state,
        "comparison": comparison.model_dump_json(),
        "words": comparison.words,
    }
    made = None
    while made is None:  # until no other comes between
        with hub.database.writing() as connection:
            made = _challenge(connection, hub, values)
    hub.news.ring()
    return made


def _challenge(connection: Connection, hub: Hub, values: dict[str, Any]) -> Challenger | None:
    """Add a challenger; none where another of its name was added meanwhile."""
    line, name, bundle_id = values["line"], values["name"], values["bundle_id"]
    standing = _hold_open(connection, line, name)
    last = connection.execute(_of(line, name).limit(1)).one_or_none()
    if last is not None and _as_compared(last) == (bundle_id, values["champion_id"]):
        return _challenger(connection, last)
    values, now = {**values}, hub.now()
    judging = bundle_in_force(connection, line, name)
    if judging not in {None, values["champion_id"]}:
        values["state"] = ChallengerState.HELD
        values["words"] += f" By now {judging[:12]} judges, with which it was not compared."
    ahead = in_rollout(connection, line, name)
    if ahead is not None:
        values["state"] = ChallengerState.HELD
        values["words"] += f" It waits until the rollout of {ahead.bundle_id[:12]} has ended."
    for row in standing:
        if row.state in BEFORE_ROLLOUT:
            seen, came = _challenger(connection, row), f"{bundle_id[:12]} came"
            _move(connection, hub, seen, ChallengerState.WITHDRAWN, POLICY, came)
    add = insert_new(connection, challengers, [values | {"since": now, "created_at": now}], "id")
    if not add:
        return None
    fields = {"state": values["state"], "champion": values["champion_id"]}
    note(connection, now, POLICY, "challenger add", f"{line}: {bundle_id}", **fields)
    return _challenger(connection, _row(connection, add[0]))


def _hold_open(connection: Connection, line: str, name: str) -> Sequence[Row[Any]]:
    """Give the open challengers of a name; nobody moves them until the transaction ends."""
    wanted = _of(line, name).where(challengers.c.state.in_(OPEN)).order_by(None)
    held = wanted.order_by(challengers.c.id).with_for_update(key_share=True)
    return connection.execute(held).all()


def _as_compared(row: Row[Any]) -> tuple[str, str]:
    return row.bundle_id, row.champion_id


def in_rollout(connection: Connection, line: str, name: str) -> Row[Any] | None:
    """Give the challenger of a name that is rolled out on a line, if any is."""
    rolled = _of(line, name).where(challengers.c.state == ChallengerState.ROLLOUT)
    return connection.execute(rolled).one_or_none()


def list_challengers(hub: Hub, line: str | None = None) -> tuple[Challenger, ...]:
    """Give the last 100, the newest first; of one line, or of all."""
    wanted = select(challengers).order_by(challengers.c.id.desc()).limit(MOST)
    if line is not None:
        wanted = wanted.where(challengers.c.line == line)
    with hub.database.reading() as connection:
        return tuple(_challenger(connection, row) for row in connection.execute(wanted).all())


def open_numbers(hub: Hub) -> tuple[int, ...]:
    """Give the numbers of all that may still take a champion's place, the oldest first."""
    wanted = select(challengers.c.id).where(challengers.c.state.in_(OPEN))
    with hub.database.reading() as connection:
        return tuple(connection.execute(wanted.order_by(challengers.c.id)).scalars())


def get_challenger(hub: Hub, number: int) -> Challenger:
    """Give one.

    Raises:
        NotThere: there is none of this number.
    """
    with hub.database.reading() as connection:
        return _challenger(connection, _row(connection, number))


def stage(hub: Hub, number: int, new: NewStage, who: str) -> Challenger:
    """Let a challenger score in the shadow, roll it out, or take it back, as a person says.

    ROLLOUT brings it to a quarter of the line's stations, and asked for again to all of them.
    Whoever wants it promoted chooses it on the line.

    Raises:
        NotThere: there is none of this number.
        Standing: it has ended, has come farther already, or cannot be rolled out.
    """
    seen = get_challenger(hub, number)
    if seen.state not in OPEN or (
        new.state is ChallengerState.SHADOW and seen.state is not ChallengerState.HELD
    ):
        raise Standing(
            f"challenger {number}: is {seen.state}; it cannot come to {new.state} any more; look "
            "at the list again"
        )
    reached: Sequence[str] = ()
    if new.state is ChallengerState.ROLLOUT:
        reached = seen.waiting if seen.stations else first_stations(seen.waiting, FIRST_SHARE)
    if not move(hub, seen, new.state, who, new.comment, reached):
        raise Standing(f"challenger {number}: was moved meanwhile; look at it again")
    return get_challenger(hub, number)


def first_stations(waiting: Sequence[str], share: float) -> tuple[str, ...]:
    """Give the stations to which a rollout comes first: a share of them, and one at least."""
    return tuple(waiting[: max(1, int(len(waiting) * share))])


def move(
    hub: Hub,
    seen: Challenger,
    state: ChallengerState,
    who: str,
    words: str,
    reached: Sequence[str] = (),
) -> bool:
    """Bring a challenger to a state, and in rollout to further stations.

    Args:
        hub: that keeps it.
        seen: as it was when this was decided.
        state: where it comes to; PROMOTED chooses it on the line, WITHDRAWN after a rollout
            chooses the champion again.
        who: a person, or policy.
        words: why.
        reached: stations on which it judges from now on.

    Returns:
        Whether it was moved; not if anybody moved it since it was seen.

    Raises:
        Standing: it cannot be rolled out, or another of its name is.
    """
    if state is ChallengerState.ROLLOUT:
        _require_rollout(hub, seen, reached)
    with hub.database.writing() as connection:
        ahead = in_rollout(connection, seen.line, seen.name)
        if state in OPEN and ahead is not None and ahead.id != seen.id:
            raise Standing(
                f"challenger {seen.id}: {ahead.bundle_id[:12]} is in rollout on line "
                f"'{seen.line}'; wait until that has ended, or take it back first"
            )
        moved = _move(connection, hub, seen, state, who, words, reached)
    if moved:
        hub.news.ring()
    return moved


def withdraw_all(
    connection: Connection, hub: Hub, bundle_ids: Collection[str], who: str, words: str
) -> int:
    """Withdraw every open challenger that is one of some bundles, in a transaction of the caller's.

    Returns:
        How many; where there is one, ring the hub's bell once it is written.
    """
    wanted = select(challengers).where(challengers.c.state.in_(OPEN)).with_for_update()
    found = [row for row in connection.execute(wanted).all() if row.bundle_id in bundle_ids]
    for row in found:
        seen = _challenger(connection, row)
        _move(connection, hub, seen, ChallengerState.WITHDRAWN, who, words)
    return len(found)


def say(hub: Hub, seen: Challenger, words: str) -> None:
    """Keep what the policy says of a challenger that stays where it was seen."""
    if words != seen.words:
        with hub.database.writing() as connection:
            connection.execute(update(challengers).where(*_as_seen(seen)).values(words=words))


def _move(  # noqa: PLR0913 - as `move`, in a transaction
    connection: Connection,
    hub: Hub,
    seen: Challenger,
    state: ChallengerState,
    who: str,
    words: str,
    reached: Sequence[str] = (),
) -> bool:
    now = max(hub.now(), seen.since + MICROSECOND)
    moved = connection.execute(
        update(challengers).where(*_as_seen(seen)).values(state=state, since=now, words=words)
    )
    if not moved.rowcount:
        return False
    subject = f"{seen.line}: {seen.bundle_id}"
    note(connection, now, who, f"challenger {state}", subject, why=words, stations=list(reached))
    if reached:
        at = after_all(connection, now, seen.line, seen.name)
        rows = [{"challenger": seen.id, "station": one, "at": at} for one in reached]
        connection.execute(insert(rollout_stations), rows)
    judges = _judges_then(connection, seen, state)
    if judges is not None:
        new = NewChoice(bundle_id=judges, comment=words[:1000])
        note_choice(connection, hub, seen.line, new, who)
    return True


def _require_rollout(hub: Hub, seen: Challenger, reached: Sequence[str]) -> None:
    """Refuse a rollout that leads nowhere, or from which there is no way back.

    Raises:
        Standing: no station waits for it, or the champion is not on the hub.
    """
    if not reached:
        raise Standing(
            f"challenger {seen.id}: no further station of line '{seen.line}' says that it judges "
            f"by a bundle '{seen.name}'; choose it on the line instead"
        )
    with hub.database.reading() as connection:
        back = bundle_in_force(connection, seen.line, seen.name) or seen.champion_id
        known = select(bundles.c.bundle_id).where(bundles.c.bundle_id == back)
        if connection.execute(known).one_or_none() is None:
            raise Standing(
                f"challenger {seen.id}: the champion {back[:12]} is not on this hub, so there is "
                "no way back to it; add it by inspection hub bundle add"
            )


def _judges_then(connection: Connection, seen: Challenger, state: ChallengerState) -> str | None:
    """Give the bundle that is chosen on the line when a challenger comes to a state, if one is."""
    if state is ChallengerState.PROMOTED:
        return seen.bundle_id
    if state is ChallengerState.WITHDRAWN and seen.state is ChallengerState.ROLLOUT:
        return bundle_in_force(connection, seen.line, seen.name) or seen.champion_id
    return None


def bundle_in_force(connection: Connection, line: str, name: str) -> str | None:
    """Give the bundle of a name that was chosen on a line, if any was."""
    chosen = {row.name: row.bundle_id for row in connection.execute(in_force(line))}
    return chosen.get(name)


def _as_seen(seen: Challenger) -> tuple[Any, ...]:
    same = challengers.c.state == seen.state, challengers.c.since == seen.since
    return challengers.c.id == seen.id, *same


def _of(line: str, name: str) -> Select[Any]:
    here = challengers.c.line == line, challengers.c.name == name
    return select(challengers).where(*here).order_by(challengers.c.id.desc())


def _row(connection: Connection, number: int) -> Row[Any]:
    row = connection.execute(select(challengers).where(challengers.c.id == number)).one_or_none()
    if row is None:
        raise NotThere(f"challenger {number}: is not here; look at the list of challengers")
    return row


def _challenger(connection: Connection, row: Row[Any]) -> Challenger:
    reached = connection.execute(
        select(rollout_stations.c.station)
        .where(rollout_stations.c.challenger == row.id)
        .order_by(rollout_stations.c.at, rollout_stations.c.station)
    )
    names = tuple(reached.scalars())
    known = _line_stations(connection, row.line, row.name) if row.state in OPEN else []
    return Challenger.model_validate(
        {
            **row._mapping,
            "comparison": Comparison.model_validate_json(row.comparison),
            "shadow": report_of(connection, row.id),
            "stations": names,
            "waiting": tuple(one for one in known if one not in names),
        }
    )


def _line_stations(connection: Connection, line: str, name: str) -> list[str]:
    """Give the stations of a line that say they judge by a bundle of a name, by their names."""
    found = connection.execute(
        select(stations.c.station, stations.c.status)
        .where(stations.c.line == line, stations.c.retired_at.is_(None))
        .where(stations.c.status.is_not(None))
        .order_by(stations.c.station)
    ).all()
    return [
        row.station
        for row in found
        for status in [StationStatus.model_validate_json(row.status, extra="ignore")]
        if any(one.name == name for one in status.bundles)
    ]

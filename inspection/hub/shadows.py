"""What challengers said of parts that champions decided: taken from stations, and added up."""

from collections import Counter
from collections.abc import Sequence

from sqlalchemy import Connection, func, select

from inspection.core.decision import Verdict
from inspection.hub.database import insert_new
from inspection.hub.disagreements import newest_disagreements
from inspection.hub.hub import Hub
from inspection.hub.ingest import Sender
from inspection.hub.loop_tables import challengers, disagreements, shadow_counts, shadows
from inspection.hub.queue import ask_of_disagreements
from inspection.hub.refusals import Foreign
from inspection.hub.reviews import undisputed_decisions
from inspection.hub.shadow_counts import Said, add_up, disagree, latency_p99_ms, passes
from inspection.hub.tables import events
from inspection.hub.wire.retraining import Shadow, ShadowReport
from inspection.hub.wire.review import Decision

BATCH_MOST = 500


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
    of_line = (
        select(challengers.c.bundle_id, func.max(challengers.c.id).label("number"))
        .where(challengers.c.line == sender.line)
        .group_by(challengers.c.bundle_id)
    )
    numbers = {row.bundle_id: row.number for row in connection.execute(of_line)}
    taken = [one for one in said if one.bundle_id in numbers]
    if not taken:
        return 0
    _require_own(connection, sender, taken)
    mine = {numbers[one.bundle_id] for one in taken}
    alone = select(challengers.c.id).where(challengers.c.id.in_(mine)).order_by(challengers.c.id)
    connection.execute(alone.with_for_update(key_share=True)).all()
    new = add_up(connection, numbers, taken)
    place = {"line": sender.line, "station": sender.station}
    rows = [one.model_dump() | place | {"challenger": numbers[one.bundle_id]} for one in new]
    insert_new(connection, shadows, rows, "event_id")
    for let_pass in (True, False):  # a defect let pass is worse than a good part held
        apart = newest_disagreements(mine, passes=let_pass)
        ask_of_disagreements(connection, hub, sender.line, apart)
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


def report_of(connection: Connection, number: int) -> ShadowReport:
    """Say what a challenger said of all parts since it came to its line."""
    rows = connection.execute(
        select(shadow_counts).where(shadow_counts.c.challenger == number, shadow_counts.c.parts > 0)
    ).all()
    counted: Counter[str] = Counter()
    for row in rows:
        part = Said(Verdict(row.champion), Verdict(row.verdict))
        counted["parts"] += row.parts
        if part.verdict is Verdict.FAULT:
            counted["faults"] += row.parts
            continue
        counted["disagreements"] += row.parts * disagree(part)
        counted["let_pass"] += row.parts * (disagree(part) and passes(part.verdict))
        counted["not_passed"] += row.parts * (not passes(part.verdict))
        counted["champion_not_passed"] += row.parts * (not passes(part.champion))
    right, looked_at = _right(connection, number)
    return ShadowReport(
        parts=counted["parts"],
        faults=counted["faults"],
        disagreements=counted["disagreements"],
        let_pass=counted["let_pass"],
        not_passed=counted["not_passed"],
        champion_not_passed=counted["champion_not_passed"],
        reviewed=right.total(),
        challenger_right=right[Decision.GOOD, True] + right[Decision.DEFECT, True],
        champion_right=right[Decision.GOOD, False] + right[Decision.DEFECT, False],
        defects_challenger_right=right[Decision.DEFECT, True],
        defects_champion_right=right[Decision.DEFECT, False],
        let_pass_reviewed=looked_at,
        latency_p99_ms=latency_p99_ms(connection, number),
        since=min((row.since for row in rows), default=None),
    )


def _right(connection: Connection, number: int) -> tuple[Counter[tuple[Decision, bool]], int]:
    """Count the disagreements that people decided, by that and whether the challenger was right.

    And of all that they looked at, be they sure or not, those that the challenger would let pass.
    What a second reviewer contradicts says nothing, as it teaches nothing, until it is settled.
    """
    decided = undisputed_decisions()
    right: Counter[tuple[Decision, bool]] = Counter()
    looked_at = 0
    for decision, passed, count in connection.execute(
        select(decided.c.decision, disagreements.c.passes, func.count())
        .join(decided, decided.c.event_id == disagreements.c.event_id)
        .where(disagreements.c.challenger == number)
        .group_by(decided.c.decision, disagreements.c.passes)
    ):
        looked_at += count * passed
        if decision in {Decision.GOOD, Decision.DEFECT}:
            right[Decision(decision), (decision == Decision.GOOD) is passed] += count
    return right, looked_at

"""Gives what is known of a bundle's scores on a line: its card, reviewed parts, the last parts."""

from typing import NamedTuple

from sqlalchemy import Connection, select

from inspection.core.decision import Verdict
from inspection.hub.hub import Hub
from inspection.hub.reviews import decisions_in_force
from inspection.hub.tables import events
from inspection.hub.thresholds import band_in_force, read_card
from inspection.hub.wire.review import Decision
from inspection.hub.wire.thresholds import Scores

NEWEST = 20_000  # parts looked at, so that a page is as fast with a million events
DECISIONS = 5_000  # of people, good or defect
SHOWN = 2_000  # of them, for a histogram


class Reviewed(NamedTuple):
    """One reviewed part's score, and what the station had said of it."""

    score: float
    decision: Decision
    verdict: Verdict


def known_scores(hub: Hub, line: str, bundle_id: str) -> Scores:
    """Give what is known of a bundle's scores on a line.

    Raises:
        NotThere: the hub has no such bundle.
    """
    with hub.database.reading() as connection:
        card = read_card(connection, bundle_id)
        reviewed = reviewed_scores(connection, line, bundle_id)
        recent = recent_scores(connection, line, bundle_id)
        band = band_in_force(connection, line, bundle_id) or card.band
    return Scores(
        bundle_id=bundle_id,
        name=card.name,
        certificate=card.certificate,
        normals=card.calibrate_scores,
        goods=tuple(one.score for one in reviewed if one.decision is Decision.GOOD),
        defects=tuple(one.score for one in reviewed if one.decision is Decision.DEFECT),
        recent=recent,
        in_force=band,
        limits=card.threshold_limits,
    )


def reviewed_scores(connection: Connection, line: str, bundle_id: str) -> list[Reviewed]:
    """Give the parts a bundle scored of the line's last decisions, ascending by score."""
    decided = decisions_in_force()
    last = (
        select(decided.c.event_id, decided.c.decision)
        .where(
            decided.c.line == line,
            decided.c.decision.in_([Decision.GOOD, Decision.DEFECT]),
        )
        .order_by(decided.c.id.desc())
        .limit(DECISIONS)
        .subquery("last")
    )
    rows = connection.execute(
        select(events.c.score, last.c.decision, events.c.verdict)
        .join(last, last.c.event_id == events.c.event_id)
        .where(events.c.bundle_id == bundle_id, events.c.score.is_not(None))
    )
    return sorted(Reviewed(score, Decision(said), Verdict(was)) for score, said, was in rows)


def recent_scores(connection: Connection, line: str, bundle_id: str) -> tuple[float, ...]:
    """Give scores of the bundle's newest parts, evenly thinned out, ascending."""
    found = (
        connection.execute(
            select(events.c.score)
            .where(events.c.line == line, events.c.bundle_id == bundle_id)
            .order_by(events.c.captured_at.desc())
            .limit(NEWEST)
        )
        .scalars()
        .all()
    )
    scores = [score for score in found if score is not None]
    step = -(-len(scores) // SHOWN) or 1
    return tuple(sorted(scores[::step]))

"""Thresholds beyond the limits of a card: one person proposes them, a second one decides."""

from sqlalchemy import Connection, Row, and_, insert, or_, select, update

from inspection.core.errors import ConfigError
from inspection.hub.audit import ACCOUNT_ADD, ACCOUNT_CHANGE, note
from inspection.hub.hub import Hub
from inspection.hub.refusals import Foreign, NotThere, Standing
from inspection.hub.tables import audit
from inspection.hub.tables import threshold_proposals as proposals
from inspection.hub.thresholds import (
    Signers,
    read_card,
    read_row,
    require_applicable,
    write_thresholds,
)
from inspection.hub.wire.thresholds import NewThresholds, Proposal, ThresholdRow

MAX_PENDING = 100  # of a line


def list_proposals(hub: Hub, line: str) -> tuple[Proposal, ...]:
    """Give the proposals of a line that wait for a decision, the newest first."""
    with hub.database.reading() as connection:
        return tuple(map(_proposal, _pending(connection, line)))


def propose_thresholds(hub: Hub, line: str, new: NewThresholds, who: str) -> Proposal:
    """Keep thresholds beyond their card's limits until a second person decides.

    Raises:
        NotThere, Standing: as for `apply_thresholds`.
        ConfigError: a station is none of the line's; the thresholds need no second person; or too
            many proposals wait.
    """
    with hub.database.writing() as connection:
        require_applicable(connection, line, new)
        card = read_card(connection, new.bundle_id)
        exceeded = card.threshold_limits.exceeded_by(new.band)
        if not exceeded:
            raise ConfigError("these thresholds lie within their card's limits; apply them")
        pending = _pending(connection, line)
        for row in pending:
            if row.who == who and _scope(row) == (new.bundle_id, new.product, new.camera):
                _decide(connection, hub, row, who, None)  # the new one takes its place
        if len(pending) >= MAX_PENDING:
            raise ConfigError(
                f"{MAX_PENDING} proposals wait on line '{line}'; decide on them first"
            )
        row = connection.execute(
            insert(proposals)
            .values(
                line=line, request=new.model_dump_json(), exceeded=exceeded, who=who, at=hub.now()
            )
            .returning(proposals)
        ).one()
        _note(connection, hub, row, who, "propose")
    return _proposal(row)


def approve_thresholds(hub: Hub, line: str, number: int, who: str) -> ThresholdRow:
    """Apply proposed thresholds, signed with the names of both.

    Raises:
        NotThere: no such proposal waits.
        Foreign: who proposed them cannot approve them, while the hub asks for four eyes.
        Standing: thresholds were set since it was proposed.
    """
    with hub.database.writing() as connection:
        row = _one(connection, line, number)
        if hub.config.four_eyes and (row.who == who or _is_doubtful(connection, who, row)):
            raise Foreign(
                "the proposer cannot approve the thresholds, nor can an account that was added or "
                "changed after the proposal, or that the proposer ever added or changed, or that "
                "did so to the proposer's; ask a second person"
            )
        new = NewThresholds.model_validate_json(row.request)
        sha256 = write_thresholds(connection, hub, line, new, Signers(row.who, who))
        _decide(connection, hub, row, who, sha256)
        _note(connection, hub, row, who, "approve")
    hub.news.ring()
    return read_row(hub, line, sha256)


def decline_thresholds(hub: Hub, line: str, number: int, who: str) -> None:
    """Take a proposal off the list; who proposed it may, too.

    Raises:
        NotThere: no such proposal waits.
    """
    with hub.database.writing() as connection:
        row = _one(connection, line, number)
        _decide(connection, hub, row, who, None)
        _note(connection, hub, row, who, "decline")


def _pending(connection: Connection, line: str) -> list[Row[tuple[object, ...]]]:
    wanted = select(proposals).where(proposals.c.line == line, proposals.c.decided_at.is_(None))
    return list(connection.execute(wanted.order_by(proposals.c.id.desc())).all())


def _one(connection: Connection, line: str, number: int) -> Row[tuple[object, ...]]:
    found = next((row for row in _pending(connection, line) if row.id == number), None)
    if found is None:
        raise NotThere(f"proposal {number} does not wait on line '{line}'; read the list again")
    return found


def _scope(row: Row[tuple[object, ...]]) -> tuple[str, str | None, str | None]:
    new = NewThresholds.model_validate_json(row.request)
    return new.bundle_id, new.product, new.camera


def _is_doubtful(connection: Connection, account: str, row: Row[tuple[object, ...]]) -> bool:
    """Say whether an account may be in the hands of the proposer, as the audit log tells.

    One of both added or changed the other's account at any time, or anybody changed the approver's
    after the proposal. An administrator who makes two accounts is not stopped, but recorded.
    """
    theirs = or_(
        and_(audit.c.subject == account, audit.c.actor == row.who),
        and_(audit.c.subject == row.who, audit.c.actor == account),
        and_(audit.c.subject == account, audit.c.at > row.at),
    )
    touched = select(audit.c.id).where(audit.c.action.in_((ACCOUNT_ADD, ACCOUNT_CHANGE)), theirs)
    return connection.execute(touched.limit(1)).first() is not None


def _decide(
    connection: Connection, hub: Hub, row: Row[tuple[object, ...]], who: str, sha256: str | None
) -> None:
    decided = {"decided_by": who, "decided_at": hub.now(), "sha256": sha256}
    changed = connection.execute(
        update(proposals)
        .where(proposals.c.id == row.id, proposals.c.decided_at.is_(None))
        .values(decided)
    )
    if changed.rowcount != 1:
        raise Standing(f"proposal {row.id}: another person decided meanwhile; read the list again")


def _note(
    connection: Connection, hub: Hub, row: Row[tuple[object, ...]], who: str, verb: str
) -> None:
    new = NewThresholds.model_validate_json(row.request)
    note(
        connection,
        hub.now(),
        who,
        f"thresholds {verb}",
        f"{row.line}: {', '.join(sorted(new.stations))}",
        proposal=row.id,
        bundle_id=new.bundle_id,
        review_above=new.band.review_above,
        reject_above=new.band.reject_above,
        why=new.comment,
        proposed_by=row.who,
    )


def _proposal(row: Row[tuple[object, ...]]) -> Proposal:
    return Proposal(
        id=row.id,
        new=NewThresholds.model_validate_json(row.request),
        exceeded=row.exceeded,
        who=row.who,
        at=row.at,
    )

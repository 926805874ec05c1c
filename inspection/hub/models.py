"""Bundles on the hub: taken in verified, chosen per line, held against what stations run."""

import hashlib
from collections import defaultdict
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path

from sqlalchemy import Connection, Select, case, func, insert, or_, select, update

from inspection.bundles.bundle import Released, read_released
from inspection.bundles.seal import GATE, SIGNATURE, SUMS, parse_sums
from inspection.core.errors import BundleCorrupt, BundleUnavailable
from inspection.core.gate import GateRecord
from inspection.core.limits import MAX_GRAPH_BYTES, read_file
from inspection.core.records import Card
from inspection.hub.artefacts import bundle_file_name
from inspection.hub.audit import note
from inspection.hub.database import insert_new
from inspection.hub.hub import Hub
from inspection.hub.loop_tables import challengers, rollout_stations
from inspection.hub.refusals import NotThere
from inspection.hub.tables import MICROSECOND, bundles, choices, stations
from inspection.hub.wire.models import BundleRow, Choice, NewChoice, StationParity
from inspection.hub.wire.retraining import OPEN, ChallengerState
from inspection.station.state import BundleStatus, StationStatus


def add_bundle(
    hub: Hub, folder: Path, actor: str, trusted_keys: tuple[str, ...] | None = None
) -> BundleRow:
    """Take a gated bundle in; nothing is chosen by it.

    The same bundle again changes nothing, but a renewed signature or gate record takes the place
    of the one before.

    Args:
        hub: that keeps it.
        folder: of the bundle.
        actor: who brings it.
        trusted_keys: keys whose bundles may come in; none trusts every signature.

    Raises:
        BundleError: as for `open_bundle`.
        HubError: it cannot be kept.
    """
    released = read_released(folder, trusted_keys)
    _keep_files(hub, folder, released.bundle_id)
    with hub.database.writing() as connection:
        _note_bundle(connection, hub, released, actor)
    return next(one for one in list_bundles(hub) if one.bundle_id == released.bundle_id)


def _keep_files(hub: Hub, folder: Path, bundle_id: str) -> None:
    """Keep every file before the bundle has a row, the sums last of those that never change."""
    sums = _read(folder, SUMS)
    for path, sha256 in {**parse_sums(sums), SUMS: bundle_id}.items():
        content = sums if path == SUMS else _read(folder, path)
        if hashlib.sha256(content).hexdigest() != sha256:
            raise BundleCorrupt(f"{folder}: '{path}' changes while it is read; copy it again")
        hub.artefacts.put(bundle_file_name(bundle_id, path), content)
    for path in (SIGNATURE, GATE):
        content, name = _read(folder, path), bundle_file_name(bundle_id, path)
        if not hub.artefacts.has(name) or hub.artefacts.get(name) != content:
            hub.artefacts.renew(name, content)


def _read(folder: Path, path: str) -> bytes:
    try:
        return read_file(folder / path, MAX_GRAPH_BYTES)
    except OSError as error:
        raise BundleUnavailable(
            f"{folder / path}: cannot be read ({error.strerror}); check the disk"
        ) from error


def _note_bundle(connection: Connection, hub: Hub, released: Released, actor: str) -> None:
    """Let a bundle have its row, and that row the newest gate record."""
    bundle_id, card, gate = released.bundle_id, released.card, released.gate
    if gate is None:
        raise BundleCorrupt(f"bundle {bundle_id[:12]}: {GATE} is gone; copy the bundle again")
    row = {
        "bundle_id": bundle_id,
        "name": card.name,
        "created_at": card.origin.created_at,
        "received_at": hub.now(),
        "card": card.model_dump_json(),
        "gate": gate.model_dump_json(),
    }
    if insert_new(connection, bundles, [row], "bundle_id"):
        note(connection, hub.now(), actor, "bundle add", bundle_id, name=card.name)
        return
    renewed = connection.execute(
        update(bundles)
        .where(bundles.c.bundle_id == bundle_id, bundles.c.gate != row["gate"])
        .values(gate=row["gate"])
    )
    if renewed.rowcount:
        note(connection, hub.now(), actor, "bundle renew", bundle_id, name=card.name)


def list_bundles(hub: Hub) -> tuple[BundleRow, ...]:
    """List the bundles, the newest first, with the lines and stations they judge on."""
    with hub.database.reading() as connection:
        rows = connection.execute(
            select(bundles).order_by(bundles.c.created_at.desc(), bundles.c.bundle_id)
        ).all()
        chosen = connection.execute(in_force()).all()
        running = _statuses(connection)
    lines: dict[str, set[str]] = defaultdict(set)
    for choice in chosen:
        lines[choice.bundle_id].add(choice.line)
    names: dict[str, set[str]] = defaultdict(set)
    for status in running:
        for one in status.bundles:
            names[one.bundle_id].add(status.station)
    return tuple(
        BundleRow(
            bundle_id=row.bundle_id,
            name=row.name,
            created_at=row.created_at,
            received_at=row.received_at,
            card=Card.model_validate_json(row.card),
            gate=GateRecord.model_validate_json(row.gate).model_copy(update={"rows": ()}),
            chosen=tuple(sorted(lines[row.bundle_id])),
            running=tuple(sorted(names[row.bundle_id])),
        )
        for row in rows
    )


def choose(hub: Hub, line: str, new: NewChoice, actor: str) -> Choice:
    """Let a bundle judge on a line from now on, instead of the one of its name that did.

    A challenger of its name on the line is promoted if it is that bundle, else withdrawn.

    Raises:
        NotThere: the bundle is not on the hub.
    """
    with hub.database.writing() as connection:
        choice = note_choice(connection, hub, line, new, actor)
    hub.news.ring()
    return choice


def note_choice(connection: Connection, hub: Hub, line: str, new: NewChoice, actor: str) -> Choice:
    """Choose as `choose` does, in a transaction that changes more; nobody is told of it yet.

    Raises:
        NotThere: the bundle is not on the hub.
    """
    row = connection.execute(
        select(bundles.c.name, bundles.c.created_at).where(bundles.c.bundle_id == new.bundle_id)
    ).one_or_none()
    if row is None:
        raise NotThere(
            f"bundle {new.bundle_id[:12]}: is not on this hub; wanted one that is; add it by "
            "inspection hub bundle add"
        )
    _end_challenge(connection, hub.now(), line, row.name, new)
    note(
        connection,
        hub.now(),
        actor,
        "bundle choose",
        line,
        bundle=new.bundle_id,
        name=row.name,
        why=new.comment,
    )
    values = {
        "line": line,
        "name": row.name,
        "bundle_id": new.bundle_id,
        "chosen_at": after_all(connection, hub.now(), line, row.name),
        "who": actor,
        "why": new.comment,
    }
    number = connection.execute(insert(choices).values(values).returning(choices.c.id)).scalar_one()
    return Choice.model_validate({**values, "id": number, "in_force": True})


def _end_challenge(
    connection: Connection, now: datetime, line: str, name: str, new: NewChoice
) -> None:
    """End what was on its way under the chosen name: a choice is the last word on a line.

    What is held and was not chosen stays: it may wait for the end of a rollout, which this is.
    Before the audit entry, as `hub.challengers` does it, or the two might wait for one another.
    """
    promoted = challengers.c.bundle_id == new.bundle_id
    connection.execute(
        update(challengers)
        .where(
            challengers.c.line == line,
            challengers.c.name == name,
            challengers.c.state.in_(OPEN),
            or_(challengers.c.state != ChallengerState.HELD, promoted),
        )
        .values(
            state=case((promoted, ChallengerState.PROMOTED), else_=ChallengerState.WITHDRAWN),
            since=now,
            words=new.comment,
        )
    )


def after_all(connection: Connection, now: datetime, line: str, name: str) -> datetime:
    """Give now, or the moment after which stations hold a choice to be the newest of its name.

    They rank bundles by when they were made or chosen, and clocks of hubs and training hosts
    differ. What is read here stands, because the audit log lets one writer in at a time.
    """
    chosen = connection.execute(
        select(func.max(choices.c.chosen_at), func.max(bundles.c.created_at))
        .join(bundles, bundles.c.bundle_id == choices.c.bundle_id)
        .where(choices.c.line == line, choices.c.name == name)
    ).one()
    rolled_out = connection.execute(
        select(func.max(rollout_stations.c.at), func.max(bundles.c.created_at))
        .join(challengers, challengers.c.id == rollout_stations.c.challenger)
        .join(bundles, bundles.c.bundle_id == challengers.c.bundle_id)
        .where(challengers.c.line == line, challengers.c.name == name)
    ).one()
    known: list[datetime] = [at for at in (*chosen, *rolled_out) if at is not None]
    return max([now, *(at + MICROSECOND for at in known)])


def in_force(line: str | None = None) -> Select[tuple[str, str, str, datetime]]:
    """Ask for the choices in force, of one line or all: line, name, bundle_id, chosen_at."""
    newest = select(func.max(choices.c.id)).group_by(choices.c.line, choices.c.name)
    if line is not None:
        newest = newest.where(choices.c.line == line)
    wanted = choices.c.line, choices.c.name, choices.c.bundle_id, choices.c.chosen_at
    return select(*wanted).where(choices.c.id.in_(newest)).order_by(choices.c.name)


def wanted_at(connection: Connection) -> dict[tuple[str, str], str]:
    """Give the bundle that is to judge, by station and bundle name, where one was chosen.

    That is the line's choice, or a challenger in rollout that has come to the station.
    """
    chosen = in_force().subquery()
    of_line = connection.execute(
        select(stations.c.station, chosen.c.name, chosen.c.bundle_id).join(
            chosen, chosen.c.line == stations.c.line
        )
    )
    rolled_out = connection.execute(
        select(rollout_stations.c.station, challengers.c.name, challengers.c.bundle_id)
        .join(challengers, challengers.c.id == rollout_stations.c.challenger)
        .where(challengers.c.state == ChallengerState.ROLLOUT)
    )
    return {(one, name): bundle_id for one, name, bundle_id in (*of_line, *rolled_out)}


def list_choices(hub: Hub, line: str) -> tuple[Choice, ...]:
    """Give what was chosen on a line, the newest first."""
    with hub.database.reading() as connection:
        rows = connection.execute(
            select(choices).where(choices.c.line == line).order_by(choices.c.id.desc())
        ).all()
    replaced: set[str] = set()
    listed = []
    for row in rows:
        stands = row.name not in replaced
        replaced.add(row.name)
        listed.append(Choice.model_validate({**row._mapping, "in_force": stands}))
    return tuple(listed)


def parity(hub: Hub) -> tuple[StationParity, ...]:
    """Say how each station that told what it runs stands to the choices of its line."""
    with hub.database.reading() as connection:
        chosen = wanted_at(connection)
        running = _statuses(connection)
    return tuple(
        StationParity(
            station=status.station,
            line=status.line,
            name=one.name,
            bundle_id=one.bundle_id,
            wanted=(wanted := chosen.get((status.station, one.name))),
            agrees=wanted in {None, one.bundle_id},
            trial=one.trial,
            note=one.note,
        )
        for status in running
        for one in _each_once(status.bundles)
    )


def _statuses(connection: Connection) -> list[StationStatus]:
    """Give what the stations that are not retired said last."""
    found = connection.execute(
        select(stations.c.status)
        .where(stations.c.status.is_not(None), stations.c.retired_at.is_(None))
        .order_by(stations.c.line, stations.c.station)
    )
    return [StationStatus.model_validate_json(text) for text in found.scalars()]


def _each_once(running: Iterable[BundleStatus]) -> list[BundleStatus]:
    """Give one status of each bundle, which may judge several cameras and products."""
    return list({(one.name, one.bundle_id): one for one in running}.values())

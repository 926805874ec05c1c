"""Stations and their tokens: enrol, rotate, revoke, retire."""

from collections.abc import Mapping
from typing import Any

from pydantic import AwareDatetime
from sqlalchemy import Connection, Row, insert, select, update

from inspection.bundles.seal import GATE, SIGNATURE
from inspection.bundles.signing import (
    Purpose,
    Signature,
    SignedText,
    own_keys,
)
from inspection.hub.artefacts import bundle_file_name
from inspection.hub.audit import note
from inspection.hub.database import insert_new
from inspection.hub.hub import Hub
from inspection.hub.refusals import NotThere, Standing
from inspection.hub.secrets import new_secret, secret_hash
from inspection.hub.tables import bundles, stations, tokens
from inspection.hub.wire.line import NewStation
from inspection.hub.wire.message import Answer
from inspection.hub.wire.people import NewToken, Token


class EnrolledStation(Answer):
    """One station as it was let in."""

    station: str
    line: str
    retired_at: AwareDatetime | None
    tokens: tuple[Token, ...]


def enrol(hub: Hub, new: NewStation, actor: str) -> NewToken:
    """Enrol a station with its first token.

    Raises:
        Standing: there is one of this name; names are unique in the plant.
    """
    row = {"station": new.station, "line": new.line, "enrolled_at": hub.now(), "last_sequence": 0}
    with hub.database.writing() as connection:
        if not insert_new(connection, stations, [row], "station"):
            raise Standing(f"station '{new.station}': is enrolled already; name another")
        token = _new_token(connection, hub, new.station, actor)
        note(
            connection,
            hub.now(),
            actor,
            "station enrol",
            new.station,
            line=new.line,
            token=token.id,
        )
    return token


def rotate(hub: Hub, station: str, actor: str) -> NewToken:
    """Give a station one more token; the old ones hold until they are revoked.

    The mark of a copied token goes: a further copy is noticed anew.

    Raises:
        NotThere: there is no such station, or it is retired.
    """
    with hub.database.writing() as connection:
        _locked(connection, station)
        token = _new_token(connection, hub, station, actor)
        connection.execute(
            update(stations).where(stations.c.station == station).values(copied_at=None)
        )
        note(connection, hub.now(), actor, "token create", station, token=token.id)
    return token


def revoke(hub: Hub, station: str, token_id: int, actor: str) -> None:
    """Revoke one token; it is refused from the next request on. A revoked one stays so.

    Raises:
        NotThere: the station has no such token.
    """
    this = tokens.c.station == station, tokens.c.id == token_id
    with hub.database.writing() as connection:
        row = connection.execute(select(tokens).where(*this).with_for_update()).one_or_none()
        if row is None:
            raise NotThere(f"station '{station}': has no token {token_id}; list its tokens")
        if row.revoked_at is None:
            connection.execute(update(tokens).where(*this).values(revoked_at=hub.now()))
            note(connection, hub.now(), actor, "token revoke", station, token=token_id)


def retire(hub: Hub, station: str, actor: str) -> None:
    """Retire a station: its tokens are revoked, its events stay, its name stays taken.

    Raises:
        NotThere: there is no such station, or it is retired.
    """
    now = hub.now()
    with hub.database.writing() as connection:
        _locked(connection, station)
        connection.execute(
            update(stations).where(stations.c.station == station).values(retired_at=now)
        )
        connection.execute(
            update(tokens)
            .where(tokens.c.station == station, tokens.c.revoked_at.is_(None))
            .values(revoked_at=now)
        )
        note(connection, now, actor, "station retire", station)


def enrolled_stations(hub: Hub) -> tuple[EnrolledStation, ...]:
    """Give all stations with their tokens, by name."""
    query = select(stations.c.station, stations.c.line, stations.c.retired_at)
    with hub.database.reading() as connection:
        rows = connection.execute(query.order_by(stations.c.station)).all()
        known = tokens_by_station(connection)
    return tuple(
        EnrolledStation(**row._asdict(), tokens=known.get(row.station, ())) for row in rows
    )


def tokens_by_station(connection: Connection) -> Mapping[str, tuple[Token, ...]]:
    """Give the tokens of each station, the oldest first, without their secrets."""
    found: dict[str, tuple[Token, ...]] = {}
    for row in connection.execute(select(tokens).order_by(tokens.c.id)):
        found[row.station] = (*found.get(row.station, ()), Token(**_shown(row)))
    return found


def _locked(connection: Connection, station: str) -> Row[Any]:
    row = connection.execute(
        select(stations).where(stations.c.station == station).with_for_update()
    ).one_or_none()
    if row is None or row.retired_at is not None:
        state = "is not enrolled" if row is None else "is retired"
        raise NotThere(f"station '{station}': {state}; enrol it under a name of its own")
    return row


def _new_token(connection: Connection, hub: Hub, station: str, actor: str) -> NewToken:
    secret = new_secret()
    row = connection.execute(
        insert(tokens)
        .values(station=station, sha256=secret_hash(secret), created_at=hub.now(), created_by=actor)
        .returning(tokens)
    ).one()
    keys = _trusted_keys(connection, hub)
    return NewToken(**_shown(row), station=station, token=secret, trusted_keys=keys)


def _trusted_keys(connection: Connection, hub: Hub) -> tuple[str, ...]:
    """Give whose signatures a station is to believe: this hub's, and those of its bundles."""
    keys = {one for one in own_keys() if not one.startswith(Purpose.BACKUP)}
    for bundle_id in connection.execute(select(bundles.c.bundle_id)).scalars():
        signature, gate = (bundle_file_name(bundle_id, name) for name in (SIGNATURE, GATE))
        if hub.artefacts.has(signature) and hub.artefacts.has(gate):
            signed = Signature.model_validate_json(hub.artefacts.get(signature))
            gated = SignedText.model_validate_json(hub.artefacts.get(gate)).signature
            keys |= {f"{Purpose.BUNDLE}:{signed.public_key}", f"{Purpose.GATE}:{gated.public_key}"}
    return tuple(sorted(keys))


def _shown(row: Row[Any]) -> dict[str, Any]:
    return {name: getattr(row, name) for name in Token.model_fields}

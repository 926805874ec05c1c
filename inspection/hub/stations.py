"""Stations and their tokens: enrol, rotate, revoke, retire."""

from sqlalchemy import Connection, insert

from inspection.core.errors import ConfigError
from inspection.hub.audit import note
from inspection.hub.database import insert_new
from inspection.hub.hub import Hub
from inspection.hub.secrets import new_secret, secret_hash
from inspection.hub.tables import stations, tokens
from inspection.hub.wire.line import NewStation
from inspection.hub.wire.people import NewToken


def enrol(hub: Hub, new: NewStation, actor: str) -> NewToken:
    """Enrol a station with its first token.

    Raises:
        ConfigError: there is one of this name; names are unique in the plant.
    """
    row = {"station": new.station, "line": new.line, "enrolled_at": hub.now(), "last_sequence": 0}
    with hub.database.writing() as connection:
        if not insert_new(connection, stations, [row], "station"):
            raise ConfigError(f"station '{new.station}': is enrolled already; name another")
        note(connection, hub.now(), actor, "station enrol", new.station, line=new.line)
        return _new_token(connection, hub, new.station, actor)


def _new_token(connection: Connection, hub: Hub, station: str, actor: str) -> NewToken:
    secret, now = new_secret(), hub.now()
    number = connection.execute(
        insert(tokens)
        .values(station=station, sha256=secret_hash(secret), created_at=now, created_by=actor)
        .returning(tokens.c.id)
    ).scalar_one()
    note(connection, now, actor, "token create", station, token=number)
    return NewToken(
        id=number,
        created_at=now,
        created_by=actor,
        used_at=None,
        revoked_at=None,
        station=station,
        token=secret,
    )

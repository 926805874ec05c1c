"""Stations' tokens: given once, rotated, revoked at once."""

import httpx
import pytest
from sqlalchemy import select

from inspection.hub.asking import Refused
from inspection.hub.audit import export_entries
from inspection.hub.secrets import secret_hash
from inspection.hub.stations import enrolled_stations
from inspection.hub.tables import tokens
from inspection.hub.wire.line import NewStation
from inspection.hub.wire.people import Role

STATION = NewStation(station="press 4", line="line-1")


def asks(plant, token: str) -> int:
    """Give the status of a request only a station may make."""
    headers = {"Authorization": f"Bearer {token}"}
    return httpx.post(f"{plant.url}/v1/events", json=[], headers=headers).status_code


def test_a_token_is_given_rotated_and_revoked(plant, caplog):
    admin = plant.person(Role.ADMIN, "root")
    first = admin.enrol(STATION)
    second = admin.rotate("press 4")
    assert [asks(plant, one.token) for one in (first, second)] == [200, 200]

    admin.revoke("press 4", first.id)
    assert [asks(plant, one.token) for one in (first, second)] == [401, 200]
    (replayed,) = (one for one in caplog.records if one.message == "revoked token came again")
    assert (replayed.station, replayed.token_id) == ("press 4", first.id)
    assert first.token not in caplog.text

    admin.revoke("press 4", first.id)  # once more changes nothing
    admin.retire("press 4")
    assert asks(plant, second.token) == 401
    told = [
        (one.actor, one.action) for one in export_entries(plant.hub) if one.subject == "press 4"
    ]
    assert told == [
        ("root", "station enrol"),
        ("root", "token create"),
        ("root", "token revoke"),
        ("root", "station retire"),
    ]


def test_a_secret_is_kept_by_its_hash_only(sqlite_plant):
    secret = sqlite_plant.station_token()
    with sqlite_plant.hub.database.reading() as connection:
        (row,) = connection.execute(select(tokens)).all()
    assert row.sha256 == secret_hash(secret)
    assert secret not in str(row)
    (listed,) = enrolled_stations(sqlite_plant.hub)
    assert secret not in str(listed)
    assert [token.id for token in listed.tokens] == [row.id]
    assert len(secret) >= 43  # 256 bits in base64


def test_what_is_not_there_or_taken_is_said(sqlite_plant):
    admin = sqlite_plant.person(Role.ADMIN)
    admin.enrol(STATION)
    path = NewStation.model_construct(station="a/b", line="l")
    for ask, status, said in (
        (lambda: admin.enrol(STATION), 409, "enrolled already"),
        (lambda: admin.rotate("other"), 404, "is not enrolled"),
        (lambda: admin.revoke("press 4", 99), 404, "has no token 99"),
        (lambda: admin.revoke("press 4", 2**63), 422, "less than"),
        (lambda: admin.retire("other"), 404, "is not enrolled"),
        (lambda: admin.enrol(path), 422, "station"),
    ):
        with pytest.raises(Refused, match=said) as refused:
            ask()
        assert refused.value.status == status


def test_a_retired_station_gets_no_token_and_keeps_its_name(sqlite_plant):
    admin = sqlite_plant.person(Role.ADMIN)
    admin.enrol(STATION)
    admin.retire("press 4")
    with pytest.raises(Refused, match="is retired"):
        admin.rotate("press 4")
    with pytest.raises(Refused, match="enrolled already"):
        admin.enrol(STATION)


def test_a_token_of_one_station_does_not_revoke_that_of_another(sqlite_plant):
    admin = sqlite_plant.person(Role.ADMIN)
    first = admin.enrol(STATION)
    admin.enrol(NewStation(station="other", line="line-1"))
    with pytest.raises(Refused, match="has no token"):
        admin.revoke("other", first.id)
    assert asks(sqlite_plant, first.token) == 200


def test_an_engineer_lets_no_station_in(sqlite_plant):
    engineer = sqlite_plant.person(Role.ENGINEER)
    for forbidden in (
        lambda: engineer.enrol(STATION),
        lambda: engineer.rotate("press 4"),
        lambda: engineer.revoke("press 4", 1),
        lambda: engineer.retire("press 4"),
    ):
        with pytest.raises(Refused, match="this needs admin"):
            forbidden()


def test_a_station_is_no_person_and_a_person_no_station(sqlite_plant):
    token = sqlite_plant.station_token("press 4")
    with pytest.raises(Refused) as refused:
        sqlite_plant.client(token).me()
    assert refused.value.status == 401
    session = sqlite_plant.person(Role.ADMIN)._http.headers["Authorization"].split()[1]
    assert asks(sqlite_plant, session) == 401

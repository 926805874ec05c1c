"""The ground the hub stands on: tables, migrations, sessions."""

import pytest
from alembic import command

from inspection.core.errors import ConfigError
from inspection.hub.client import Refused
from inspection.hub.database import alembic_config
from inspection.hub.stations import enrol
from inspection.hub.wire.line import NewStation
from inspection.hub.wire.people import Login, Role


def test_the_migrations_make_exactly_the_tables_of_the_program(hub):
    with hub.database.writing() as connection:
        command.check(alembic_config(connection))


def test_a_person_logs_in_and_is_known(plant):
    assert plant.person(Role.ENGINEER).me().role is Role.ENGINEER


def test_a_wrong_password_is_refused(plant):
    plant.person(Role.VIEWER, "ann")
    with pytest.raises(Refused, match="account or password is wrong"):
        plant.client().login(Login(account="ann", password="guess"))


def test_a_station_is_enrolled_once(hub):
    enrol(hub, NewStation(station="s", line="l"), "test")
    with pytest.raises(ConfigError, match="enrolled already"):
        enrol(hub, NewStation(station="s", line="l"), "test")

"""The ground the hub stands on: tables, migrations, sessions."""

import socket
from contextlib import closing

import pytest
from alembic import command
from sqlalchemy import create_engine

from inspection.core.errors import ConfigError, HubError
from inspection.hub import database
from inspection.hub.asking import Refused
from inspection.hub.database import Database, alembic_config, open_database
from inspection.hub.settings import HubConfig
from inspection.hub.stations import enrol
from inspection.hub.wire.line import NewStation
from inspection.hub.wire.people import Login, Role


def test_the_migrations_make_exactly_the_tables_of_the_program(hub):
    with hub.database.writing() as connection:
        command.check(alembic_config(connection))


def test_a_database_that_never_answers_is_given_up(monkeypatch):
    monkeypatch.setitem(database.IMPATIENT, "connect_timeout", 2)  # the least there is
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"postgresql+psycopg://hub@127.0.0.1:{silent.getsockname()[1]}/hub"
        with pytest.raises(HubError, match="look whether it runs"):
            open_database(HubConfig(database=url))


def test_who_gets_no_connection_in_time_is_told_so(sqlite_url):
    one = Database(create_engine(sqlite_url, pool_size=1, max_overflow=0, pool_timeout=0.01))
    told = pytest.raises(HubError, match="look whether it runs")
    with closing(one), one.reading(), told, one.reading():
        pass


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

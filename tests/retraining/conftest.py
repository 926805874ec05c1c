"""The hubs of tests/hub, for tests of what works on a hub."""

from tests.hub.conftest import (
    _quick_passwords,
    database_url,
    empty_sqlite,
    hub,
    make_hub,
    postgres,
    sqlite_hub,
    sqlite_url,
)

__all__ = [
    "_quick_passwords",
    "database_url",
    "empty_sqlite",
    "hub",
    "make_hub",
    "postgres",
    "sqlite_hub",
    "sqlite_url",
]

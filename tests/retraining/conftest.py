"""The hubs of tests/hub, for tests of what works on a hub."""

import pytest

from inspection.core import records
from inspection.core.decision import ThresholdLimits
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


@pytest.fixture(autouse=True)
def _wide_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let fits go where the reviewed parts lie: cards of these tests have few scores."""
    wide = ThresholdLimits(low=-1e9, high=1e9, high_reject=1e9)
    monkeypatch.setattr(records, "threshold_limits", lambda *_: wide)

"""Gives tests of outputs the broker they publish to."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.station.outputs.mosquitto import Mosquitto


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Mosquitto]:
    """Run a broker."""
    with Mosquitto(tmp_path) as running:
        yield running

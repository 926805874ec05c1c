"""What outsiders can have written into the log is bounded, and what was left out is counted."""

import io
import logging
import sys

import pytest

from inspection.cli import logs
from inspection.cli.logs import DRIVEN_FROM_OUTSIDE, LINES, configure_logging

NAME = "inspection.hub.limits"


@pytest.fixture
def log(monkeypatch):
    """Configure the log of a command, and leave the loggers as they were; gives its lines."""
    root, stream = logging.getLogger(), io.StringIO()
    level, handlers = root.level, root.handlers[:]
    filters = {name: logging.getLogger(name).filters[:] for name in DRIVEN_FROM_OUTSIDE}
    root.handlers.clear()  # configuring would close those of pytest
    monkeypatch.setattr(sys, "stderr", stream)
    configure_logging()
    configure_logging()  # as `--json-logs` does; nothing counts twice
    yield lambda: stream.getvalue().splitlines()
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.getLogger("inspection").setLevel(logging.NOTSET)
    for name, before in filters.items():
        logging.getLogger(name).filters[:] = before


def test_lines_of_one_kind_are_counted_beyond_some_a_minute(log, monkeypatch):
    """The next minute's first line says how many were left out; other kinds are shown meanwhile."""
    at = [100.0]
    monkeypatch.setattr(logs.time, "monotonic", lambda: at[0])
    logger = logging.getLogger(NAME)
    for _ in range(LINES + 40):
        logger.warning("refused")
    logger.warning("another kind")
    at[0] += 61
    logger.warning("refused")
    logger.warning("refused")
    shown = [line.partition(": ")[2] for line in log()]
    assert shown[:LINES] == ["refused"] * LINES
    assert shown[LINES:] == ["another kind", "refused left_out=40", "refused"]


def test_what_a_known_caller_does_is_shown_always(log):
    """People are few, and what they did may matter."""
    for _ in range(LINES + 40):
        logging.getLogger(NAME).info("request", extra={"actor": "ann"})
    assert len(log()) == LINES + 40


def test_objects_in_a_message_make_no_kind_of_their_own(log):
    """What asyncio says of a connection has the object's address on a further line."""
    for number in range(LINES + 40):
        message = f"accept failed\nsocket: <object at {number}>"
        logging.getLogger("asyncio").error(message)
    assert sum("accept failed" in line for line in log()) == LINES

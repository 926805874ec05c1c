"""Progress: for people on stderr; results on stdout stay what they are."""

import os
import pty
import subprocess
import sys

import pytest

from inspection.core.progress import advancing, follow

pytestmark = pytest.mark.fast


def test_items_come_through_in_order_and_nothing_reaches_stdout(capfd):
    """Following gives every item once, in order; stdout stays empty."""
    assert list(follow([3, 1, 2], "counting")) == [3, 1, 2]
    with advancing(10, "working") as advance:
        advance(4)
        advance(6)
    assert capfd.readouterr().out == ""


def test_no_bar_is_written_into_a_log_file(capfd):
    """Where stderr is no terminal nothing at all is written."""
    list(follow([1, 2], "counting"))
    assert capfd.readouterr().err == ""


def test_an_error_passes_through_the_bar():
    """What fails inside a bar fails outside as it did."""
    with pytest.raises(ZeroDivisionError), advancing(3, "working"):
        raise ZeroDivisionError


SHOWN = """
from inspection.core.progress import follow
for item in follow(["one", "two"], "counting"):
    print(item)
"""


def test_lines_printed_under_a_bar_stay_on_a_redirected_stdout():
    """With the bar on a terminal and stdout in a pipe, results go into the pipe, all of them."""
    reading, terminal = pty.openpty()
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "TERM": "xterm"}
    done = subprocess.run(
        [sys.executable, "-c", SHOWN],
        stdout=subprocess.PIPE,
        stderr=terminal,
        env=environment,
        timeout=60,
        check=True,
    )
    os.close(terminal)
    assert done.stdout == b"one\ntwo\n"
    assert b"counting" in os.read(reading, 100_000)
    os.close(reading)

import asyncio
import errno
from collections.abc import Callable

import pytest

from inspection.station.outputs.output import OutputDown
from inspection.station.outputs.server import ServerThread
from tests.station.outputs.record import until

pytestmark = pytest.mark.fast


class Failing:
    """Serves until it is told to fail, or stopped."""

    def __init__(self) -> None:
        self.fail = False
        self.starts = 0

    async def serve(self, listening: Callable[[], None], stop: asyncio.Event) -> None:
        """Serve."""
        self.starts += 1
        listening()
        while not stop.is_set():
            if self.fail:
                raise RuntimeError("lost its mind")
            await asyncio.sleep(0.001)


def test_server_that_ends_by_itself_is_down_and_may_be_started_anew(
    caplog: pytest.LogCaptureFixture,
):
    """Its thread's exception is logged, told to whoever asks, and does not last."""
    failing = Failing()
    server = ServerThread("Test", failing.serve)
    server.require()  # not started yet
    server.start("127.0.0.1", 1)
    server.require()
    failing.fail = True
    until(lambda: caplog.records)
    with pytest.raises(OutputDown, match="Test server ended: lost its mind; it is started anew"):
        server.require()
    assert [record.getMessage() for record in caplog.records] == ["server ended"]
    failing.fail = False
    server.start("127.0.0.1", 1)
    assert (server.running, failing.starts) == (True, 2)
    server.stop()
    assert not server.running


def test_server_that_cannot_start_says_why():
    """What is no matter of the address is passed on as it is."""

    async def serve(_listening: Callable[[], None], _stop: asyncio.Event) -> None:
        raise OutputDown("no password")

    server = ServerThread("Test", serve)
    with pytest.raises(OutputDown, match=r"^no password$"):
        server.start("127.0.0.1", 1)
    assert not server.running
    server.stop()


def test_server_that_was_never_started_stops():
    """An output closes whatever happened before."""
    server = ServerThread("Test", Failing().serve)
    server.stop()
    server.call(lambda: None)
    assert not server.running


def test_port_the_process_has_no_right_to_is_told_from_one_in_use():
    """Modbus' own port 502 belongs to root; freeing it would help nobody."""

    async def serve(_listening: Callable[[], None], _stop: asyncio.Event) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    server = ServerThread("Modbus", serve)
    with pytest.raises(OutputDown, match=r":502 .*denied.*CAP_NET_BIND_SERVICE.* in its unit"):
        server.start("127.0.0.1", 502)
    server.stop()

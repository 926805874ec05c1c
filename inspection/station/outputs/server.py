"""Runs an asyncio server in a thread of its own."""

import asyncio
import logging
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import suppress
from threading import Thread
from typing import Any, TypeVar

from inspection.station.outputs.output import OutputDown

logger = logging.getLogger(__name__)

STOP_S = 5.0
"""Longest wait for a server to let go of its connections."""

T = TypeVar("T")
Serve = Callable[[Callable[[], None], asyncio.Event], Coroutine[Any, Any, None]]
"""Serves until the flag is set; calls the function as soon as it listens."""


class ServerThread:
    """One server, which may be started anew after it ended."""

    def __init__(self, name: str, serve: Serve) -> None:
        self._name = name
        self._serve = serve
        self._ended: Future[None] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None
        self._thread: Thread | None = None

    @property
    def running(self) -> bool:
        """Whether the server was started and has not ended."""
        return self._ended is not None and not self._ended.done()

    def require(self) -> None:
        """Pass when the server runs or was never started.

        Raises:
            OutputDown: it ended by itself.
        """
        if self._ended is not None and self._ended.done():
            why = self._ended.exception() or "it was stopped"
            raise OutputDown(f"{self._name} server ended: {why}; it is started anew")

    def start(self, host: str, port: int) -> None:
        """Start the server, which will listen on the given address, and wait until it does.

        Raises:
            OutputDown: the address is taken, not this computer's, or not allowed.
        """
        try:
            self._start()
        except PermissionError as error:
            raise OutputDown(
                f"{self._name} server may not listen on {host}:{port} ({error}); a port below 1024 "
                "needs the right CAP_NET_BIND_SERVICE: give it to the service "
                "(AmbientCapabilities=CAP_NET_BIND_SERVICE in its unit) or name a port from 1024 on"
            ) from error
        except OSError as error:
            raise OutputDown(
                f"{self._name} server cannot listen on {host}:{port} ({error}); free the port or "
                "name another address"
            ) from error

    def _start(self) -> None:
        runner = asyncio.Runner(loop_factory=asyncio.new_event_loop)
        self._loop, self._stop = runner.get_loop(), asyncio.Event()
        listening: Future[None] = Future()
        serving = self._serve(lambda: listening.set_result(None), self._stop)
        self._ended = asyncio.run_coroutine_threadsafe(serving, self._loop)
        self._ended.add_done_callback(lambda _: self.call(runner.get_loop().stop))
        self._thread = Thread(target=_run, args=(runner,), name=self._name, daemon=True)
        self._thread.start()
        wait({listening, self._ended}, return_when=FIRST_COMPLETED)
        if self._ended.done():
            self._thread.join(STOP_S)
            self._ended.result()
        self._ended.add_done_callback(self._report)

    def call(self, function: Callable[[], object]) -> None:
        """Call a function in the server's thread, some time soon; never when it has ended."""
        if self._loop is not None:
            with suppress(RuntimeError):  # the loop is closed
                self._loop.call_soon_threadsafe(function)

    def stop(self) -> None:
        """End the server and wait for it, for five seconds at most."""
        if self._stop is not None and self._thread is not None:
            self.call(self._stop.set)
            self._thread.join(STOP_S)

    def _report(self, ended: Future[None]) -> None:
        if error := ended.exception():
            logger.error("server ended", exc_info=error, extra={"server": self._name})


def crowd(
    others: Sequence[T], address: str, of: Callable[[T], str], most: int, most_of_one: int
) -> Sequence[T]:
    """Give the connections one of which must go for one more; none where there is a place.

    Args:
        others: the connections there are.
        address: of the client that comes.
        of: gives the address of a connection.
        most: connections in all.
        most_of_one: connections of one address.
    """
    same = [one for one in others if of(one) == address]
    if len(same) >= most_of_one:
        return same
    return others if len(others) >= most else ()


def _run(runner: asyncio.Runner) -> None:
    with runner:
        runner.get_loop().run_forever()

"""Wakes long polls of this process when something they wait for was written."""

import asyncio
import contextlib
import threading
from collections.abc import Iterator

LOOK_S = 1.0  # another hub on the same database may have written it


class Bell:
    """What one that waits hears; of one event loop."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._rung = asyncio.Event()

    def ring(self) -> None:
        """Ring it; for any thread."""
        self._loop.call_soon_threadsafe(self._rung.set)

    async def wait(self, timeout_s: float) -> None:
        """Wait until it rings or has rung since the last wait, but not beyond LOOK_S."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._rung.wait(), min(LOOK_S, timeout_s))
        self._rung.clear()


class News:
    """Bells for all that wait; each looks again and decides himself."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._bells: set[Bell] = set()
        self.ended = False
        """Nobody should wait any more, because the process ends."""

    def ring(self) -> None:
        """Tell all that wait to look; for any thread."""
        with self._lock:
            for bell in self._bells:
                bell.ring()

    def end(self) -> None:
        """Tell all that wait, and who comes later, to answer at once; for any thread."""
        self.ended = True
        self.ring()

    @contextlib.contextmanager
    def listening(self) -> Iterator[Bell]:
        """Give a bell that rings from now on: who looks after this misses nothing."""
        bell = Bell()
        with self._lock:
            self._bells.add(bell)
        try:
            yield bell
        finally:
            with self._lock:
                self._bells.discard(bell)

"""Wakes long polls of this process when something they wait for was written."""

import asyncio
import threading

LOOK_S = 1.0  # another hub on the same database may have written it


class News:
    """One bell for all that wait; each looks again and decides himself."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: set[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = set()

    def ring(self) -> None:
        """Tell all that wait to look; for any thread."""
        with self._lock:
            for loop, bell in self._waiting:
                loop.call_soon_threadsafe(bell.set)

    async def wait(self, timeout_s: float) -> None:
        """Wait until it rings, but no longer than LOOK_S or `timeout_s`."""
        bell = asyncio.Event()
        entry = asyncio.get_running_loop(), bell
        with self._lock:
            self._waiting.add(entry)
        try:
            await asyncio.wait_for(bell.wait(), min(LOOK_S, timeout_s))
        except TimeoutError:
            pass
        finally:
            with self._lock:
                self._waiting.discard(entry)

"""Counts wrong logins, so that passwords cannot be tried at will."""

import time
from collections import deque
from collections.abc import Callable
from threading import Lock

WINDOW_S = 60.0
MOST_NAMES = 10_000  # remembered at once; who tries more names is stopped by his address


class Tries:
    """Wrong logins of the last minute by name and address; for any thread, one hub's own.

    A try counts before it is judged, so that many at once do not slip through, and is forgiven
    when it was right.

    Args:
        most: wrong ones per minute, of each name and of each address.
        clock: seconds, rising.
    """

    def __init__(self, most: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._most, self._clock = most, clock
        self._lock = Lock()
        self._wrong: dict[str, deque[float]] = {}

    def begin(self, *keys: str) -> float:
        """Count a try of these keys; give 0, or the seconds to wait, when it does not count."""
        with self._lock:
            now = self._clock()
            wait_s = max(self._wait_s(key, now) for key in keys)
            if wait_s == 0:
                for key in keys:
                    self._wrong.setdefault(key, deque()).append(now)
                self._forget(now)
            return wait_s

    def forgive(self, *keys: str) -> None:
        """Take the last try of these keys back: it was right."""
        with self._lock:
            for key in keys:
                tries = self._wrong.get(key)
                if tries:
                    tries.pop()

    def _wait_s(self, key: str, now: float) -> float:
        tries = self._wrong.get(key, deque())
        while tries and tries[0] <= now - WINDOW_S:
            tries.popleft()
        return tries[0] + WINDOW_S - now if len(tries) >= self._most else 0.0

    def _forget(self, now: float) -> None:
        if len(self._wrong) <= MOST_NAMES:
            return
        self._wrong = {
            key: tries for key, tries in self._wrong.items() if tries and tries[-1] > now - WINDOW_S
        }
        while len(self._wrong) > MOST_NAMES:
            self._wrong.pop(next(iter(self._wrong)))

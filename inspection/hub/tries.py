"""Counts wrong logins, so that passwords cannot be tried at will."""

import time
from collections import deque
from collections.abc import Callable
from threading import Lock

WINDOW_S = 60.0
OF_ADDRESS = 4  # wrong ones of an address, for each of an account from it
OF_ACCOUNT = 16  # and of an account from everywhere
MOST_NAMES = 10_000  # remembered at once; who tries more names is stopped by his address

Key = tuple[str | None, str | None]  # account, address; none is all of them


class Tries:
    """Wrong logins of the last minute; for any thread, one hub's own.

    They count for an account from an address, and more loosely for an account from everywhere and
    for an address whatever the account. Where somebody has logged in before, the tries from
    elsewhere do not count: nobody locks an account's owner out from another address. A try counts
    before it is judged, so that many at once do not slip through, and is forgiven when it was
    right.

    Args:
        most: wrong ones per minute of an account from one address.
        clock: seconds, rising.
    """

    def __init__(self, most: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._most, self._clock = most, clock
        self._lock = Lock()
        self._wrong: dict[Key, deque[float]] = {}
        self._right: dict[Key, None] = {}  # accounts at addresses they were entered from

    def begin(self, account: str | None, address: str) -> float:
        """Count a try, of no account with a token; give 0, or how long to wait instead, s."""
        with self._lock:
            now = self._clock()
            keys = self._keys(account, address)
            wait_s = max(self._wait_s(key, now) for key in keys)
            if wait_s == 0:
                for key in keys:
                    self._wrong.setdefault(key, deque()).append(now)
                self._forget(now)
            return wait_s

    def forgive(self, account: str | None, address: str) -> None:
        """Take the last try back: it was right."""
        with self._lock:
            for key in self._keys(account, address):
                tries = self._wrong.get(key)
                if tries:
                    tries.pop()
            self._right.pop((account, address), None)
            self._right[account, address] = None
            if len(self._right) > MOST_NAMES:
                self._right.pop(next(iter(self._right)))

    def _keys(self, account: str | None, address: str) -> tuple[Key, ...]:
        keys: list[Key] = [(None, address)]
        if account is not None:
            keys.append((account, address))
            if (account, address) not in self._right:
                keys.append((account, None))
        return tuple(keys)

    def _wait_s(self, key: Key, now: float) -> float:
        tries = self._wrong.get(key, deque())
        while tries and tries[0] <= now - WINDOW_S:
            tries.popleft()
        account, address = key
        most = self._most * (
            OF_ADDRESS if account is None else OF_ACCOUNT if address is None else 1
        )
        return tries[0] + WINDOW_S - now if len(tries) >= most else 0.0

    def _forget(self, now: float) -> None:
        if len(self._wrong) <= MOST_NAMES:
            return
        self._wrong = {
            key: tries for key, tries in self._wrong.items() if tries and tries[-1] > now - WINDOW_S
        }
        while len(self._wrong) > MOST_NAMES:
            self._wrong.pop(next(iter(self._wrong)))

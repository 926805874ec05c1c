"""Threads for calls that may never come back: they do not keep the process from ending.

Those of `concurrent.futures` do, because Python waits for them at its end.
"""

from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Generic, TypeVar

T = TypeVar("T")


class Pool(Generic[T]):
    """Does work in the order it comes, on so many threads."""

    def __init__(self, threads: int, name: str) -> None:
        self._works: SimpleQueue[tuple[Future[T], Callable[[], T]] | None] = SimpleQueue()
        self._closed = False
        self._threads = [
            Thread(target=self._run, name=f"{name} {number}", daemon=True)
            for number in range(threads)
        ]
        for thread in self._threads:
            thread.start()

    def submit(self, work: Callable[[], T]) -> Future[T]:
        """Let a thread do some work, and give what will be its result."""
        future: Future[T] = Future()
        if self._closed:
            future.cancel()
        self._works.put((future, work))
        return future

    def close(self) -> None:
        """Let the threads end when they come back from their work; what waits is not done."""
        self._closed = True
        with suppress(Empty):
            while waiting := self._works.get_nowait():
                waiting[0].cancel()
        for _ in self._threads:
            self._works.put(None)

    def _run(self) -> None:
        while (one := self._works.get()) is not None:
            future, work = one
            if future.set_running_or_notify_cancel():
                try:
                    future.set_result(work())
                except BaseException as error:  # noqa: BLE001 - raised where the result is asked for
                    future.set_exception(error)

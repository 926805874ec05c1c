"""Turns SIGTERM and SIGINT into an end between two parts."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from queue import SimpleQueue
from threading import Event as Flag
from threading import Thread
from types import FrameType


@contextmanager
def stop_on_signals() -> Iterator[Flag]:
    """Give a flag that SIGTERM or SIGINT sets; the second signal acts as if this were not here.

    The handler only fills a queue that a thread empties: it runs within whatever the main thread
    does, and while that is just about to wait for the flag, setting it would wait for ever.
    """
    stop = Flag()
    came: SimpleQueue[int | None] = SimpleQueue()
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)

    def end(number: int, _frame: FrameType | None) -> None:
        came.put(number)
        restore()

    def set_flag() -> None:
        if came.get() is not None:
            stop.set()

    waiter = Thread(target=set_flag, name="stop", daemon=True)
    waiter.start()
    for number in before:
        signal.signal(number, end)
    try:
        yield stop
    finally:
        restore()
        came.put(None)
        waiter.join()

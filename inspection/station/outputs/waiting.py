"""Waits for a server, but no longer than the station goes on: it may drip, or say nothing."""

import asyncio
import time
from collections.abc import Awaitable
from threading import Event as Flag
from typing import TypeVar

LISTEN_S = 0.2  # between two looks whether the station is to end

T = TypeVar("T")


async def wait_until(asked: Awaitable[T], stop: Flag, due_s: float) -> T:
    """Wait for an answer, wherever it stands, until a monotonic second.

    Raises:
        TimeoutError: that second came, or `stop` was set; what was asked for is broken off.
    """
    task = asyncio.ensure_future(asked)
    try:
        while not stop.is_set() and time.monotonic() < due_s:
            if (await asyncio.wait({task}, timeout=LISTEN_S))[0]:
                return task.result()
        raise TimeoutError
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

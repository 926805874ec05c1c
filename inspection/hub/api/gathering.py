"""Hands what several requests bring at the same time to one thread together.

A change of thread costs more than taking in a picture does, once many threads want to run.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from fastapi.concurrency import run_in_threadpool

from inspection.core.errors import InspectionError

T = TypeVar("T")
R = TypeVar("R")
AT_ONCE = 2  # lots worked on: while one waits for the disk, the next is looked at
LOT_MOST = 32


class Gathering(Generic[T, R]):
    """Collects items while others are worked on; of one event loop.

    Args:
        work: done in a thread; gives the result of each item, in order.
    """

    def __init__(self, work: Callable[[Sequence[T]], Sequence[R]]) -> None:
        self._work = work
        self._waiting: list[tuple[T, asyncio.Future[R]]] = []
        self._turn = asyncio.Semaphore(AT_ONCE)

    async def do(self, item: T) -> R:
        """Have an item worked on and give its result.

        Raises:
            InspectionError: what `work` raised, of this item or one beside it.
        """
        mine: asyncio.Future[R] = asyncio.get_running_loop().create_future()
        self._waiting.append((item, mine))
        async with self._turn:
            if not mine.done():
                await self._do_next()
        return await mine

    async def _do_next(self) -> None:
        lot, self._waiting = self._waiting[:LOT_MOST], self._waiting[LOT_MOST:]
        if not lot:  # others have taken it
            return
        try:
            results = await run_in_threadpool(self._work, [item for item, _ in lot])
            for (_, future), result in zip(lot, results, strict=True):
                if not future.done():  # else its request has gone
                    future.set_result(result)
        except InspectionError as error:
            for _, future in lot:
                if not future.done():
                    future.set_exception(error)
        finally:
            for _, future in lot:  # after a mistake of ours, or at the end, nobody waits for ever
                future.cancel()

"""Runs many tasks a few at a time on a pool of threads, this process's or a cluster's."""

import itertools
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Executor, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

KeyT = TypeVar("KeyT")
ResultT = TypeVar("ResultT")

AHEAD = 2  # tasks handed in for each thread, so that none waits for us
LOOK_S = 5.0  # without a result before we look whether anybody is left


@dataclass(frozen=True)
class Pool:
    """Threads that take tasks, wherever they are."""

    executor: Executor
    threads: int
    check: Callable[[], object]
    """Raises when nobody is left to take one."""


@contextmanager
def local_pool(threads: int) -> Iterator[Pool]:
    """Give threads of this process."""
    with ThreadPoolExecutor(threads) as executor:
        yield Pool(executor, threads, lambda: None)


def run_all(
    pool: Pool, tasks: Iterable[tuple[KeyT, Callable[[], ResultT]]]
) -> Iterator[tuple[KeyT, ResultT]]:
    """Yield each task's key and result as it ends; then what a task raises is raised here.

    Tasks are taken from the iterable only as there is room, and those not begun are given up when
    the caller stops.
    """
    waiting, pending = iter(tasks), dict[Future[ResultT], KeyT]()
    try:
        while True:
            room = pool.threads * AHEAD - len(pending)
            for key, task in itertools.islice(waiting, room):
                pending[pool.executor.submit(task)] = key
            if not pending:
                return
            ended, _ = wait(pending, LOOK_S, FIRST_COMPLETED)
            if not ended:
                pool.check()
            for future in sorted(ended, key=lambda one: one.exception() is not None):
                yield pending.pop(future), future.result()
    finally:
        for future in pending:
            future.cancel()

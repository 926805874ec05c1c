"""Commits what several threads write at the same time in one transaction: one wait for the disk.

The thread whose turn it is writes for all that wait; meanwhile the next ones gather.
"""

import contextlib
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from threading import Lock
from typing import Any, Generic, TypeVar

from sqlalchemy import Connection

from inspection.core.errors import InspectionError

T = TypeVar("T")


class _Job(Generic[T]):
    def __init__(self, work: Callable[[Connection], T]) -> None:
        self.work = work
        self.results: list[T] = []  # one, once it is durable


class GroupCommit:
    """Runs pieces of work, each all or nothing, as few transactions as possible.

    Args:
        writing: gives a transaction that is durable when its block has ended.
    """

    def __init__(self, writing: Callable[[], AbstractContextManager[Connection]]) -> None:
        self._writing = writing
        self._waiting: list[_Job[Any]] = []
        self._adding, self._turn = Lock(), Lock()

    def run(self, work: Callable[[Connection], T]) -> T:
        """Do work, for any thread; durable when this returns.

        Raises:
            InspectionError: as the work itself does, or no transaction can be had.
        """
        job = _Job(work)
        with self._adding:
            self._waiting.append(job)
        with self._turn:
            jobs = self._take()  # none when the one before took this one, too
            if len(jobs) > 1:
                with contextlib.suppress(InspectionError):  # each is told of its own below
                    self._commit(jobs)
            if not job.results:
                self._commit([job])
        return job.results[0]

    def _take(self) -> list[_Job[Any]]:
        with self._adding:
            jobs, self._waiting = self._waiting, []
        return jobs

    def _commit(self, jobs: Sequence[_Job[Any]]) -> None:
        with self._writing() as connection:
            results = [job.work(connection) for job in jobs]
        for job, result in zip(jobs, results, strict=True):
            job.results.append(result)

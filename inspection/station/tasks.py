"""Threads whose work ends with a block, and whose exceptions are heard."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Event as Flag
from threading import Thread


class Task:
    """A thread whose exception is kept for whoever asks."""

    def __init__(self, name: str, work: Callable[[], None]) -> None:
        self._error: Exception | None = None
        self._work = work
        self._thread = Thread(target=self._run, name=name)
        self._thread.start()

    def over(self) -> bool:
        """Say whether it has ended.

        Raises:
            Exception: it ended by this.
        """
        if self._error is not None:
            raise self._error
        return not self._thread.is_alive()

    def join(self) -> None:
        """Wait until it has ended."""
        self._thread.join()

    def _run(self) -> None:
        try:
            self._work()
        except Exception as error:  # noqa: BLE001 - raised again where somebody asks
            self._error = error


@contextmanager
def running(name: str, work: Callable[[Flag], None], stop: Flag | None = None) -> Iterator[Task]:
    """Run work in a thread until the block ends; it ends when the flag it is given is set."""
    ends = stop or Flag()
    task = Task(name, lambda: work(ends))
    try:
        yield task
    finally:
        ends.set()
        task.join()

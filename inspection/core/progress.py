"""Shows people on stderr how far a long step has come; stdout is for results.

Whoever runs a step for somebody else watches it here, too, and may end it.
"""

import sys
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TypeVar

from rich.console import Console
from rich.progress import Progress

T = TypeVar("T")
Watcher = Callable[[int, int], None]
"""Takes how many items of how many are done; an error it raises ends what it watches."""
_watcher: ContextVar[Watcher | None] = ContextVar("_watcher", default=None)


@contextmanager
def watched(watcher: Watcher) -> Iterator[None]:
    """Tell `watcher` of every item of every step that this thread does within the block."""
    before = _watcher.set(watcher)
    try:
        yield
    finally:
        _watcher.reset(before)


def tell(done: int, total: int) -> None:
    """Tell who watches this thread of a step that runs elsewhere; now and then, so it can end."""
    if (watcher := _watcher.get()) is not None:
        watcher(done, total)


def follow(items: Collection[T], what: str) -> Iterator[T]:
    """Yield the items under a progress bar named `what`."""
    with advancing(len(items), what) as advance:
        for item in items:
            yield item
            advance(1)


@contextmanager
def advancing(total: int, what: str) -> Iterator[Callable[[int], None]]:
    """Give a function that moves a progress bar named `what` by some of `total` steps."""
    console = Console(stderr=True)
    hidden = not console.is_terminal  # in a log file bars are empty lines
    shared = sys.stdout.isatty()  # else rich would move lines printed meanwhile to stderr
    bar = Progress(transient=True, console=console, disable=hidden, redirect_stdout=shared)
    with bar as progress:
        task = progress.add_task(what, total=total)
        done = 0

        def advance(count: int) -> None:
            nonlocal done
            done += count
            progress.advance(task, count)
            tell(done, total)

        yield advance

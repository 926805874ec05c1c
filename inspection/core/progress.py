"""Shows people on stderr how far a long step has come; stdout is for results."""

import sys
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from typing import TypeVar

from rich.console import Console
from rich.progress import Progress

T = TypeVar("T")


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
        yield lambda count: progress.advance(task, count)

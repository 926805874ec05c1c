"""Lets heavy work step back behind the parts under way: in processor time, and for memory."""

import functools
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

LOWEST = 19  # of Linux: gets what the others leave
TASKS = Path("/proc/self/task")  # Linux: one entry per thread
OOM_SCORE_ADJ = Path("/proc/self/oom_score_adj")


@contextmanager
def lowest_priority() -> Iterator[None]:
    """Run the block at the lowest priority; the threads it starts end at the usual one, too.

    Threads inherit the priority of the thread that starts them, and those OpenVINO starts to
    compile are the ones that infer later. So where the system does not let a process raise a
    priority again (no CAP_SYS_NICE, no RLIMIT_NICE) the block runs at the usual one. Meant for work
    that holds no lock others wait for, the interpreter's included.
    """
    usual = os.getpriority(os.PRIO_PROCESS, 0)
    if not _may_rise_again(usual):
        yield
        return
    before = _threads()
    os.setpriority(os.PRIO_PROCESS, 0, LOWEST)
    try:
        yield
    finally:
        os.setpriority(os.PRIO_PROCESS, 0, usual)
        for thread in _threads() - before:
            _raise(thread, usual)


def step_back() -> None:
    """Let this thread, and what threads it starts, run at the lowest priority for good."""
    os.setpriority(os.PRIO_PROCESS, 0, LOWEST)


def go_first() -> None:
    """Let this process, and what it starts, be killed before all others where memory runs out."""
    with suppress(OSError):  # another system
        OOM_SCORE_ADJ.write_text("1000")  # the most there is


def _threads() -> set[int]:
    return {int(task.name) for task in TASKS.iterdir()}


def _raise(thread: int, usual: int) -> None:
    try:
        if os.getpriority(os.PRIO_PROCESS, thread) == LOWEST:
            os.setpriority(os.PRIO_PROCESS, thread, usual)
    except ProcessLookupError:
        pass  # it has ended


@functools.cache
def _may_rise_again(usual: int) -> bool:
    """Try once for each usual nice value, in a thread of its own that may stay low.

    Linux holds the value to return to against RLIMIT_NICE, whatever the one before it.
    """
    with ThreadPoolExecutor(1, "priority") as pool:
        return TASKS.is_dir() and pool.submit(_there_and_back, usual).result()


def _there_and_back(usual: int) -> bool:
    try:
        os.setpriority(os.PRIO_PROCESS, 0, LOWEST)
        os.setpriority(os.PRIO_PROCESS, 0, usual)
    except PermissionError:
        return False
    return True

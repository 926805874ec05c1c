"""Heavy work steps back, and what it starts never stays behind."""

import os
from threading import Event, Thread, get_ident

import pytest

from inspection.bundles import priority
from inspection.bundles.priority import LOWEST, lowest_priority

pytestmark = pytest.mark.fast


def _niceness(thread: int = 0) -> int:
    return os.getpriority(os.PRIO_PROCESS, thread)


def test_work_and_what_it_starts_are_low_until_it_is_done():
    """The thread is low within the block; a thread started there has the usual one after it."""
    usual, stop = _niceness(), Event()
    started = Thread(target=stop.wait, args=(10,))
    try:
        with lowest_priority():
            inside = _niceness()
            started.start()
            born = _niceness(started.native_id)
        expected = LOWEST if priority._may_rise_again(usual) else usual
        assert (inside, born) == (expected, expected)
        assert (_niceness(), _niceness(started.native_id)) == (usual, usual)
    finally:
        stop.set()
        started.join()


def test_error_within_ends_at_the_usual_priority():
    """Work that fails leaves no thread behind at a low priority."""
    usual = _niceness()
    with pytest.raises(ValueError, match="no graph"), lowest_priority():
        raise ValueError("no graph")
    assert _niceness() == usual


def test_process_that_may_not_raise_a_priority_never_lowers_one(monkeypatch: pytest.MonkeyPatch):
    """Without the right to come back, low threads would infer for ever: all stays as it is."""
    usual = _niceness()

    def refuse(which: int, who: int, level: int) -> None:
        if level <= usual:
            raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "setpriority", refuse)
    priority._may_rise_again.cache_clear()
    try:
        with lowest_priority():
            assert _niceness() == usual
    finally:
        priority._may_rise_again.cache_clear()


def test_right_to_rise_is_asked_for_each_usual_value(monkeypatch: pytest.MonkeyPatch):
    """A process that may come back to 0 may not to −5: its thread there stays as it is."""
    usual, values = 0, {}

    def set_to(which: int, who: int, level: int) -> None:
        if level < 0:
            raise PermissionError(13, "Permission denied")
        values[get_ident()] = level

    monkeypatch.setattr(os, "setpriority", set_to)
    monkeypatch.setattr(os, "getpriority", lambda which, who: values.get(get_ident(), usual))
    priority._may_rise_again.cache_clear()
    try:
        inside = []
        for usual in (0, -5):
            values.clear()
            with lowest_priority():
                inside.append(values.get(get_ident(), usual))
        assert inside == [LOWEST, -5]
    finally:
        priority._may_rise_again.cache_clear()

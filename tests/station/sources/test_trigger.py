import time

import pytest

from inspection.station.clock import SYSTEM_CLOCK
from inspection.station.sources.trigger import IntervalTriggers
from tests.fakes import StillClock

pytestmark = pytest.mark.fast


def test_part_ids_never_repeat_after_a_restart():
    """Two starts in the same second of the wall clock, set back perhaps, give other part ids."""
    clock = StillClock()
    starts = [IntervalTriggers(0, "cap", clock) for _ in range(4)]
    triggers = [start.wait(0) for start in starts for _ in range(3)]
    assert len({trigger.part_id for trigger in triggers}) == 12
    assert [trigger.number for trigger in triggers] == [1, 2, 3] * 4
    assert all(trigger.part_id.startswith("20250301T063000Z-") for trigger in triggers)
    assert {trigger.product for trigger in triggers} == {"cap"}


def test_triggers_come_at_fixed_times():
    """The interval is kept whatever the work between two triggers takes."""
    triggers = IntervalTriggers(20, "cap", SYSTEM_CLOCK)
    began_s = time.monotonic()
    for number in range(1, 6):
        assert triggers.wait(5).number == number
        time.sleep(0.005)
    assert time.monotonic() - began_s >= 4 * 0.02


def test_waiting_ends_in_time():
    """Whoever waits hears of nothing when nothing comes."""
    triggers = IntervalTriggers(60_000, "cap", SYSTEM_CLOCK)
    assert triggers.wait(0).number == 1
    assert triggers.wait(0.01) is None


def test_missed_times_are_not_made_up():
    """A camera cannot picture parts that have passed."""
    clock = StillClock()
    triggers = IntervalTriggers(1_000, "cap", clock)
    triggers.wait(0)
    clock.advance(5.5)
    assert triggers.wait(0).number == 2
    assert triggers.wait(0) is None
    clock.advance(0.5)
    assert triggers.wait(0).number == 3


def test_closed_triggers_give_nothing():
    """Not even those that are there whenever asked."""
    triggers = IntervalTriggers(0, "cap", SYSTEM_CLOCK)
    triggers.close()
    assert triggers.wait(0) is None

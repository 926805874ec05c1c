"""The wall clock: it jumps back and forth by up to a year."""

import random
from datetime import datetime, timedelta
from functools import partial
from itertools import pairwise

from inspection.bench.faults.process import Station
from inspection.bench.faults.scenario import Finding, Scene
from inspection.bench.frame import Goal
from inspection.core.decision import Verdict
from inspection.station import service
from inspection.station.clock import SystemClock

PARTS = 60
DEADLINE_MS = 2_000
NAME, CLOCK = "clock jumps", "SYSTEM_CLOCK"


class JumpingClock(SystemClock):
    """This computer's clocks, but the wall clock is another year's at each look."""

    def now(self) -> datetime:
        """Give some time."""
        return super().now() + timedelta(days=random.uniform(-365, 365))


def jump() -> None:
    """Let the clock of this process jump."""
    vars(service)[CLOCK] = JumpingClock()


def jump_clock(scene: Scene) -> Finding:
    """Judge parts while the clock jumps, and see that order, latencies and deadlines hold."""
    with Station(scene.work, scene.bundle, deadline_ms=DEADLINE_MS) as station:
        station.start(jump)
        for _ in range(PARTS // 2):
            station.put(1)
            station.wait(partial(station.signalled, len(station.part_ids)), "a verdict")
        station.put(PARTS // 2)
        ledger = station.finish()
    events = station.events()
    times = [event.judged_at for event in events]
    back = sum(after < before for before, after in pairwise(times))
    faults = sum(event.verdict is Verdict.FAULT for event in events)
    wrong = sum(not 0 <= event.latency_ms <= DEADLINE_MS for event in events)
    return Finding(
        (
            Goal.at_most(f"{NAME}: FAULT", 0, faults, "parts"),
            Goal.at_most(f"{NAME}: latencies beyond 0 to the deadline", 0, wrong, "parts"),
            *ledger.goals(NAME),
        ),
        ((f"{NAME}: the wall clock went back from event to event", back),),
    )

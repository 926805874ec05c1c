"""The scorer: out of memory or hung, for a while and for good."""

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from inspection.bench.faults.process import FAILED, LOOK_S, Station
from inspection.bench.faults.scenario import Finding, Scene
from inspection.bench.frame import Goal
from inspection.bundles.bundle import Bundle
from inspection.core.decision import Verdict
from inspection.core.records import Event

PARTS = 6  # before, during and after a fault
DEADLINE_MS = 300
MOST_LATE_MS = 100.0  # from the deadline to the event, on a busy machine
IN_A_ROW = 4  # parts after which the process has to end


def starve(scene: Scene) -> Finding:
    """Let the scorer run out of memory for some parts."""
    return _for_a_while(scene, "out of memory", refuse_memory, "MemoryError")


def hang(scene: Scene) -> Finding:
    """Let the scorer come back from no call for some parts."""
    return _for_a_while(scene, "hung scorer", hold, "no score within")


def starve_for_good(scene: Scene) -> Finding:
    """Let the scorer run out of memory until the process ends."""
    return _for_good(scene, "out of memory for good", refuse_memory)


def hang_for_good(scene: Scene) -> Finding:
    """Let the scorer come back no more until the process ends."""
    return _for_good(scene, "scorer hung for good", hold)


def refuse_memory(flag: Path) -> None:
    """Raise as the scorer does when there is no memory, while there is a file."""
    if flag.exists():
        raise MemoryError


def hold(flag: Path) -> None:
    """Come back when the file is gone."""
    while flag.exists():
        time.sleep(LOOK_S)


def ail(ill: Callable[[Path], None], flag: Path) -> None:
    """Let the scorer of this process be ill while there is a file."""
    real: Callable[..., object] = Bundle.judge_tiles

    def judge_tiles(*args: object, **kwargs: object) -> object:
        ill(flag)
        return real(*args, **kwargs)

    setattr(Bundle, Bundle.judge_tiles.__name__, judge_tiles)


def _for_a_while(scene: Scene, name: str, ill: Callable[[Path], None], reason: str) -> Finding:
    """Hold every part in between against its FAULT in time, every later one against a verdict."""
    flag = scene.work / "ill"
    with Station(scene.work, scene.bundle, deadline_ms=DEADLINE_MS) as station:
        station.start(partial(ail, ill, flag))
        _judge_one_by_one(station)
        flag.touch()
        _judge_one_by_one(station)
        flag.unlink()
        time.sleep(DEADLINE_MS / 1000)  # what hung must come back first
        _judge_one_by_one(station)
        ledger = station.finish()
    events = station.events()
    before, during, after = (events[at : at + PARTS] for at in (0, PARTS, 2 * PARTS))
    named = [event for event in during if _is_fault(event) and reason in event.reason]
    late_ms = max(event.latency_ms for event in during) - DEADLINE_MS
    return Finding(
        (
            Goal.at_least(f"{name}: FAULT with the reason", PARTS, len(named), "parts"),
            Goal.at_most(f"{name}: FAULT before and after", 0, _faults(before + after), "parts"),
            Goal.at_most(f"{name}: FAULT after the deadline by", MOST_LATE_MS, late_ms, "ms"),
            *ledger.goals(name),
        )
    )


def _for_good(scene: Scene, name: str, ill: Callable[[Path], None]) -> Finding:
    """See the process end with an error, and the next one go on."""
    flag = scene.work / "ill"
    flag.touch()
    with Station(
        scene.work, scene.bundle, deadline_ms=DEADLINE_MS, faults_in_a_row=IN_A_ROW
    ) as station:
        station.start(partial(ail, ill, flag))
        _judge_one_by_one(station, IN_A_ROW)
        began_s = time.monotonic()
        code = station.join()
        ended_s = time.monotonic() - began_s
        station.put(PARTS)
        station.start()
        ledger = station.finish()
    later = station.events()[IN_A_ROW:]
    return Finding(
        (
            Goal.at_most(f"{name}: exit code away from {FAILED}", 0, abs(code - FAILED), ""),
            Goal.at_most(f"{name}: ends itself", 10, ended_s, "s"),
            Goal.at_most(f"{name}: FAULT in the next process", 0, _faults(later), "parts"),
            *ledger.goals(name),
        )
    )


def _judge_one_by_one(station: Station, parts: int = PARTS) -> None:
    for _ in range(parts):
        count = len(station.part_ids) + 1
        station.put(1)
        station.wait(partial(station.signalled, count), "a verdict")


def _is_fault(event: Event) -> bool:
    return event.verdict is Verdict.FAULT


def _faults(events: list[Event]) -> int:
    return sum(map(_is_fault, events))

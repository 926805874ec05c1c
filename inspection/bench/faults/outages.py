"""Destinations that are gone: stopped, half-open, restarted; and what the line is told meanwhile.

One station has all of them at once, so it is seen, too, that none of them holds up another.
"""

import os
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial

from inspection.bench.faults.broker import Mqtt, find_mosquitto
from inspection.bench.faults.destination import Destination
from inspection.bench.faults.disk import limited
from inspection.bench.faults.plcs import Plc, talk_modbus, talk_opcua
from inspection.bench.faults.process import BEAT_MS, Station, wait_for
from inspection.bench.faults.receiver import Webhook
from inspection.bench.faults.scenario import Finding, Row, Scene, not_measured
from inspection.bench.frame import Goal
from inspection.bench.memory import MemorySource
from inspection.bench.redness import make_part
from inspection.core.records import Event
from inspection.station.outputs.courier import BACK_OFF
from inspection.station.sources.settings import CAMERA

PACE_S = 0.1  # from part to part
DISTINCT = 16  # frames in memory, used in turn
FIRST_PARTS = 3
TIMEOUT_S = 1.0  # after which a silent connection is given up
MOST_RECOVERY_S = TIMEOUT_S + BACK_OFF.most_s + 1
MOST_WAITING = 5  # events that an output may be behind while others are gone
TIMEOUT_MS = round(TIMEOUT_S * 1000)
MOST_SAFE_S = 3.0  # a blocked disk is seen after a second, a broker waits 1.5 keepalives
MOSQUITTO_S = 5.0  # it looks for clients that are silent so often
BEATS_S, LEAST_BEATS = 1.0, 0.5  # a busy machine may be late with some
NO_MOSQUITTO = "mosquitto is missing; install Debian's package of that name"


def break_destinations(scene: Scene) -> Finding:
    """Stop all destinations, let them go half-open, restart them; nothing may be lost."""
    rows: list[Row] = []
    goals: list[Goal] = []
    with _connected(scene) as (station, destinations):
        for phase in ("stopped", "half-open", "restarted"):
            for one in destinations:
                one.go_dumb() if phase == "half-open" else one.stop()
            if phase != "restarted":
                time.sleep(scene.options.outage_s)
            behind = {output.name: output.waiting for output in station.status().outputs}
            healed_s = time.monotonic()
            for one in destinations:
                one.heal() if phase == "half-open" else one.start()
            for one in destinations:
                station.wait(partial(_heard_after, one, healed_s), f"{one.name} after {phase}")
                took_s = one.heard.after_s(healed_s)
                what = f"{one.name} {phase}: first event after"
                goals.append(Goal.at_most(what, MOST_RECOVERY_S, took_s, "s"))
                rows.append((f"{one.name} {phase}: events that waited", behind[one.name]))
            _catch_up(station, destinations)
            goals.append(
                Goal.at_most(f"{phase}: csv was behind by", MOST_WAITING, behind["csv"], "events")
            )
        station.stop()
        events = station.events()
        for one in destinations:
            goals += _judge(one, events)
            rows.append((f"{one.name}: events that came again", one.heard.again))
    ledger = station.account([event.part_id for event in events])
    return _with_mosquitto(Finding((*goals, *ledger.goals("outages")), rows))


def drive_safe_output(scene: Scene) -> Finding:
    """Block a station, hang it and kill it, and see what the line is told."""
    goals: list[Goal] = []
    with _connected(scene) as (station, destinations):
        told = [one for one in destinations if one.safe is not None]
        goals += _beats(told)
        with limited(station):
            goals += _safe(told, "the disk takes nothing")
        _await_ready(station, told)
        os.kill(station.pid, signal.SIGSTOP)
        goals += _safe(told, "the station hangs")
        os.kill(station.pid, signal.SIGCONT)
        _await_ready(station, told)
        os.kill(station.pid, signal.SIGKILL)
        goals += _safe(told, "the station was killed")
    return _with_mosquitto(Finding(goals))


@contextmanager
def _connected(scene: Scene) -> Iterator[tuple[Station, Sequence[Destination]]]:
    """Run a station whose parts come at a steady pace to all destinations that there are."""
    with ExitStack() as stack:
        plcs = (Plc("modbus", TIMEOUT_S, talk_modbus), Plc("opcua", TIMEOUT_S, talk_opcua))
        destinations: list[Destination] = [stack.enter_context(plc) for plc in plcs]
        destinations.append(stack.enter_context(Webhook(TIMEOUT_MS)))
        if (binary := find_mosquitto()) is not None:
            broker = Mqtt(scene.work / "broker", binary, TIMEOUT_MS)
            destinations.append(stack.enter_context(broker))
        settings = [one.settings for one in destinations]
        station = stack.enter_context(Station(scene.work, scene.bundle, outputs=settings))
        station.start(source=make_flow)
        for one in destinations:
            station.wait(partial(_has, one, FIRST_PARTS), f"the first parts at {one.name}")
        yield station, destinations


def make_flow() -> MemorySource:
    """Make a source that brings parts at a steady pace until the station ends."""
    frames = [make_part(number) for number in range(DISTINCT)]
    return MemorySource([CAMERA], frames, sys.maxsize, pace_s=PACE_S)


def _catch_up(station: Station, destinations: Sequence[Destination]) -> None:
    sequence = station.status().sequence
    for one in destinations:
        station.wait(partial(_has, one, sequence), f"all events at {one.name}")


def _heard_after(destination: Destination, moment_s: float) -> bool:
    return destination.heard.after_s(moment_s) is not None


def _has(destination: Destination, count: int) -> bool:
    return destination.heard.last >= count


def _is_released(destination: Destination) -> bool:
    return destination.safe is False


def _is_safe(destination: Destination) -> bool:
    return destination.safe is not False


def _await_ready(station: Station, told: Sequence[Destination]) -> None:
    for one in told:
        station.wait(partial(_is_released, one), f"{one.name}: READY again")


def _judge(one: Destination, events: Sequence[Event]) -> tuple[Goal, ...]:
    """Hold what a destination got against the record."""
    wanted = {event.sequence: event.event_id for event in events}
    missing = sum(one.heard.events.get(sequence) != name for sequence, name in wanted.items())
    foreign = len(one.heard.events.keys() - wanted.keys())
    return (
        Goal.at_most(f"{one.name}: events it did not get", 0, missing, "events"),
        Goal.at_most(f"{one.name}: signals without an event", 0, foreign, "signals"),
        Goal.at_most(f"{one.name}: events out of order", 0, one.heard.wrong, "events"),
    )


def _safe(told: Sequence[Destination], when: str) -> Iterator[Goal]:
    """Measure how long it takes until each drives the safe output, or is told nothing."""
    began_s = time.monotonic()
    for one in told:
        wait_for(partial(_is_safe, one), f"{one.name}, when {when}: safe output")
        most_s = MOST_SAFE_S + (MOSQUITTO_S if one.name == "mqtt" else 0)
        took_s = time.monotonic() - began_s
        yield Goal.at_most(f"{one.name}, when {when}: safe output after", most_s, took_s, "s")


def _beats(told: Sequence[Destination]) -> Iterator[Goal]:
    """Count the heartbeats that reach each."""
    before = [one.beat for one in told]
    time.sleep(BEATS_S)
    for one, beat in zip(told, before, strict=True):
        what = f"{one.name}: heartbeats that came in {BEATS_S:.0f} s"
        wanted = LEAST_BEATS * BEATS_S * 1000 / BEAT_MS
        yield Goal.at_least(what, wanted, one.beat - beat, "beats")


def _with_mosquitto(found: Finding) -> Finding:
    """Say that the broker was left out, where it is missing."""
    if find_mosquitto() is not None:
        return found
    missing = not_measured("mqtt", NO_MOSQUITTO)
    return Finding((*found.goals, *missing.goals), (*found.rows, *missing.rows))

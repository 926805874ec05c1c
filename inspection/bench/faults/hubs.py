"""What may stand between a station's record and the hub: poison, twins, a record that was lost."""

import json
import shutil
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from sqlalchemy import select

from inspection.bench.faults.process import DONE, Station
from inspection.bench.faults.scenario import Finding, Scene
from inspection.bench.frame import Goal
from inspection.bench.hub.process import HubProcess
from inspection.core.errors import InspectionError
from inspection.core.records import Event
from inspection.hub.hub import Hub, open_hub
from inspection.hub.overview import overview
from inspection.hub.stations import enrol
from inspection.hub.tables import events
from inspection.hub.wire.line import NewStation
from inspection.station.outputs import hub as hub_output
from inspection.station.outputs.message import event_message
from inspection.station.outputs.output import refused_by
from inspection.station.outputs.settings import ActionSettings
from inspection.station.spool import SpoolReader

PARTS = 20
LINE = "line-1"
TWIN = 3  # takes the event id of the one before it
POISON: dict[int, dict[str, Any]] = {
    5: {"verdict": "MAYBE"},
    8: {"latency_ms": 1.7e308},
    11: {"frames": []},
    14: {"part_id": "nul\0"},
    17: {"sequence": -1},
}
"""Sequence → what is written over in that event on its way to the hub."""
LONGEST_MS = 864e5  # that a latency may be: a day
POISONED, ALIKE, LOST = "poison events", "two stations, the same pictures", "a lost record"


@dataclass(frozen=True)
class Plant:
    """A hub that runs, and what tells stations of it."""

    process: HubProcess
    hub: Hub
    folder: Path

    def output(self, station: str) -> dict[str, Any]:
        """Enrol a station; give the settings of its output."""
        token_file = self.folder / f"{station}.token"
        token = enrol(self.hub, NewStation(station=station, line=LINE), "bench").token
        token_file.write_text(token, encoding="utf-8")
        return {
            "kind": "hub",
            "url": self.process.url,
            "token_file": token_file,
            "status_ms": 100,
        }

    def ids(self) -> list[str]:
        """Give the ids of all events that the hub has."""
        with self.hub.database.reading() as connection:
            return list(connection.execute(select(events.c.event_id)).scalars())


@contextmanager
def running_plant(folder: Path) -> Iterator[Plant]:
    """Run a hub on an empty database."""
    folder.mkdir()
    with (
        HubProcess(folder, f"sqlite:///{folder}/hub.sqlite") as process,
        closing(open_hub(process.config)) as hub,
    ):
        yield Plant(process, hub, folder)


def poison_events(scene: Scene) -> Finding:
    """Let some events of a station be such that the hub can never take them."""
    with (
        running_plant(scene.work / "hub") as plant,
        Station(scene.work / "station", scene.bundle, outputs=[plant.output("station-1")]) as sick,
    ):
        sick.put(PARTS)
        sick.start(poison)
        sick.wait(partial(_all_delivered, sick, PARTS), "a queue without events")
        ledger = sick.finish()
        with SpoolReader(sick.config.data_dir) as record:
            refused = record.counters().get(refused_by("hub"), 0)
        spoilt = {TWIN, *POISON}
        wanted = {event.event_id for event in sick.events() if event.sequence not in spoilt}
        ids = plant.ids()
        longest_ms = max(line.latency_most_ms or 0 for line in overview(plant.hub, 24).lines)
    return Finding(
        (
            Goal.at_most(
                f"{POISONED}: sound events the hub lacks", 0, len(wanted - {*ids}), "events"
            ),
            Goal.at_most(f"{POISONED}: stored all the same", 0, len(ids) - len(wanted), "events"),
            Goal.at_least(f"{POISONED}: counted as refused", len(spoilt), refused, "events"),
            Goal.at_most(f"{POISONED}: longest latency of Overview", LONGEST_MS, longest_ms, "ms"),
            *ledger.goals(POISONED),
        ),
    )


def poison() -> None:
    """Let this process send some events otherwise than they are in its record."""
    ids: dict[int, str] = {}

    def poisoned_message(event: Event, actions: ActionSettings) -> bytes:
        ids[event.sequence] = event.event_id
        message = event_message(event, actions)
        changes = POISON.get(event.sequence, {})
        if event.sequence == TWIN:
            changes = {"event_id": ids[TWIN - 1]}
        return json.dumps(json.loads(message) | changes).encode() if changes else message

    vars(hub_output)[event_message.__name__] = poisoned_message


def show_alike(scene: Scene) -> Finding:
    """Let two stations judge the same files; both feeds must arrive whole."""
    names = ("station-1", "station-2")
    recorded: list[Event] = []
    goals: list[Goal] = []
    with running_plant(scene.work / "hub") as plant:
        for name in names:
            outputs = [plant.output(name)]
            with Station(scene.work / name, scene.bundle, outputs=outputs, station=name) as one:
                one.put(PARTS)
                one.start()
                one.wait(partial(_all_delivered, one, PARTS), f"all events of {name} at the hub")
                goals += one.finish().goals(f"{ALIKE}, {name}")
                recorded += one.events()
        goals.append(_missing(ALIKE, plant, recorded))
    return Finding(goals)


def lose_record(scene: Scene) -> Finding:
    """Let a station lose its record and judge the same files again; all must arrive."""
    with running_plant(scene.work / "hub") as plant:
        outputs = [plant.output("station-1")]
        with Station(scene.work / "station", scene.bundle, outputs=outputs) as station:
            station.put(PARTS)
            recorded = _run_to_hub(station)
            shutil.rmtree(station.config.data_dir)
            recorded += _run_to_hub(station)
        missing = _missing(LOST, plant, recorded)
    return Finding((missing,))


def _run_to_hub(station: Station) -> list[Event]:
    """Judge what is there until the hub has it; give the record."""
    station.start()
    station.wait(partial(_all_delivered, station, len(station.part_ids)), "all events at the hub")
    if (code := station.stop()) != DONE:
        raise InspectionError(f"the station ended with {code}; wanted {DONE}; see its log")
    return station.events()


def _missing(name: str, plant: Plant, recorded: Sequence[Event]) -> Goal:
    missing = len({event.event_id for event in recorded} - set(plant.ids()))
    return Goal.at_most(f"{name}: events the hub lacks", 0, missing, "events")


def _all_delivered(station: Station, count: int) -> bool:
    """Say whether a station has so many events and none of them waits for the hub."""
    if not station.has_beaten:
        return False
    status = station.status()
    waiting = {output.name: output.waiting for output in status.outputs}
    return status.sequence >= count and waiting.get("hub") == 0

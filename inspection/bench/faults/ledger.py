"""Holds what went into a station against its record, its signals and its CSV file."""

import csv
from collections import Counter
from collections.abc import Iterable
from dataclasses import astuple, dataclass
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np

from inspection.bench.faults.signals import Connection, Signals
from inspection.bench.frame import Goal
from inspection.core.records import Event
from inspection.station.pictures import FOLDER


@dataclass(frozen=True)
class Ledger:
    """What of a number of parts did not come out as promised; all but the first three are 0."""

    parts: int = 0
    signals: int = 0
    again: int = 0
    """Signals sent once more because a kill came before their acknowledgement was durable."""
    lost: int = 0
    """Parts without an event."""
    twice: int = 0
    """Events beyond one for each part."""
    gaps: int = 0
    """Sequences that are not one more than the last."""
    foreign: int = 0
    """Signals of no event in the record."""
    silent: int = 0
    """Events that were never signalled."""
    disordered: int = 0
    """Signals out of order, or sent again though their acknowledgement was durable."""
    csv_wrong: int = 0
    """Lines of the CSV file that are missing, double or out of order."""
    torn_pictures: int = 0
    """Kept pictures that cannot be read."""

    def __add__(self, other: "Ledger") -> "Ledger":
        """Sum two up."""
        return Ledger(*(a + b for a, b in zip(astuple(self), astuple(other), strict=True)))

    def goals(self, name: str) -> tuple[Goal, ...]:
        """Hold it against what is promised; `name` is the fault it went through."""
        wrong = self.gaps + self.disordered + self.silent + self.csv_wrong + self.torn_pictures
        return (
            Goal.at_most(f"{name}: events lost", 0, self.lost, "events"),
            Goal.at_most(f"{name}: events duplicated", 0, self.twice, "events"),
            Goal.at_most(f"{name}: signals without an event", 0, self.foreign, "signals"),
            Goal.at_most(f"{name}: gaps, disorder, silence, torn files", 0, wrong, "times"),
        )


def account(
    part_ids: Iterable[str], events: list[Event], signals: Signals, csv_path: Path, data_dir: Path
) -> Ledger:
    """Hold a station that has ended against what went into it.

    Args:
        part_ids: of every part that went in.
        events: the whole record.
        signals: all that left it.
        csv_path: its CSV output.
        data_dir: its folder, with the pictures.
    """
    parts = Counter(part_ids)
    seen = Counter(event.part_id for event in events)
    known = {(event.sequence, event.event_id) for event in events}
    sent = [(signal.sequence, signal.event_id) for signal in signals.all]
    return Ledger(
        parts=parts.total(),
        signals=len(sent),
        again=len(sent) - len(set(sent)),
        lost=len(parts - seen),
        twice=(seen - parts).total(),
        gaps=sum(event.sequence != place for place, event in enumerate(events, 1)),
        foreign=len(set(sent) - known),
        silent=len(known - set(sent)),
        disordered=sum(map(_disorder, signals.connections)),
        csv_wrong=_csv_wrong(csv_path, events),
        torn_pictures=_torn(data_dir / FOLDER),
    )


def _disorder(connection: Connection) -> int:
    """Count the signals of one life that do not follow on the last, or on the durable place."""
    places = [connection.place, *(signal.sequence for signal in connection.signals)]
    return sum(after != before + 1 for before, after in pairwise(places))


def _csv_wrong(path: Path, events: list[Event]) -> int:
    with path.open(encoding="utf-8", newline="") as stream:
        rows = [(int(row["sequence"]), row["event_id"]) for row in csv.DictReader(stream)]
    wanted = [(event.sequence, event.event_id) for event in events]
    wrong = sum(row != want for row, want in zip(rows, wanted, strict=False))
    return wrong + abs(len(rows) - len(wanted))


def _torn(folder: Path) -> int:
    pictures = [path for path in folder.rglob("*") if path.is_file() and path.name[0] != "."]
    return sum(
        cv2.imdecode(np.frombuffer(path.read_bytes(), np.uint8), cv2.IMREAD_COLOR) is None
        for path in pictures
    )

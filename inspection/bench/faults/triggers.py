"""A station whose parts come by triggers of a camera, and a list of them that outlives a kill.

The list is kept by the process itself, one write per line, which the system keeps whole when the
process is killed. It says what the line would: a trigger came, and the camera was asked for its
frame. What is durable in the station's record has no part in it.
"""

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path

from inspection.bench.faults.cameras import triggered, use_doubles
from inspection.bench.faults.ledger import Ledger
from inspection.bench.faults.process import DONE, Station
from inspection.core.errors import InspectionError
from inspection.station.sources.reader import CameraReader
from inspection.station.sources.source import Source
from inspection.station.sources.trigger import IntervalTriggers, Trigger

EVERY_MS = 5
SHUTTER = "shutter"


class TriggeredStation(Station):
    """A station of one camera that looks every few milliseconds.

    Args:
        work: a folder for all of it.
        bundle: judges.
        frames: of each part, one trigger for each.
    """

    def __init__(self, work: Path, bundle: Path, *, frames: int = 1) -> None:
        several = {"count": frames} if frames > 1 else None
        super().__init__(work, bundle, source=triggered(EVERY_MS), frames=several)
        self._list, self._camera = work / "triggers", work
        self._listed = 0  # bytes, when the last process was started

    def put(self, _count: int) -> None:
        """Do nothing: parts come by themselves."""

    def start(
        self, *prepare: Callable[[], None], source: Callable[[], Source] | None = None
    ) -> None:
        """Start a process with a camera, whose triggers are listed."""
        listed = partial(list_triggers, self._list)
        self._listed = self._list.stat().st_size if self._list.exists() else 0
        super().start(partial(use_doubles, self._camera), listed, *prepare, source=source)

    def works(self) -> bool:
        """Say whether this process has asked its camera for a part."""
        return self._list.exists() and SHUTTER in self._list.read_bytes()[self._listed :].decode()

    def finish(self) -> Ledger:
        """Let a running station bring some parts more, end it, and take stock.

        Raises:
            InspectionError: it does not end well.
        """
        self.wait(self.works, "a part")
        if (code := self.stop()) != DONE:
            raise InspectionError(f"the station ended with {code}; wanted {DONE}; see its log")
        shown, given = read_triggers(self._list)
        recorded = {event.part_id for event in self.events()}
        return self.account([name for name in given if name in shown or name in recorded])

    def unseen(self) -> int:
        """Count the triggers at which the process died before its camera was asked."""
        shown, given = read_triggers(self._list)
        return len(given - shown)


def list_triggers(path: Path) -> None:
    """Let this process list each trigger before anybody hears of it, and each frame asked for."""
    file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    wait, ask = IntervalTriggers.wait, CameraReader.ask

    def list_wait(triggers: IntervalTriggers, timeout_s: float) -> Trigger | None:
        trigger = wait(triggers, timeout_s)
        if trigger is not None:
            os.write(file, f"{trigger.part_id}\n".encode())
        return trigger

    def list_ask(reader: CameraReader) -> object:
        os.write(file, f"{SHUTTER}\n".encode())
        return ask(reader)

    setattr(IntervalTriggers, IntervalTriggers.wait.__name__, list_wait)
    setattr(CameraReader, CameraReader.ask.__name__, list_ask)


def read_triggers(path: Path) -> tuple[set[str], set[str]]:
    """Read the list.

    Returns:
        Ids of the parts a camera was asked for, and of all that were triggered.
    """
    shown: set[str] = set()
    given: set[str] = set()
    newest = ""
    for line in path.read_text(encoding="ascii").splitlines():
        if line == SHUTTER:
            shown.add(newest)
        else:
            newest = line
            given.add(line)
    return shown, given

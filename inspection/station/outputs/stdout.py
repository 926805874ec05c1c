"""Writes each event as one JSON line to stdout, at once."""

import sys
from collections.abc import Sequence

from inspection.core.records import Event
from inspection.station.outputs.output import OutputGone
from inspection.station.outputs.settings import StdoutSettings
from inspection.station.state import StationStatus


class StdoutOutput:
    """stdout of the station's process; after a kill its last lines may be written again."""

    batch = 100
    from_start = False  # a log of what happens now

    def __init__(self, settings: StdoutSettings) -> None:
        self.name = settings.name

    def connect(self) -> None:
        """Do nothing: stdout is open or gone."""

    def deliver(self, events: Sequence[Event]) -> int:
        """Write the events, one line each.

        Raises:
            OutputGone: whoever read stdout is gone.
        """
        try:
            sys.stdout.write("".join(event.model_dump_json() + "\n" for event in events))
            sys.stdout.flush()
        except OSError as error:
            raise OutputGone(
                f"signal of event {events[0].event_id} cannot be written to stdout "
                f"({error.strerror}); the event is recorded; restart the reader, then the station"
            ) from error
        return len(events)

    def beat(self, status: StationStatus) -> None:
        """Do nothing: stdout carries events only."""

    def close(self) -> None:
        """Do nothing: stdout belongs to the process."""

"""What the station asks of a source of parts."""

from threading import Event as Flag
from typing import Protocol

from inspection.station.part import Intake


class Source(Protocol):
    """Brings parts; runs in a thread of its own."""

    def run(self, intake: Intake, stop: Flag) -> None:
        """Hand parts to `intake` until `stop` is set or there will be none any more.

        What may come right again (a camera unplugged, a folder unmounted) is waited out, with
        `intake.source_state` saying so. What is lost of one part is a Fault in its frame.

        Raises:
            StationError: nothing will come any more, and a person must act.
        """
        ...

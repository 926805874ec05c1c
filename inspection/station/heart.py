"""Beats: tells every output, the supervisor and `station status` how the station stands."""

import logging
import os
import socket
from collections.abc import Callable
from pathlib import Path
from threading import Event as Flag

from inspection.core.errors import StationError
from inspection.core.folders import write_whole
from inspection.core.records import read_record
from inspection.station.clock import SYSTEM_CLOCK
from inspection.station.health import Health
from inspection.station.state import StationStatus

logger = logging.getLogger(__name__)

STATUS_FILE = "status.json"


class Heart:
    """Takes a snapshot every heartbeat and hands it on; runs in a thread of its own.

    Args:
        data_dir: where `status.json` is written for `inspection station status`.
        beat_s: time between two heartbeats.
        snapshot: makes the snapshot.
        tell: called with each snapshot; must neither wait nor raise.
    """

    def __init__(
        self,
        data_dir: Path,
        beat_s: float,
        health: Health,
        snapshot: Callable[[], StationStatus],
        tell: Callable[[StationStatus], None],
    ) -> None:
        self._path, self._beat_s, self._health = data_dir / STATUS_FILE, beat_s, health
        self._snapshot, self._tell = snapshot, tell
        self._unwritten = False
        self.status = snapshot()
        """The last snapshot."""

    def run(self, stop: Flag) -> None:
        """Beat until `stop` is set, and once more after it."""
        notify_supervisor("READY=1")
        while not stop.wait(self._beat_s):
            self.beat()
            if not self._health.hangs:
                notify_supervisor("WATCHDOG=1")
        notify_supervisor("STOPPING=1")
        self.beat()

    def beat(self) -> None:
        """Take one snapshot and hand it on."""
        self.status = self._snapshot()
        self._tell(self.status)
        try:
            write_whole(self._path, self.status.model_dump_json().encode())
        except OSError as error:  # the disk is full: the state says so elsewhere
            if not self._unwritten:
                logger.warning("status not written", extra={"reason": str(error)})
            self._unwritten = True
        else:
            self._unwritten = False


def read_status(data_dir: Path) -> tuple[StationStatus, float]:
    """Read the last snapshot of a station, running or not, and its age in seconds.

    Raises:
        StationError: no station ever ran there.
    """
    path = data_dir / STATUS_FILE
    if not path.is_file():
        raise StationError(
            f"{path}: found no status; wanted that of a station that ran at least once; start it "
            "with: inspection station run"
        )
    status = read_record(path, StationStatus)
    return status, (SYSTEM_CLOCK.now() - status.at).total_seconds()


def notify_supervisor(message: str) -> None:
    """Send systemd a message of its sd_notify(3) protocol, where it supervises this process."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return
    if address.startswith("@"):  # a name in Linux's abstract namespace
        address = "\0" + address[1:]
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
            channel.connect(address)
            channel.sendall(message.encode())
    except OSError as error:
        logger.warning("supervisor not told", extra={"reason": str(error)})

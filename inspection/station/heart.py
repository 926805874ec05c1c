"""Beats: tells every output, the supervisor and `station status` how the station stands."""

import errno
import fcntl
import logging
import math
import os
import socket
import time
from collections.abc import Callable
from pathlib import Path
from threading import Event as Flag

from inspection.core.errors import InspectionError, StationError
from inspection.core.folders import write_whole
from inspection.core.limits import open_file
from inspection.core.records import read_record
from inspection.station.clock import SYSTEM_CLOCK
from inspection.station.health import Health
from inspection.station.spool import LOCK_FILE
from inspection.station.state import StationState, StationStatus

logger = logging.getLogger(__name__)

STATUS_FILE = "status.json"
TORN_S = 0.1  # between two tries to read a snapshot
SPARE_BYTES = 4096  # after each snapshot, so that a longer one finds room on a full disk


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
        starting = True
        now_s = SYSTEM_CLOCK.monotonic
        pace_s, due_s = min(self._beat_s, _watchdog_s() / 2), now_s() + self._beat_s
        while not stop.wait(min(pace_s, max(due_s - now_s(), 0.0))):
            if now_s() >= due_s:
                self.beat()
                due_s = now_s() + self._beat_s
            if starting and self.status.state is not StationState.STARTING:
                notify_supervisor("READY=1")
                starting = False
            if not self._health.hangs:
                notify_supervisor("WATCHDOG=1")
        notify_supervisor("STOPPING=1")
        self.beat()

    def beat(self) -> None:
        """Take one snapshot and hand it on."""
        self.status = self._snapshot()
        self._tell(self.status)
        try:
            self._write(self.status.model_dump_json().encode())
        except OSError as error:
            if not self._unwritten:
                logger.warning("status not written", extra={"reason": str(error)})
            self._unwritten = True
        else:
            self._unwritten = False

    def _write(self, content: bytes) -> None:
        """Replace the file; on a full disk write into the room it has, which may be read torn."""
        try:
            write_whole(self._path, content + b" " * SPARE_BYTES)
        except OSError as error:
            if error.errno not in {errno.ENOSPC, errno.EDQUOT}:
                raise
            with self._path.open("r+b", buffering=0) as stream:
                room = os.fstat(stream.fileno()).st_size
                if len(content) > room:
                    raise
                stream.write(content.ljust(room))


def read_status(data_dir: Path) -> tuple[StationStatus, float]:
    """Read the last snapshot of a station, running or not, and its age in seconds.

    Raises:
        StationError: no station ever ran there, or its status cannot be read.
    """
    path = data_dir / STATUS_FILE
    if not path.is_file():
        raise StationError(
            f"{path}: found no status; wanted that of a station that ran at least once; start it "
            "with: inspection station run"
        )
    try:
        status = read_record(path, StationStatus)
    except InspectionError:  # perhaps it was just being written on a full disk
        time.sleep(TORN_S)
        status = read_record(path, StationStatus)
    return status, (SYSTEM_CLOCK.now() - status.at).total_seconds()


def is_running(data_dir: Path) -> bool:
    """Say whether a living process has the station's folder, however old its status is.

    True also where this user may not ask: then the status' age alone tells.
    """
    try:
        with open_file(data_dir / LOCK_FILE) as stream:
            fcntl.flock(stream, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except OSError:
        return True
    return False


def _watchdog_s() -> float:
    """Give the silence after which the supervisor kills this process; endless without one."""
    given = os.environ.get("WATCHDOG_USEC", "")
    return int(given) / 1e6 if given.isdecimal() and int(given) else math.inf


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

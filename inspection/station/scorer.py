"""Holds the process that scores with one challenger: starts it, asks it, ends it.

Nothing that goes wrong there reaches the station: a process that crashes or hangs is ended.
"""

import socket
import struct
import subprocess
import sys
from contextlib import suppress
from multiprocessing.connection import Connection
from threading import Thread

import numpy as np

from inspection.core.errors import StationError
from inspection.core.imaging import Rgb
from inspection.station.scoring import Answered, Asked, Opening

PROGRAM = (  # imports at the lowest priority, too
    "from inspection.bundles.priority import step_back; step_back(); "
    "from inspection.station.scoring import main; main()"
)
OPEN_S = 300  # until the bundle is open: what the line leaves of the processor may be little
SCORE_S = 60  # until a frame is scored; beyond it hangs, or the line leaves it no processor
END_S = 5.0  # a process that was killed and has not ended is left behind


class Starved(StationError):
    """No answer came in time: the process hangs or gets no processor, which cannot be told."""


class Scorer:
    """A challenger's process; asked by one thread, closed by any."""

    def __init__(self, opening: Opening) -> None:
        ours, theirs = socket.socketpair()
        for way in (socket.SO_SNDTIMEO, socket.SO_RCVTIMEO):  # struct timeval
            ours.setsockopt(socket.SOL_SOCKET, way, struct.pack("ll", SCORE_S, 0))
        self._opening: Opening | None = opening
        with theirs:
            self._process = subprocess.Popen(  # noqa: S603 - our own program, no shell
                [sys.executable, "-c", PROGRAM, str(theirs.fileno())],
                stdin=subprocess.PIPE,  # closed with us, by which it ends
                stdout=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                process_group=0,  # Ctrl-C is for the station; a new session's priority is its own
            )
        self._end = Connection(ours.detach())

    @property
    def pid(self) -> int:
        """Number of the process."""
        return self._process.pid

    def open(self) -> None:
        """Wait until the bundle is open; once it is, that costs nothing.

        Raises:
            Starved: no answer came in time; it is closed.
            StationError: it cannot be opened there, or the process ended; it is closed.
        """
        if self._opening is not None:
            words = self._ask(self._opening, None, OPEN_S)
            if words != "":
                self.close()
                raise StationError(str(words))
            self._opening = None

    def score(self, asked: Asked, pixels: Rgb) -> Answered:
        """Let a frame be scored.

        Args:
            asked: what is wanted of it.
            pixels: uint8 H×W×3 RGB.

        Raises:
            Starved: no answer came in time; it is closed.
            StationError: the process ended; it is closed.
        """
        answered = self._ask(asked, pixels, SCORE_S)
        if not isinstance(answered, Answered):
            raise StationError(f"found {type(answered).__name__}; wanted an answer")
        return answered

    def close(self) -> None:
        """End the process, whatever it does; waits for nothing, a heartbeat calls it."""
        self._process.kill()
        if self._process.stdin is not None:
            self._process.stdin.close()
        Thread(target=self._reap, name="reap", daemon=True).start()

    def _reap(self) -> None:
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(END_S)

    def _ask(self, question: object, pixels: Rgb | None, patience_s: float) -> object:
        try:
            self._end.send(question)
            if pixels is not None:
                self._end.send_bytes(np.ascontiguousarray(pixels).data.cast("B"))
            if self._end.poll(patience_s):
                return self._end.recv()
            late = True
        except BlockingIOError:  # the socket's own patience
            late = True
        except (EOFError, OSError):
            late = False
        self.close()
        who = "the process that scores in the shadow"
        if late:
            raise Starved(f"{who} said nothing for {patience_s} s; it is started anew later")
        self._reap()
        code = self._process.returncode
        raise StationError(f"{who} ended, exit code {code}; it is started anew later")

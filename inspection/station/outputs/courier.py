"""Carries events from the record to one output, in strict order, and starts anew when it fails.

Each output has a courier, a thread of its own, so that one that is down holds up neither the loop
nor another output. It knows one number, the last acknowledged sequence: what lies behind it is
delivered again after whatever went wrong, under the same event_id and sequence, and nothing is
ever skipped.
"""

import logging
import random
from collections import deque
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from threading import Condition, Lock, Thread
from typing import Protocol

from inspection.core.errors import StationError
from inspection.core.records import Event
from inspection.station.outputs.output import Output, OutputDown, OutputGone
from inspection.station.state import OutputStatus, StationStatus

logger = logging.getLogger(__name__)

RECENT = 128  # events handed over in memory; an output farther behind is served from the record
PAUSE_S = 0.05  # before an output that acknowledged nothing is asked again
STOP_S = 15.0  # an output may still wait for an answer when the station stops


class Records(Protocol):
    """The record as a courier reads it; opened, used and closed in the courier's thread."""

    def after(self, sequence: int, limit: int) -> list[Event]:
        """Give at most `limit` committed events, the first that come after `sequence`."""
        ...

    def close(self) -> None:
        """Let the record go."""
        ...


@dataclass(frozen=True)
class BackOff:
    """Pauses between two tries: each twice the last, up to a limit.

    Each is shortened at random by up to half, so that the stations of a plant do not all come back
    to a restarted server at once.
    """

    first_s: float = 0.5
    most_s: float = 2.0

    def pause_s(self, failures: int) -> float:
        """Give the pause after so many failures in a row, at least 1; seconds."""
        doublings = min(failures - 1, 30)  # 2 ** 10,000 is no float
        return min(self.first_s * 2.0**doublings, self.most_s) * random.uniform(0.5, 1)


BACK_OFF = BackOff()


class Courier:
    """The way of events to one output; all its methods may be called from any thread."""

    def __init__(
        self,
        output: Output,
        open_records: Callable[[], Records],
        delivered: int,
        acknowledge: Callable[[str, int], None],
        back_off: BackOff = BACK_OFF,
        newest: int | None = None,
    ) -> None:
        """Prepare; `start` begins.

        Args:
            output: where events go.
            open_records: opens the record, in the courier's thread, for each connection.
            delivered: sequence the output acknowledged last in an earlier run; 0 without one.
            acknowledge: called in the courier's thread with the output's name and the sequence up
                to which everything is delivered. It need not be durable at once: what it loses is
                delivered again.
            back_off: pauses between two tries.
            newest: sequence of the record's last event now. An event beyond it is not delivered
                before it was published, for until then it may still be amended; without it the
                record is read to its end first.
        """
        self.failed: OutputGone | None = None
        """Why the output will never come back, so that the station must end; else none."""
        self._output = output
        self._open_records = open_records
        self._acknowledge = acknowledge
        self._back_off = back_off
        self._changed = Condition()  # guards all that follows but the last three
        self._recent: deque[Event] = deque(maxlen=RECENT)
        self._newest = newest  # in the record; none until it was read to its end
        self._delivered = delivered
        self._up = False
        self._reason = "not connected yet"
        self._lost: OutputDown | None = None  # what a heartbeat found
        self._stopping = False
        self._beating = Lock()  # guards the next two
        self._closed = False
        self._mute_beat = ""  # what the last heartbeat complained of
        self._failures = 0  # in a row; of the courier's thread alone
        self._thread = Thread(target=self._run, name=f"courier {output.name}", daemon=True)

    def start(self) -> None:
        """Begin to deliver what the record holds and `publish` brings."""
        self._thread.start()

    def publish(self, event: Event) -> None:
        """Hear of an event that is in the record now; called in order, never waits."""
        with self._changed:
            self._recent.append(event)
            self._newest = event.sequence
            self._changed.notify_all()

    def beat(self, status: StationStatus) -> None:
        """Pass a heartbeat on; what goes wrong with it is logged once, until one succeeds."""
        with self._beating:
            if self._closed:
                return
            try:
                self._output.beat(status)
            except OutputDown as error:
                with self._changed:
                    self._lost = error
                    self._changed.notify_all()
            except Exception as error:  # noqa: BLE001 - a heartbeat must not end the others'
                if (reason := _words(error)) != self._mute_beat:
                    self._mute_beat = reason
                    logger.error(  # noqa: TRY400 - one line; it may come back for days
                        "heartbeat failed", extra={"output": self._output.name, "reason": reason}
                    )
            else:
                self._mute_beat = ""

    def status(self, last_sequence: int) -> OutputStatus:
        """Say how the output stands, the record ending with `last_sequence`."""
        with self._changed:
            return OutputStatus(
                name=self._output.name,
                up=self._up,
                waiting=max(0, last_sequence - self._delivered),
                reason=self._reason,
            )

    def drain(self, until_sequence: int, timeout_s: float) -> bool:
        """Wait until everything up to a sequence is acknowledged; false when it was not in time."""
        with self._changed:
            self._changed.wait_for(
                lambda: self._delivered >= until_sequence or self._stopping or self.failed,
                timeout_s,
            )
            return self._delivered >= until_sequence

    def stop(self, timeout_s: float = STOP_S) -> None:
        """End the thread, which closes the output; what is not acknowledged stays in the record.

        An output that hangs longer than `timeout_s` is left to die with the process.
        """
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
        if self._thread.ident is None:  # never started, so nothing is open
            return
        self._thread.join(timeout_s)
        if self._thread.is_alive():
            logger.error("output does not end", extra={"output": self._output.name})

    def _run(self) -> None:
        while not self._stopping and self.failed is None:
            try:
                self._serve()
            except OutputGone as error:
                self._give_up(error)
            except OutputDown as error:
                self._go_down(str(error))
            except Exception as error:  # noqa: BLE001 - logged; whatever it was, it is tried again
                self._go_down(_words(error), error)
        self._close()

    def _serve(self) -> None:
        """Connect and deliver until stopped; leaves by an exception when something fails."""
        with self._changed:
            self._lost = None
        with closing(self._open_records()) as records:
            self._output.connect()
            while not self._stopping:
                if self._lost is not None:
                    raise self._lost
                events = self._next(records)
                if events:
                    self._deliver(events)
                else:
                    self._idle()

    def _next(self, records: Records) -> list[Event]:
        """Give the events after the last acknowledged one, from memory where that has them."""
        with self._changed:
            while self._recent and self._recent[0].sequence <= self._delivered:
                self._recent.popleft()
            if self._recent and self._recent[0].sequence == self._delivered + 1:
                return list(islice(self._recent, self._output.batch))
            newest = self._newest
            if newest is not None and newest <= self._delivered:
                return []
        events = records.after(self._delivered, self._output.batch)
        if newest is not None:
            events = [event for event in events if event.sequence <= newest]
        if events:
            return events
        if newest is not None:
            raise StationError(
                f"the record has no event after {self._delivered}, but event {newest} was "
                "published; check the record with inspection station status"
            )
        with self._changed:
            if self._newest is None:  # nothing was published while the record was read
                self._newest = self._delivered
        return []

    def _deliver(self, events: list[Event]) -> None:
        count = self._output.deliver(events)
        if not 0 <= count <= len(events):
            raise StationError(f"acknowledged {count} of {len(events)} events; this is a defect")
        if count:
            self._go_on(events[count - 1].sequence)
            return
        with self._changed:
            if not self._up:
                self._reason = f"connected; waits until event {events[0].sequence} is acknowledged"
            self._changed.wait_for(lambda: self._stopping or self._lost, PAUSE_S)

    def _go_on(self, sequence: int) -> None:
        with self._changed:
            self._delivered = sequence
        self._acknowledge(self._output.name, sequence)
        self._come_up()

    def _idle(self) -> None:
        """Wait for the next event; an output that has all counts as up."""
        self._come_up()
        with self._changed:
            self._changed.wait_for(
                lambda: self._stopping or self._lost or (self._newest or 0) > self._delivered
            )

    def _come_up(self) -> None:
        if not self._up:
            logger.info("output up", extra={"output": self._output.name})
        self._failures = 0
        with self._changed:
            self._up, self._reason = True, ""
            self._changed.notify_all()

    def _go_down(self, reason: str, error: Exception | None = None) -> None:
        """Say why, once for each reason, and wait; `error` is one that nobody foresaw."""
        with self._changed:
            new = self._up or reason != self._reason
            self._up, self._reason = False, reason
        if new:
            level = logging.WARNING if error is None else logging.ERROR
            fields = {"output": self._output.name, "reason": reason}
            logger.log(level, "output down", extra=fields, exc_info=error)
        self._failures += 1
        with self._changed:
            self._changed.wait_for(lambda: self._stopping, self._back_off.pause_s(self._failures))

    def _give_up(self, error: OutputGone) -> None:
        logger.error("output gone", extra={"output": self._output.name, "reason": str(error)})
        with self._changed:
            self.failed, self._up, self._reason = error, False, str(error)
            self._changed.notify_all()

    def _close(self) -> None:
        with self._beating:
            self._closed = True
        try:
            self._output.close()
        except Exception as error:
            logger.exception(
                "output did not close",
                extra={"output": self._output.name, "reason": _words(error)},
            )
        with self._changed:
            if self.failed is None:
                self._up, self._reason = False, "stopped"


def _words(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"

"""Shows a PLC one result at a time until it acknowledges it, and the safe output otherwise.

Modbus and OPC UA show the same; this knows neither. Nothing here needs a timer: what may be shown
is worked out from the clock whenever somebody looks.
"""

from collections.abc import Callable
from threading import Condition
from typing import NamedTuple

from inspection.core.decision import Verdict
from inspection.core.records import Event
from inspection.station.clock import Clock
from inspection.station.outputs.settings import Action, ActionSettings
from inspection.station.state import StationState, StationStatus

STALE_BEATS = 3
"""Heartbeats that may fail to come before the station counts as dead."""
DELIVERY_S = 1.0
"""How long one delivery waits for its acknowledgement."""
FAREWELL_S = 1.0
"""How long the end of the station is shown to a PLC that looks."""
VERDICT_CODES = {Verdict.PASS: 1, Verdict.REVIEW: 2, Verdict.REJECT: 3, Verdict.FAULT: 4}
ACTION_CODES = {Action.RELEASE: 1, Action.REJECT: 2, Action.HOLD: 3}


class Answered(NamedTuple):
    """The trigger a result answers."""

    serial: int
    """Counts the triggers the station took; 0 where it is not known. Never comes twice."""
    number: int
    """The PLC's own number of it, which comes again and again; 0 where it is not known."""


UNKNOWN = Answered(0, 0)


class Shown(NamedTuple):
    """What a PLC may be told at one moment."""

    state: StationState | None
    """None when the station gives no sign of life."""
    reason: str
    """Why it is not READY; empty when it is."""
    status: StationStatus | None
    """Of the last heartbeat, however long ago; none before the first."""
    event: Event | None
    """The result that waits for its acknowledgement, or the last one where none is asked for."""
    trigger: Answered
    action: Action
    """What the line may do now; the safe output unless a READY station shows a result."""

    @property
    def ready(self) -> bool:
        """Whether the station judges and its verdicts may be acted upon."""
        return self.state is StationState.READY


class Handshake:
    """One result on show between the station and its PLC; for several threads."""

    def __init__(
        self, actions: ActionSettings, *, acknowledge: bool, heartbeat_s: float, clock: Clock
    ) -> None:
        self._actions = actions
        self._acknowledge = acknowledge
        self._stale_s = STALE_BEATS * heartbeat_s
        self._clock = clock
        self._changed = Condition()
        self._status: StationStatus | None = None
        self._beat_s = 0.0
        self._left = False
        self._event: Event | None = None
        self._trigger = UNKNOWN
        self._acknowledged = 0  # sequence of the last event that was
        self.on_change: Callable[[], None] = _nothing
        """Called, in the thread of the change, after what is shown has changed."""

    def beat(self, status: StationStatus) -> None:
        """Take the station's sign of life."""
        with self._changed:
            self._status, self._beat_s = status, self._clock.monotonic()
        self.on_change()

    def deliver(self, event: Event, *, trigger: Answered, timeout_s: float) -> bool:
        """Show a result and wait for its acknowledgement, where one is asked for.

        A result that was acknowledged since the last call is not shown again. One that was not
        stays on show.
        """
        with self._changed:
            if self._acknowledged != event.sequence:
                self._event, self._trigger = event, trigger
        self.on_change()
        with self._changed:
            return not self._acknowledge or self._changed.wait_for(
                lambda: self._acknowledged == event.sequence, timeout_s
            )

    def acknowledge(self, sequence: int) -> bool:
        """Take the shown result off; false, and nothing happens, when another or none is shown."""
        with self._changed:
            if self._event is None or self._event.sequence != sequence:
                return False
            self._event, self._trigger, self._acknowledged = None, UNKNOWN, sequence
            self._changed.notify_all()
        self.on_change()
        return True

    def leave(self) -> None:
        """Show from now on that the station stopped."""
        with self._changed:
            self._left = True
        self.on_change()

    def show(self) -> Shown:
        """Say what a PLC may be told now."""
        with self._changed:
            state, reason = self._state()
            action = self.safe
            if state is StationState.READY and self._event is not None:
                action = self._actions.of(self._event.verdict)
            return Shown(state, reason, self._status, self._event, self._trigger, action)

    @property
    def safe(self) -> Action:
        """The safe output."""
        return self._actions.of(Verdict.FAULT)

    def _state(self) -> tuple[StationState | None, str]:
        if self._left:
            return StationState.STOPPED, "the station was stopped"
        if self._status is None:
            return None, "the station has not reported yet"
        silent_s = self._clock.monotonic() - self._beat_s
        if silent_s > self._stale_s:
            return None, f"no sign of life from the station for {silent_s:.1f} s; restart it"
        return self._status.state, self._status.reason


def _nothing() -> None:
    """Nobody wants to know."""

"""Publishes each event as JSON to an MQTT broker, and the station's state as a retained message.

Events go to TOPIC/events with QoS 1. The state goes to TOPIC/state, retained, with each heartbeat:
`state` and `reason` of the station, the count `beat`, the time `at`, the `sequence` of the last
event, and in `action` what the line must do with parts while the station is not READY. When the
broker loses the station it publishes the last will there: STOPPED, the safe action, no beat.
"""

from collections.abc import Sequence

from pydantic import AwareDatetime, StrictInt

from inspection.core.config import Settings
from inspection.core.records import Event
from inspection.station.outputs.broker import IN_FLIGHT, Broker, Message, require_topic
from inspection.station.outputs.message import event_message
from inspection.station.outputs.settings import Action, ActionSettings, MqttSettings
from inspection.station.state import StationState, StationStatus


class StateMessage(Settings):
    """What stands under TOPIC/state; only READY, with a beat that goes on, lets parts go."""

    state: StationState
    reason: str
    action: Action | None
    """What the line must do with parts now; none while READY, when each event says it."""
    beat: StrictInt | None = None
    at: AwareDatetime | None = None
    sequence: StrictInt | None = None


class MqttOutput:
    """One broker and topic."""

    batch = IN_FLIGHT
    from_start = True

    def __init__(
        self, settings: MqttSettings, line: str, station: str, actions: ActionSettings
    ) -> None:
        """Prepare.

        Raises:
            ConfigError: line or station give no valid topic.
        """
        self.name = settings.name
        self._actions = actions
        topic = settings.topic.replace("{line}", line).replace("{station}", station)
        self._topic = require_topic(topic, "+#\0")
        self._broker = Broker(settings, line, station)

    def connect(self) -> None:
        """Connect anew.

        Raises:
            OutputDown: the broker cannot be reached, or refuses.
        """
        self._broker.connect(will=self._stopped("the broker lost the station"))

    def deliver(self, events: Sequence[Event]) -> int:
        """Publish events; give how many of them, from the first, the broker acknowledged.

        Raises:
            OutputDown: the connection is lost, or the broker is silent or refuses an event.
        """
        return self._broker.deliver(events, self._event)

    def beat(self, status: StationStatus) -> None:
        """Publish the state.

        Raises:
            OutputDown: the connection is lost, or the broker is silent or refuses the state.
        """
        ready = status.state is StationState.READY
        message = StateMessage(
            state=status.state,
            reason=status.reason,
            action=None if ready else Action(self._actions.safe),
            beat=status.beat,
            at=status.at,
            sequence=status.sequence,
        )
        self._broker.beat(lambda: [self._state(message)])

    def close(self) -> None:
        """Publish that the station has stopped, and disconnect."""
        self._broker.leave(last=self._stopped("the station has ended"))

    def _event(self, event: Event) -> list[Message]:
        return [Message(f"{self._topic}/events", event_message(event, self._actions))]

    def _stopped(self, reason: str) -> Message:
        safe = Action(self._actions.safe)
        return self._state(StateMessage(state=StationState.STOPPED, reason=reason, action=safe))

    def _state(self, message: StateMessage) -> Message:
        payload = message.model_dump_json().encode()
        return Message(f"{self._topic}/state", payload, retain=True)

"""Speaks Sparkplug B 3.0 to an MQTT broker: group is the line, edge node the station.

NBIRTH (seq 0, bdSeq, every metric with its present value) follows each connection and each rebirth
command; then NDATA with seq 1 to 255, 0, 1, … carries one event, or State and Heartbeat with each
heartbeat. NDEATH is the last will, and is published when the station ends.

One thing is not as in the specification: NDATA has QoS 1 instead of 0, since only an acknowledged
event may leave the record. Host applications see no difference, except that after a lost
connection some events may come again: Sequence and Event Id tell.
"""

import logging
import time
from collections.abc import Sequence

from inspection.core.known import words_of_types
from inspection.core.limits import Rate
from inspection.core.records import Event
from inspection.station.outputs.broker import IN_FLIGHT, Broker, Listen, Message, require_topic
from inspection.station.outputs.settings import ActionSettings, MqttSettings
from inspection.station.outputs.sparkplug_payload import Kind, Metric, encode_payload, wants
from inspection.station.state import StationState, StationStatus

logger = logging.getLogger(__name__)

LINES_A_MINUTE = 10  # of the log, whatever comes as commands
REBIRTH = "Node Control/Rebirth"
EVENT_METRICS = {
    "Verdict": Kind.STRING,
    "Action": Kind.STRING,
    "Part Id": Kind.STRING,
    "Product": Kind.STRING,
    "Score": Kind.DOUBLE,
    "Reason": Kind.STRING,
    "Sequence": Kind.INT64,
    "Event Id": Kind.STRING,
    "Types": Kind.STRING,
}


class SparkplugOutput:
    """One edge node without devices."""

    batch = IN_FLIGHT
    from_start = True

    def __init__(
        self, settings: MqttSettings, line: str, station: str, actions: ActionSettings
    ) -> None:
        """Prepare.

        Raises:
            ConfigError: line or station cannot be a group or edge node.
        """
        self.name = settings.name
        self._actions = actions
        self._group, self._node = (require_topic(name, "/+#\0") for name in (line, station))
        self._broker = Broker(settings, line, station)
        self._bd_seq = 255  # number of the connection; the first is 0
        self._seq = 0
        self._birth_due = True
        self._complaints = Rate(LINES_A_MINUTE)
        self._event: Event | None = None  # the last one sent
        self._state, self._beat, self._beat_ms = StationState.STARTING, 0, _now_ms()

    def connect(self) -> None:
        """Connect anew; the birth follows with the next heartbeat or event.

        Raises:
            OutputDown: the broker cannot be reached, or refuses.
        """
        self._broker.leave()  # so that no heartbeat takes the birth to the old connection
        self._bd_seq = (self._bd_seq + 1) % 256
        self._birth_due = True
        commands = Listen(self._topic("NCMD"), self._hear)
        self._broker.connect(will=self._death(), listen=commands)

    def deliver(self, events: Sequence[Event]) -> int:
        """Publish events; give how many of them, from the first, the broker acknowledged.

        Raises:
            OutputDown: the connection is lost, or the broker is silent or refuses an event.
        """
        return self._broker.deliver(events, self._event_messages)

    def beat(self, status: StationStatus) -> None:
        """Publish State and Heartbeat, or the birth when one is due.

        Raises:
            OutputDown: the connection is lost, or the broker is silent or refuses the state.
        """
        self._broker.beat(lambda: self._state_messages(status))

    def close(self) -> None:
        """Publish the node's death, and disconnect."""
        self._broker.leave(last=self._death())

    # The broker calls the next two one at a time, so that seq follows the order of sending.

    def _event_messages(self, event: Event) -> list[Message]:
        birth = self._birth()
        self._event = event
        return [*birth, self._data(self._event_metrics())]

    def _state_messages(self, status: StationStatus) -> list[Message]:
        self._state, self._beat = status.state, status.beat
        self._beat_ms = _ms(status.at.timestamp())
        return self._birth() or [self._data(self._state_metrics())]

    def _birth(self) -> list[Message]:
        """Give the birth if it is due."""
        if not self._birth_due:
            return []
        self._birth_due = False
        self._seq = 0
        metrics = [
            self._bd_seq_metric(),
            Metric(REBIRTH, Kind.BOOLEAN, value=False, timestamp_ms=_now_ms()),
            *self._event_metrics(),
            *self._state_metrics(),
        ]
        payload = encode_payload(metrics, _now_ms(), self._seq)
        return [Message(self._topic("NBIRTH"), payload, qos=0)]

    def _data(self, metrics: Sequence[Metric]) -> Message:
        self._seq = (self._seq + 1) % 256
        return Message(self._topic("NDATA"), encode_payload(metrics, _now_ms(), self._seq))

    def _death(self) -> Message:
        payload = encode_payload([self._bd_seq_metric()], _now_ms(), None)
        return Message(self._topic("NDEATH"), payload)

    def _event_metrics(self) -> list[Metric]:
        """Give the metrics of the last event, without values before the first."""
        event = self._event
        if event is None:
            return [Metric(name, kind, None, _now_ms()) for name, kind in EVENT_METRICS.items()]
        values = (
            event.verdict.value,
            self._actions.of(event.verdict).value,
            event.part_id,
            event.product,
            event.deciding.score,
            event.reason,
            event.sequence,
            event.event_id,
            words_of_types(frame.recognised for frame in event.frames),
        )
        judged_ms = _ms(event.judged_at.timestamp())
        return [
            Metric(name, kind, value, judged_ms)
            for (name, kind), value in zip(EVENT_METRICS.items(), values, strict=True)
        ]

    def _state_metrics(self) -> list[Metric]:
        return [
            Metric("State", Kind.STRING, self._state.value, self._beat_ms),
            Metric("Heartbeat", Kind.INT64, self._beat, self._beat_ms),
        ]

    def _bd_seq_metric(self) -> Metric:
        return Metric("bdSeq", Kind.INT64, self._bd_seq, _now_ms())

    def _topic(self, kind: str) -> str:
        return f"spBv1.0/{self._group}/{kind}/{self._node}"

    def _hear(self, payload: bytes) -> None:
        """Take a command, in the network's thread."""
        try:
            rebirth = wants(payload, REBIRTH)
        except ValueError as error:
            if self._complaints.take():
                left_out = self._complaints.refused
                fields = {"output": self.name, "reason": str(error), "left_out": left_out}
                logger.warning("command is no Sparkplug payload", extra=fields)
            return
        if rebirth:
            self._birth_due = True


def _now_ms() -> int:
    return _ms(time.time())


def _ms(seconds: float) -> int:
    """Give milliseconds since 1970; 0 for a clock that stands before."""
    return max(0, round(seconds * 1000))

"""What the tests of MQTT ask of the fault suite's broker, subscriber and network beyond its own."""

import json
import signal
import socket
from contextlib import suppress
from pathlib import Path

import pytest
from paho.mqtt.client import MQTTMessage

from inspection.bench.faults import broker, network
from tests.station.outputs.record import WAIT_S

BINARY = broker.find_mosquitto()
needs_mosquitto = pytest.mark.skipif(
    BINARY is None, reason="mosquitto is missing; install Debian's package of that name"
)


class Mosquitto(broker.Mosquitto):
    """A broker whose sessions outlive a kill, too."""

    def __init__(self, folder: Path, *lines: str) -> None:
        saving = ("autosave_on_changes true", "autosave_interval 1")
        super().__init__(BINARY, folder, *saving, *lines)

    def freeze(self) -> None:
        """Let it do nothing more; it can only be killed then."""
        self._process.send_signal(signal.SIGSTOP)


class Subscriber(broker.Subscriber):
    """Keeps what it hears, and is back at once when the broker is."""

    def __init__(self, running: Mosquitto, topic: str) -> None:
        self.heard: list[MQTTMessage] = []
        super().__init__(running, topic, self.heard.append)
        self._client.reconnect_delay_set(0.02, 0.1)

    def publish(self, topic: str, payload: bytes) -> None:
        """Say something oneself."""
        self._client.publish(topic, payload, qos=1).wait_for_publish(WAIT_S)

    @property
    def messages(self) -> list[dict[str, object]]:
        """The JSON of all that was heard."""
        return [json.loads(message.payload) for message in list(self.heard)]

    def sequences(self) -> list[int]:
        """Give the sequences in the order they came first; QoS 1 may bring one again."""
        return list(dict.fromkeys(message["sequence"] for message in self.messages))


class Network(network.Network):
    """One whose connections can be closed, too."""

    def cut(self) -> None:
        """Close every connection; new ones work."""
        with self._lock:
            for end in self._ends:
                with suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)

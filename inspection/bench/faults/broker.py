"""Debian's MQTT broker, a subscriber to it, and both as a destination."""

import getpass
import json
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from threading import Event as Flag
from typing import Any, Self

from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion

from inspection.bench.faults.heard import Heard
from inspection.bench.faults.network import HOST, Network, free_port
from inspection.core.errors import InspectionError
from inspection.station.state import StationState

WAIT_S = 20.0
TOPIC = "faults"


def find_mosquitto() -> str | None:
    """Give the path of the broker; none where it is not installed."""
    return shutil.which("mosquitto", path="/usr/sbin:/usr/bin:/usr/local/sbin:/usr/local/bin")


class Mosquitto:
    """A broker that keeps its sessions on the disk, so that it can be stopped and killed.

    Args:
        binary: as `find_mosquitto` gives it.
        folder: for its configuration, its log and its sessions.
        lines: of its configuration, behind the usual ones.
    """

    def __init__(self, binary: str, folder: Path, *lines: str) -> None:
        self.port = free_port()
        self.log = folder / "mosquitto.log"
        config = folder / "mosquitto.conf"
        usual = (
            f"listener {self.port} {HOST}",
            f"user {getpass.getuser()}",
            "allow_anonymous true",
            "persistence true",
            f"persistence_location {folder}/",
            "max_queued_messages 0",
        )
        config.write_text("\n".join((*usual, *lines)) + "\n", encoding="utf-8")
        self._command = [binary, "-c", str(config)]
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        """Start it."""
        self.start()
        return self

    def __exit__(self, *_error: object) -> None:
        """End it."""
        self.stop()

    def start(self) -> None:
        """Start it, unless it runs, and wait until it listens.

        Raises:
            InspectionError: it does not.
        """
        if self._process is not None:
            return
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(  # noqa: S603 - fixed words, no shell
                self._command, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        until_s = time.monotonic() + WAIT_S
        while time.monotonic() < until_s and self._process.poll() is None:
            with suppress(OSError):
                socket.create_connection((HOST, self.port), 1).close()
                return
            time.sleep(0.01)
        raise InspectionError(f"{self.log}: the broker does not listen; see there why")

    def stop(self, how: signal.Signals = signal.SIGTERM) -> None:
        """End it, if it runs; SIGTERM lets it write down what its sessions wait for."""
        if self._process is not None:
            self._process.send_signal(how)
            self._process.wait(WAIT_S)
            self._process = None


class Subscriber:
    """Hears a topic by QoS 1; its session outlives the broker's restarts.

    Args:
        broker: runs before the subscriber is entered.
        topic: may hold wildcards.
        hear: takes each message, in the network's thread.
    """

    def __init__(self, broker: Mosquitto, topic: str, hear: Callable[[MQTTMessage], None]) -> None:
        self._broker = broker
        self._topic = topic
        self._subscribed = Flag()
        self._client = Client(CallbackAPIVersion.VERSION2, "subscriber", clean_session=False)
        self._client.on_connect = self._subscribe
        self._client.on_subscribe = lambda *_: self._subscribed.set()
        self._client.on_message = lambda _client, _data, message: hear(message)
        self._client.reconnect_delay_set(1, 1)

    def __enter__(self) -> Self:
        """Listen.

        Raises:
            InspectionError: the broker does not let it.
        """
        self._client.connect(HOST, self._broker.port)
        self._client.loop_start()
        if not self._subscribed.wait(WAIT_S):
            raise InspectionError(
                f"{self._broker.log}: the broker took no subscriber; see there why"
            )
        return self

    def __exit__(self, *_error: object) -> None:
        """Listen no more."""
        self._client.disconnect()
        with suppress(AttributeError):  # paho 2.2 joins a thread that may just have gone
            self._client.loop_stop()
        self._client.reinitialise()  # closes the pair of sockets that woke its thread

    def _subscribe(self, client: Client, *_: Any) -> None:
        client.subscribe(self._topic, qos=1)


class Mqtt:
    """A broker that keeps its sessions, a subscriber that does, too, and the network to it."""

    name = "mqtt"

    def __init__(self, folder: Path, binary: str, timeout_ms: int) -> None:
        folder.mkdir()
        self.heard = Heard()
        self._timeout_ms = timeout_ms
        self._state: dict[str, Any] = {}
        self._broker = Mosquitto(binary, folder)
        self.start, self.stop = self._broker.start, self._broker.stop
        self._subscriber = Subscriber(self._broker, f"{TOPIC}/#", self._hear)
        self._network = Network(self._broker.port)
        self.go_dumb, self.heal = self._network.go_dumb, self._network.heal

    def __enter__(self) -> Self:
        """Start the broker, and listen to it."""
        self._broker.__enter__()
        self._subscriber.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        """End all of it."""
        self._subscriber.__exit__(*error)
        self._network.__exit__(*error)
        self._broker.__exit__(*error)

    @property
    def settings(self) -> dict[str, Any]:
        """The output as it stands in the station's configuration."""
        return {
            "kind": "mqtt",
            "port": self._network.port,
            "topic": TOPIC,
            "timeout_ms": self._timeout_ms,
        }

    @property
    def safe(self) -> bool:
        """Whether the retained state tells the line to drive the safe output."""
        return self._state.get("state") != StationState.READY and bool(self._state.get("action"))

    @property
    def beat(self) -> int:
        """The heartbeat of the last state."""
        return int(self._state.get("beat") or 0)

    def _hear(self, message: MQTTMessage) -> None:
        found = json.loads(message.payload)
        if message.topic.endswith("/state"):
            self._state = found
        else:
            self.heard.take(found["sequence"], found["event_id"])

"""Debian's MQTT broker and a subscriber to it, as a destination."""

import getpass
import json
import shutil
import signal
import socket
import subprocess
import time
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


class Mqtt:
    """A broker that keeps its sessions, a subscriber that does, too, and the network to it."""

    name = "mqtt"

    def __init__(self, folder: Path, binary: str, timeout_ms: int) -> None:
        folder.mkdir()
        self.heard = Heard()
        self._timeout_ms = timeout_ms
        self._port = free_port()
        self._log = folder / "mosquitto.log"
        config = folder / "mosquitto.conf"
        lines = (
            f"listener {self._port} {HOST}",
            f"user {getpass.getuser()}",
            "allow_anonymous true",
            "persistence true",
            f"persistence_location {folder}/",
            "max_queued_messages 0",
        )
        config.write_text("\n".join(lines) + "\n", encoding="utf-8")
        self._command = [binary, "-c", str(config)]
        self._process: subprocess.Popen[bytes] | None = None
        self._state: dict[str, Any] = {}
        self._subscribed = Flag()
        self._client = self._subscriber()
        self._network = Network(self._port)
        self.go_dumb, self.heal = self._network.go_dumb, self._network.heal

    def __enter__(self) -> Self:
        """Start the broker, and listen to it."""
        self.start()
        self._client.connect(HOST, self._port)
        self._client.loop_start()
        if not self._subscribed.wait(WAIT_S):
            raise InspectionError(f"{self._log}: the broker took no subscriber; see there why")
        return self

    def __exit__(self, *error: object) -> None:
        """End all of it."""
        self._client.disconnect()
        with suppress(AttributeError):  # paho 2.2 joins a thread that may just have gone
            self._client.loop_stop()
        self._network.__exit__(*error)
        self.stop()

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

    def start(self) -> None:
        """Start the broker, and wait until it listens."""
        if self._process is not None:
            return
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(  # noqa: S603 - fixed words, no shell
                self._command, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        until_s = time.monotonic() + WAIT_S
        while time.monotonic() < until_s:
            with suppress(OSError):
                socket.create_connection((HOST, self._port), 1).close()
                return
            time.sleep(0.01)
        raise InspectionError(f"{self._log}: the broker does not listen; see there why")

    def stop(self) -> None:
        """End the broker; it writes down what its sessions wait for."""
        if self._process is not None:
            self._process.send_signal(signal.SIGTERM)
            self._process.wait(WAIT_S)
            self._process = None

    def _subscriber(self) -> Client:
        client = Client(CallbackAPIVersion.VERSION2, "subscriber", clean_session=False)
        client.on_connect = self._subscribe
        client.on_subscribe = lambda *_: self._subscribed.set()
        client.on_message = lambda _client, _data, message: self._hear(message)
        client.reconnect_delay_set(1, 1)
        return client

    def _subscribe(self, client: Client, *_: Any) -> None:
        client.subscribe(f"{TOPIC}/#", qos=1)

    def _hear(self, message: MQTTMessage) -> None:
        found = json.loads(message.payload)
        if message.topic.endswith("/state"):
            self._state = found
        else:
            self.heard.take(found["sequence"], found["event_id"])

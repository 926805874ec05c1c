"""Runs Debian's MQTT broker on a free port, a subscriber to it, and a network that can fail."""

import getpass
import json
import shutil
import signal
import socket
import subprocess
import threading
from contextlib import suppress
from pathlib import Path
from typing import Self

import pytest
from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion

from tests.station.outputs.record import WAIT_S, until

BINARY = shutil.which("mosquitto", path="/usr/sbin:/usr/bin:/usr/local/sbin:/usr/local/bin")
needs_mosquitto = pytest.mark.skipif(
    BINARY is None, reason="mosquitto is missing; install Debian's package of that name"
)


def free_port() -> int:
    """Give a port nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Mosquitto:
    """A broker that keeps its sessions on the disk, so that it can be stopped and killed."""

    def __init__(self, folder: Path, *lines: str) -> None:
        self.port = free_port()
        self._config = folder / "mosquitto.conf"
        self._log = folder / "mosquitto.log"
        ours = [
            f"listener {self.port} 127.0.0.1",
            f"user {getpass.getuser()}",
            "persistence true",
            f"persistence_location {folder}/",
            "autosave_on_changes true",
            "autosave_interval 1",
            "max_queued_messages 0",
        ]
        if not any(line.startswith("allow_anonymous") for line in lines):
            ours.append("allow_anonymous true")
        self._config.write_text("\n".join([*ours, *lines]) + "\n")
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        """Start it."""
        self.start()
        return self

    def __exit__(self, *_error: object) -> None:
        """Stop it."""
        self.stop()

    def start(self) -> None:
        """Start it, and wait until it listens."""
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [BINARY, "-c", self._config], stdout=log, stderr=log, stdin=subprocess.DEVNULL
            )
        until(self._listens)

    def stop(self, how: signal.Signals = signal.SIGTERM) -> None:
        """End it by a signal, if it runs."""
        if self._process is not None:
            self._process.send_signal(how)
            self._process.wait(WAIT_S)
            self._process = None

    def freeze(self) -> None:
        """Let it do nothing more; it can only be killed then."""
        self._process.send_signal(signal.SIGSTOP)

    def _listens(self) -> bool:
        assert self._process.poll() is None, self._log.read_text()
        try:
            socket.create_connection(("127.0.0.1", self.port), 1).close()
        except OSError:
            return False
        return True


class Subscriber:
    """Hears a topic by QoS 1; its session outlives the broker's restarts."""

    def __init__(self, port: int, topic: str) -> None:
        self.heard: list[MQTTMessage] = []
        self._subscribed = threading.Event()
        self._topic = topic
        self._client = Client(CallbackAPIVersion.VERSION2, "subscriber", clean_session=False)
        self._client.on_connect = lambda *_: self._client.subscribe(topic, qos=1)
        self._client.on_subscribe = lambda *_: self._subscribed.set()
        self._client.on_message = lambda _client, _data, message: self.heard.append(message)
        self._client.reconnect_delay_set(0.02, 0.1)
        self._client.connect("127.0.0.1", port)

    def __enter__(self) -> Self:
        """Listen."""
        self._client.loop_start()
        assert self._subscribed.wait(WAIT_S)
        return self

    def __exit__(self, *_error: object) -> None:
        """Listen no more."""
        self._client.disconnect()
        with suppress(AttributeError):  # paho 2.2 joins a thread that may just have gone
            self._client.loop_stop()

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


class Network:
    """A way to a port that can be cut, or go dumb: connected, but nothing comes through."""

    def __init__(self, port: int) -> None:
        self._target = port
        self._dumb = False
        self._ends: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._begin(self._accept)

    def __enter__(self) -> Self:
        """Give the network."""
        return self

    def __exit__(self, *_error: object) -> None:
        """Take it down."""
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.cut()
        for thread in self._threads:
            thread.join(WAIT_S)

    def go_dumb(self) -> None:
        """Let nothing through any more, on old connections and new ones, and close none."""
        self._dumb = True

    def heal(self) -> None:
        """Let new connections work; the old ones stay dumb."""
        self._dumb = False

    def cut(self) -> None:
        """Close every connection."""
        ends, self._ends = self._ends, []
        for end in ends:
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def _begin(self, work: object, *args: object) -> None:
        thread = threading.Thread(target=work, args=args, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            try:
                far = socket.create_connection(("127.0.0.1", self._target))
            except OSError:
                near.close()
                continue
            self._ends += [near, far]
            self._begin(self._forward, near, far)
            self._begin(self._forward, far, near)

    def _forward(self, source: socket.socket, sink: socket.socket) -> None:
        """Pass bytes on; a connection that was dumb once lets nothing through for good."""
        dumb = False
        with source, suppress(OSError):
            while content := source.recv(65_536):
                dumb = dumb or self._dumb
                if not dumb:
                    sink.sendall(content)
            if not dumb:
                sink.shutdown(socket.SHUT_RDWR)

"""Keeps a connection to an MQTT 5 broker, and knows what the broker acknowledged.

MQTT 5, not 3.1.1: its acknowledgement says whether the broker took the message, where a 3.1.1
broker acknowledges what it throws away for lack of rights. No session is kept at the broker and
the client never reconnects by itself: what is not acknowledged is in the record, and the courier
decides when to connect again and from which event on.

Order: all messages go through one connection, which keeps their order, and a new connection begins
behind the last acknowledged event. So a subscriber sees every event in order, and after a lost
connection again some it has seen; without those repeated sequences nothing is out of order.

Only what the broker acknowledged leaves the outbox. What it loses afterwards is lost to subscribers
– mosquitto, killed under load, has lost an event it had acknowledged a moment before; they see it
by the gap in `sequence`, and the record has it.
"""

import socket
import ssl
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from threading import Event as Flag
from threading import Lock
from typing import Any, Literal, cast

from paho.mqtt.client import Client, MQTTMessage, MQTTMessageInfo
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from inspection.core.errors import ConfigError
from inspection.core.records import Event
from inspection.station.outputs.output import OutputDown
from inspection.station.outputs.secret import read_secret
from inspection.station.outputs.settings import MqttSettings

IN_FLIGHT = 20  # events on their way at once: a broker's usual limit, and paho's
MOST_BYTES = 65_536  # of a message the broker may send; a command has a few hundred
TURN_S = 1.0  # a delivery waits so long for acknowledgements before it says 0


@dataclass(frozen=True)
class Message:
    """What is published."""

    topic: str
    payload: bytes
    qos: Literal[0, 1] = 1
    retain: bool = False


@dataclass(frozen=True)
class Flight:
    """One message on its way to the broker."""

    info: MQTTMessageInfo
    sent_s: float
    """Monotonic seconds."""


@dataclass(frozen=True)
class Listen:
    """A topic to subscribe to."""

    topic: str
    hear: Callable[[bytes], None]
    """Takes each payload, in the network's thread; must neither wait, raise nor publish."""


class Broker:
    """The broker of one output; `beat` may be called in another thread than the rest."""

    def __init__(self, settings: MqttSettings, line: str, station: str) -> None:
        self._settings = settings
        self._client_id = f"inspection-{line}-{station}-{settings.name}"
        self._sending = Lock()  # guards the next two, and the order of messages
        self._link: _Link | None = None
        self._beat: Flight | None = None
        self._flights: deque[Flight] = deque()  # events not acknowledged, in order
        self._sent = 0  # sequence of the last of them

    def connect(self, will: Message, listen: Listen | None = None) -> None:
        """Connect anew; the broker publishes `will` when it hears of the station no more.

        Raises:
            OutputDown: the broker cannot be reached, or refuses.
        """
        self.leave()
        link = _Link(self._settings, self._client_id, will, listen)
        self._flights.clear()
        self._sent = 0
        with self._sending:
            self._link = link

    def leave(self, last: Message | None = None) -> None:
        """Let the connection go, if there is one; with a last message in peace, so without will."""
        with self._sending:
            link, self._link, self._beat = self._link, None, None
        if link is not None:
            link.end(last)

    def deliver(
        self, events: Sequence[Event], messages: Callable[[Event], Sequence[Message]]
    ) -> int:
        """Send the events that are not on their way yet; give how many are acknowledged.

        Args:
            events: in order, beginning behind the last acknowledged one.
            messages: makes the messages of one event; the last of them must have QoS 1.

        Raises:
            OutputDown: the connection is lost, or the broker is silent or refuses an event.
        """
        link = self._link
        if link is None:
            raise OutputDown("not connected yet")
        with suppress(OutputDown):  # first count what is acknowledged
            self._send_new(link, events, messages)
        until = time.monotonic() + TURN_S
        count = 0
        while self._flights and link.landed(self._flights[0], until - time.monotonic()):
            self._flights.popleft()
            count += 1
        if count == 0:
            link.require_patience(self._flights[0] if self._flights else None)
        return count

    def beat(self, messages: Callable[[], Sequence[Message]]) -> None:
        """Send the station's state, unless the last one is still on its way; never waits.

        Raises:
            OutputDown: the connection is lost, or the broker is silent or refuses the state.
        """
        with self._sending:
            link, flight = self._link, self._beat
            if link is None:
                return
            if flight is None or link.landed(flight, 0):
                self._beat = link.send(messages())
            else:
                link.require_patience(flight)

    def _send_new(
        self,
        link: "_Link",
        events: Sequence[Event],
        messages: Callable[[Event], Sequence[Message]],
    ) -> None:
        for event in events:
            if event.sequence > self._sent and len(self._flights) < link.room:
                with self._sending:
                    flight = link.send(messages(event))
                self._flights.append(flight)
                self._sent = event.sequence


class _Link:
    """One connection, from its first byte to its last."""

    def __init__(
        self, settings: MqttSettings, client_id: str, will: Message, listen: Listen | None
    ) -> None:
        self._where = f"broker {settings.host}:{settings.port}"
        self._timeout_ms = settings.timeout_ms
        self.room = IN_FLIGHT
        """Events that may be on their way at once."""
        self._lost = ""  # why, once the connection is
        self._refusals: dict[int, str] = {}  # message identifier → why
        self._answered = Flag()
        self._ended = Flag()
        self._listen = listen
        self._client = self._make_client(client_id, will)
        try:
            self._open(settings)
        except OSError as error:
            raise OutputDown(
                f"{self._where} cannot be reached ({error}); check address, network and broker"
            ) from error
        self._client.loop_start()
        if not self._answered.wait(self._timeout_ms / 1000):
            self._lost = f"{self._where} did not answer within {self._timeout_ms} ms"
        if self._lost:
            self.end()
            raise OutputDown(self._lost)
        if listen is not None:
            self._client.subscribe(listen.topic, qos=1)

    def send(self, messages: Sequence[Message]) -> Flight:
        """Send messages, in order; the flight is the last one's.

        Raises:
            OutputDown: the connection is lost.
        """
        for message in messages:
            info = self._client.publish(
                message.topic, message.payload, qos=message.qos, retain=message.retain
            )
            if info.rc is not MQTTErrorCode.MQTT_ERR_SUCCESS:
                self._lost = self._lost or f"{self._where}: connection lost ({info.rc.name})"
            if self._lost:
                raise OutputDown(self._lost)
        return Flight(info, time.monotonic())

    def landed(self, flight: Flight, timeout_s: float) -> bool:
        """Wait until the broker acknowledged the message; false when it did not, or refused."""
        if not self._lost:
            flight.info.wait_for_publish(max(0, timeout_s))
        return flight.info.is_published() and flight.info.mid not in self._refusals

    def require_patience(self, flight: Flight | None) -> None:
        """Do nothing while a message may still be acknowledged.

        Raises:
            OutputDown: it was refused, the connection is lost, or the broker is silent.
        """
        refusal = self._refusals.get(flight.info.mid) if flight is not None else None
        if refusal is not None:  # some brokers close the connection with it
            raise OutputDown(f"{self._where} refuses a message ({refusal}); check its rights")
        if self._lost:
            raise OutputDown(self._lost)
        if flight is not None and time.monotonic() - flight.sent_s > self._timeout_ms / 1000:
            raise OutputDown(f"{self._where} acknowledged nothing for {self._timeout_ms} ms")

    def end(self, last: Message | None = None) -> None:
        """Close the connection; with a last message it is taken leave of, so without its will."""
        if last is not None and not self._lost:
            with suppress(OutputDown):  # then its will is published instead
                self.landed(self.send([last]), TURN_S)
            self._client.disconnect()
            self._ended.wait(TURN_S)
        connection = cast("socket.socket | None", self._client.socket())
        if connection is not None:  # paho would first wait for what it has not sent
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        with suppress(AttributeError):  # paho 2.2 joins a thread that may just have gone
            self._client.loop_stop()
        self._client.reinitialise()  # closes the pair of sockets that woke its thread

    def _make_client(self, client_id: str, will: Message) -> Client:
        client = Client(
            CallbackAPIVersion.VERSION2,
            client_id,
            protocol=MQTTProtocolVersion.MQTTv5,
            reconnect_on_failure=False,
        )
        client.on_connect = self._on_connect
        client.on_disconnect = self._on_disconnect
        client.on_publish = self._on_publish
        client.on_message = self._on_message
        client.will_set(will.topic, will.payload, qos=will.qos, retain=will.retain)
        return client

    def _open(self, settings: MqttSettings) -> None:
        if settings.username is not None:
            file = settings.password_file
            password = None if file is None else read_secret(file)
            self._client.username_pw_set(settings.username, password)
        if settings.tls_ca is not None:
            self._client.tls_set_context(ssl.create_default_context(cafile=settings.tls_ca))
        timeout_s = settings.timeout_ms / 1000
        self._client.connect_timeout = timeout_s
        # the broker publishes the will after one and a half of these
        keepalive_s = max(1, round(timeout_s / 2))
        asked = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
        asked.MaximumPacketSize = MOST_BYTES
        self._client.connect(
            settings.host, settings.port, keepalive_s, clean_start=True, properties=asked
        )

    # What follows is called by paho, in its thread.

    def _on_connect(
        self,
        _client: Client,
        _data: Any,
        _flags: Any,
        reason: ReasonCode,
        properties: Properties | None,
    ) -> None:
        if reason.is_failure:
            self._lost = f"{self._where} refuses the connection ({reason}); check user and rights"
        most = getattr(properties, "ReceiveMaximum", 65_535)  # the specification's default
        self.room = max(1, min(most - 1, IN_FLIGHT))  # one for the state
        self._answered.set()

    def _on_disconnect(
        self, _client: Client, _data: Any, _flags: Any, reason: ReasonCode, _properties: Any
    ) -> None:
        self._lost = self._lost or f"{self._where}: connection lost ({reason})"
        self._answered.set()
        self._ended.set()

    def _on_publish(
        self, _client: Client, _data: Any, mid: int, reason: ReasonCode, _properties: Any
    ) -> None:
        if reason.is_failure:
            self._refusals[mid] = str(reason)

    def _on_message(self, _client: Client, _data: Any, message: MQTTMessage) -> None:
        if self._listen is not None:
            self._listen.hear(bytes(message.payload))


def require_topic(text: str, forbidden: str) -> str:
    """Give a topic, or a level of one, that holds none of the forbidden characters.

    Raises:
        ConfigError: it does.
    """
    found = [character for character in forbidden if character in text]
    if found:
        raise ConfigError(
            f"MQTT: '{text}' holds {found[0]!r}; wanted none of {' '.join(forbidden)!r}; name line "
            "and station otherwise, or name them in no topic"
        )
    return text

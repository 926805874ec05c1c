import struct
from collections.abc import Iterator

import pytest

from inspection.core.decision import Verdict
from inspection.core.errors import ConfigError
from inspection.station.outputs.courier import Courier
from inspection.station.outputs.settings import ActionSettings, MqttSettings
from inspection.station.outputs.sparkplug import SparkplugOutput
from inspection.station.outputs.sparkplug_payload import Kind, Metric, encode_payload, wants
from inspection.station.state import StationState
from tests.station.events import event
from tests.station.outputs.mosquitto import Mosquitto, Network, Subscriber, needs_mosquitto
from tests.station.outputs.record import SOON, WAIT_S, Acknowledged, Record, until
from tests.station.outputs.status import status

EVERYTHING = "spBv1.0/line-1/#"
COMMANDS = "spBv1.0/line-1/NCMD/station-1"
# of Node Control/Rebirth = true, datatype 11, as google.protobuf writes it
REBIRTH = bytes.fromhex("08e807121a0a144e6f646520436f6e74726f6c2f52656269727468200b7001")
PAYLOAD = (  # of the metrics below, likewise
    "08c8d395ffbc31121a0a075061727420496418fbd095ffbc31200c7a0642c3bc67656c12190a0553636f726518fbd0"
    "95ffbc31200a69000000000000d03f12160a0853657175656e636518fbd095ffbc31200458ac0212120a05456d7074"
    "7918fbd095ffbc31200c380118ff01"
)
VALUES = {10: int, 11: int, 13: float, 14: bool, 15: str}


def fields(content: bytes) -> Iterator[tuple[int, object]]:
    """Decode protobuf by its specification: number and value of each field."""
    stream = iter(content)

    def varint(first: int) -> int:
        value, shift, byte = first & 127, 7, first
        while byte > 127:
            byte = next(stream)
            value, shift = value | (byte & 127) << shift, shift + 7
        return value

    for first in stream:
        tag = varint(first)
        if tag % 8 == 0:
            yield tag // 8, varint(next(stream))
        elif tag % 8 == 1:
            yield tag // 8, struct.unpack("<d", bytes(next(stream) for _ in range(8)))[0]
        elif tag % 8 == 2:
            yield tag // 8, bytes(next(stream) for _ in range(varint(next(stream))))
        else:
            raise AssertionError(f"wire type {tag % 8}")


def metric(content: bytes) -> tuple[str, tuple[int, object]]:
    """Give name, data type and value of a metric; none where it is null."""
    found = dict(fields(content))
    assert found.get(7) == 1 or len(found) == 4
    values = [VALUES[n](v.decode() if n == 15 else v) for n, v in found.items() if n in VALUES]
    return found[1].decode(), (found[4], values[0] if values else None)


def payload(content: bytes) -> tuple[int | None, dict[str, tuple[int, object]]]:
    """Give seq and the metrics of a payload."""
    found = list(fields(content))
    assert dict(found)[1] > 0
    return dict(found).get(3), dict(metric(value) for number, value in found if number == 2)


class Host(Subscriber):
    """A host application: hears everything of the group."""

    def __init__(self, broker: Mosquitto) -> None:
        super().__init__(broker, EVERYTHING)

    @property
    def told(self) -> list[tuple[str, int | None, dict[str, tuple[int, object]]]]:
        """Kind, seq and metrics of each message, its own commands aside."""
        kinds = [(m.topic.split("/")[2], m.payload) for m in list(self.heard)]
        return [(kind, *payload(content)) for kind, content in kinds if kind != "NCMD"]

    def kinds(self) -> list[str]:
        """Give the kinds of the messages."""
        return [kind for kind, _, _ in self.told]


def sparkplug(port: int, line: str = "line-1") -> SparkplugOutput:
    """Make an edge node."""
    settings = MqttSettings(kind="mqtt", port=port, sparkplug=True, timeout_ms=2_000)
    return SparkplugOutput(settings, line, "station-1", ActionSettings())


@needs_mosquitto
def test_birth_data_and_death_are_as_the_specification_says(broker: Mosquitto):
    """NBIRTH has every metric with seq 0; NDATA counts on; NDEATH has the birth's bdSeq alone."""
    output = sparkplug(broker.port)
    with Host(broker) as host:
        output.connect()
        output.beat(status(StationState.READY, beat=5))
        until(lambda: host.heard)
        assert output.deliver([event(1, Verdict.REJECT), event(2, Verdict.FAULT)]) == 2
        until(lambda: len(host.heard) == 3)
        output.beat(status(StationState.BLOCKED, beat=6))
        until(lambda: len(host.heard) == 4)
        output.close()
        until(lambda: len(host.heard) == 5)
    birth, rejected, faulty, beat, death = host.told
    empty = dict.fromkeys(
        ("Verdict", "Action", "Part Id", "Product", "Reason", "Event Id", "Types"),
        (Kind.STRING, None),
    )
    assert birth == (
        "NBIRTH",
        0,
        {
            **empty,
            "bdSeq": (Kind.INT64, 0),
            "Node Control/Rebirth": (Kind.BOOLEAN, False),
            "Score": (Kind.DOUBLE, None),
            "Sequence": (Kind.INT64, None),
            "State": (Kind.STRING, "READY"),
            "Heartbeat": (Kind.INT64, 5),
        },
    )
    assert rejected == (
        "NDATA",
        1,
        {
            "Verdict": (Kind.STRING, "REJECT"),
            "Action": (Kind.STRING, "reject"),
            "Part Id": (Kind.STRING, "part-1"),
            "Product": (Kind.STRING, "default"),
            "Score": (Kind.DOUBLE, 0.25),
            "Reason": (Kind.STRING, ""),
            "Sequence": (Kind.INT64, 1),
            "Event Id": (Kind.STRING, event(1).event_id),
            "Types": (Kind.STRING, ""),
        },
    )
    assert faulty[1] == 2
    assert faulty[2]["Score"] == (Kind.DOUBLE, None)
    assert faulty[2]["Reason"] == (Kind.STRING, "dark")
    assert beat == ("NDATA", 3, {"State": (Kind.STRING, "BLOCKED"), "Heartbeat": (Kind.INT64, 6)})
    assert death == ("NDEATH", None, {"bdSeq": (Kind.INT64, 0)})
    assert not any(message.retain for message in host.heard)


@needs_mosquitto
def test_a_rebirth_command_brings_the_present_values(broker: Mosquitto):
    """With the next heartbeat, seq begins anew; other commands and noise change nothing."""
    output = sparkplug(broker.port)
    with Host(broker) as host:
        output.connect()
        output.deliver([event(1)])
        until(lambda: host.kinds() == ["NBIRTH", "NDATA"])
        host.publish(COMMANDS, b"noise")
        host.publish(COMMANDS, REBIRTH[:-1] + b"\0")
        host.publish(COMMANDS, REBIRTH)
        until(lambda: output.beat(status(beat=9)) or host.kinds().count("NBIRTH") == 2)
        output.close()
    _, seq, metrics = [told for told in host.told if told[0] == "NBIRTH"][1]
    assert seq == 0
    assert metrics["Sequence"] == (Kind.INT64, 1)
    assert metrics["Event Id"] == (Kind.STRING, event(1).event_id)


@needs_mosquitto
def test_every_connection_has_its_own_birth_and_death(broker: Mosquitto):
    """A lost node dies by its will; the next connection counts bdSeq on and seq from 0."""
    with Network(broker.port) as network, Host(broker) as host:
        output = sparkplug(network.port)
        output.connect()
        output.deliver([event(1)])
        network.cut()
        until(lambda: "NDEATH" in host.kinds())
        output.connect()
        assert output.deliver([event(2)]) == 1
        until(lambda: len(host.heard) == 5)
        output.close()
    births = [told for told in host.told if told[0] == "NBIRTH"]
    deaths = [told for told in host.told if told[0] == "NDEATH"]
    assert [metrics["bdSeq"][1] for _, _, metrics in births] == [0, 1]
    assert deaths[0][2]["bdSeq"] == births[0][2]["bdSeq"]
    assert [seq for kind, seq, _ in host.told if kind != "NDEATH"] == [0, 1, 0, 1]
    assert births[1][2]["Sequence"] == (Kind.INT64, 1)


@needs_mosquitto
def test_seq_counts_to_255_and_from_0_again(broker: Mosquitto):
    """Events and heartbeats share one seq, without gap, in the order of sending."""
    output, record = sparkplug(broker.port), Record(300)
    courier = Courier(output, record, 0, Acknowledged(), SOON)
    with Host(broker) as host:
        courier.start()
        while not courier.drain(300, 0.02):
            courier.beat(status())
        until(lambda: host.kinds().count("NDATA") >= 300)
        courier.stop(WAIT_S)
    told = [(kind, seq) for kind, seq, _ in host.told if kind != "NDEATH"]
    assert told[0] == ("NBIRTH", 0)
    assert [seq for _, seq in told] == [number % 256 for number in range(len(told))]
    sequences = [metrics["Sequence"][1] for kind, _, metrics in host.told if "Verdict" in metrics]
    assert [number for number in sequences if number is not None] == list(range(1, 301))


@pytest.mark.fast
@pytest.mark.parametrize("line", ["line/1", "line+", "#1"])
def test_a_name_that_cannot_be_a_group_is_refused(line: str):
    """Sparkplug's names are one level of a topic."""
    with pytest.raises(ConfigError, match=r"holds '[/+#]'; wanted none of '/ \+ #"):
        sparkplug(1883, line)


@pytest.mark.fast
def test_payload_has_the_bytes_of_protobuf():
    """Byte for byte what google.protobuf 7 writes with the schema of Eclipse Tahu."""
    metrics = [
        Metric("Part Id", Kind.STRING, "Bügel", 1_700_000_000_123),
        Metric("Score", Kind.DOUBLE, 0.25, 1_700_000_000_123),
        Metric("Sequence", Kind.INT64, 300, 1_700_000_000_123),
        Metric("Empty", Kind.STRING, None, 1_700_000_000_123),
    ]
    assert encode_payload(metrics, 1_700_000_000_456, 255).hex() == PAYLOAD


@pytest.mark.fast
def test_only_the_command_itself_is_heard():
    """True is a command, false and other names are none; what is cut short is an error."""
    assert wants(REBIRTH, "Node Control/Rebirth")
    assert not wants(REBIRTH, "Node Control/Reboot")
    assert not wants(REBIRTH[:-1] + b"\0", "Node Control/Rebirth")
    assert not wants(b"", "Node Control/Rebirth")
    for end in range(1, len(REBIRTH)):
        if end != 3:  # behind the timestamp a payload may end
            with pytest.raises(ValueError, match="payload"):
                wants(REBIRTH[:end], "Node Control/Rebirth")


@pytest.mark.fast
@pytest.mark.parametrize(
    ("kind", "value"), [(Kind.INT64, "1"), (Kind.DOUBLE, 1), (Kind.STRING, 1.0)]
)
def test_a_value_of_another_type_is_refused(kind: Kind, value: object):
    """A mistake in the program is an error, not a wrong number at the host."""
    with pytest.raises(TypeError, match=f"wanted {kind.name}"):
        encode_payload([Metric("x", kind, value, 1)], 1, 0)

import json
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from inspection.bench.faults.network import free_port
from inspection.core.decision import Verdict
from inspection.core.errors import ConfigError
from inspection.station.outputs.courier import BackOff, Courier
from inspection.station.outputs.mqtt import MqttOutput
from inspection.station.outputs.output import OutputDown
from inspection.station.outputs.settings import ActionSettings, MqttSettings
from inspection.station.state import StationState
from tests.station.events import event
from tests.station.outputs.mosquitto import Mosquitto, Network, Subscriber, needs_mosquitto
from tests.station.outputs.record import WAIT_S, Acknowledged, Record, until
from tests.station.outputs.status import status

pytestmark = needs_mosquitto

EVENTS, STATE = "inspection/line-1/station-1/events", "inspection/line-1/station-1/state"
QUICK = BackOff(first_s=0.02, most_s=0.1)


def mqtt(port: int, **changes: object) -> MqttOutput:
    """Make an output to a broker on this machine."""
    values = {"kind": "mqtt", "port": port, "timeout_ms": 2_000, **changes}
    settings = MqttSettings.model_validate(values)
    return MqttOutput(settings, "line-1", "station-1", ActionSettings())


@contextmanager
def delivering(output: MqttOutput, record: Record) -> Iterator[Courier]:
    """Run a courier to an output."""
    courier = Courier(output, record, 0, Acknowledged(), QUICK)
    courier.start()
    try:
        yield courier
    finally:
        courier.stop(WAIT_S)


def test_an_event_arrives_as_its_record_and_the_action(broker: Mosquitto):
    """The message is the event's JSON with `action`, on TOPIC/events, by QoS 1, not retained."""
    output = mqtt(broker.port)
    rejected = event(1, Verdict.REJECT, part_id="Bügel 7")
    with Subscriber(broker, EVENTS) as subscriber:
        output.connect()
        assert output.deliver([rejected]) == 1
        until(lambda: subscriber.heard)
        output.close()
    (message,) = subscriber.heard
    assert json.loads(message.payload) == {**rejected.model_dump(mode="json"), "action": "reject"}
    assert (message.qos, message.retain) == (1, False)


def test_a_batch_arrives_in_order(broker: Mosquitto):
    """Twenty events are on their way at once; all are acknowledged, in order."""
    record = Record(500)
    with Subscriber(broker, EVENTS) as subscriber:
        with delivering(mqtt(broker.port), record) as courier:
            assert courier.drain(500, WAIT_S)
            until(lambda: len(subscriber.heard) == 500)
        assert subscriber.sequences() == list(range(1, 501))


def test_nothing_is_lost_while_the_broker_is_stopped(broker: Mosquitto):
    """The broker ends and comes back, twice, under load: each event arrives, in order."""
    record = Record()
    with Subscriber(broker, EVENTS) as subscriber:
        with delivering(mqtt(broker.port), record) as courier:
            for _ in range(2):
                record.commit(courier, 100)
                until(lambda: courier.status(400).up)
                broker.stop()
                record.commit(courier, 100)
                until(lambda: not courier.status(400).up)
                broker.start()
            assert courier.drain(400, WAIT_S)
            until(lambda: len(subscriber.sequences()) == 400)
        assert subscriber.sequences() == list(range(1, 401))


def test_nothing_is_lost_when_the_broker_is_killed(broker: Mosquitto):
    """Events on their way at the kill are sent again, as are those that came while it was away.

    The broker is frozen first: mosquitto acknowledges before it has written, so that killed under
    load it loses, now and then, an event it had acknowledged.
    """
    record = Record()
    with Subscriber(broker, EVENTS) as subscriber:
        with delivering(mqtt(broker.port), record) as courier:
            for round_ in (1, 2):
                record.commit(courier, 50)
                until(lambda: len(subscriber.sequences()) == len(record.events))
                assert courier.drain(len(record.events), WAIT_S)
                broker.freeze()
                record.commit(courier, 100)
                broker.stop(signal.SIGKILL)
                until(lambda: not courier.status(300).up)
                assert courier.status(150 * round_).waiting == 100
                broker.start()
                assert courier.drain(150 * round_, WAIT_S)
                until(lambda: len(subscriber.sequences()) == len(record.events))
        assert subscriber.sequences() == list(range(1, 301))


def test_a_half_open_connection_is_found_and_nothing_is_lost(broker: Mosquitto):
    """A network that swallows everything without closing: down, and so is each new connection."""
    record = Record()
    with Subscriber(broker, EVENTS) as subscriber, Network(broker.port) as network:
        with delivering(mqtt(network.port, timeout_ms=500), record) as courier:
            record.commit(courier, 50)
            until(lambda: courier.status(100).up)
            network.go_dumb()
            record.commit(courier, 50)
            until(lambda: "did not answer within 500 ms" in courier.status(100).reason)
            network.heal()
            assert courier.drain(100, WAIT_S)
            until(lambda: len(subscriber.sequences()) == 100)
        assert subscriber.sequences() == list(range(1, 101))


def test_heartbeats_find_a_half_open_connection_without_any_event(broker: Mosquitto):
    """On a quiet line the state is published again soon after the network heals."""
    with (
        Subscriber(broker, STATE) as subscriber,
        Network(broker.port) as network,
        delivering(mqtt(network.port, timeout_ms=500), Record()) as courier,
    ):
        until(lambda: courier.status(0).up)
        courier.beat(status(beat=1))
        until(lambda: subscriber.heard)
        network.go_dumb()
        until(lambda: courier.beat(status(beat=2)) or not courier.status(0).up)
        network.heal()
        until(lambda: courier.beat(status(beat=3)) or subscriber.messages[-1]["beat"] == 3)


def test_the_state_is_retained_and_says_what_the_line_must_do(broker: Mosquitto):
    """Whoever subscribes later knows the state at once; not READY names the safe action."""
    output = mqtt(broker.port)
    output.connect()
    with Subscriber(broker, STATE) as early:
        output.beat(status(beat=7, sequence=41))
        until(lambda: early.heard)
    with Subscriber(broker, STATE) as subscriber:
        until(lambda: subscriber.heard)
        until(
            lambda: output.beat(status(StationState.BLOCKED, beat=8)) or len(subscriber.heard) > 1
        )
        output.close()
        until(lambda: subscriber.messages[-1]["state"] == "STOPPED")
    ready, blocked, *_, stopped = subscriber.messages
    assert subscriber.heard[0].retain
    assert ready == {
        "state": "READY",
        "reason": "",
        "action": None,
        "beat": 7,
        "at": "2025-03-01T06:30:00Z",
        "sequence": 41,
    }
    assert (blocked["state"], blocked["reason"]) == ("BLOCKED", "camera unplugged")
    assert (blocked["action"], blocked["beat"]) == ("reject", 8)
    assert (stopped["reason"], stopped["action"]) == ("the station has ended", "reject")
    assert (stopped["beat"], stopped["at"]) == (None, None)


def test_a_lost_station_is_seen_by_its_last_will(broker: Mosquitto):
    """When the connection breaks the broker says STOPPED and the safe action for the station."""
    with Network(broker.port) as network, Subscriber(broker, STATE) as subscriber:
        output = mqtt(network.port)
        output.connect()
        output.beat(status())
        until(lambda: subscriber.heard)
        network.cut()
        until(lambda: len(subscriber.heard) == 2)
        output.close()
    last = subscriber.messages[-1]
    assert (last["state"], last["action"]) == ("STOPPED", "reject")
    assert last["reason"] == "the broker lost the station"


def test_a_connection_that_breaks_is_told_by_heartbeat_and_delivery(broker: Mosquitto):
    """Both say why; before the first connection a heartbeat says nothing."""
    with Network(broker.port) as network:
        output = mqtt(network.port)
        output.beat(status())
        with pytest.raises(OutputDown, match="not connected yet"):
            output.deliver([event(1)])
        output.connect()
        network.cut()
        with pytest.raises(OutputDown, match=r"127\.0\.0\.1:\d+: connection lost"):
            until(lambda: output.beat(status()))
        with pytest.raises(OutputDown, match="connection lost"):
            output.deliver([event(1)])
        output.connect()
        assert output.deliver([event(1)]) == 1
        output.close()


def test_an_unreachable_broker_is_named(tmp_path: Path):
    """Nobody listens: down, with address and remedy."""
    output = mqtt(free_port())
    with pytest.raises(OutputDown, match=r"127\.0\.0\.1:\d+ cannot be reached .*; check address"):
        output.connect()
    output.close()


def test_a_message_the_broker_throws_away_is_not_acknowledged(tmp_path: Path):
    """Without the right to publish, the broker's refusal is seen; the event is not lost."""
    rights = tmp_path / "rights"
    rights.write_text(f"topic read #\ntopic write {STATE}\n")
    with Mosquitto(tmp_path, f"acl_file {rights}") as broker:
        output = mqtt(broker.port)
        output.connect()
        with pytest.raises(OutputDown, match=r"refuses a message \(Not authorized\); check its"):
            output.deliver([event(1), event(2)])
        output.close()


def test_user_password_and_certificate_are_used(tmp_path: Path):
    """TLS by the plant's authority, and a password from a file; a wrong one is refused."""
    authority, certificate, key = _certificates(tmp_path)
    passwords, secret = tmp_path / "passwords", tmp_path / "secret"
    passwords.write_text("station:correct horse\n")
    passwords.chmod(0o600)
    subprocess.run(["mosquitto_passwd", "-U", passwords], check=True, capture_output=True)
    secret.write_text("correct horse\nsecond line\n")
    lines = (
        "allow_anonymous false",
        f"password_file {passwords}",
        f"certfile {certificate}",
        f"keyfile {key}",
    )
    with Mosquitto(tmp_path, *lines) as broker:
        output = mqtt(broker.port, username="station", password_file=secret, tls_ca=authority)
        output.connect()
        assert output.deliver([event(1), event(2)]) == 2
        output.close()
        secret.write_text("wrong\n")
        with pytest.raises(OutputDown, match=r"refuses the connection \(Not authorized\)"):
            output.connect()
        secret.unlink()
        with pytest.raises(OutputDown, match="secret: cannot be read"):
            output.connect()
        output.close()


def test_a_silent_broker_is_down_within_the_timeout(broker: Mosquitto):
    """Neither a message nor the state waits longer for its acknowledgement."""
    output = mqtt(broker.port, timeout_ms=100)
    output.connect()
    output.beat(status())
    broker.freeze()
    down = r"acknowledged nothing for 100 ms|connection lost \(Keep alive"
    with pytest.raises(OutputDown, match=down):
        until(lambda: output.deliver([event(1)]))
    with pytest.raises(OutputDown, match=down):
        until(lambda: output.beat(status()))
    output.close()
    broker.stop(signal.SIGKILL)


def test_a_line_that_cannot_stand_in_a_topic_is_refused():
    """A wildcard in a name would publish to nowhere: refused when the station starts."""
    settings = MqttSettings(kind="mqtt")
    with pytest.raises(ConfigError, match=r"'inspection/line#1/station-1' holds '#'; wanted none"):
        MqttOutput(settings, "line#1", "station-1", ActionSettings())


def _certificates(folder: Path) -> tuple[Path, Path, Path]:
    """Make an authority, and a certificate with key for 127.0.0.1."""
    now = datetime.now(UTC)
    keys = [ec.generate_private_key(ec.SECP256R1()) for _ in range(2)]
    names = [
        x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
        for name in ("plant", "broker")
    ]
    made = []
    for index, ca in enumerate((True, False)):
        builder = (
            x509.CertificateBuilder()
            .subject_name(names[index])
            .issuer_name(names[0])
            .public_key(keys[index].public_key())
            .serial_number(index + 1)
            .not_valid_before(now - timedelta(hours=1))
            .not_valid_after(now + timedelta(hours=1))
            .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
            .add_extension(
                x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]),
                critical=False,
            )
        )
        made.append(builder.sign(keys[0], hashes.SHA256()))
    paths = folder / "ca.pem", folder / "broker.pem", folder / "broker.key"
    for path, certificate in zip(paths, made, strict=False):
        path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    paths[2].write_bytes(
        keys[1].private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return paths

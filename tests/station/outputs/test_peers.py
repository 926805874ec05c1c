import logging
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from threading import Event as Flag

import pytest

from inspection.bench.faults.network import free_port
from inspection.hub.asking import Asking
from inspection.station.outputs.endpoint import Endpoint
from inspection.station.outputs.modbus import ModbusOutput
from inspection.station.outputs.mqtt import MqttOutput
from inspection.station.outputs.output import OutputDown
from inspection.station.outputs.settings import ActionSettings, ModbusSettings, MqttSettings
from inspection.station.outputs.sparkplug import SparkplugOutput
from inspection.station.recipes.hub import HubSource
from tests.station.outputs.server import Answer, Server
from tests.station.outputs.status import status

READY = b"\0\2"
OTHER = ("127.0.0.2", 0)  # another machine, as far as the server can see


@pytest.fixture
def proxy(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """Run a proxy that the environment names."""
    with Server() as running:
        for name in ("http_proxy", "HTTP_PROXY", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(name, running.url)
        for name in ("no_proxy", "NO_PROXY"):
            monkeypatch.delenv(name, raising=False)
        yield running


def test_no_proxy_of_the_environment_gets_the_token(proxy: Server, tmp_path: Path):
    """Events, pictures and updates go to the configured address, and nowhere else."""
    token = tmp_path / "token"
    token.write_text("s3cret\n")
    with Server(lambda _request: Answer(body=b"[]")) as server:
        endpoint = Endpoint(server.url, token, timeout_ms=5_000)
        endpoint.open()
        endpoint.send("POST", "/events", b"{}", {})
        endpoint.close()
        source = HubSource(server.url, "station-1", (), token)
        assert source.offers(Flag()) == ()
        source.close()
        person = Asking(server.url, "s3cret")
        person.send("GET", "/v1/lines")
        person.close()
        heard = [request.headers["authorization"] for request in server.requests]
    assert (heard, proxy.requests) == (["Bearer s3cret"] * 3, [])


def test_long_redirect_is_shown_short():
    """What a server answers does not fill the log, nor the status page."""
    with Server(lambda _request: Answer(302, location="http://a/" + "x" * 50_000)) as server:
        endpoint = Endpoint(server.url, None, timeout_ms=5_000)
        endpoint.open()
        with pytest.raises(OutputDown, match=r"a redirect to 'http://a/x+…'; write") as refusal:
            endpoint.send("POST", "", b"{}", {})
        endpoint.close()
    assert len(str(refusal.value)) < 500


def test_broker_is_told_what_it_may_send():
    """MQTT allows 256 MB in one message; a station takes commands of a few hundred bytes."""
    said = bytearray()

    def listen(listener: socket.socket) -> None:
        connection, _ = listener.accept()
        with connection:
            said.extend(connection.recv(4_096))

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=listen, args=(listener,))
        thread.start()
        port = listener.getsockname()[1]
        settings = MqttSettings(kind="mqtt", port=port, timeout_ms=2_000)
        output = MqttOutput(settings, "line-1", "station-1", ActionSettings())
        with pytest.raises(OutputDown, match=r"connection lost|did not answer"):
            output.connect()
        thread.join()
    assert b"\x27\x00\x01\x00\x00" in said  # Maximum Packet Size, 65,536


def test_senseless_commands_leave_few_lines(caplog: pytest.LogCaptureFixture):
    """Whoever may publish to the command topic decides how often one comes."""
    settings = MqttSettings(kind="mqtt", sparkplug=True)
    output = SparkplugOutput(settings, "line-1", "station-1", ActionSettings())
    with caplog.at_level(logging.WARNING):
        for _ in range(1_000):
            output._hear(b"\xff" * 100)
    assert caplog.messages == ["command is no Sparkplug payload"] * 10


def test_other_addresses_do_not_end_a_plcs_connection():
    """A PLC that is silent between two looks keeps its connection, whoever else opens many."""
    settings = ModbusSettings(kind="modbus", port=free_port())
    output = ModbusOutput(settings, ActionSettings(), heartbeat_s=60, triggered=False)
    output.connect()
    output.beat(status())
    with ExitStack() as stack:
        stack.callback(output.close)
        address = ("127.0.0.1", settings.port)
        plc = stack.enter_context(socket.create_connection(address, timeout=5))
        assert state(plc) == READY
        for _ in range(60):
            other = stack.enter_context(socket.create_connection(address, source_address=OTHER))
            other.sendall(b"\0\1\0\0\0\xc8\1")  # a head; its body never comes
        assert state(plc) == READY


def state(plc: socket.socket) -> bytes:
    """Read the station's state over one connection, as a PLC does."""
    plc.sendall(b"\0\1\0\0\0\6\1\3\0\x65\0\1")
    return plc.recv(100)[-2:]

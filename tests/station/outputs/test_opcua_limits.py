import asyncio
import io
import logging
import socket
import struct
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from asyncua import Client, ua

from inspection.bench.faults.network import free_port
from inspection.station.outputs.opcua import OpcuaOutput
from inspection.station.outputs.settings import ActionSettings, OpcuaSettings
from tests.station.outputs.record import WAIT_S
from tests.station.outputs.status import status

SILENT = 40  # connections of an attacker
OTHER = ("127.0.0.2", 0)  # another machine, as far as the server can see
READY = ua.NodeId("Station.Ready", 2)
ACKNOWLEDGE = ua.NodeId("Station.Acknowledge", 2)
LOG_BYTES = 1_000


def make(**settings) -> tuple[OpcuaOutput, int]:
    """Start a server."""
    port = free_port()
    output = OpcuaOutput(
        OpcuaSettings(kind="opcua", port=port, **settings), ActionSettings(), heartbeat_s=600
    )
    output.connect()
    output.beat(status())
    return output, port


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    """Give the port of a server that lets everybody in."""
    output, port = make(anonymous=True)
    yield port
    output.close()


def talk(port: int, task: Callable[[Client], Awaitable[object]]) -> object:
    """Connect a client and let it do one thing."""

    async def connected() -> object:
        async with Client(f"opc.tcp://127.0.0.1:{port}", timeout=WAIT_S) as client:
            return await task(client)

    return asyncio.run(connected())


async def read(client: Client) -> bool:
    """Read what a PLC reads."""
    return await client.get_node(READY).read_value()


@pytest.fixture
def log() -> Iterator[io.StringIO]:
    """Give what a station's log would hold, with the fields of each line."""
    written = io.StringIO()
    handler = logging.StreamHandler(written)
    handler.setFormatter(
        logging.Formatter("%(name)s %(message)s %(complaint)s", defaults={"complaint": ""})
    )
    logging.getLogger().addHandler(handler)
    yield written
    logging.getLogger().removeHandler(handler)


def test_silent_connections_keep_nobody_out(port: int):
    """Of more than one address may have, those without a session make room."""
    with ExitStack() as stack:
        for _ in range(SILENT):
            stack.enter_context(socket.create_connection(("127.0.0.1", port)))
        assert talk(port, read) is True


def test_silent_connections_from_elsewhere_end_no_session(port: int):
    """A client that is logged in stays, whoever comes; so does one that connects meanwhile."""

    async def stay(client: Client) -> list[bool]:
        seen = []
        with ExitStack() as stack:
            for _ in range(SILENT):
                other = socket.create_connection(("127.0.0.1", port), source_address=OTHER)
                stack.enter_context(other)
                seen.append(await read(client))
        return seen

    assert talk(port, stay) == [True] * SILENT


def test_sessions_of_one_address_are_counted(port: int, log: io.StringIO):
    """Who is logged in is not ended for one more, which is refused."""

    async def crowd() -> list[bool]:
        async with asyncio.timeout(WAIT_S):
            clients = [Client(f"opc.tcp://127.0.0.1:{port}", timeout=WAIT_S) for _ in range(8)]
            for client in clients:
                await client.connect()
            with pytest.raises((ConnectionError, asyncio.TimeoutError, ua.UaError)):
                await Client(f"opc.tcp://127.0.0.1:{port}", timeout=2).connect()
            seen = [await read(client) for client in clients]
            for client in clients:
                await client.disconnect()
        return seen

    assert asyncio.run(crowd()) == [True] * 8
    assert "OPC UA client refused: too many" in log.getvalue()


def test_refused_writes_leave_few_short_lines(log: io.StringIO):
    """Neither what a client sends nor how often it does fills the disk."""
    output, port = make(anonymous=True)

    async def flood(client: Client) -> None:
        node = client.get_node(ACKNOWLEDGE)
        with pytest.raises(ua.uaerrors.BadTypeMismatch):
            await node.write_value(ua.Variant(b"x" * 200_000, ua.VariantType.ByteString))
        for _ in range(200):
            with pytest.raises(ua.uaerrors.BadTypeMismatch):
                await node.write_value("no number")

    talk(port, flood)
    output.close()
    lines = log.getvalue().splitlines()
    assert "Write refused" in log.getvalue()
    assert (len(lines) <= 10, max(map(len, lines)) < 300) == (True, True)


def test_write_of_a_megabyte_leaves_a_line(port: int, log: io.StringIO):
    """Its connection ends at the limit of a message, and others go on."""

    async def write(client: Client) -> None:
        value = ua.Variant(b"x" * 1_000_000, ua.VariantType.ByteString)
        await client.get_node(ACKNOWLEDGE).write_value(value)

    with pytest.raises((ua.UaError, ConnectionError, asyncio.TimeoutError)):
        talk(port, write)
    assert len(log.getvalue()) < LOG_BYTES
    assert talk(port, read) is True


def test_chunk_without_end_is_not_kept(port: int):
    """A head may promise a gigabyte; the connection ends before ten megabytes came."""
    with socket.create_connection(("127.0.0.1", port), timeout=5) as client:
        client.sendall(struct.pack("<3scI", b"MSG", b"F", 2**30))
        with pytest.raises(ConnectionError):
            client.sendall(bytes(10_000_000))


def test_another_connections_session_is_nobodys(tmp_path: Path):
    """Session numbers can be guessed; without the password nothing can be done with them."""
    (tmp_path / "password").write_text("open sesame\n")
    output, port = make(username="plc", password_file=tmp_path / "password")
    url = f"opc.tcp://127.0.0.1:{port}"

    async def steal() -> list[str]:
        async with asyncio.timeout(WAIT_S):
            plc = Client(url, timeout=WAIT_S)
            plc.set_user("plc")
            plc.set_password("open sesame")
            await plc.connect()
            thief = Client(url, timeout=WAIT_S)
            await thief.connect_socket()
            await thief.send_hello()
            await thief.open_secure_channel()
            token = plc.uaclient.protocol.authentication_token  # it counts from 1000
            thief.uaclient.protocol.authentication_token = token
            found = []
            for attempt in (activate(thief), read(thief)):
                try:
                    found.append(f"got {await attempt}")
                except ua.UaError as error:
                    found.append(type(error).__name__)
            assert await read(plc) is True
            await plc.disconnect()
            thief.disconnect_socket()
        return found

    try:
        assert asyncio.run(steal()) == ["BadSessionIdInvalid", "BadUserAccessDenied"]
    finally:
        output.close()


async def activate(client: Client) -> object:
    """Ask for a session to be taken up on this connection, as nobody."""
    parameters = ua.ActivateSessionParameters()
    parameters.UserIdentityToken = ua.AnonymousIdentityToken()
    return await client.uaclient.activate_session(parameters)


def test_connection_has_one_session(port: int):
    """Each would cost memory and a timer until its connection ends."""

    async def again(client: Client) -> None:
        with pytest.raises(ua.uaerrors.BadTooManySessions):
            await client.create_session()
        assert await read(client)

    talk(port, again)


def test_station_is_no_directory_of_servers(port: int):
    """Nobody needs a session to register one, so nobody may."""

    async def register(client: Client) -> None:
        server = ua.RegisteredServer(ServerUri="urn:evil", ServerNames=[ua.LocalizedText("evil")])
        with pytest.raises(ua.uaerrors.BadServiceUnsupported):
            await client.uaclient.register_server(server)

    talk(port, register)


def test_subscriptions_are_few_paced_and_their_clients_own(port: int):
    """Another client can neither end nor change them."""

    class Deaf:
        def datachange_notification(self, *_of: object) -> None:
            """Hear nothing."""

    async def subscribe(client: Client) -> None:
        first = await client.create_subscription(0.001, Deaf())
        assert first.parameters.RequestedPublishingInterval == 10
        node = client.get_node(READY)
        await first.subscribe_data_change([node] * 100)
        with pytest.raises(ua.uaerrors.BadTooManyOperations):
            await first.subscribe_data_change([node])
        for _ in range(3):
            await client.create_subscription(100, Deaf())
        with pytest.raises(ua.uaerrors.BadTooManySubscriptions):
            await client.create_subscription(100, Deaf())
        async with Client(f"opc.tcp://127.0.0.1:{port}", timeout=WAIT_S) as other:
            for attempt in (
                other.uaclient.delete_subscriptions([first.subscription_id]),
                other.uaclient.transfer_subscriptions(
                    ua.TransferSubscriptionsParameters(SubscriptionIds=[first.subscription_id])
                ),
            ):
                with pytest.raises(ua.UaError):
                    await attempt
        await first.delete()

    talk(port, subscribe)


def test_request_of_many_nodes_is_refused(port: int):
    """One answer to it could be hundreds of times its size."""

    async def ask(client: Client) -> None:
        with pytest.raises(ua.uaerrors.BadTooManyOperations):
            await client.read_values([client.get_node(READY)] * 101)
        assert await client.read_values([client.get_node(READY)] * 100) == [True] * 100

    talk(port, ask)


def test_client_that_does_not_read_is_not_answered(port: int):
    """It is cut off when too many of its requests wait, so that its answers fill no memory."""

    async def ask(client: Client) -> bool:
        protocol = client.uaclient.protocol
        protocol.transport.pause_reading()
        request = ua.ReadRequest()
        request.RequestHeader.AuthenticationToken = protocol.authentication_token
        request.Parameters.NodesToRead = [
            ua.ReadValueId(NodeId=READY, AttributeId=ua.AttributeIds.Value) for _ in range(100)
        ]
        body = ua.ua_binary.struct_to_binary(request)
        for number in range(20_000):
            if protocol.transport is None or protocol.transport.is_closing():
                return True
            sent = protocol._connection.message_to_binary(body, request_id=10_000 + number)
            protocol.transport.write(sent)
            while protocol.transport and protocol.transport.get_write_buffer_size() > 1_000_000:
                await asyncio.sleep(0.01)
            await asyncio.sleep(0)
        return False

    async def cut_off() -> bool:
        async with asyncio.timeout(120):
            client = Client(f"opc.tcp://127.0.0.1:{port}", timeout=WAIT_S)
            await client.connect()
            try:
                return await ask(client)
            finally:
                client.disconnect_socket()
                await client.disconnect()

    assert asyncio.run(cut_off())
    assert talk(port, read) is True


def test_time_is_not_spent_on_tiny_chunks(port: int):
    """A client that can take no chunk of 8 kB is none the standard knows."""
    hello = struct.pack("<3scIIIIIII", b"HEL", b"F", 32, 0, 40, 40, 0, 0, 0)
    with socket.create_connection(("127.0.0.1", port), timeout=1) as client:
        client.sendall(hello)
        began_s = time.monotonic()
        try:
            answer = client.recv(100)
        except TimeoutError:
            answer = b""
        assert answer[:3] != b"ACK"
        assert time.monotonic() - began_s < WAIT_S

import asyncio
import itertools
import math
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import ExitStack, asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest
from asyncua import Client, Node, ua
from asyncua.crypto.security_policies import SecurityPolicyBasic256Sha256
from pydantic import ValidationError

from inspection.bench.faults.network import Network, free_port
from inspection.core.decision import Verdict
from inspection.core.records import Event
from inspection.station.outputs import opcua
from inspection.station.outputs.courier import Courier
from inspection.station.outputs.handshake import UNKNOWN
from inspection.station.outputs.nodes import APPLICATION, NAMESPACE, VARIABLES
from inspection.station.outputs.opcua import OpcuaOutput
from inspection.station.outputs.output import OutputDown
from inspection.station.outputs.settings import Action, ActionSettings, OpcuaSettings
from inspection.station.state import StationState
from tests.fakes import StillClock
from tests.station.events import event, named
from tests.station.outputs.certificate import make_certificate
from tests.station.outputs.record import WAIT_S, Acknowledged, Record
from tests.station.outputs.status import status

HEARTBEAT_S = 0.5
NUMBERS = itertools.count(1_000)
"""Sequences no other test uses; what was acknowledged is not shown again."""
NAMES = [variable.name for variable in VARIABLES]


class Station:
    """An OPC UA output that runs, with what drives it."""

    def __init__(self, actions: ActionSettings | None = None, **settings) -> None:
        settings.setdefault("anonymous", "username" not in settings)
        self.clock = StillClock()
        self.port: int = settings.setdefault("port", free_port())
        self.output = OpcuaOutput(
            OpcuaSettings(kind="opcua", **settings),
            actions or ActionSettings(),
            heartbeat_s=HEARTBEAT_S,
            clock=self.clock,
        )
        self.output.connect()
        self.output.beat(status())

    def show(self, shown: Event) -> None:
        """Deliver an event nobody acknowledges, without waiting for that."""
        self.output._handshake.deliver(shown, trigger=UNKNOWN, timeout_s=0)

    def clear(self) -> None:
        """Acknowledge whatever is shown."""
        if shown := self.output._handshake.show().event:
            self.output._handshake.acknowledge(shown.sequence)


class Watcher:
    """A client that knows the nodes."""

    def __init__(self, client: Client, index: int) -> None:
        self.client = client
        self.index = index

    def node(self, name: str) -> Node:
        """Give the node of a variable."""
        return self.client.get_node(ua.NodeId(f"Station.{name}", self.index))

    async def read(self) -> dict[str, object]:
        """Read all the station writes in one request."""
        values = await self.client.read_values([self.node(name) for name in NAMES])
        return dict(zip(NAMES, values, strict=True))

    async def until(self, **wanted: object) -> dict[str, object]:
        """Read until the values are as wanted."""
        async with asyncio.timeout(WAIT_S):
            while not wanted.items() <= (seen := await self.read()).items():
                await asyncio.sleep(0.01)
        return seen

    async def acknowledge(self, sequence: int) -> None:
        """Write the acknowledgement."""
        await self.node("Acknowledge").write_value(sequence, ua.VariantType.UInt32)

    async def call(self, sequence: int) -> bool:
        """Acknowledge by the method."""
        station = self.client.get_node(ua.NodeId("Station", self.index))
        return await station.call_method(
            ua.NodeId("Station.AcknowledgeResult", self.index),
            ua.Variant(sequence, ua.VariantType.UInt32),
        )


@asynccontextmanager
async def watch(port: int) -> AsyncIterator[Watcher]:
    """Connect a client."""
    async with Client(f"opc.tcp://127.0.0.1:{port}", timeout=WAIT_S) as client:
        yield Watcher(client, await client.get_namespace_index(NAMESPACE))


def look(port: int, task: Callable[[Watcher], Awaitable[object]]) -> object:
    """Connect a client, let it do one thing, and disconnect it."""

    async def connected() -> object:
        async with watch(port) as watcher:
            return await task(watcher)

    return asyncio.run(connected())


@pytest.fixture(scope="module", autouse=True)
def _short_waits() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(opcua, "DELIVERY_S", 0.05)
        patch.setattr(opcua, "TICK_S", 0.02)
        yield


@pytest.fixture(scope="module")
def shared() -> Iterator[Station]:
    """One server for the tests that leave it as it was."""
    station = Station()
    yield station
    station.output.close()


@pytest.fixture
def station(shared: Station) -> Station:
    """Give the shared station, READY and with nothing on show."""
    shared.clear()
    shared.output.beat(status())
    return shared


@pytest.fixture
def start() -> Iterator[Callable[..., Station]]:
    """Start stations, and stop them after the test."""
    with ExitStack() as stack:

        def begin(**settings) -> Station:
            station = Station(**settings)
            stack.callback(station.output.close)
            return station

        yield begin


def test_result_stands_until_it_is_acknowledged(station: Station):
    """It appears with all that belongs to it, is acknowledged, and is cleared."""

    async def handshake(plc: Watcher) -> None:
        assert station.output.deliver([named(7, Verdict.REVIEW, ("pore", 0.9))]) == 0
        shown = await plc.until(Sequence=7)
        assert {name: shown[name] for name in NAMES[9:]} == {
            "EventId": f"{7:032x}",
            "PartId": "part-7",
            "Product": "default",
            "Verdict": "REVIEW",
            "VerdictCode": 2,
            "Score": 0.25,
            "JudgedAt": datetime(2025, 3, 1, 6, 0, tzinfo=UTC),
            "Action": "reject",
            "ActionCode": 2,
            "Release": False,
            "Sequence": 7,
            "Types": "pore: 1",
        }
        await plc.acknowledge(6)
        assert (await plc.read())["Sequence"] == 7
        await plc.acknowledge(7)
        cleared = await plc.until(Sequence=0)
        assert (cleared["Verdict"], cleared["PartId"], cleared["Release"]) == ("", "", False)
        assert math.isnan(cleared["Score"])

    look(station.port, handshake)
    assert station.output.deliver([event(7, Verdict.REVIEW)]) == 1


def test_result_is_acknowledged_by_the_method_too(station: Station):
    """It says whether that result was on show."""

    async def handshake(plc: Watcher) -> list[bool]:
        station.show(event(8))
        await plc.until(Sequence=8, Release=True, Action="release")
        return [await plc.call(number) for number in (9, 8, 8)]

    assert look(station.port, handshake) == [False, True, False]
    assert station.output.deliver([event(8)]) == 1


def test_status_comes_with_the_heartbeat(station: Station):
    """State, counters and waiting parts are those of the last beat."""
    counts = {Verdict.PASS: 4, Verdict.REVIEW: 3, Verdict.REJECT: 2, Verdict.FAULT: 1}
    station.output.beat(status(beat=5, counts=counts, waiting=6))

    async def read(plc: Watcher) -> dict[str, object]:
        return await plc.until(Heartbeat=5)

    shown = look(station.port, read)
    assert {name: shown[name] for name in NAMES[:9]} == {
        "Ready": True,
        "State": "READY",
        "Reason": "",
        "Heartbeat": 5,
        "Waiting": 6,
        "Counters.Pass": 4,
        "Counters.Review": 3,
        "Counters.Reject": 2,
        "Counters.Fault": 1,
    }


@pytest.mark.parametrize("state", [s for s in StationState if s is not StationState.READY])
def test_only_a_ready_station_releases(state: StationState, station: Station):
    """A PASS on show is no release while the station is anything but READY."""

    async def turn(plc: Watcher) -> None:
        station.show(event(next(NUMBERS)))
        await plc.until(Release=True)
        station.output.beat(status(state))
        await plc.until(Release=False, Ready=False, State=state, Reason="camera unplugged")
        assert (await plc.read())["Verdict"] == "PASS"

    look(station.port, turn)


def test_station_whose_beats_stop_shows_the_safe_output(station: Station):
    """The server sees it by itself; a client that only subscribes hears of it."""

    async def fall_silent(plc: Watcher) -> None:
        station.show(event(10))
        await plc.until(Release=True)
        heard = asyncio.Queue()
        subscription = await plc.client.create_subscription(20, Hearing(heard))
        await subscription.subscribe_data_change(plc.node("Release"))
        assert await asyncio.wait_for(heard.get(), WAIT_S) == ("Release", True)
        station.clock.advance(3 * HEARTBEAT_S + 0.01)
        assert await asyncio.wait_for(heard.get(), WAIT_S) == ("Release", False)
        shown = await plc.read()
        assert (shown["State"], shown["Ready"], shown["Action"]) == ("", False, "reject")
        assert shown["Reason"] == "no sign of life from the station for 1.5 s; restart it"
        station.output.beat(status(beat=2))
        await plc.until(Release=True, Heartbeat=2)

    look(station.port, fall_silent)


class Hearing:
    """Puts what a subscription brings into a queue, by node and value."""

    def __init__(self, heard: asyncio.Queue[tuple[str, object]]) -> None:
        self.heard = heard

    def datachange_notification(self, node: Node, value: object, _data: object) -> None:
        """Hear of one change."""
        self.heard.put_nowait((str(node.nodeid.Identifier).removeprefix("Station."), value))


@pytest.mark.parametrize("interval_ms", [0, 50])
def test_client_that_hears_of_a_sequence_reads_the_whole_result(interval_ms: int, station: Station):
    """The way docs/station.md tells: subscribe to Sequence, then read all in one request."""

    async def follow(plc: Watcher) -> None:
        heard = asyncio.Queue()
        subscription = await plc.client.create_subscription(interval_ms, Hearing(heard))
        await subscription.subscribe_data_change(plc.node("Sequence"))
        for number in itertools.islice(NUMBERS, 20):
            passed = number % 2 == 1
            station.show(event(number, Verdict.PASS if passed else Verdict.REJECT))
            while await asyncio.wait_for(heard.get(), WAIT_S) != ("Sequence", number):
                pass
            shown = await plc.read()
            assert (shown["PartId"], shown["Release"]) == (f"part-{number}", passed)
            await plc.acknowledge(number)

    look(station.port, follow)


def test_one_read_never_mixes_two_results(station: Station):
    """A client that polls as fast as it can, while results overwrite each other."""

    async def poll(plc: Watcher) -> set[tuple[object, ...]]:
        nodes = [plc.node(name) for name in ("Sequence", "PartId", "Verdict", "Release")]
        seen = set()
        for number in range(100, 400):
            station.show(event(number, Verdict.PASS if number % 2 else Verdict.REJECT))
            seen.add(tuple(await plc.client.read_values(nodes)))
        return seen

    seen = {row for row in look(station.port, poll) if row[0] >= 100}
    assert len(seen) > 20
    for sequence, part_id, verdict, release in seen:
        passed = sequence % 2 == 1
        assert (part_id, verdict) == (f"part-{sequence}", "PASS" if passed else "REJECT")
        assert release is passed


def test_what_the_station_shows_cannot_be_written(station: Station):
    """Only the acknowledgement is a client's to write, and only as a number."""

    async def tamper(plc: Watcher) -> None:
        for name in ("Release", "Sequence", "Action"):
            node = plc.node(name)
            with pytest.raises(ua.uaerrors.BadUserAccessDenied):
                await node.write_value(await node.read_data_value())
        with pytest.raises(ua.uaerrors.BadTypeMismatch):
            await plc.node("Acknowledge").write_value("7")
        with pytest.raises(ua.uaerrors.BadTypeMismatch):
            await plc.node("Acknowledge").write_value(ua.DataValue())
        bad = ua.DataValue(StatusCode=ua.StatusCode(ua.StatusCodes.Bad))
        await plc.node("Acknowledge").write_value(bad)
        await plc.acknowledge(7)
        with pytest.raises(ua.uaerrors.BadUserAccessDenied):
            await plc.client.nodes.objects.add_object(plc.index, "Mine")

    look(station.port, tamper)


def test_half_open_and_silent_clients_disturb_nobody(station: Station):
    """A cut cable ends no session; the next client does not wait for it."""

    async def cut(network: Network) -> None:
        client = Client(f"opc.tcp://127.0.0.1:{network.port}", timeout=0.3)
        await client.connect()
        subscription = await client.create_subscription(20, Hearing(asyncio.Queue()))
        index = await client.get_namespace_index(NAMESPACE)
        await subscription.subscribe_data_change(Watcher(client, index).node("Heartbeat"))
        network.go_dumb()
        client.disconnect_socket()

    async def handshake(plc: Watcher) -> None:
        await plc.until(Sequence=50)
        await plc.acknowledge(50)

    with (
        Network(station.port) as network,
        socket.create_connection(("127.0.0.1", station.port)),
    ):
        asyncio.run(cut(network))
        station.show(event(50))
        for beat in range(20):
            station.output.beat(status(beat=beat))
        look(station.port, handshake)
        assert station.output.deliver([event(50)]) == 1


def test_restarted_station_goes_on_where_the_client_was(start: Callable[..., Station]):
    """What was acknowledged is not shown again; what was not, is, in order."""
    record, acknowledged = Record(4), Acknowledged()

    def courier(station: Station, delivered: int) -> Courier:
        courier = Courier(station.output, record, delivered, acknowledged)
        courier.start()
        return courier

    async def take(plc: Watcher, *sequences: int) -> None:
        for sequence in sequences:
            await plc.until(Sequence=sequence)
            await plc.acknowledge(sequence)

    station = start()
    delivery = courier(station, 0)
    look(station.port, lambda plc: take(plc, 1, 2))
    look(station.port, lambda plc: plc.until(Sequence=3))
    delivery.stop()
    assert acknowledged == [1, 2]
    station = start(port=station.port)
    delivery = courier(station, 2)
    look(station.port, lambda plc: take(plc, 3, 4))
    assert delivery.drain(4, WAIT_S)
    delivery.stop()
    assert acknowledged == [1, 2, 3, 4]


def test_end_of_the_station_is_shown_before_the_connection_ends():
    """A subscriber hears STOPPED and that nothing is released any more."""
    station = Station(ActionSettings(safe=Action.HOLD), acknowledge=False)
    assert station.output.deliver([event(1)]) == 1

    async def stay(plc: Watcher) -> dict[str, object]:
        await plc.until(Release=True)
        heard, known = asyncio.Queue(), {}
        subscription = await plc.client.create_subscription(100, Hearing(heard))
        names = ["Release", "Action", "State"]
        await subscription.subscribe_data_change([plc.node(name) for name in names])
        closing = asyncio.create_task(asyncio.to_thread(station.output.close))
        while known.get("State") != "STOPPED":
            name, value = await asyncio.wait_for(heard.get(), WAIT_S)
            known[name] = value
        while not heard.empty():
            known.update([heard.get_nowait()])
        await plc.client.disconnect()
        await closing
        return known

    assert look(station.port, stay) == {"Release": False, "Action": "hold", "State": "STOPPED"}


def test_port_in_use_is_down(start: Callable[..., Station]):
    """The reason names the address and the remedy."""
    port = free_port()
    with (
        socket.create_server(("127.0.0.1", port)),
        pytest.raises(OutputDown, match=rf"127.0.0.1:{port} \(.*in use.*\); free the port"),
    ):
        start(port=port)


def test_password_is_asked_for(start: Callable[..., Station], tmp_path: Path):
    """Neither a stranger, nor one without a session, nor one who guesses, sees anything."""
    (tmp_path / "password").write_text("open sesame\n")
    station = start(username="plc", password_file=tmp_path / "password")
    url = f"opc.tcp://127.0.0.1:{station.port}"

    async def enter(username: str | None, password: str) -> bool:
        client = Client(url, timeout=WAIT_S)
        if username is not None:
            client.set_user(username)
            client.set_password(password)
        async with client:
            index = await client.get_namespace_index(NAMESPACE)
            return await client.get_node(ua.NodeId("Station.Ready", index)).read_value()

    assert asyncio.run(enter("plc", "open sesame"))
    for username, password in (("plc", "guess"), ("admin", "open sesame"), (None, "")):
        with pytest.raises(ua.UaError):
            asyncio.run(enter(username, password))
    for log_in in (True, False):
        with pytest.raises(ua.UaError, match=r"Bad(UserAccessDenied|IdentityToken|SessionNot)"):
            asyncio.run(intrude(url, log_in=log_in))


async def intrude(url: str, *, log_in: bool) -> object:
    """Read over an open channel, as nobody in particular, after or without logging in."""
    client = Client(url, timeout=WAIT_S)
    await client.connect_socket()
    try:
        await client.send_hello()
        await client.open_secure_channel()
        with pytest.MonkeyPatch.context() as patch:  # it insists on an endpoint that admits it
            patch.setattr(Client, "find_endpoint", lambda endpoints, *_: endpoints[0])
            await client.create_session()
        if log_in:
            await client.activate_session()
        return await client.get_node(ua.NodeId("Station.Ready", 2)).read_value()
    finally:
        client.disconnect_socket()


def test_certificate_admits_signed_and_encrypted_sessions_only(
    start: Callable[..., Station], tmp_path: Path
):
    """An open channel may ask for the endpoints, and for nothing else."""
    server, client_files = make_certificate(tmp_path, "server"), make_certificate(tmp_path, "plc")
    station = start(certificate=server[0], private_key=server[1])
    url = f"opc.tcp://127.0.0.1:{station.port}"

    async def enter(mode: ua.MessageSecurityMode | None) -> bool:
        client = Client(url, timeout=WAIT_S)
        client.application_uri = APPLICATION
        if mode is not None:
            await client.set_security(
                SecurityPolicyBasic256Sha256, str(client_files[0]), str(client_files[1]), mode=mode
            )
        async with client:
            index = await client.get_namespace_index(NAMESPACE)
            return await client.get_node(ua.NodeId("Station.Ready", index)).read_value()

    assert asyncio.run(enter(ua.MessageSecurityMode.SignAndEncrypt))
    for mode in (ua.MessageSecurityMode.Sign, None):
        with pytest.raises(ua.UaError):
            asyncio.run(enter(mode))
    for log_in in (True, False):
        with pytest.raises(ua.UaError, match=r"Bad(UserAccessDenied|IdentityToken|SessionNot)"):
            asyncio.run(intrude(url, log_in=log_in))


@pytest.mark.fast
@pytest.mark.parametrize("name", ["username", "password_file", "certificate", "private_key"])
def test_half_of_the_security_settings_is_refused(name: str):
    """Less security than was meant is worse than none that is known."""
    with pytest.raises(ValidationError, match=f"{name}.* go together|and {name} go together"):
        OpcuaSettings.model_validate({"kind": "opcua", name: "x"})


@pytest.mark.fast
def test_password_that_cannot_be_read_is_named():
    """The file may come later; until then no client may log in."""
    settings = OpcuaSettings(
        kind="opcua", port=free_port(), username="plc", password_file=Path("absent")
    )
    output = OpcuaOutput(settings, ActionSettings(), heartbeat_s=HEARTBEAT_S)
    with pytest.raises(OutputDown, match="absent: cannot be read"):
        output.connect()
    output.close()


def test_certificate_that_cannot_be_read_is_named(start: Callable[..., Station], tmp_path: Path):
    """The file may come back; until then the output is down."""
    (tmp_path / "bad.der").write_bytes(b"no certificate")
    with pytest.raises(OutputDown, match=r"bad.der or .*: cannot be read .*; wanted a DER"):
        start(certificate=tmp_path / "bad.der", private_key=tmp_path / "bad.pem")

"""An OPC UA server that shows one result at a time until a client acknowledges it.

What changes together is written without a pause, Sequence last, so that one Read request or one
notification of a subscription belongs together.
"""

import asyncio
import hmac
import socket
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime

from asyncua import Server, ua
from asyncua.crypto.permission_rules import User, UserRole
from asyncua.server.address_space import NodeData
from asyncua.server.internal_server import InternalServer

from inspection.core.records import Event
from inspection.station.clock import SYSTEM_CLOCK, Clock
from inspection.station.outputs.handshake import DELIVERY_S, FAREWELL_S, UNKNOWN, Handshake
from inspection.station.outputs.nodes import (
    ACKNOWLEDGE,
    APPLICATION,
    METHOD,
    NAMESPACE,
    TYPES,
    VARIABLES,
    values,
)
from inspection.station.outputs.opcua_limits import LimitedServer, Ruleset
from inspection.station.outputs.output import OutputDown
from inspection.station.outputs.secret import read_secret
from inspection.station.outputs.server import ServerThread
from inspection.station.outputs.settings import ActionSettings, OpcuaSettings
from inspection.station.state import StationStatus

TICK_S = 0.25
"""Longest time until silence of the station shows."""
SECURE = [
    ua.SecurityPolicyType.Basic256Sha256_SignAndEncrypt,
    ua.SecurityPolicyType.Aes128Sha256RsaOaep_SignAndEncrypt,
    ua.SecurityPolicyType.Aes256Sha256RsaPss_SignAndEncrypt,
]


class OpcuaOutput:
    """The nodes of one station; PLC and SCADA are the clients.

    Args:
        settings: address, security, and whether results wait for their acknowledgement.
        actions: what the line does with each verdict.
        heartbeat_s: time between two calls of `beat`; three missed are a dead station.
        clock: measures silence.
    """

    batch = 1
    from_start = False  # what is history to a PLC would be shown as if it were in place

    def __init__(
        self,
        settings: OpcuaSettings,
        actions: ActionSettings,
        *,
        heartbeat_s: float,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        self.name: str = settings.name
        self._settings = settings
        self._handshake = Handshake(
            actions, acknowledge=settings.acknowledge, heartbeat_s=heartbeat_s, clock=clock
        )
        self._handshake.on_change = self._wake
        self._server = ServerThread("OPC UA", self._serve)
        self._changed: asyncio.Event | None = None
        self._login: tuple[str, str] | None = None

    def connect(self) -> None:
        """Listen, if that is not done yet; takes a few seconds.

        Raises:
            OutputDown: the address is taken or not this computer's, or the password unreadable.
        """
        if self._server.running:
            return
        self._login = self._read_login()
        self._server.start(self._settings.host, self._settings.port)

    def deliver(self, events: Sequence[Event]) -> int:
        """Show one result; 1 when it is acknowledged, 0 when it was not within a second.

        Raises:
            OutputDown: the server ended.
        """
        self._server.require()
        return int(self._handshake.deliver(events[0], trigger=UNKNOWN, timeout_s=DELIVERY_S))

    def beat(self, status: StationStatus) -> None:
        """Take the station's sign of life.

        Raises:
            OutputDown: the server ended.
        """
        self._handshake.beat(status)
        self._server.require()

    def close(self) -> None:
        """Show that the station stopped, for a second to subscribers, and end the server."""
        self._handshake.leave()
        self._server.stop()

    def _read_login(self) -> tuple[str, str] | None:
        username, password_file = self._settings.username, self._settings.password_file
        if username is None or password_file is None:  # settings have both or none
            return None
        return username, read_secret(password_file)

    def _wake(self) -> None:
        if self._changed is not None:
            self._server.call(self._changed.set)

    async def _serve(self, listening: Callable[[], None], stop: asyncio.Event) -> None:
        settings = self._settings
        socket.create_server((settings.host, settings.port)).close()  # fails before a slow start
        secure = settings.certificate is not None
        server = LimitedServer(_Users(self._login, secure=secure))
        await server.init()
        server.set_endpoint(f"opc.tcp://{settings.host}:{settings.port}/")
        server.set_server_name("inspection station")
        await server.set_application_uri(APPLICATION)
        await self._secure(server)
        nodes = await self._add_nodes(server)
        self._changed = asyncio.Event()
        await self._publish(server, nodes, self._changed)
        await server.start()
        try:
            listening()
            while not stop.is_set():
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._changed.wait(), TICK_S)
                await self._publish(server, nodes, self._changed)
            if server.bserver is not None and server.bserver.clients:
                await asyncio.sleep(FAREWELL_S)
        finally:
            await server.stop()

    async def _secure(self, server: Server) -> None:
        """Set who may come in, and how.

        asyncua opens unsecured channels even where no policy speaks of them, so that clients can
        ask for the endpoints; `_Users` refuses to log in over them.
        """
        certificate, private_key = self._settings.certificate, self._settings.private_key
        if certificate is None or private_key is None:
            policies = [ua.SecurityPolicyType.NoSecurity]
        else:
            try:
                await server.load_certificate(certificate, "der")
                await server.load_private_key(private_key, format="pem")
            except (OSError, ValueError, TypeError) as error:
                raise OutputDown(
                    f"{certificate} or {private_key}: cannot be read ({error}); wanted a DER "
                    "certificate and its PEM key without a password"
                ) from error
            policies = SECURE
        server.set_security_policy(policies, Ruleset())
        token = ua.UserNameIdentityToken if self._login else ua.AnonymousIdentityToken
        server.set_identity_tokens([token])

    async def _add_nodes(self, server: Server) -> dict[str, ua.NodeId]:
        """Add the object Station and what is in it; give the node id of each variable."""
        index = await server.register_namespace(NAMESPACE)
        station = await server.nodes.objects.add_object(ua.NodeId("Station", index), "Station")
        parents = {"": station}
        nodes: dict[str, ua.NodeId] = {}
        shown = values(self._handshake.show())
        for name, kind in VARIABLES:
            group, _, leaf = name.rpartition(".")
            if group not in parents:
                node_id = ua.NodeId(f"Station.{group}", index)
                parents[group] = await station.add_object(node_id, group)
            node_id = ua.NodeId(f"Station.{name}", index)
            await parents[group].add_variable(node_id, leaf, shown[name], ua.VariantType[kind])
            nodes[name] = node_id
        node_id = ua.NodeId(f"Station.{ACKNOWLEDGE.name}", index)
        kind = ua.VariantType[ACKNOWLEDGE.type]
        written = await station.add_variable(node_id, ACKNOWLEDGE.name, 0, kind)
        await written.set_writable()
        server.set_attribute_value_setter(node_id, self._take_written)
        await station.add_method(
            ua.NodeId(f"Station.{METHOD}", index),
            METHOD,
            self._take_called,
            [ua.VariantType.UInt32],
            [ua.VariantType.Boolean],
        )
        return nodes

    def _take_written(
        self, node: NodeData, attribute: ua.AttributeIds, value: ua.DataValue
    ) -> None:
        node.attributes[attribute].value = value
        if value.Value is not None:
            self._handshake.acknowledge(value.Value.Value)

    async def _take_called(self, _parent: ua.NodeId, *arguments: ua.Variant) -> list[ua.Variant]:
        done = bool(arguments) and self._handshake.acknowledge(arguments[0].Value)
        return [ua.Variant(done, ua.VariantType.Boolean)]

    async def _publish(
        self, server: Server, nodes: dict[str, ua.NodeId], changed: asyncio.Event
    ) -> None:
        """Write all that is shown now; subscribers hear of what differs."""
        changed.clear()
        shown = values(self._handshake.show())
        at = datetime.now(UTC)

        async def write(name: str, value: object) -> None:
            variant = ua.Variant(value, ua.VariantType[TYPES[name]])
            stamped = ua.DataValue(variant, SourceTimestamp=at)
            await server.write_attribute_value(nodes[name], stamped)

        if not shown["Release"]:
            await write("Release", value=False)  # before anything of the next part
        for name in nodes:
            await write(name, shown[name])


class _Users:
    """Lets in who has the password, where there is one; where `secure`, over no open channel."""

    def __init__(self, login: tuple[str, str] | None, *, secure: bool) -> None:
        self._login = login
        self._secure = secure

    def get_user(
        self,
        iserver: InternalServer,  # noqa: ARG002 - asyncua's signature
        username: str | None = None,
        password: str | None = None,
        certificate: bytes | None = None,
    ) -> User | None:
        if self._secure and not certificate:
            return None
        if self._login is not None:
            given = f"{username}\0{password}".encode("utf-8", "replace")
            if not hmac.compare_digest(given, "\0".join(self._login).encode()):
                return None
        return User(role=UserRole.User)

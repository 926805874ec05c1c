"""Bounds what clients of the OPC UA server take: places, memory, time, and lines of the log.

asyncua bounds connections and subscriptions in all, and ends a connection without a session in
time. What it leaves open is closed here. A new connection takes the place of one without a
session; a client that does not read is not answered; a session lasts as long as its connection,
and nobody else can take it up, which asyncua allows before it has asked for the password.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable, Sized
from typing import Any

from asyncua import Server, ua
from asyncua.common.connection import TransportLimits
from asyncua.common.utils import ServiceError
from asyncua.crypto.permission_rules import SimpleRoleRuleset, User, UserRole
from asyncua.server.binary_server_asyncio import BinaryServer, OPCUAProtocol
from asyncua.server.internal_server import InternalServer
from asyncua.server.internal_session import InternalSession
from asyncua.server.user_managers import UserManager

from inspection.core.limits import WRITE_S, Rate, cut
from inspection.station.outputs.server import crowd

logger = logging.getLogger(__name__)

MOST_CLIENTS = 32
"""Connections; a further one takes the place of one without a session, or is refused."""
OF_ONE_ADDRESS = 8
"""The same, of one address."""
LOGIN_S = 10.0
"""A connection without a session is closed after this time."""
SESSION_S = 60.0
"""Longest silence of a session, whatever its client asks for."""
MOST_SUBSCRIPTIONS = 4
"""Of one session."""
MOST_ITEMS = 100
"""Monitored items of one subscription, and values that wait for each."""
MOST_OPERATIONS = 100
"""Nodes of one request."""
CHUNK_BYTES = 65_535
MESSAGE_BYTES = 4 * CHUNK_BYTES
LEAST_BUFFER = 8_192
"""Chunks a client must be able to take (OPC UA part 6); tiny ones would cost us the time."""
MOST_WAITING = 50
"""Requests of one connection that wait to be answered."""
FASTEST_MS, SLOWEST_MS = 10, 3_600_000
"""Between two notifications; 0 is one for each change."""
LINES_A_MINUTE = 10
SHOWN = 200
"""Characters of a line that come from asyncua."""
LARGE = (ua.ObjectIds.OpcUa_BinarySchema, ua.ObjectIds.OpcUa_XmlSchema)
"""Values of 200 kB and more, which describe the types of OPC UA to old clients."""
REFUSED = {
    ua.NodeId(ua.ObjectIds.TransferSubscriptionsRequest_Encoding_DefaultBinary),
    ua.NodeId(ua.ObjectIds.HistoryReadRequest_Encoding_DefaultBinary),
}
"""Services nobody gets: another session's subscriptions, and a history there is not."""
NOBODY = User(role=UserRole.Anonymous)


class LimitedServer(Server):  # type: ignore[misc]
    """asyncua's server within the limits of this module."""

    def __init__(self, user_manager: UserManager) -> None:
        super().__init__(iserver=_Internal(user_manager))
        _quieten()
        self.limits = _Limits(
            CHUNK_BYTES, CHUNK_BYTES, MESSAGE_BYTES // CHUNK_BYTES, max_message_size=MESSAGE_BYTES
        )

    async def start(self) -> None:
        """Listen; as asyncua does, with connections of ours."""
        for node in LARGE:
            await self.get_node(ua.NodeId(node)).write_value(b"")
        await self._setup_server_nodes()
        await self.iserver.start()
        self.bserver = _Binary(self.iserver, *self._get_bind_socket_info(), self.limits)
        self.bserver.set_policies(self._policies)
        try:
            await self.bserver.start()
        except OSError:
            await self.iserver.stop()
            raise


class Ruleset(SimpleRoleRuleset):  # type: ignore[misc]
    """What a user may ask for: asyncua's rules for users, less `REFUSED`."""

    def check_validity(self, user: User, action_type_id: ua.NodeId, body: Any) -> bool:
        """Say whether a user may ask for a service."""
        allowed: bool = super().check_validity(user, action_type_id, body)
        return allowed and action_type_id not in REFUSED


class _Internal(InternalServer):  # type: ignore[misc]
    def __init__(self, user_manager: UserManager) -> None:
        super().__init__(user_manager)
        self.max_connections = MOST_CLIENTS
        self.max_pending_activation_seconds = LOGIN_S
        self.max_pending_messages_per_connection = MOST_WAITING
        self.max_session_timeout_ms = 1000 * SESSION_S
        self.max_subscriptions = MOST_CLIENTS * MOST_SUBSCRIPTIONS
        self.max_monitored_item_queue_size = MOST_ITEMS
        self.max_unacked_messages_per_subscription = MOST_ITEMS

    def create_session(
        self, name: str, user: User = NOBODY, external: bool = False
    ) -> InternalSession:
        """Make the session of a connection; it has one at a time."""
        if external and any(one.name == name for one in self._external_sessions.values()):
            raise ServiceError(ua.StatusCodes.BadTooManySessions)
        service = self.subscription_service
        return _Session(self, self.aspace, service, name, user=user, external=external)

    def lookup_external_session(self, auth_token: ua.NodeId) -> None:
        """Give no other connection's session: its numbers can be guessed, and it is logged in."""

    def register_server(self, server: Any, conf: Any = None) -> None:  # noqa: ARG002 - asyncua's
        """Refuse: a station is no directory of servers, and anybody could fill it."""
        raise ServiceError(ua.StatusCodes.BadServiceUnsupported)


class _Session(InternalSession):  # type: ignore[misc]
    async def read(self, params: ua.ReadParameters) -> Any:
        _require_few(params.NodesToRead)
        return await super().read(params)

    async def write(self, params: ua.WriteParameters) -> Any:
        _require_few(params.NodesToWrite)
        return await super().write(params)

    async def browse(self, params: ua.BrowseParameters) -> Any:
        _require_few(params.NodesToBrowse)
        return await super().browse(params)

    async def translate_browsepaths_to_nodeids(self, params: list[ua.BrowsePath]) -> Any:
        _require_few(params)
        return await super().translate_browsepaths_to_nodeids(params)

    async def call(self, params: list[ua.CallMethodRequest]) -> Any:
        _require_few(params)
        return await super().call(params)

    async def create_subscription(
        self,
        params: ua.CreateSubscriptionParameters,
        callback: Callable[..., Any],
        request_callback: Callable[..., Any] | None = None,
    ) -> ua.CreateSubscriptionResult:
        if len(self._own()) >= MOST_SUBSCRIPTIONS:
            raise ServiceError(ua.StatusCodes.BadTooManySubscriptions)
        asked_ms = params.RequestedPublishingInterval
        paced_ms = min(max(asked_ms, FASTEST_MS), SLOWEST_MS) if asked_ms > 0 else 0.0
        params.RequestedPublishingInterval = paced_ms
        return await super().create_subscription(params, callback, request_callback)

    async def create_monitored_items(self, params: ua.CreateMonitoredItemsParameters) -> Any:
        self._require_own([params.SubscriptionId])
        known = self._own()[params.SubscriptionId].monitored_item_srv._monitored_items
        _require_few([*params.ItemsToCreate, *known], MOST_ITEMS)
        return await super().create_monitored_items(params)

    async def modify_monitored_items(self, params: ua.ModifyMonitoredItemsParameters) -> Any:
        self._require_own([params.SubscriptionId])
        for item in params.ItemsToModify:
            asked = item.RequestedParameters.QueueSize
            item.RequestedParameters.QueueSize = min(asked or MOST_ITEMS, MOST_ITEMS)
        return await super().modify_monitored_items(params)

    async def delete_monitored_items(self, params: ua.DeleteMonitoredItemsParameters) -> Any:
        self._require_own([params.SubscriptionId])
        return await super().delete_monitored_items(params)

    async def set_monitoring_mode(self, params: ua.SetMonitoringModeParameters) -> Any:
        self._require_own([params.SubscriptionId])
        return await super().set_monitoring_mode(params)

    async def set_publishing_mode(self, params: ua.SetPublishingModeParameters) -> Any:
        self._require_own(params.SubscriptionIds)
        return await super().set_publishing_mode(params)

    def republish(self, params: ua.RepublishParameters) -> ua.NotificationMessage:
        self._require_own([params.SubscriptionId])
        return super().republish(params)

    async def delete_subscriptions(self, ids: list[int]) -> Any:
        self._require_own(ids)
        return await super().delete_subscriptions(ids)

    def _own(self) -> dict[int, Any]:
        known = self.subscription_service.subscriptions
        return {key: one for key, one in known.items() if one.session_id == self.session_id}

    def _require_own(self, ids: Iterable[int]) -> None:
        if not set(ids) <= self._own().keys():
            raise ServiceError(ua.StatusCodes.BadSubscriptionIdInvalid)


def _require_few(operations: Sized | None, most: int = MOST_OPERATIONS) -> None:
    if operations is not None and len(operations) > most:
        raise ServiceError(ua.StatusCodes.BadTooManyOperations)


class _Limits(TransportLimits):  # type: ignore[misc]
    def create_acknowledge_and_set_limits(self, msg: ua.Hello) -> ua.Acknowledge:
        if min(msg.ReceiveBufferSize, msg.SendBufferSize) < LEAST_BUFFER:
            raise ua.UaStatusCodeError(ua.StatusCodes.BadConnectionRejected)
        return super().create_acknowledge_and_set_limits(msg)


class _Binary(BinaryServer):  # type: ignore[misc]
    def _make_protocol(self) -> OPCUAProtocol:
        return _Connection(
            self.iserver, self._policies, self.clients, self.closing_tasks, self.limits
        )


class _Connection(OPCUAProtocol):  # type: ignore[misc]
    """One client."""

    _unread: asyncio.TimerHandle | None = None

    def __init__(self, *of_asyncua: Any) -> None:
        super().__init__(*of_asyncua)
        self._reads = asyncio.Event()
        self._reads.set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take a client; when there are too many, one without a session goes for it."""
        address = transport.get_extra_info("peername")[0]
        others = crowd(self.clients, address, _address, MOST_CLIENTS, OF_ONE_ADDRESS)
        if others:
            needless = next((one for one in others if not one.logged_in), None)
            if needless is None:
                logger.warning("OPC UA client refused: too many", extra={"host": address})
                transport.abort()  # type: ignore[attr-defined]
                return
            self.clients.remove(needless)
            needless.transport.abort()
        super().connection_made(transport)

    @property
    def logged_in(self) -> bool:
        session = self.processor.session if self.processor is not None else None
        return session is not None and session.is_activated()

    def data_received(self, data: bytes) -> None:
        """Take what came; no more of one chunk than it may have."""
        super().data_received(data)
        if self.transport is not None and len(self._buffer) > CHUNK_BYTES:
            self.transport.abort()

    def pause_writing(self) -> None:
        """Answer nothing while the client does not read, and end it when it goes on like that."""
        self._reads.clear()
        if self.transport is not None:
            self._unread = asyncio.get_running_loop().call_later(WRITE_S, self.transport.abort)

    def resume_writing(self) -> None:
        """Answer again."""
        self._reads.set()
        if self._unread is not None:
            self._unread.cancel()

    def connection_lost(self, ex: BaseException | None) -> None:
        """Let go of the client and of its session."""
        self.resume_writing()
        if self.processor is not None and self.processor.session is not None:
            ending = self.processor.session.close_session()
            self.closing_tasks.append(asyncio.create_task(ending))
        super().connection_lost(ex)

    async def _process_one_msg(self, header: Any, buf: Any) -> bool:
        await self._reads.wait()
        if self.transport is None or self.transport.is_closing():
            return False
        going_on: bool = await super()._process_one_msg(header, buf)
        return going_on


def _address(connection: OPCUAProtocol) -> str:
    return str(connection.peer_name[0])


class _Complaints(logging.Handler):
    """Passes on that asyncua complains, and where; what a client sent stays out of the log."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._rate = Rate(LINES_A_MINUTE)

    def emit(self, record: logging.LogRecord) -> None:
        """Log one complaint in asyncua's own words, without their arguments."""
        if not self._rate.take():
            return
        error = record.exc_info[0] if record.exc_info else None
        fields = {
            "complaint": cut(str(record.msg), SHOWN),
            "error": error.__name__ if error else "",
            "left_out": self._rate.refused,
        }
        logger.log(record.levelno, "OPC UA server complains", extra=fields)


def _quieten() -> None:
    """Have asyncua's log go through `_Complaints` alone."""
    library = logging.getLogger("asyncua")
    library.setLevel(max(library.level, logging.WARNING))
    library.propagate = False
    library.handlers = [_Complaints()]

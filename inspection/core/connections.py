"""Limits who is connected to a web server of ours: how many, from where, and how long one waits.

uvicorn itself waits for ever for the end of a request's head and for a client that does not read,
and asyncio takes connections until no file can be opened. The hub and the station's page use this.
"""

import asyncio
import contextlib
import errno
import ipaddress
import logging
import resource
import socket
import time
from collections import Counter
from heapq import nsmallest
from typing import Any

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

from inspection.core.limits import HEAD_S, WRITE_BYTES, WRITE_S

logger = logging.getLogger(__name__)

SAY_S = 60.0  # between two lines of the log about connections that were refused
SHARE = 4  # one address has at most this part of all connections
FULL_S = 0.5  # nothing is accepted so long after no file could be opened; asyncio waits 1 s
ROOM = 16  # idle connections that go together: ranking thousands takes milliseconds
NO_FILES = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}
FILES = 65_536  # a process may open; as LimitNOFILE in configs/*.service

Peer = tuple[Any, ...]  # address and port, as socket.accept gives them


def allow_many_files() -> int:
    """Let this process open as many files as its hard limit allows, `FILES` at most; give how many.

    Linux gives a process 1,024 unless it asks for more: programs that use `select` take no others.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    allowed = FILES if hard == resource.RLIM_INFINITY else min(FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < allowed:
        resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
        return allowed
    return FILES if soft == resource.RLIM_INFINITY else min(FILES, soft)


def host_of(address: str) -> str:
    """Give who counts as one client: an IPv4 address, or the /64 an IPv6 address lies in."""
    try:
        ip = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address[:64]
    if isinstance(ip, ipaddress.IPv6Address):
        if ip.ipv4_mapped is None:
            return str(ipaddress.ip_network((ip, 64), strict=False))
        ip = ip.ipv4_mapped
    return str(ip)


class Connections:
    """The connections of one server; of one event loop.

    Where there are as many as may be, another goes for a new one: a stranger's that asks nothing,
    then a stranger's, then a known caller's that asks nothing; the oldest first. A request of a
    known caller is never ended, so where there are such only, the new one goes. The app makes a
    caller known by `scope["state"]["actor"]`.

    Args:
        most: connections at once; one address has at most a quarter of them.
    """

    def __init__(self, most: int) -> None:
        self._most, self._most_of_one = most, max(1, most // SHARE)
        self._open: dict[Peer, _Accepted] = {}
        self._hosts: Counter[str] = Counter()
        self._refused, self._say_at = 0, 0.0

    def listen(self, host: str, port: int, backlog: int) -> socket.socket:
        """Give the listening socket.

        Raises:
            OSError: as socket.create_server.
        """
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        plain = socket.create_server((host, port), family=family, backlog=backlog)
        # Handed on to every connection. asyncio sets it only on sockets it made itself; without it
        # an answer's body waits 40 ms, until the client has acknowledged its head.
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        listener = _Listener(fileno=plain.detach())
        listener.connections = self
        return listener

    def protocol(
        self,
        config: uvicorn.Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> H11Protocol:
        """Make the protocol of one connection; `http` of uvicorn.Config."""
        protocol = _Protocol(config, server_state, app_state, _loop)
        protocol.accepted = self._open
        return protocol

    def admit(self, connection: "_Accepted") -> bool:
        """Take a connection in, or say that there is no place for it."""
        crowded = self._hosts[connection.host] >= self._most_of_one
        if crowded or len(self._open) >= self._most:
            self._say(connection.host)
            if not self.make_room(ROOM, 1, connection.host if crowded else None):
                return False
        if (before := self._open.get(connection.peer)) is not None:
            self.forget(before)  # reset, and its port is in use again before its end was heard of
        self._open[connection.peer] = connection
        self._hosts[connection.host] += 1
        connection.await_head()
        return True

    def make_room(self, idle: int, busy: int, host: str | None = None) -> bool:
        """End the connections that need their places least, of one host if given.

        Their places are free at once, their files when the event loop comes to them. Several idle
        ones go at once, because ranking thousands takes milliseconds.

        Args:
            idle: how many go of those that ask nothing.
            busy: how many go of the others, where none is idle.
            host: whose; none is anybody's.

        Returns:
            Whether there was one.
        """
        ranked = (one.rank() for one in self._open.values() if host in {None, one.host})
        needless = nsmallest(max(idle, busy), (rank for rank in ranked if rank[:2] != (True, True)))
        nothing = [rank for rank in needless if rank[:2] == (False, False)]
        needless = nothing[:idle] or needless[:busy]
        for *_, peer in needless:
            self._open[peer].drop()
            self.forget(self._open[peer])
        return bool(needless)

    def forget(self, connection: "_Accepted") -> None:
        """Free the place of a connection that ends."""
        if self._open.get(connection.peer) is not connection:
            return
        del self._open[connection.peer]
        self._hosts[connection.host] -= 1
        if not self._hosts[connection.host]:
            del self._hosts[connection.host]

    def _say(self, host: str) -> None:
        self._refused += 1
        now = time.monotonic()
        if now >= self._say_at:
            self._say_at = now + SAY_S
            logger.warning(
                "too many connections; those that ask nothing go",
                extra={"host": host, "open": len(self._open), "times": self._refused},
            )


class _Accepted(socket.socket):
    """One connection, from its acceptance on: before its TLS handshake, too."""

    connections: Connections
    peer: Peer
    host: str
    protocol: "_Protocol | None" = None
    _since_s = 0.0
    _timer: asyncio.TimerHandle | None = None

    def close(self) -> None:
        """Close it and free its place."""
        self.stop_waiting()
        self.connections.forget(self)
        super().close()

    def drop(self) -> None:
        """End it at once, whatever waits to be sent."""
        if self.protocol is not None:
            self.protocol.transport.abort()
        elif self.fileno() >= 0:  # in its handshake: asyncio sees the end and closes it
            with contextlib.suppress(OSError):  # the client was faster
                self.shutdown(socket.SHUT_RDWR)

    def await_head(self) -> None:
        """Drop it unless a whole head of a request comes in time."""
        self.stop_waiting()
        self._since_s = time.monotonic()
        self._timer = asyncio.get_running_loop().call_later(HEAD_S, self.drop)

    def stop_waiting(self) -> None:
        """Take note that a head has come."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def rank(self) -> tuple[bool, bool, float, Peer]:
        """Say how much it needs its place: its caller is known, it asks, since when it waits."""
        known = self.protocol is not None and self.protocol.known()
        return known, self._timer is None, self._since_s, self.peer


class _Listener(socket.socket):
    """Accepts what the limits admit."""

    connections: Connections
    _full_until_s = 0.0

    def accept(self) -> tuple[socket.socket, Any]:
        """Give the next connection that has a place.

        Raises:
            BlockingIOError: there is none.
            OSError: no file can be opened. asyncio logs that and accepts on after a second, but
                tries, and logs, as often as the backlog is long before: it hears of none then.
        """
        if time.monotonic() < self._full_until_s:
            raise BlockingIOError
        try:
            plain, peer = super().accept()
        except OSError as error:
            if error.errno in NO_FILES:
                self._full_until_s = time.monotonic() + FULL_S
                self.connections.make_room(ROOM, ROOM)
            raise
        accepted = _Accepted(fileno=plain.detach())
        accepted.connections, accepted.peer = self.connections, peer
        accepted.host = host_of(str(peer[0]))
        if self.connections.admit(accepted):
            return accepted, peer
        accepted.close()
        raise BlockingIOError  # the next comes after what the event loop has to do meanwhile


class _Protocol(H11Protocol):
    """uvicorn's protocol, which ends connections whose client keeps it waiting.

    A request that is answered before its body has come keeps its connection for `HEAD_S`: uvicorn
    forgets what still comes, so that the client reads why it is refused.
    """

    accepted: dict[Peer, _Accepted]
    _connection: _Accepted | None = None
    _unread: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take a client, after its handshake."""
        super().connection_made(transport)
        self._connection = self.accepted.get(transport.get_extra_info("peername"))
        if self._connection is None:  # its place went to another during its handshake
            transport.abort()
        else:
            self._connection.protocol = self

    def data_received(self, data: bytes) -> None:
        """Take what came; a client whose head is whole waits for us, not we for it."""
        super().data_received(data)
        if self._connection is not None and self._asks():
            self._connection.stop_waiting()

    def handle_websocket_upgrade(self, event: h11.Request) -> None:
        """Hand the client on to a web socket, whose pings find out whether it is there."""
        super().handle_websocket_upgrade(event)
        if self._connection is not None:
            self._connection.stop_waiting()

    def on_response_complete(self) -> None:
        """Wait for the next request, which may be here already."""
        super().on_response_complete()
        if self._connection is not None and not self._asks():
            self._connection.await_head()

    def pause_writing(self) -> None:
        """Wait until the client has taken what was sent."""
        super().pause_writing()
        self._await_reading()

    def resume_writing(self) -> None:
        """Send on."""
        super().resume_writing()
        self._stop_waiting()

    def connection_lost(self, exc: Exception | None) -> None:
        """Let go of the client."""
        self._stop_waiting()
        super().connection_lost(exc)

    def known(self) -> bool:
        """Say whether the app knows who asks, or asked last."""
        return self.cycle is not None and self.cycle.scope["state"].get("actor") is not None

    def _asks(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _await_reading(self) -> None:
        waiting = self.transport.get_write_buffer_size()
        self._unread = self.loop.call_later(WRITE_S, self._end_unread, waiting)

    def _end_unread(self, waited: int) -> None:
        if waited - self.transport.get_write_buffer_size() < WRITE_BYTES:
            self.transport.abort()
        else:
            self._await_reading()

    def _stop_waiting(self) -> None:
        if self._unread is not None:
            self._unread.cancel()
            self._unread = None

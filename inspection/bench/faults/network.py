"""A network between a station and a destination: it can go dumb while nobody's connection ends."""

import socket
from contextlib import ExitStack, suppress
from threading import Lock, Thread
from typing import Self

PIECE_BYTES = 65_536
HOST = "127.0.0.1"


def free_port() -> int:
    """Give a port of this computer that nobody listens on."""
    with socket.create_server((HOST, 0)) as server:
        return int(server.getsockname()[1])


class Network:
    """Passes connections on to a port; those that were dumb once stay so, as behind a lost link."""

    def __init__(self, target: int) -> None:
        self._target = target
        self._dumb = False
        self._lock = Lock()  # guards the next two
        self._ends: list[socket.socket] = []
        self._threads: list[Thread] = []
        self._listener = socket.create_server((HOST, 0))
        self.port = int(self._listener.getsockname()[1])
        self._acceptor = Thread(target=self._accept, name="network")
        self._acceptor.start()

    def __enter__(self) -> Self:
        """Give the network."""
        return self

    def __exit__(self, *_error: object) -> None:
        """Take it down."""
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._acceptor.join()
        self._listener.close()
        with self._lock:
            for end in self._ends:
                with suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()

    def go_dumb(self) -> None:
        """Let nothing through any more, on old connections and new ones, and end none."""
        self._dumb = True

    def heal(self) -> None:
        """Let new connections work."""
        self._dumb = False

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:  # taken down
                return
            try:
                far = socket.create_connection((HOST, self._target))
            except OSError:
                near.close()
                continue
            with self._lock:
                self._ends += [near, far]
                thread = Thread(target=self._connect, args=(near, far), name="network")
                self._threads.append(thread)
            thread.start()

    def _connect(self, near: socket.socket, far: socket.socket) -> None:
        """Forward both ways until both ends have said all they want."""
        back = Thread(target=self._forward, args=(far, near), name="network")
        back.start()
        self._forward(near, far)
        back.join()
        with ExitStack() as closing, self._lock:
            closing.enter_context(near)
            closing.enter_context(far)
            self._ends = [end for end in self._ends if end not in (near, far)]

    def _forward(self, source: socket.socket, sink: socket.socket) -> None:
        dumb = False
        with suppress(OSError):
            while content := source.recv(PIECE_BYTES):
                dumb = dumb or self._dumb
                if not dumb:
                    sink.sendall(content)
        if not (dumb or self._dumb):
            with suppress(OSError):
                sink.shutdown(socket.SHUT_RDWR)

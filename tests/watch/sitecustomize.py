"""Refuses and writes down what this process sends beyond loopback; Python runs it at its start.

It is on the path of processes that `tests.calls.watched` watches, and of those they start.
"""

import ipaddress
import os
import sys
import traceback

LOG = os.environ["CALLS_LOG"]
ADDRESS = {"socket.connect", "socket.sendto", "socket.sendmsg"}
NAME = {"socket.getaddrinfo", "socket.gethostbyname", "socket.gethostbyaddr"}


def _is_local(host: object) -> bool:
    name = os.fsdecode(host) if isinstance(host, bytes) else host
    if name in {None, "", "localhost"}:
        return True
    try:
        return ipaddress.ip_address(str(name)).is_loopback
    except ValueError:
        return False


def _watch(event: str, arguments: tuple[object, ...]) -> None:
    host: object = None
    if event in NAME:
        host = arguments[0]
    elif event in ADDRESS:
        address = arguments[1]  # a path for a socket of this machine; none for a connected one
        host = address[0] if isinstance(address, tuple) else None
    if _is_local(host):
        return
    callers = [f"{one.filename}:{one.lineno}" for one in traceback.extract_stack()[:-1]]
    with open(LOG, "a", encoding="utf-8") as log:  # noqa: PTH123 - before pathlib is loaded
        log.write(f"{event} {host} {' < '.join(reversed(callers))}\n")
    raise PermissionError(f"{event} {host}: leaves this machine, and nobody configured it")


sys.addaudithook(_watch)

"""What a connection needs and shows: listeners of a namespace, routes, one connect from inside a namespace."""

from __future__ import annotations

import errno
import json
import socket
from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec

from gotriage.errors import GotriageError, MissingFacility
from gotriage.host import clock, netns, socktables, tools
from gotriage.host.dnsask import give_root_away
from gotriage.host.forked import in_child, join_namespace
from gotriage.host.inside import entering
from gotriage.host.ownsockets import split
from gotriage.records.text import clean

if TYPE_CHECKING:
    from gotriage.host import Host
    from gotriage.host.sockdiag import Table

LONGEST: Final = 3.0
"""Seconds that a connect may take: the second SYN goes out after one, the third after three (tcp_syn_retries)."""


class _Every(set[int]):
    """A set that holds every inode."""

    def __contains__(self, item: object) -> bool:
        return True

    def __bool__(self) -> bool:
        return True


class Listener(NamedTuple):
    """A listening TCP socket: its address, its accept queue (waiting connections and bound), its inode."""

    address: str
    port: int
    waiting: int | None
    bound: int | None
    inode: int


class Route(NamedTuple):
    """Where packets to an address go: by which interface, over which router, with which own address; or why not."""

    device: str = ""
    gateway: str = ""
    source: str = ""
    error: str = ""
    unknown: bool = False


def listeners(host: Host, pid: int) -> tuple[list[Listener], str]:
    """All listening TCP sockets of the process's namespace, and why there may be more."""
    table, why = socktables.find(host, pid, _Every())
    return listening(table), why


def listening(table: Table) -> list[Listener]:
    """Those of a table."""
    found = []
    for inode, (protocol, state, local, _, recv, send) in table.items():
        address, port = split(local)
        if protocol.startswith("tcp") and state == "LISTEN" and port is not None:
            found.append(Listener(address, port, recv, send, inode))
    return found


def route(host: Host, pid: int | str, address: str) -> Route:
    """As ip-route(8) tells it in the process's namespace. Never raises."""
    try:
        tool = tools.find("ip")
        if tool is None:
            return Route(error="ip is not installed (apt install iproute2)", unknown=True)
        result = tools.run([*entering(host, pid), tool, "-j", "route", "get", address], timeout=3.0, limit=65536)
    except (GotriageError, MissingFacility, OSError) as error:
        return Route(error=clean(str(error), 200), unknown=True)
    if result.status:
        return Route(error=clean(result.err.strip().removeprefix("RTNETLINK answers: "), 200) or "no route")
    try:
        data = json.loads(result.out)
        one = data[0]
        device, gateway, source = (clean(str(one.get(name, "")), 64) for name in ("dev", "gateway", "prefsrc"))
        return Route(device, gateway, source)
    except (ValueError, LookupError, AttributeError, TypeError):
        return Route(error="ip printed what is not understood", unknown=True)


def connect(host: Host, pid: int | str, address: str, port: int, timeout: float = LONGEST) -> tuple[float, str]:
    """Open one TCP connection from the process's namespace and close it: seconds, and "" or the errno's name.

    Nothing is sent on it. Raises NotPermitted, OSError when the namespace cannot be entered.
    """
    path = host.proc.path(pid, "ns", "net")

    def work() -> bytes:
        join_namespace(path)
        give_root_away()
        return msgspec.json.encode(_connect_here(address, port, timeout))

    seconds, error = msgspec.json.decode(in_child(work, timeout + 3.0), type=tuple[float, str])
    return seconds, error


def _connect_here(address: str, port: int, timeout: float) -> tuple[float, str]:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    begun = clock.monotonic()
    try:
        with socket.socket(family, socket.SOCK_STREAM | socket.SOCK_CLOEXEC) as client:
            client.settimeout(timeout)
            client.connect((address, port))
        error = ""
    except TimeoutError:
        error = "ETIMEDOUT"
    except OSError as failure:
        error = errno.errorcode.get(failure.errno or 0, str(failure))
    return clock.monotonic() - begun, error


def overflows(host: Host, pid: int) -> int | None:
    """Connections of the namespace that full accept queues refused; None when it cannot be told."""
    return netns.counters(host, pid).get("TcpExtListenOverflows")

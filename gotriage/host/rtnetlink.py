"""Interfaces, addresses and routes of the network namespace that we are in (rtnetlink(7)).

Layouts: include/uapi/linux/rtnetlink.h, if_link.h (ifinfomsg, rtnl_link_stats64) and if_addr.h.
"""

from __future__ import annotations

import os
import socket
import struct
from typing import Final, NamedTuple

from gotriage.host import netlink
from gotriage.records.text import clean

RTM_NEWLINK, RTM_GETLINK, RTM_NEWADDR, RTM_GETADDR, RTM_NEWROUTE, RTM_GETROUTE = 16, 18, 20, 22, 24, 26
_ERROR, _DONE = 2, 3
_REQUEST_DUMP: Final = 0x301
SECONDS: Final = 2.0
MAX_BYTES: Final = 4 * 1024 * 1024
"""Bytes of one dump that are read: a full routing table of the Internet is not, it is cut."""
MOST: Final = 1_000
"""Interfaces, addresses or routes that are read."""
MAIN_TABLE: Final = 254
STATES: Final = ("unknown", "notpresent", "down", "lowerlayerdown", "testing", "dormant", "up")
"""IF_OPER_* of include/uapi/linux/if.h."""
KINDS: Final = {6: "blackhole", 7: "unreachable", 8: "prohibit", 9: "throw"}
"""RTN_* of rtnetlink.h, but for usual (unicast) routes."""


class Link(NamedTuple):
    """An interface; traffic since it was made: bytes in and out, errors and drops of both directions."""

    number: int
    name: str
    state: str
    mtu: int | None
    recv_bytes: int
    send_bytes: int
    errors: int
    dropped: int


class Way(NamedTuple):
    """A route of the main table: prefix or "default", gateway, interface index, preferred source, metric, kind."""

    to: str
    via: str
    device: int
    source: str
    metric: int | None
    kind: str


class Addresses(NamedTuple):
    """An address with its prefix length, of an interface."""

    number: int
    text: str


def dump(kind: int, family: int = socket.AF_UNSPEC) -> bytes:
    """All messages of one dump, at most MAX_BYTES. Raises OSError with the kernel's reason."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE) as link:
        link.settimeout(SECONDS)
        link.send(struct.pack("=IHHIIB15x", 32, kind, _REQUEST_DUMP, 1, 0, family))
        parts, size = [], 0
        while size < MAX_BYTES:
            data = link.recv(1 << 16)
            parts.append(data)
            size += len(data)
            ends = [word for word, _, _ in netlink.messages(data) if word in (_ERROR, _DONE)]
            if _ERROR in ends:
                code = -struct.unpack_from("=i", data, 16)[0]
                raise OSError(code, os.strerror(code))
            if ends:
                break
        return b"".join(parts)


_IFNAME, _IFMTU, _OPERSTATE, _STATS64 = 3, 4, 16, 23


def parse_links(data: bytes) -> list[Link]:
    """RTM_NEWLINK messages; rtnl_link_stats64 begins with packets in and out, bytes, errors, dropped."""
    found: list[Link] = []
    for kind, at, end in netlink.messages(data):
        if kind != RTM_NEWLINK or end - at < 16 or len(found) >= MOST:
            continue
        index = struct.unpack_from("=i", data, at + 4)[0]
        more = netlink.attributes(data, at + 16, end)
        state = more.get(_OPERSTATE, b"\0")[0] if more.get(_OPERSTATE) else 0
        stats = struct.unpack_from("=8Q", more[_STATS64]) if len(more.get(_STATS64, b"")) >= 64 else (0,) * 8
        found.append(
            Link(
                index,
                clean(more.get(_IFNAME, b"?").partition(b"\0")[0], 64),
                STATES[state] if state < len(STATES) else str(state),
                _number(more.get(_IFMTU)),
                stats[2],
                stats[3],
                stats[4] + stats[5],
                stats[6] + stats[7],
            )
        )
    return found


_LOCAL, _ADDRESS = 2, 1


def parse_addresses(data: bytes) -> list[Addresses]:
    """RTM_NEWADDR messages."""
    found: list[Addresses] = []
    for kind, at, end in netlink.messages(data):
        if kind != RTM_NEWADDR or end - at < 8 or len(found) >= MOST:
            continue
        family, length, _, _, index = struct.unpack_from("=BBBBI", data, at)
        more = netlink.attributes(data, at + 8, end)
        text = _host(family, more.get(_LOCAL) or more.get(_ADDRESS) or b"")
        if text:
            found.append(Addresses(index, f"{text}/{length}"))
    return found


_DST, _OIF, _GATEWAY, _PRIORITY, _PREFSRC, _TABLE = 1, 4, 5, 6, 7, 15


def parse_routes(data: bytes) -> list[Way]:
    """RTM_NEWROUTE messages of the main table."""
    found: list[Way] = []
    for kind, at, end in netlink.messages(data):
        if kind != RTM_NEWROUTE or end - at < 12 or len(found) >= MOST:
            continue
        family, length, _, _, table, _, _, of = struct.unpack_from("=8B", data, at)
        more = netlink.attributes(data, at + 12, end)
        if (_number(more.get(_TABLE)) or table) != MAIN_TABLE or (of != 1 and of not in KINDS):
            continue
        to = f"{_host(family, more[_DST])}/{length}" if more.get(_DST) else "default"
        found.append(
            Way(
                to,
                _host(family, more.get(_GATEWAY, b"")),
                _number(more.get(_OIF)) or 0,
                _host(family, more.get(_PREFSRC, b"")),
                _number(more.get(_PRIORITY)),
                KINDS.get(of, ""),
            )
        )
    return found


def _host(family: int, raw: bytes) -> str:
    if family == socket.AF_INET and len(raw) == 4:
        return socket.inet_ntop(socket.AF_INET, raw)
    if family == socket.AF_INET6 and len(raw) == 16:
        return socket.inet_ntop(socket.AF_INET6, raw)
    return ""


def _number(raw: bytes | None) -> int | None:
    return int(struct.unpack("=I", raw)[0]) if raw is not None and len(raw) == 4 else None

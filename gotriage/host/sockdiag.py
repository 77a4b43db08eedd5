"""Sockets by inode, from the kernel's socket diagnostics (sock_diag(7)) of any network namespace.

Message layouts: include/uapi/linux/inet_diag.h, unix_diag.h, netlink_diag.h, packet_diag.h, vm_sockets_diag.h. Where
netlink may not be used, `host.socktables` reads the tables of /proc/PID/net.
"""

from __future__ import annotations

import os
import socket
import struct
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Final

from gotriage.host import netlink
from gotriage.records.text import clean

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

NETLINK_SOCK_DIAG: Final = 4
SOCK_DIAG_BY_FAMILY: Final = 20
NLMSG_ERROR, NLMSG_DONE = 2, 3
NLM_F_REQUEST_DUMP: Final = 0x301
SECONDS: Final = 3.0
"""How long the kernel may be silent."""
MAX_BYTES: Final = 192 * 1024 * 1024

STATES: Final = (
    "", "ESTABLISHED", "SYN_SENT", "SYN_RECV", "FIN_WAIT1", "FIN_WAIT2", "TIME_WAIT", "CLOSE", "CLOSE_WAIT", "LAST_ACK",
    "LISTEN", "CLOSING", "NEW_SYN_RECV", "BOUND_INACTIVE",
)  # fmt: skip
"""include/net/tcp_states.h; other protocols use the same numbers."""
WITH_INODE: Final = 0xFFFF & ~(1 << 3 | 1 << 6 | 1 << 12)
"""States to ask for: SYN_RECV, TIME_WAIT and NEW_SYN_RECV belong to no descriptor."""
NETLINK_NAMES: Final = {
    0: "route", 2: "usersock", 4: "sock_diag", 6: "xfrm", 7: "selinux", 9: "audit", 10: "fib_lookup", 11: "connector",
    12: "netfilter", 15: "uevent", 16: "generic", 21: "crypto",
}  # fmt: skip
"""include/uapi/linux/netlink.h."""


Socket = tuple[str, str, str, str, int | None, int | None]
"""Protocol, state, local and remote address, receive and send queue in bytes (of a listening TCP socket its accept
queue's length and bound). A plain tuple: there may be tens of thousands."""
Table = dict[int, Socket]


@dataclass(frozen=True, slots=True)
class Family:
    """One kind of socket: how to ask for it, and how to read the answer (adding to a table what is wanted)."""

    name: str
    request: bytes
    parse: Callable[[str, bytes, set[int], Table], None]


def dump(request: bytes) -> bytes:
    """All messages of one dump in the namespace that we are in. Raises OSError with the kernel's reason."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, NETLINK_SOCK_DIAG) as link:
        link.settimeout(SECONDS)
        link.send(struct.pack("=IHHII", 16 + len(request), SOCK_DIAG_BY_FAMILY, NLM_F_REQUEST_DUMP, 1, 0) + request)
        parts, size, port = [], 0, link.getsockname()[0]
        while size < MAX_BYTES:
            data = link.recv(1 << 18)
            kind = struct.unpack_from("=H", data, 4)[0]
            if kind == NLMSG_ERROR:
                code = -struct.unpack_from("=i", data, 16)[0]
                raise OSError(code, os.strerror(code))
            if kind == NLMSG_DONE:
                break
            parts.append(data)
            size += len(data)
            if _ends(data, port):
                break
        return b"".join(parts)


def _ends(data: bytes, port: int) -> bool:
    """Whether a batch ends with the dump's last message, which the kernel may append to it; `port` is ours."""
    if len(data) < 40:
        return False
    length, kind, _, sequence, to = struct.unpack_from("=IHHII", data, len(data) - 20)
    return (length, kind, sequence, to) == (20, NLMSG_DONE, 1, port)


def messages(data: bytes) -> Iterator[tuple[int, int]]:
    """Start and end of each message's payload."""
    at, end = 0, len(data)
    while at + 16 <= end:
        length, kind = struct.unpack_from("=IH", data, at)
        if length < 16 or at + length > end:
            return
        if kind == SOCK_DIAG_BY_FAMILY:
            yield at + 16, at + length
        at += (length + 3) & ~3


class Hosts(dict[bytes, str]):
    """Addresses of inet_diag_sockid as text, worked out once each."""

    def __init__(self, family: int) -> None:
        super().__init__()
        self._family = family

    def __missing__(self, raw: bytes) -> str:
        if self._family == socket.AF_INET:
            text = socket.inet_ntop(socket.AF_INET, raw[:4])
        else:
            text = f"[{socket.inet_ntop(socket.AF_INET6, raw)}]"
        self[raw] = text
        return text


INET_SIZE: Final = 88
"""nlmsghdr and inet_diag_msg; attributes follow, mostly the same number of bytes in every message."""


@cache
def _inet_layout(stride: int) -> tuple[struct.Struct, struct.Struct]:
    """Messages of one length: length, type, state, queues, inode; and in network order ports and addresses."""
    rest = stride - INET_SIZE
    return struct.Struct(f"=IH11xB54x II4xI{rest}x"), struct.Struct(f"!20x HH16s16s {stride - 56}x")


def parse_inet(name: str, data: bytes, wanted: set[int], found: Table) -> None:
    """TCP, UDP and raw sockets: whole runs of messages of one length at a time."""
    at, end = 0, len(data)
    v4, v6 = Hosts(socket.AF_INET), Hosts(socket.AF_INET6)
    while at + INET_SIZE <= end:
        length, kind = struct.unpack_from("=IH", data, at)
        stride = (length + 3) & ~3
        if kind != SOCK_DIAG_BY_FAMILY or stride < INET_SIZE or at + stride > end:
            return
        hosts = v4 if data[at + 16] == socket.AF_INET else v6
        many = (end - at) // stride
        at += stride * _parse_run(name, memoryview(data)[at : at + many * stride], length, wanted, found, hosts)


def _parse_run(name: str, run: memoryview, length: int, wanted: set[int], found: Table, hosts: Hosts) -> int:
    """How many messages of that length there are, and the wanted ones among them."""
    native, network = _inet_layout((length + 3) & ~3)
    done, states, known = 0, STATES, len(STATES)
    for own, ends in zip(native.iter_unpack(run), network.iter_unpack(run), strict=True):
        size, kind, state, recv, send, inode = own
        if size != length or kind != SOCK_DIAG_BY_FAMILY:
            break
        done += 1
        if inode in wanted:
            sport, dport, source, target = ends
            peer = f"{hosts[target]}:{dport}" if dport or state == 1 else ""
            word = states[state] if state < known else str(state)
            found[inode] = (name, word, f"{hosts[source]}:{sport}", peer, recv, send)
    return done


UNIX_NAME, UNIX_PEER, UNIX_RQLEN = 0, 2, 4


def parse_unix(_: str, data: bytes, wanted: set[int], found: Table) -> None:
    """Unix sockets; an unbound one that is connected takes the name of its peer as `peer`."""
    names: dict[int, str] = {}
    mine: list[tuple[int, int, int | None, tuple[int | None, int | None]]] = []
    for at, end in messages(data):
        if end - at < 16:
            continue
        state, inode = data[at + 2], struct.unpack_from("=I", data, at + 4)[0]
        more = netlink.attributes(data, at + 16, end)
        if name := more.get(UNIX_NAME):
            names[inode] = unix_name(name)
        if inode in wanted:
            peer = struct.unpack("=I", more[UNIX_PEER])[0] if len(more.get(UNIX_PEER, b"")) == 4 else None
            queues = struct.unpack("=II", more[UNIX_RQLEN]) if len(more.get(UNIX_RQLEN, b"")) == 8 else (None, None)
            mine.append((inode, state, peer, queues))
    for inode, state, peer, queues in mine:
        far = "" if peer is None else names.get(peer) or f"socket:[{peer}]"
        state_name = STATES[state] if state < len(STATES) else str(state)
        found[inode] = ("unix", state_name, names.get(inode, ""), far, *queues)


def unix_name(raw: bytes) -> str:
    """A path, or "@name" for a name of the abstract namespace (unix(7))."""
    if raw[:1] == b"\0":
        return "@" + clean(raw[1:])
    return clean(raw.partition(b"\0")[0])


def parse_netlink(_: str, data: bytes, wanted: set[int], found: Table) -> None:
    """Netlink sockets: the protocol is the local name, the port id the rest."""
    for at, end in messages(data):
        if end - at < 28:
            continue
        protocol, state = data[at + 2], data[at + 3]
        port, _, _, inode = struct.unpack_from("=IIII", data, at + 4)
        if inode in wanted:
            name = NETLINK_NAMES.get(protocol, str(protocol))
            found[inode] = ("netlink", STATES[state] if state < 14 else "", f"{name}:{port}", "", None, None)


def parse_packet(_: str, data: bytes, wanted: set[int], found: Table) -> None:
    """Packet sockets (packet(7)): the Ethernet protocol that they take."""
    for at, end in messages(data):
        if end - at < 16:
            continue
        number, inode = struct.unpack_from("=HI", data, at + 2)
        if inode in wanted:
            found[inode] = ("packet", "", f"ethertype 0x{number:04x}", "", None, None)


def parse_vsock(_: str, data: bytes, wanted: set[int], found: Table) -> None:
    """Sockets between a virtual machine and its host (vsock(7)): cid:port."""
    for at, end in messages(data):
        if end - at < 24:
            continue
        near, near_port, far, far_port, inode = struct.unpack_from("=IIIII", data, at + 4)
        if inode in wanted:
            state = data[at + 2]
            peer = "" if far == 0xFFFFFFFF else f"{far}:{far_port}"
            name = STATES[state] if state < len(STATES) else str(state)
            found[inode] = ("vsock", name, f"{near}:{near_port}", peer, None, None)


def _inet(name: str, family: int, protocol: int) -> Family:
    return Family(name, struct.pack("=BBBBI48x", family, protocol, 0, 0, WITH_INODE), parse_inet)


FAMILIES: Final = (
    _inet("tcp", socket.AF_INET, socket.IPPROTO_TCP),
    _inet("tcp6", socket.AF_INET6, socket.IPPROTO_TCP),
    Family("unix", struct.pack("=BBHIIIII", socket.AF_UNIX, 0, 0, 0xFFFFFFFF, 0, 0x1 | 0x4 | 0x10, 0, 0), parse_unix),
    _inet("udp", socket.AF_INET, socket.IPPROTO_UDP),
    _inet("udp6", socket.AF_INET6, socket.IPPROTO_UDP),
    Family("netlink", struct.pack("=BBHIIII", socket.AF_NETLINK, 255, 0, 0, 0, 0, 0), parse_netlink),
    Family("packet", struct.pack("=BBHIIII", 17, 0, 0, 0, 0, 0, 0), parse_packet),
    _inet("raw", socket.AF_INET, socket.IPPROTO_RAW),
    _inet("raw6", socket.AF_INET6, socket.IPPROTO_RAW),
    Family("vsock", struct.pack("=BBHIIIII", 40, 0, 0, 0xFFFFFFFF, 0, 0, 0, 0), parse_vsock),
)
"""Most frequent first: the kernel is not asked any further once every inode is found."""


def here(wanted: set[int], asked: Callable[[bytes], bytes] = dump) -> Table:
    """The wanted sockets of the namespace that we are in. Raises OSError when no kind can be asked for at all."""
    found: Table = {}
    refused: OSError | None = None
    answered = False
    for family in FAMILIES:
        if len(found) == len(wanted):
            return found
        try:
            data = asked(family.request)
        except OSError as error:  # this kernel has no such kind, or may not be asked
            refused = error
            continue
        answered = True
        family.parse(family.name, data, wanted, found)
    if refused is not None and not answered:
        raise refused
    return found


def dump_all() -> bytes:
    """Every kind's dump, packed for `unpacked`: what a child does in the target's namespace."""
    parts = []
    for place, family in enumerate(FAMILIES):
        try:
            data = dump(family.request)
        except OSError:
            continue
        parts += [struct.pack("=BI", place, len(data)), data]
    return b"".join(parts)


def unpacked(data: bytes, wanted: set[int]) -> Table:
    """The wanted sockets out of what `dump_all` gave."""
    found: Table = {}
    at = 0
    while at + 5 <= len(data):
        place, length = struct.unpack_from("=BI", data, at)
        family = FAMILIES[place]
        family.parse(family.name, data[at + 5 : at + 5 + length], wanted, found)
        at += 5 + length
    return found

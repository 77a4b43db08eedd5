"""The sockets behind "socket:[inode]" links, in the target's own network namespace, by the best way that is open."""

from __future__ import annotations

import os
import socket
import struct
from typing import TYPE_CHECKING, Final

from gotriage.errors import GotriageError
from gotriage.host import sockdiag
from gotriage.host.inside import in_network
from gotriage.host.sockdiag import NETLINK_NAMES, STATES, Table
from gotriage.records.text import clean

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gotriage.host import Host

CHILD_SECONDS: Final = 10.0
NAMED: Final = 256
"""Sockets in no table (never bound nor connected, or of another namespace) whose protocol is asked for one by one."""


def find(host: Host, pid: int, wanted: set[int]) -> tuple[Table, str]:
    """The wanted sockets as process `pid`'s namespace has them, and why none could be looked for, or "".

    Never raises; a socket in no table is missing in the answer.
    """
    if not wanted:
        return {}, ""
    try:
        if host.proc.shares(pid, "net"):
            return sockdiag.here(wanted), ""
        return sockdiag.unpacked(in_network(host, pid, sockdiag.dump_all, CHILD_SECONDS), wanted), ""
    except (GotriageError, OSError) as error:
        found = from_tables(host, pid, wanted)
        return found, "" if found else f"sock_diag: {error}"


def protocol_name(path: str) -> str:
    """The protocol of one socket behind a /proc/PID/fd path, in lower case; "" when the kernel does not say.

    The attribute is system.sockprotoname of net/socket.c.
    """
    try:
        raw = os.getxattr(path, "system.sockprotoname")
    except OSError:
        return ""
    name = raw.rstrip(b"\0").decode("ascii", "replace").lower()
    return {"tcpv6": "tcp6", "udpv6": "udp6", "unix-stream": "unix"}.get(name, name)


# -- /proc/PID/net (proc_pid_net(5)), for those who may not use netlink


def from_tables(host: Host, pid: int, wanted: set[int]) -> Table:
    """The wanted sockets from the text tables."""
    found: Table = {}
    for name in ("tcp", "tcp6", "udp", "udp6", "raw", "raw6"):
        parse_inet_table(name, _lines(host, pid, name), wanted, found)
    parse_unix_table(_lines(host, pid, "unix"), wanted, found)
    parse_netlink_table(_lines(host, pid, "netlink"), wanted, found)
    return found


def _lines(host: Host, pid: int, name: str) -> list[str]:
    try:
        return host.proc.text(pid, "net", name).splitlines()[1:]
    except (GotriageError, OSError):
        return []


def parse_inet_table(name: str, lines: Iterable[str], wanted: set[int], found: Table) -> None:
    """Lines of /proc/PID/net/tcp and its like: "sl local remote state tx:rx ... inode"."""
    for line in lines:
        words = line.split()
        if len(words) < 10 or not words[9].isdigit() or int(words[9]) not in wanted:
            continue
        try:
            local, peer = hex_address(words[1]), hex_address(words[2])
            state = int(words[3], 16)
            send, _, recv = words[4].partition(":")
            queues = int(recv, 16), int(send, 16)
        except ValueError:
            continue
        connected = not peer.endswith(":0") or state == 1
        text = STATES[state] if state < len(STATES) else str(state)
        found[int(words[9])] = (name, text, local, peer if connected else "", *queues)


def hex_address(word: str) -> str:
    """ "0100007F:1F90" to "127.0.0.1:8080": 32-bit words in the machine's byte order. Raises ValueError."""
    address, _, port = word.partition(":")
    raw = b"".join(struct.pack("=I", int(address[at : at + 8], 16)) for at in range(0, len(address), 8))
    if len(raw) == 4:
        return f"{socket.inet_ntop(socket.AF_INET, raw)}:{int(port, 16)}"
    return f"[{socket.inet_ntop(socket.AF_INET6, raw)}]:{int(port, 16)}"


def parse_unix_table(lines: Iterable[str], wanted: set[int], found: Table) -> None:
    """Lines of /proc/PID/net/unix: "Num RefCount Protocol Flags Type St Inode Path"; flag 0x10000 is listening."""
    states = {"01": "CLOSE", "02": "SYN_SENT", "03": "ESTABLISHED", "04": "CLOSING"}
    for line in lines:
        words = line.split(None, 7)
        if len(words) < 7 or not words[6].isdigit() or int(words[6]) not in wanted:
            continue
        listening = words[3] == "00010000"
        path = clean(words[7]) if len(words) > 7 else ""
        state = "LISTEN" if listening else states.get(words[5], "")
        found[int(words[6])] = ("unix", state, path, "", None, None)


def parse_netlink_table(lines: Iterable[str], wanted: set[int], found: Table) -> None:
    """Lines of /proc/PID/net/netlink: "sk Eth Pid Groups Rmem Wmem Dump Locks Drops Inode"."""
    for line in lines:
        words = line.split()
        if len(words) < 10 or not words[9].isdigit() or int(words[9]) not in wanted or not words[1].isdigit():
            continue
        name = NETLINK_NAMES.get(int(words[1]), words[1])
        recv = int(words[4]) if words[4].isdigit() else None
        found[int(words[9])] = ("netlink", "", f"{name}:{words[2]}", "", recv, None)

"""The sockets that a target has open itself, and the addresses of its network namespace."""

from __future__ import annotations

import ipaddress
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from gotriage.errors import AS_ROOT, GotriageError
from gotriage.host import sockfds, socktables

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gotriage.host import Host
    from gotriage.host.sockdiag import Table

MOST_DESCRIPTORS: Final = 50_000
MOST_PROCESSES: Final = 256


def sockets(host: Host, pids: Sequence[int]) -> tuple[Table, str]:
    """Sockets by inode, and why there are none or fewer ("" when there are all). A process that is gone has none."""
    held = sockfds.of(host, pids[:MOST_PROCESSES], MOST_DESCRIPTORS)
    reason = f"{host.proc.path(held.denied[0], 'fd')}: permission denied; {AS_ROOT}" if held.denied else ""
    if not len(held.inodes):
        return {}, reason
    table, why = socktables.find(host, pids[0], set(held.inodes.tolist()))
    return table, why or reason


def split(address: str) -> tuple[str, int | None]:
    """ "[::1]:80" or "127.0.0.1:80" as address and port; the port is None where there is none."""
    host, _, port = address.rpartition(":")
    return host.strip("[]"), int(port) if port.isdigit() else None


def addresses(host: Host, pid: int | str) -> list[str]:
    """The addresses of the namespace's interfaces, without loopback (proc_pid_net(5): fib_trie, if_inet6)."""
    found: list[str] = []
    for name, parse in (("fib_trie", parse_fib_trie), ("if_inet6", parse_if_inet6)):
        with suppress(GotriageError, OSError):
            found += parse(host.proc.text(pid, "net", name))
    return found


def parse_fib_trie(text: str) -> list[str]:
    """Local IPv4 addresses: a leaf "|-- ADDRESS" that has the line "/32 host LOCAL"."""
    found: dict[str, None] = {}
    leaf = ""
    for line in text.splitlines()[:100_000]:
        words = line.split()
        if words[:1] == ["|--"] and len(words) == 2:
            leaf = words[1]
        elif words[:3] == ["/32", "host", "LOCAL"] and leaf and not leaf.startswith("127."):
            found[leaf] = None
    return list(found)


def parse_if_inet6(text: str) -> list[str]:
    """IPv6 addresses of lines "HEX index bits scope flags name", without loopback and link-local."""
    found = []
    for line in text.splitlines()[:10_000]:
        word = line.split(" ", 1)[0]
        try:
            address = ipaddress.IPv6Address(int(word, 16))
        except ValueError:
            continue
        if not address.is_loopback and not address.is_link_local:
            found.append(str(address))
    return found

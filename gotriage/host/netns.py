"""What can be asked of a network namespace from within: sockets, interfaces, routes, its own sysctls; and its counters.

In another namespace a forked child asks (`host.inside`). It executes nothing and reads no file of the target.
"""

from __future__ import annotations

import marshal
from typing import TYPE_CHECKING, Final, NamedTuple

from gotriage.errors import GotriageError, NotPermitted
from gotriage.host import netdump, rtnetlink, sockdiag
from gotriage.host.inside import in_network, setting

if TYPE_CHECKING:
    from pathlib import Path

    from gotriage.host import Host

SECONDS: Final = 15.0
SYSCTLS: Final = (
    "ipv4/ip_local_port_range", "ipv4/ip_local_reserved_ports", "ipv4/tcp_max_syn_backlog", "core/somaxconn",
    "netfilter/nf_conntrack_count", "netfilter/nf_conntrack_max",
)  # fmt: skip
"""Below /proc/sys/net."""
OTHERS: Final = ("unix", "netlink", "packet", "raw", "raw6", "vsock")
"""Families of host.sockdiag that host.netdump does not read."""


class Inside(NamedTuple):
    """Raw answers: dumps with their place in netdump.ASKS and sockdiag.FAMILIES, sysctls, rtnetlink's messages.

    What the kernel refused or does not have is missing; `trouble` says why no socket could be asked for, or "".
    """

    sockets: list[tuple[int, bytes]]
    others: list[tuple[int, bytes]]
    sysctls: dict[str, str]
    links: bytes
    addresses: bytes
    routes: bytes
    trouble: str


def look(host: Host, pid: int) -> Inside:
    """Ask in the namespace of the process. Raises TargetGone, NotPermitted, OSError, TimeoutError."""
    data = in_network(host, pid, lambda: marshal.dumps(tuple(_gather(host.proc.root))), SECONDS)
    return Inside(*marshal.loads(data))  # written by ourselves or our own child a moment ago


def _gather(proc: Path) -> Inside:
    sockets, trouble = [], ""
    for place, ask in enumerate(netdump.ASKS):
        try:
            sockets.append((place, sockdiag.dump(ask.request())))
        except OSError as error:  # this kernel has no such kind, or may not be asked
            trouble = trouble or f"sock_diag: {error.strerror or error}"
    others = []
    for place, family in enumerate(sockdiag.FAMILIES):
        if family.name in OTHERS:
            try:
                others.append((place, sockdiag.dump(family.request)))
            except OSError:
                continue
    sysctls = {name: value.decode("ascii", "replace") for name in SYSCTLS if (value := setting(proc, name))}
    links, addresses, routes = (
        _asked(kind) for kind in (rtnetlink.RTM_GETLINK, rtnetlink.RTM_GETADDR, rtnetlink.RTM_GETROUTE)
    )
    return Inside(sockets, others, sysctls, links, addresses, routes, "" if sockets else trouble)


def _asked(kind: int) -> bytes:
    try:
        return rtnetlink.dump(kind)
    except OSError:
        return b""


def other_sockets(inside: Inside, wanted: set[int]) -> sockdiag.Table:
    """Those of the other families with these inodes."""
    found: sockdiag.Table = {}
    for place, data in inside.others:
        family = sockdiag.FAMILIES[place]
        family.parse(family.name, data, wanted, found)
    return found


def ports(sysctls: dict[str, str]) -> tuple[int, int, int] | None:
    """The first and the last ephemeral port, and how many between them are reserved; None when it cannot be told."""
    words = sysctls.get("ipv4/ip_local_port_range", "").split()
    if len(words) != 2 or not all(word.isdigit() for word in words):
        return None
    first, last = map(int, words)
    reserved = 0
    for part in sysctls.get("ipv4/ip_local_reserved_ports", "").split(","):
        low, _, high = part.partition("-")
        if low.isdigit() and (high or low).isdigit():
            reserved += max(0, min(int(high or low), last) - max(int(low), first) + 1)
    return first, last, reserved


def number(sysctls: dict[str, str], name: str) -> int | None:
    """A sysctl that is one number."""
    text = sysctls.get(name, "")
    return int(text) if text.isdigit() else None


# -- /proc/PID/net (proc_pid_net(5)): of the process's namespace, wherever we are


def counters(host: Host, pid: int) -> dict[str, int]:
    """The counters of the namespace by the names of nstat(8), those of TELLING; empty when they cannot be read."""
    found: dict[str, int] = {}
    for name in ("netstat", "snmp", "snmp6"):
        try:
            text = host.proc.text(pid, "net", name)
        except NotPermitted:
            return {}
        except (GotriageError, OSError):
            continue
        found |= parse_flat(text) if name == "snmp6" else parse_pairs(text)
    return {name: value for name, value in found.items() if name in TELLING}


def parse_pairs(text: str) -> dict[str, int]:
    """ "TcpExt: A B" above "TcpExt: 1 2", to TcpExtA and TcpExtB (net/ipv4/proc.c)."""
    found = {}
    lines = text.splitlines()
    for names, values in zip(lines[::2], lines[1::2], strict=False):
        group, _, rest = names.partition(":")
        same, _, numbers = values.partition(":")
        if same != group:
            continue
        for name, word in zip(rest.split(), numbers.split(), strict=False):
            if word.isdigit():
                found[group + name] = int(word)
    return found


def parse_flat(text: str) -> dict[str, int]:
    """ "Ip6OutNoRoutes 7" (net/ipv6/proc.c)."""
    found = {}
    for line in text.splitlines():
        name, _, word = line.partition(" ")
        if word.strip().isdigit():
            found[name.strip()] = int(word)
    return found


TELLING: Final = frozenset(
    (
        "TcpExtListenOverflows", "TcpExtListenDrops", "TcpExtTCPReqQFullDrop", "TcpExtTCPReqQFullDoCookies",
        "TcpExtSyncookiesFailed", "TcpExtTCPBacklogDrop", "TcpExtTCPRcvQDrop", "TcpExtPruneCalled", "TcpExtRcvPruned",
        "TcpExtOfoPruned", "TcpExtTCPTimeouts", "TcpExtTCPSynRetrans", "TcpExtTCPLostRetransmit",
        "TcpExtTCPAbortOnTimeout", "TcpExtTCPAbortOnMemory", "TcpExtTCPMemoryPressures", "TcpExtTCPTimeWaitOverflow",
        "TcpExtTCPZeroWindowDrop", "TcpExtTCPToZeroWindowAdv", "TcpExtTCPRetransFail", "TcpRetransSegs",
        "TcpAttemptFails", "TcpEstabResets", "TcpOutRsts", "TcpInErrs", "UdpNoPorts", "UdpInErrors", "UdpRcvbufErrors",
        "UdpSndbufErrors", "UdpMemErrors", "Udp6NoPorts", "Udp6InErrors", "Udp6RcvbufErrors", "Udp6SndbufErrors",
        "IpInDiscards", "IpOutDiscards", "IpOutNoRoutes", "IpReasmFails", "IpFragFails", "IpInHdrErrors",
        "IpInAddrErrors", "Ip6InDiscards", "Ip6OutDiscards", "Ip6OutNoRoutes", "IcmpInDestUnreachs",
    )
)  # fmt: skip
"""Counters that a healthy network moves little or not at all (include/uapi/linux/snmp.h)."""

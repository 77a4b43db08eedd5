"""The network namespace of the target: its sockets by peer, what listens, interfaces, routes, ports, counters."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from gotriage.collectors.network.groups import Groups, Memory, marks, port_use
from gotriage.collectors.network.rows import Seen, totals
from gotriage.errors import GotriageError
from gotriage.host import clock, descriptors, netdump, netns, rtnetlink, sockfds
from gotriage.records.base import Why
from gotriage.records.network import Counter, Interface, Network, PortUse, Route
from gotriage.records.stream import Gap
from gotriage.records.text import clean

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from gotriage.host import Host
    from gotriage.host.netns import Inside
    from gotriage.records import Record
    from gotriage.target.model import Target

MAX_PROCESSES: Final = 512
MAX_DESCRIPTORS: Final = 200_000
MOST_PEERS: Final = 5
"""Peers whose use of ports is told."""
MOST_ROUTES: Final = 50
MOST_INTERFACES: Final = 50
SHARE: Final = 0.02
"""Of a CPU that looking may take on the average: after a long look the next one waits."""
ROOT: Final = "run gotriage as root (sudo), or with CAP_SYS_PTRACE"


class NetworkCollector:
    """Asks the kernel in the target's network namespace; nothing is sent to anybody."""

    backend = "sock_diag, rtnetlink, /proc/PID/net"

    def __init__(self, host: Host, target: Target) -> None:
        self._host, self._target = host, target
        self._others = sockfds.Others(host)
        self._memory = Memory()
        self._namespace = ""
        self._counters: dict[str, int] = {}
        self._since: datetime | None = None
        self._traffic: tuple[float, dict[str, tuple[int, int]]] = (0.0, {})
        self._not_before = 0.0
        self._gaps: list[Gap] = []

    def close(self) -> None:
        """Nothing is held."""

    def collect(self) -> Iterator[Record]:
        """One record. Raises TargetGone, NotPermitted, OSError when the namespace cannot be entered."""
        pid = self._target.pid
        if pid is None:
            return
        begun = clock.monotonic()
        if begun < self._not_before:
            yield from self._gaps
            return
        record = self._look(pid)
        self._not_before = clock.monotonic() + (clock.monotonic() - begun) / SHARE - 1.0
        yield from self._gaps
        yield record

    def _look(self, pid: int) -> Network:
        at = clock.now()
        namespace = self._host.proc.link(pid, "ns", "net")
        if namespace != self._namespace:  # another process came: it may be in another one
            self._namespace, self._memory, self._since = namespace, Memory(), None
        inside = netns.look(self._host, pid)
        held = sockfds.of(self._host, self._target.pids[:MAX_PROCESSES], MAX_DESCRIPTORS)
        self._gaps = [*_gaps(at, inside, held, len(self._target.pids)), *self._elsewhere(at, namespace)]
        seen = self._seen(inside, held)
        rows = tuple(seen.rows())
        counted = totals(seen)
        ports = netns.ports(inside.sysctls)
        return Network(
            at=at,
            namespace=clean(namespace, 64),
            shared=self._host.proc.shares(pid, "net"),
            rows=rows,
            omitted=dict(seen.omitted),
            by_state=counted.own,
            around=counted.around,
            orphaned=counted.orphaned,
            first_port=ports[0] if ports else None,
            last_port=ports[1] if ports else None,
            reserved_ports=ports[2] if ports else 0,
            port_use=tuple(
                PortUse(
                    local=one.group.local_text,
                    peer=one.group.peer_text,
                    used=one.used,
                    own=one.own,
                    time_wait=one.time_wait,
                )
                for one in port_use(seen.dump, seen.mark, seen.groups, MOST_PEERS)
            ),
            somaxconn=netns.number(inside.sysctls, "core/somaxconn"),
            syn_backlog=netns.number(inside.sysctls, "ipv4/tcp_max_syn_backlog"),
            tracked=netns.number(inside.sysctls, "netfilter/nf_conntrack_count"),
            track_limit=netns.number(inside.sysctls, "netfilter/nf_conntrack_max"),
            interfaces=self._interfaces(inside),
            routes=_routes(inside),
            counters=self._moved(at, pid),
            counted_since=self._since,
            unknown=_unknown(inside),
        )

    def _seen(self, inside: Inside, held: sockfds.Held) -> Seen:
        dump = netdump.parse(inside.sockets)
        now = clock.monotonic()
        own = np.isin(dump.inode, held.inodes) & (dump.inode > 0)
        rest = set(np.setdiff1d(held.inodes, dump.inode[own]).tolist())
        ports = netns.ports(inside.sysctls)
        mark = marks(dump, own, ports[:2] if ports else None)
        listens = set(dump.inode[(dump.state == netdump.LISTEN) & ~own][:1000].tolist()) - {0}
        return Seen(
            dump,
            mark,
            Groups(dump, mark),
            self._memory.moved(dump, now),
            self._memory.waited(dump, own, now),
            held,
            self._others.holders(listens, self._target.pids),
            netns.other_sockets(inside, rest) if rest else {},
            Namer(self._host),
        )

    def _elsewhere(self, at: datetime, namespace: str) -> Iterator[Gap]:
        """A gap about processes of the target that are in another network namespace."""
        pids = self._target.pids[:MAX_PROCESSES]
        found = [pid for pid in pids if descriptors.namespace(self._host, pid) not in (namespace, "")]
        if found:
            yield Gap(
                at=at,
                source="network.elsewhere",
                reason=f"{len(found)} of {len(pids)} processes are in other network namespaces",
                lost="their sockets",
                remedy=f"gotriage show network --pid {found[0]}",
            )

    def _moved(self, at: datetime, pid: int) -> tuple[Counter, ...]:
        """Counters that rose since the first look, the most first."""
        now = netns.counters(self._host, pid)
        if self._since is None:
            self._counters, self._since = now, at
        moved = [
            Counter(name=name, total=total, moved=total - self._counters.get(name, 0))
            for name, total in now.items()
            if total > self._counters.get(name, 0)
        ]
        return tuple(sorted(moved, key=lambda one: (-one.moved, one.name)))

    def _interfaces(self, inside: Inside) -> tuple[Interface, ...]:
        addresses = rtnetlink.parse_addresses(inside.addresses)
        now, (then, before) = clock.monotonic(), self._traffic
        found = []
        traffic = {}
        for link in rtnetlink.parse_links(inside.links)[:MOST_INTERFACES]:
            traffic[link.name] = (link.recv_bytes, link.send_bytes)
            old = before.get(link.name)
            seconds = now - then
            rates = (
                [round(max(0, new - was) / seconds, 1) for new, was in zip(traffic[link.name], old, strict=True)]
                if old and seconds > 0
                else [None, None]
            )
            found.append(
                Interface(
                    name=link.name,
                    state=link.state,
                    mtu=link.mtu,
                    addresses=tuple(one.text for one in addresses if one.number == link.number)[:20],
                    recv_bytes=link.recv_bytes,
                    send_bytes=link.send_bytes,
                    recv_rate=rates[0],
                    send_rate=rates[1],
                    errors=link.errors,
                    dropped=link.dropped,
                )
            )
        self._traffic = (now, traffic)
        return tuple(found)


class Namer:
    """Names of processes, each read once."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._known: dict[int, str] = {}

    def __call__(self, pid: int) -> str:
        """The name, "" when it is gone."""
        if pid not in self._known:
            try:
                self._known[pid] = clean(self._host.proc.read(pid, "comm", limit=64).rstrip(b"\n"), 64)
            except (GotriageError, OSError):
                self._known[pid] = ""
        return self._known[pid]


def _routes(inside: Inside) -> tuple[Route, ...]:
    names = {link.number: link.name for link in rtnetlink.parse_links(inside.links)}
    ways = rtnetlink.parse_routes(inside.routes)
    ways.sort(key=lambda way: way.to != "default")
    return tuple(
        Route(
            to=way.to,
            via=way.via,
            device=names.get(way.device, ""),
            source=way.source,
            metric=way.metric,
            kind=way.kind,
        )
        for way in ways[:MOST_ROUTES]
    )


def _unknown(inside: Inside) -> dict[str, Why]:
    found = {}
    if "netfilter/nf_conntrack_count" not in inside.sysctls:
        found["tracked"] = Why(reason="netfilter tracks no connections here")
    if "ipv4/ip_local_port_range" not in inside.sysctls:
        found["first_port"] = Why(reason="/proc/sys/net/ipv4/ip_local_port_range cannot be read")
    return found


def _gaps(at: datetime, inside: Inside, held: sockfds.Held, processes: int) -> Iterator[Gap]:
    if inside.trouble:
        yield Gap(
            at=at,
            source="network.sockets",
            reason=inside.trouble,
            lost="all sockets of the namespace",
            remedy="modprobe tcp_diag udp_diag unix_diag",
        )
    if held.denied:
        yield Gap(
            at=at,
            source="network.holders",
            reason=f"{len(held.denied)} of {processes} processes: /proc/PID/fd: permission denied",
            lost="which sockets are the target's",
            remedy=ROOT,
            permission=True,
        )

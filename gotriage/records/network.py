"""The network as the target has it: what listens, who it talks to, and the namespace around that."""

from __future__ import annotations

from datetime import datetime
from typing import ClassVar, Literal

import msgspec

from gotriage.records.base import Record, Row


class NetRow(Row, frozen=True, kw_only=True, gc=False):
    """Something that listens, a peer with all connections to it, or one socket of the target.

    States are the kernel's words (include/net/tcp_states.h); queues are bytes, of what listens on TCP the accept
    queue's length and bound. Seconds, bytes and segments; rates are since the look before, None at the first one.

    Attributes:
        what: "listen"; "out" for connections that this side has made, "in" for those that it has accepted; "socket".
        state: of a peer that which says most, the troubled ones first; all of them stand in `states`.
        local: address:port; of "in" the port that was connected to, of "out" the address that it connects from.
        peer: address:port, of "in" the address alone.
        count: sockets in this row; of what listens the connections that came in by it.
        own: of the target; what listens in its namespace besides is shown too.
        stuck: sockets that have been in CLOSE_WAIT for STUCK seconds or longer: the peer has closed, this side has not.
        unanswered: sockets whose first segment was sent three times or more, or what followed five times, in vain.
        drops: of what listens, connections that the kernel has turned away since it listens; of UDP, lost datagrams.
        retransmits: segments sent again since the sockets were made.
        half_open: of what listens, connections whose first segment was answered and that are not made yet (SYN queue).
        rtt, rtt_longest: smoothed round trip, the median and the longest of the sockets.
        waited: seconds that the longest CLOSE_WAIT or unanswered segment has lasted at least.
        pid, fd, process: who holds it: of a peer the process that holds most.
    """

    what: Literal["listen", "out", "in", "socket"]
    protocol: str = "tcp"
    state: str = ""
    local: str = ""
    peer: str = ""
    count: int = 1
    own: bool = True
    states: dict[str, int] = {}
    recv_queue: int | None = None
    send_queue: int | None = None
    drops: int | None = None
    drop_rate: float | None = None
    half_open: int = 0
    rtt: float | None = None
    rtt_longest: float | None = None
    retransmits: int | None = None
    retransmit_rate: float | None = None
    recv_rate: float | None = None
    send_rate: float | None = None
    stuck: int = 0
    unanswered: int = 0
    waited: float | None = None
    pid: int | None = None
    fd: int | None = None
    process: str = ""


STUCK = 10.0
"""Seconds in CLOSE_WAIT after which a socket counts as forgotten: a program that reads sees the end at once."""


class Interface(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One interface (rtnetlink(7)): bytes and packets since it was made, rates in bytes a second."""

    name: str
    state: str = ""
    mtu: int | None = None
    addresses: tuple[str, ...] = ()
    recv_bytes: int = 0
    send_bytes: int = 0
    recv_rate: float | None = None
    send_rate: float | None = None
    errors: int = 0
    dropped: int = 0


class Route(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One route (rtnetlink(7)); `to` is "default" or a prefix, `kind` is "" for a usual one, else "blackhole" ..."""

    to: str
    via: str = ""
    device: str = ""
    source: str = ""
    metric: int | None = None
    kind: str = ""


class PortUse(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Ports of the ephemeral range that connections from one address to one peer take, TIME_WAIT with them.

    `own` counts those that the target holds; `time_wait` belong to nobody any more.
    """

    local: str
    peer: str
    used: int
    own: int = 0
    time_wait: int = 0


class Counter(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A counter of /proc/PID/net/netstat, snmp or snmp6 that moved: by how much since the first look, and in all.

    Named as nstat(8) does: TcpExtListenOverflows, UdpRcvbufErrors ...
    """

    name: str
    total: int
    moved: int


class Network(Record, frozen=True, kw_only=True, tag="network"):
    """One look: rows are what listens, then peers, then single sockets of the target, the troubled first.

    Attributes:
        namespace: the network namespace, as in "net:[4026531840]"; `shared` with the one that gotriage is in.
        omitted: by `what`, rows that were left out because a bound was reached.
        by_state: sockets of the target by "protocol STATE"; `around` those of the whole namespace.
        orphaned: TCP sockets of the namespace that nobody holds, but for TIME_WAIT.
        first_port, last_port: the ephemeral range (net.ipv4.ip_local_port_range); `reserved_ports` of it are not given.
        port_use: the tightest peers, the tightest first.
        somaxconn, syn_backlog: bounds of queues that the namespace gives (net.core.somaxconn, tcp_max_syn_backlog).
        tracked, track_limit: connections that netfilter tracks in the namespace, and at most.
        counters: those that tell of trouble and moved since the first look, `counted_since`.
    """

    keep: ClassVar[int] = 120

    namespace: str = ""
    shared: bool = False
    rows: tuple[NetRow, ...] = ()
    omitted: dict[str, int] = {}
    by_state: dict[str, int] = {}
    around: dict[str, int] = {}
    orphaned: int | None = None
    first_port: int | None = None
    last_port: int | None = None
    reserved_ports: int = 0
    port_use: tuple[PortUse, ...] = ()
    somaxconn: int | None = None
    syn_backlog: int | None = None
    tracked: int | None = None
    track_limit: int | None = None
    interfaces: tuple[Interface, ...] = ()
    routes: tuple[Route, ...] = ()
    counters: tuple[Counter, ...] = ()
    counted_since: datetime | None = None

    @property
    def ports(self) -> int | None:
        """How many ports the ephemeral range has to give."""
        if self.first_port is None or self.last_port is None:
            return None
        return max(0, self.last_port - self.first_port + 1 - self.reserved_ports)

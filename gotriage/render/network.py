"""The network as it is shown: rows, one line that sums up, and the namespace around: ports, interfaces, routes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from gotriage.records.goroutines import Goroutines
from gotriage.records.network import NetRow, Network
from gotriage.records.target import TargetState
from gotriage.render import goroutines, units
from gotriage.render.text import fit

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gotriage.records.network import Interface, PortUse, Route
    from gotriage.session.store import Session

Part = tuple[str, str]
"""Words and a role: "", "dim", "strong", "warning", "critical"."""
Line = tuple[str, str, str]
"""A label, words, a role."""
TROUBLED: Final = ("CLOSE_WAIT", "SYN_SENT", "LAST_ACK", "FIN_WAIT2")
"""States that only pile up when something is wrong."""
NEAR, FULL = 0.8, 0.95
TAKEN: Final = 0.01
"""The least share of the ephemeral ports that one peer takes to be named."""
WORDS: Final = {
    "TcpExtListenOverflows": "a connection was ready, but the accept queue was full",
    "TcpExtListenDrops": "connections turned away by something that listens",
    "TcpExtTCPReqQFullDrop": "a SYN was dropped: the SYN queue was full",
    "TcpExtTCPReqQFullDoCookies": "a SYN was answered with a cookie: the SYN queue was full",
    "TcpExtSyncookiesFailed": "an ACK with a SYN cookie that is none",
    "TcpExtTCPBacklogDrop": "a segment was dropped: the socket was busy for too long",
    "TcpExtTCPRcvQDrop": "a segment was dropped: no memory for the receive queue",
    "TcpExtPruneCalled": "receive queues were squeezed for memory",
    "TcpExtRcvPruned": "segments were dropped from receive queues",
    "TcpExtOfoPruned": "segments out of order were dropped for memory",
    "TcpExtTCPTimeouts": "retransmission timers ran out",
    "TcpExtTCPSynRetrans": "a SYN, or its answer, was sent again",
    "TcpExtTCPLostRetransmit": "what was sent again was lost again",
    "TcpExtTCPAbortOnTimeout": "connections given up after all retransmissions",
    "TcpExtTCPAbortOnMemory": "connections cut for lack of TCP memory",
    "TcpExtTCPMemoryPressures": "TCP memory came near net.ipv4.tcp_mem",
    "TcpExtTCPTimeWaitOverflow": "TIME_WAIT sockets over net.ipv4.tcp_max_tw_buckets",
    "TcpExtTCPZeroWindowDrop": "a segment came although the window was closed",
    "TcpExtTCPToZeroWindowAdv": "a receive window was closed: somebody here does not read",
    "TcpExtTCPRetransFail": "a retransmission could not be sent",
    "TcpRetransSegs": "segments sent again",
    "TcpAttemptFails": "connections that were refused or given up before they were made",
    "TcpEstabResets": "connections that were reset",
    "TcpOutRsts": "resets sent",
    "TcpInErrs": "segments with errors",
    "UdpNoPorts": "datagrams to a port where nobody listens",
    "UdpInErrors": "datagrams that could not be delivered",
    "UdpRcvbufErrors": "datagrams lost: the receive buffer was full",
    "UdpSndbufErrors": "datagrams lost: the send buffer was full",
    "UdpMemErrors": "datagrams lost for lack of memory",
    "Udp6NoPorts": "datagrams to a port where nobody listens",
    "Udp6InErrors": "datagrams that could not be delivered",
    "Udp6RcvbufErrors": "datagrams lost: the receive buffer was full",
    "Udp6SndbufErrors": "datagrams lost: the send buffer was full",
    "IpOutNoRoutes": "packets without a route",
    "Ip6OutNoRoutes": "packets without a route",
    "IpReasmFails": "fragments that could not be put together",
    "IpFragFails": "packets too large for the way that may not be fragmented",
    "IcmpInDestUnreachs": "others said that something cannot be reached",
}
"""Counters of nstat(8) in words; the others speak for themselves."""


def name_of(row: NetRow, *, short: bool = False) -> str:
    """Both ends in one text; in short without the address of this side where there is a peer."""
    match row.what:
        case "listen":
            return row.local or row.protocol
        case "in":
            return f"{row.local} ← {row.peer}"
        case "out":
            return f"→ {row.peer}"
    if not row.local and not row.peer:
        return row.protocol
    if not row.peer:
        return row.local
    port = row.local.rpartition(":")[2]
    local = f":{port}" if short and port.isdigit() else row.local
    return f"{local or '(unnamed)'} → {row.peer}"


def kind_of(row: NetRow) -> str:
    """What it is, and by which protocol where that is not TCP."""
    return row.what if row.protocol in ("tcp", "tcp6") and row.what != "socket" else row.protocol


def queue(row: NetRow, field: str) -> str:
    """A queue: a number of connections where something listens on TCP or a Unix socket, else bytes."""
    value: int | None = getattr(row, field)
    if row.state == "LISTEN":
        return units.count(value)
    return units.size(value)


def states(row: NetRow) -> str:
    """States with their numbers."""
    return "  ".join(f"{units.count(number)} {state}" for state, number in row.states.items())


def severity(row: NetRow) -> str:
    """How bad a row is: its role."""
    if row.unanswered or row.stuck or row.drop_rate:
        return "warning"
    if row.what == "listen" and row.state == "LISTEN" and row.recv_queue and row.send_queue:
        share = row.recv_queue / row.send_queue
        return "critical" if share >= 1 else "warning" if share >= NEAR else ""
    return ""


def port_share(record: Network, use: PortUse) -> float | None:
    """Which share of the ephemeral range the connections to a peer take."""
    return use.used / record.ports if record.ports else None


def headline(record: Network) -> Iterator[Part]:
    """The target's sockets by state, the tightest ports, what is tracked."""
    if not record.by_state:
        yield "no socket of its own", "dim"
    for state, number in list(record.by_state.items())[:6]:
        yield f"{units.count(number)} {state}", "warning" if state.rpartition(" ")[2] in TROUBLED else ""
    for use in record.port_use[:1]:
        share = port_share(record, use)
        if share is not None and share >= 0.1:
            yield f"{units.share(share)} of ports to {use.peer}", _near(share)
    if record.tracked is not None and record.track_limit:
        share = record.tracked / record.track_limit
        if share >= 0.1:
            yield f"conntrack {units.share(share)} full", _near(share)


def _near(share: float | None) -> str:
    return "" if share is None or share < NEAR else "critical" if share >= FULL else "warning"


def around(record: Network) -> Iterator[Line]:
    """The namespace: bounds, ports, interfaces, routes, counters that moved."""
    shared = "; gotriage is in it too" if record.shared else ""
    yield "namespace", f"{record.namespace}{shared}", ""
    yield "sockets in it", _states(record.around) or "none", "dim"
    if record.orphaned:
        yield "held by nobody", units.counted(record.orphaned, "connection"), "dim"
    if record.omitted:
        left = ", ".join(f"{units.count(number)} {what} rows" for what, number in record.omitted.items())
        yield "not listed", left, "dim"
    yield "ports", _range(record), ""
    for use in record.port_use:
        share = port_share(record, use)
        if share is not None and share >= TAKEN:
            text = f"{units.counted(use.used, 'port')} ({units.share(share)}) from {use.local} to {use.peer}"
            holders = f"{units.count(use.own)} by the target, {units.count(use.time_wait)} TIME_WAIT"
            yield "", f"{text}; {holders}", _near(share)
    if record.somaxconn is not None:
        syn = f", tcp_max_syn_backlog {units.count(record.syn_backlog)}" if record.syn_backlog is not None else ""
        yield "queues", f"somaxconn {units.count(record.somaxconn)}{syn}", ""
    yield "conntrack", *_tracked(record)
    for place, interface in enumerate(record.interfaces):
        yield "" if place else "interfaces", _interface(interface), "" if interface.state != "down" else "dim"
        for address in interface.addresses:
            yield "", f"  {address}", "dim"
    for place, route in enumerate(record.routes):
        yield "" if place else "routes", _route(route), "warning" if route.kind else ""
    if not record.routes:
        yield "routes", "none: only this namespace itself can be reached", "warning"
    for place, counter in enumerate(record.counters):
        words = WORDS.get(counter.name, "")
        yield (
            "" if place else "counters",
            f"+{units.count(counter.moved)} {counter.name}" + (f": {words}" if words else ""),
            "",
        )
    if not record.counters:
        yield "counters", "none that tells of trouble has moved since the first look", "dim"


def _states(numbers: dict[str, int]) -> str:
    return ", ".join(f"{units.count(number)} {state}" for state, number in numbers.items())


def _range(record: Network) -> str:
    if record.first_port is None:
        why = record.unknown.get("first_port")
        return why.reason if why else units.UNKNOWN
    reserved = f", {units.count(record.reserved_ports)} reserved" if record.reserved_ports else ""
    return f"{record.first_port} to {record.last_port}: {units.count(record.ports)} to each peer{reserved}"


def _tracked(record: Network) -> tuple[str, str]:
    if record.tracked is None:
        why = record.unknown.get("tracked")
        return (why.reason if why else units.UNKNOWN), "dim"
    if not record.track_limit:
        return units.counted(record.tracked, "connection"), ""
    share = record.tracked / record.track_limit
    return f"{units.count(record.tracked)} of {units.count(record.track_limit)} ({units.share(share)})", _near(share)


def _interface(one: Interface) -> str:
    words = [f"{one.name:<10} {one.state:<8}"]
    if one.mtu is not None:
        words.append(f"mtu {one.mtu}")
    if one.recv_rate or one.send_rate:
        words.append(f"{units.size(one.recv_rate)}/s in, {units.size(one.send_rate)}/s out")
    if one.errors or one.dropped:
        words.append(f"{units.count(one.errors)} errors, {units.count(one.dropped)} dropped")
    return "  ".join(words)


def _route(one: Route) -> str:
    words = [one.kind, one.to, f"via {one.via}" if one.via else "", f"dev {one.device}" if one.device else ""]
    words += [f"src {one.source}" if one.source else "", f"metric {one.metric}" if one.metric else ""]
    return " ".join(word for word in words if word)


def waiting_at(session: Session, row: NetRow) -> Iterator[str]:
    """The goroutines that wait for a socket of the main process, as the last look at memory saw them."""
    record, target = session.latest(Goroutines), session.latest(TargetState)
    if record is None or target is None or row.fd is None or row.pid != target.pid:
        return
    for one in record.goroutines:
        if one.fd != row.fd:
            continue
        group = next((group for group in record.rows if one.stack >= 0 and group.stack == one.stack), None)
        where = ""
        if group is not None and group.where:
            where = f" in {goroutines.short(group.where)} {goroutines.place(group.where_file, group.where_line)}"
        yield f"{one.id}: {goroutines.state_of(one)}{where}"


def lines(session: Session, width: int | None = None) -> Iterator[str]:
    """What `show network` prints below its table."""
    record = session.latest(Network)
    if record is None:
        return
    yield "  ".join(text for text, _ in headline(record))
    for label, words, _ in around(record):
        line = f"  {label:<15} {words}"
        yield line if width is None else fit(line, width).rstrip()

"""Sockets that pile up: connections that nobody accepts, that nobody closes, and ports that run out.

listen-backlog-overflow
    The kernel turns a connection away when more wait than the bound of listen(2), which Go takes from
    net.core.somaxconn when it begins to listen. A full queue is critical: clients wait for a second, three, seven. From
    80 % on it is near. Drops in the last minute count only where ListenOverflows or TCPReqQFullDrop of the namespace
    moved too: a listening socket also counts segments that it could not use.
close-wait-leak
    A program that reads learns at once that the peer has closed; ten sockets that have been in CLOSE_WAIT for ten
    seconds were forgotten, or their goroutines are stuck.
port-exhaustion
    connect(2) fails with EADDRNOTAVAIL when all ephemeral ports to one peer are taken, those in TIME_WAIT with them.
    From 80 % of net.ipv4.ip_local_port_range on a burst may take the rest; from 95 % on connections fail.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from gotriage.records.findings import Fine, Severity
from gotriage.records.goroutines import Goroutines
from gotriage.records.network import STUCK, NetRow, Network
from gotriage.records.units import clock, count, counted, per_minute, seconds, share
from gotriage.rules import golook, remedies

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from gotriage.records.network import PortUse
    from gotriage.rules import Claim
    from gotriage.rules.evidence import Evidence

BACKLOG: Final = "listen-backlog-overflow"
FORGOTTEN: Final = "close-wait-leak"
PORTS: Final = "port-exhaustion"
DEFAULTS: Final = {
    BACKLOG: {"near": 0.8, "least": 8.0, "seconds": 60.0},
    FORGOTTEN: {"sockets": 10.0, "seconds": 300.0},
    PORTS: {"warning": 0.80, "critical": 0.95, "log_seconds": 60.0},
}
MOST: Final = 3
"""Listening sockets and peers that become a finding of their own."""
OVERFLOWS: Final = ("TcpExtListenOverflows", "TcpExtTCPReqQFullDrop", "TcpExtTCPReqQFullDoCookies")
NOT_AVAILABLE: Final = "cannot assign requested address"
"""strerror(EADDRNOTAVAIL) in lower case, as Go's syscall package has it."""


# -- listen-backlog-overflow


class _Queue(NamedTuple):
    """Something that listens: how full its queue is, and how many connections were turned away of late."""

    row: NetRow
    share: float
    turned_away: int


def backlogs(evidence: Evidence) -> Iterator[Claim]:
    """A finding for each that turns connections away or is near to it."""
    if not evidence.running:
        return
    record = evidence.current(Network)
    if record is None:
        yield evidence.unknown(BACKLOG, "network")
        return
    series = evidence.series(Network, evidence.limit(BACKLOG, "seconds"))
    listening = [row for row in record.rows if row.what == "listen" and row.state == "LISTEN" and row.own]
    queues = [_queue(row, series) for row in listening]
    bad = [one for one in queues if _is_bad(evidence, one)]
    bad.sort(key=lambda one: (-one.turned_away, -one.share))
    for one in bad[:MOST]:
        yield _overflow(evidence, record, one)
    if not bad and listening:
        longest = max(queues, key=lambda one: one.share)
        waiting = longest.row.recv_queue or 0
        where = f", {count(waiting)} of {count(longest.row.send_queue)} wait at {longest.row.local}" if waiting else ""
        yield Fine(BACKLOG, f"{counted(len(listening), 'accept queue')} with room{where}")


def _is_bad(evidence: Evidence, one: _Queue) -> bool:
    waiting = one.row.recv_queue or 0
    near = one.share >= evidence.limit(BACKLOG, "near") and waiting >= evidence.limit(BACKLOG, "least")
    return one.turned_away > 0 or one.share >= 1 or near


def _queue(row: NetRow, series: Sequence[Network]) -> _Queue:
    """The kernel lets one more in than the bound says (sk_acceptq_is_full of include/net/sock.h)."""
    level = row.recv_queue / row.send_queue if row.recv_queue and row.send_queue else 0.0
    before = next((old for old in series[0].rows if _same(old, row)), None) if series else None
    turned_away = 0
    if before is not None and row.drops is not None and before.drops is not None and _overflowed(series) > 0:
        turned_away = max(0, row.drops - before.drops)
    return _Queue(row, level, turned_away)


def _same(old: NetRow, row: NetRow) -> bool:
    return (old.what, old.protocol, old.local, old.pid, old.fd) == (
        row.what,
        row.protocol,
        row.local,
        row.pid,
        row.fd,
    )


def _overflowed(series: Sequence[Network]) -> int:
    """By how much the namespace's counters of full queues moved."""

    def total(record: Network) -> int:
        return sum(counter.moved for counter in record.counters if counter.name in OVERFLOWS)

    return total(series[-1]) - total(series[0])


def _overflow(evidence: Evidence, record: Network, one: _Queue) -> Claim:
    row = one.row
    full = one.turned_away > 0 or one.share >= 1
    unix = row.protocol == "unix"
    if one.turned_away:
        title = f"{row.local} turned {counted(one.turned_away, 'connection')} away: its accept queue is full"
    elif full:
        title = f"the accept queue of {row.local} is full: {count(row.recv_queue)} wait, its bound is"
        title += f" {count(row.send_queue)}"
    else:
        title = f"the accept queue of {row.local} is {share(one.share)} full"
    told = [f"{counted(row.recv_queue or 0, 'connection')} wait to be accepted, the bound is {count(row.send_queue)}"]
    if row.half_open:
        told.append(f"{counted(row.half_open, 'connection')} more half open, in its SYN queue")
    if row.drops:
        told.append(f"{counted(row.drops, 'connection')} turned away since it listens")
    told += [
        f"{counter.name} of the namespace rose by {count(counter.moved)}"
        for counter in record.counters
        if counter.name in OVERFLOWS
    ]
    if row.count:
        told.append(f"{counted(row.count, 'connection')} accepted or waiting are open")
    return evidence.finding(
        BACKLOG,
        "critical" if full else "warning",
        title,
        evidence=tuple(told),
        fix=_longer_queue(evidence, record, unix=unix),
        view="network",
        subject=row.local,
    )


def _longer_queue(evidence: Evidence, record: Network, *, unix: bool) -> str:
    """Accept faster; else a longer queue."""
    first = (
        "see why nothing is accepted: the goroutine in Accept, CPU throttling, descriptors (EMFILE ends in the same"
        " queue)"
    )
    now = record.somaxconn
    if unix or now is None:
        return first
    value = max(4096, 1 << (2 * now).bit_length()) if now < 65536 else now
    enter = f"nsenter -t {evidence.target.pid} -n " if evidence.target is not None and not record.shared else ""
    longer = f"{enter}sysctl -w net.core.somaxconn={value} (now {now}), then {remedies.restart(evidence)}"
    return f"{first}\nfor bursts: {longer}"


# -- close-wait-leak


def forgotten(evidence: Evidence) -> Iterator[Claim]:
    """A finding a peer, or one for all together where no peer has many."""
    if not evidence.running:
        return
    record = evidence.current(Network)
    if record is None:
        yield evidence.unknown(FORGOTTEN, "network")
        return
    peers = [row for row in record.rows if row.what in ("in", "out") and row.stuck]
    least = evidence.limit(FORGOTTEN, "sockets")
    total = sum(row.stuck for row in peers)
    if total < least:
        waiting = sum(number for state, number in record.by_state.items() if state.endswith("CLOSE_WAIT"))
        yield Fine(FORGOTTEN, f"{counted(waiting, 'socket')} in CLOSE_WAIT" if waiting else "no socket in CLOSE_WAIT")
        return
    peers.sort(key=lambda row: -row.stuck)
    many = [row for row in peers if row.stuck >= least][:MOST]
    if not many:
        yield _left(evidence, peers, total)
    for row in many:
        yield _left(evidence, [row], row.stuck)


def _left(evidence: Evidence, rows: Sequence[NetRow], number: int) -> Claim:
    first = rows[0]
    made = first.what == "out"
    if len(rows) > 1:
        where = f"{'to' if made else 'from'} {len(rows)} peers, {first.peer} first"
    else:
        where = f"to {first.peer}" if made else f"from {first.peer} at {first.local}"
    open_now = sum(row.states.get("CLOSE_WAIT", 0) for row in rows)
    slope = _slope(evidence, [(row.what, row.local, row.peer) for row in rows], open_now)
    longest = max((row.waited or 0.0 for row in rows), default=0.0)
    told = [f"{count(open_now)} are in CLOSE_WAIT: the peer has closed, this side has not"]
    told.append(f"{count(number)} of them for {seconds(STUCK)} or longer, the oldest for at least {seconds(longest)}")
    unread = sum(row.recv_queue or 0 for row in rows)
    if unread:
        told.append(f"{count(unread)} bytes wait in them unread (an end counts as one)")
    others = sum(row.states.get("ESTABLISHED", 0) for row in rows)
    told.append(f"{counted(others, 'connection')} with the same {'peers' if len(rows) > 1 else 'peer'} are in use")
    told += _held_by(evidence, _READER if made else _SERVER)
    fix = (
        "close what was received: resp.Body.Close() on every path (also where the body is not read), conn.Close()"
        if made
        else "let the handlers end when their client is gone: r.Context(), deadlines, conn.Close() on every path"
    )
    return evidence.finding(
        FORGOTTEN,
        "warning",
        f"{counted(number, 'socket')} left in CLOSE_WAIT {where}{slope}",
        evidence=tuple(told),
        fix=f"{fix}\nwho holds them: the goroutines in Read or in the handler, gotriage show goroutines --group",
        view="network",
        subject=first.peer if len(rows) == 1 else evidence.name,
    )


_READER: Final = "net/http.(*persistConn).readLoop"
"""Where the goroutine of a client's connection waits until the body of the answer is read or closed."""
_SERVER: Final = "net/http.(*conn).serve"
"""What calls the handlers."""


def _held_by(evidence: Evidence, function: str) -> Iterator[str]:
    """Goroutines that hold such connections: those in net/http's function, and where the largest group is."""
    table = evidence.current(Goroutines)
    if table is None:
        return
    groups = [
        group
        for group in table.rows
        if 0 <= group.stack < len(table.stacks)
        and any(frame.function == function for frame in table.stacks[group.stack].frames)
    ]
    if groups:
        number = sum(group.count for group in groups)
        largest = max(groups, key=lambda group: group.count)
        yield f"{counted(number, 'goroutine')} in {function}, {count(largest.count)} of them at {golook.where(largest)}"


def _slope(evidence: Evidence, keys: Sequence[tuple[str, str, str]], now: int) -> str:
    """By how much it grows, where it was seen to."""
    series = evidence.series(Network, evidence.limit(FORGOTTEN, "seconds"))
    if len(series) < 2:
        return ""
    passed = (series[-1].at - series[0].at).total_seconds()
    before = sum(row.states.get("CLOSE_WAIT", 0) for row in series[0].rows if (row.what, row.local, row.peer) in keys)
    return f", {per_minute((now - before) / passed)}" if passed >= STUCK and now > before else ""


# -- port-exhaustion


def ports(evidence: Evidence) -> Iterator[Claim]:
    """A finding a peer; the log's word counts where no peer can be seen to be the one."""
    if not evidence.running:
        return
    record = evidence.current(Network)
    if record is None or not record.ports:
        yield evidence.unknown(PORTS, "network", record.unknown.get("first_port") if record is not None else None)
        return
    said = evidence.lines(NOT_AVAILABLE, evidence.limit(PORTS, "log_seconds"))
    mine = [use for use in record.port_use if use.own or said or not record.shared]
    tight = [use for use in mine if use.used / record.ports >= evidence.limit(PORTS, "warning")]
    words = [f'{counted(len(said), "log line")} in the last minute end in "{NOT_AVAILABLE}"'] if said else []
    if words:
        words[0] += f", the newest at {clock(said[-1].at)}"
    for use in tight[:MOST]:
        yield _tight(evidence, record, use, words)
    if tight:
        return
    if mine:
        use = mine[0]
        yield Fine(PORTS, f"{counted(use.used, 'port')} of {count(record.ports)} taken to {use.peer}")
    else:
        yield Fine(PORTS, f"none of {count(record.ports)} ephemeral ports taken")


def _tight(evidence: Evidence, record: Network, use: PortUse, words: list[str]) -> Claim:
    level = use.used / record.ports if record.ports else 0.0
    severity: Severity = "critical" if level >= evidence.limit(PORTS, "critical") or words else "warning"
    told = [
        f"{count(use.used)} of {count(record.ports)} ephemeral ports ({record.first_port} to {record.last_port})"
        f" are taken from {use.local} to {use.peer}",
        f"{count(use.own)} by the target, {count(use.time_wait)} in TIME_WAIT, which lasts a minute",
        *words,
    ]
    enter = f"nsenter -t {evidence.target.pid} -n " if evidence.target is not None and not record.shared else ""
    reuse = (
        "keep connections and use them again: read bodies to the end, one http.Client for all, MaxIdleConnsPerHost as"
        " high as there are calls at a time"
        if use.time_wait > use.own
        else "close connections that are not needed, or bound their number: Transport.MaxConnsPerHost"
    )
    return evidence.finding(
        PORTS,
        severity,
        f"{share(level)} of the ports to {use.peer} are taken; at 100 % connections fail",
        evidence=tuple(told),
        fix=f'{reuse}\nto gain time: {enter}sysctl -w net.ipv4.ip_local_port_range="1024 65535"'
        " net.ipv4.tcp_tw_reuse=1",
        view="network",
        subject=use.peer,
    )

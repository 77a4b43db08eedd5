"""The rows of the view out of columns of sockets: what listens, peers, single sockets."""

from __future__ import annotations

from collections import Counter as Tally
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from gotriage.collectors.network import groups
from gotriage.host import netdump
from gotriage.host.netdump import LISTEN, TIME_WAIT
from gotriage.records.network import NetRow

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    from gotriage.collectors.network.groups import Group, Groups, Marks, Moved
    from gotriage.host.netdump import Dump
    from gotriage.host.sockdiag import Table
    from gotriage.host.sockfds import Held, Holder

MOST: Final = {"listen": 200, "peer": 200, "socket": 500}
"""Rows of each sort; the rest is counted. A recording holds them every few seconds."""
CLOSED: Final = 7
"""TCP_CLOSE, which an unconnected UDP socket has for a state."""
UNCONNECTED: Final = "UNCONN"
"""That state by the name that ss(8) gives it."""


@dataclass(frozen=True, slots=True)
class Seen:
    """One look, ready to be made into rows."""

    dump: Dump
    mark: Marks
    groups: Groups
    moved: Moved | None
    waited: NDArray[np.float64]
    held: Held
    """The target's own."""
    others: dict[int, Holder]
    """By inode, of what else listens."""
    table: Table
    """The target's sockets of other families by inode."""
    name_of: Callable[[int], str]
    omitted: Tally[str] = field(default_factory=Tally)

    def rows(self) -> Iterator[NetRow]:
        """All of them: what listens (the target's first), peers, single sockets, each the troubled first."""
        yield from self._cut("listen", [*self._listeners(), *self._other("listen")])
        yield from self._peers()
        yield from self._sockets()

    def _cut(self, what: str, rows: list[NetRow]) -> list[NetRow]:
        rows.sort(key=lambda row: (not row.own, -(row.drop_rate or 0.0), -fill(row), row.protocol, row.local))
        if len(rows) > MOST[what]:
            self.omitted[what] += len(rows) - MOST[what]
        return rows[: MOST[what]]

    def _protocol(self, at: int) -> str:
        return self.dump.names[int(self.dump.kind[at])]

    def _ends(self, at: int) -> tuple[str, str]:
        dump, six = self.dump, self._protocol(at).endswith("6")
        peer = netdump.address(dump.target[at], int(dump.dport[at]), six=six) if dump.dport[at] else ""
        return netdump.address(dump.source[at], int(dump.sport[at]), six=six), peer

    def _rate(self, numbers: str, at: int | NDArray[np.int64]) -> float | None:
        if self.moved is None:
            return None
        return round(float(np.sum(getattr(self.moved, numbers)[at])) / self.moved.seconds, 2)

    # -- what listens

    def _listeners(self) -> Iterator[NetRow]:
        dump, mark = self.dump, self.mark
        udp = np.isin(dump.kind, [at for at, name in enumerate(dump.names) if name.startswith("udp")])
        came = np.bincount(dump.sport[mark.own & mark.inbound & (dump.state != TIME_WAIT)], minlength=65536)
        half = np.bincount(dump.sport[mark.connection & (dump.state == _SYN_RECV)], minlength=65536)
        listening = ~udp & (dump.state == LISTEN)
        found = np.flatnonzero(listening | (udp & mark.own & (dump.state == CLOSED)))
        if len(found) > 20 * MOST["listen"]:
            found = found[np.argsort(~mark.own[found], kind="stable")][: 20 * MOST["listen"]]
        for at in map(int, found):
            holder = self._holder(int(dump.inode[at]))
            drops = int(dump.drops[at])
            yield NetRow(
                what="listen",
                protocol=self._protocol(at),
                state=UNCONNECTED if udp[at] else "LISTEN",
                local=self._ends(at)[0],
                count=0 if udp[at] else int(came[dump.sport[at]]) if mark.own[at] else 0,
                own=bool(mark.own[at]),
                recv_queue=int(dump.recv[at]),
                send_queue=int(dump.send[at]),
                half_open=0 if udp[at] else int(half[dump.sport[at]]),
                drops=drops if drops >= 0 else None,
                drop_rate=self._rate("drops", at) if drops >= 0 else None,
                pid=holder.pid if holder else None,
                fd=holder.fd if holder and mark.own[at] else None,
                process=self.name_of(holder.pid) if holder else "",
            )

    def _holder(self, inode: int) -> Holder | None:
        return self.held.holder(inode) or self.others.get(inode)

    def _other(self, what: str) -> Iterator[NetRow]:
        """The target's sockets of other families, those that listen or the others."""
        for inode, (protocol, state, local, peer, recv, send) in self.table.items():
            if (state == "LISTEN") != (what == "listen"):
                continue
            holder = self.held.holder(inode)
            if holder is None:
                continue
            yield NetRow(
                what="listen" if what == "listen" else "socket",
                protocol=protocol,
                state=state,
                local=local,
                peer=peer,
                count=0 if what == "listen" else 1,
                recv_queue=recv,
                send_queue=send,
                pid=holder.pid,
                fd=holder.fd,
                process=self.name_of(holder.pid),
            )

    # -- peers

    def _peers(self) -> Iterator[NetRow]:
        stuck, unanswered = groups.stuck(self.waited), groups.unanswered(self.dump) & self.mark.own
        own = self.groups.sums(self.mark.own)
        weights = np.where(own > 0, own + 1_000_000 * (self.groups.sums(stuck) + self.groups.sums(unanswered)), 0)
        number = int(np.count_nonzero(own))
        if number > MOST["peer"]:
            self.omitted["peer"] += number - MOST["peer"]
        for at in self.groups.largest(weights, MOST["peer"]):
            yield self._peer(self.groups.group(at), stuck, unanswered)

    def _peer(self, group: Group, stuck: NDArray[np.bool_], unanswered: NDArray[np.bool_]) -> NetRow:
        dump, members = self.dump, group.members
        mine = members[self.mark.own[members]]
        known = mine[dump.known[mine] & (dump.rtt[mine] > 0)]
        by_state = groups.states(dump, mine)
        waiting = int(np.count_nonzero(dump.state[members] == TIME_WAIT))
        if waiting:
            by_state["TIME_WAIT"] = waiting
        pids, often = np.unique(self.held.pids[self.held.places(dump.inode[mine].astype(np.int64))], return_counts=True)
        pid = int(pids[np.argmax(often)])
        waited = float(self.waited[mine].max())
        return NetRow(
            what="in" if group.inbound else "out",
            protocol=self._protocol(int(mine[0])),
            state=groups.telling(by_state),
            local=group.local_text,
            peer=group.peer_text,
            count=len(mine),
            states=by_state,
            recv_queue=int(dump.recv[mine].sum()),
            send_queue=int(dump.send[mine].sum()),
            rtt=round(float(np.median(dump.rtt[known])) / 1e6, 6) if len(known) else None,
            rtt_longest=round(float(dump.rtt[known].max()) / 1e6, 6) if len(known) else None,
            retransmits=int(dump.retransmits[mine].sum()),
            retransmit_rate=self._rate("retransmits", mine),
            recv_rate=self._rate("received", mine),
            send_rate=self._rate("sent", mine),
            stuck=int(np.count_nonzero(stuck[mine])),
            unanswered=int(np.count_nonzero(unanswered[mine])),
            waited=round(waited, 1) if waited else None,
            pid=pid,
            process=self.name_of(pid),
        )

    # -- single sockets

    def _sockets(self) -> Iterator[NetRow]:
        """TCP by trouble, then UDP and the rest."""
        dump, mark = self.dump, self.mark
        udp = np.isin(dump.kind, [at for at, name in enumerate(dump.names) if name.startswith("udp")])
        chosen = np.flatnonzero(mark.own & (mark.connection | (udp & (dump.state != CLOSED))))
        weight = (
            np.where(groups.unanswered(dump)[chosen], 1e12, 0)
            + np.where(groups.stuck(self.waited)[chosen], 1e11, 0)
            + dump.recv[chosen].astype(np.float64)
            + dump.send[chosen]
            + dump.retransmits[chosen]
        )
        rest = list(self._other("socket"))
        most = max(MOST["socket"] - len(rest), MOST["socket"] // 2)
        if len(chosen) + len(rest) > MOST["socket"]:
            kept = min(most, len(chosen))
            self.omitted["socket"] += len(chosen) - kept + max(0, len(rest) - (MOST["socket"] - kept))
            rest = rest[: MOST["socket"] - kept]
        for at in map(int, chosen[np.argsort(-weight, kind="stable")][:most]):
            yield self._socket(at)
        yield from rest

    def _socket(self, at: int) -> NetRow:
        dump = self.dump
        local, peer = self._ends(at)
        holder = self.held.holder(int(dump.inode[at]))
        told = bool(dump.known[at])
        waited = float(self.waited[at])
        drops = int(dump.drops[at])
        return NetRow(
            what="socket",
            protocol=self._protocol(at),
            state=groups.state_name(int(dump.state[at])),
            local=local,
            peer=peer,
            recv_queue=int(dump.recv[at]),
            send_queue=int(dump.send[at]),
            drops=drops if drops >= 0 else None,
            rtt=round(float(dump.rtt[at]) / 1e6, 6) if told and dump.rtt[at] else None,
            retransmits=int(dump.retransmits[at]) if told else None,
            recv_rate=self._rate("received", at) if told else None,
            send_rate=self._rate("sent", at) if told else None,
            stuck=int(groups.stuck(self.waited[at : at + 1])[0]),
            unanswered=int(groups.unanswered(dump)[at]) if dump.resent[at] else 0,
            waited=round(waited, 1) if waited else None,
            pid=holder.pid if holder else None,
            fd=holder.fd if holder else None,
            process=self.name_of(holder.pid) if holder else "",
        )


def fill(row: NetRow) -> float:
    """Which share of its queue's bound something that listens has waiting; 0 where there is no bound."""
    return row.recv_queue / row.send_queue if row.recv_queue and row.send_queue else 0.0


class Totals(NamedTuple):
    """Sockets by "protocol STATE": the target's, and of the whole namespace; TCP sockets that nobody holds."""

    own: dict[str, int]
    around: dict[str, int]
    orphaned: int


def totals(seen: Seen) -> Totals:
    """Count."""
    dump = seen.dump
    pair = dump.kind.astype(np.int64) << 8 | dump.state
    own = _named(dump, pair[seen.mark.own])
    for protocol, state, *_ in seen.table.values():
        name = f"{protocol} {state}".strip()
        own[name] = own.get(name, 0) + 1
    orphaned = seen.mark.connection & (dump.inode == 0) & (dump.state != TIME_WAIT) & (dump.state != _SYN_RECV)
    return Totals(own, _named(dump, pair), int(np.count_nonzero(orphaned)))


_SYN_RECV: Final = 3
"""TCP_SYN_RECV: a request that no process has accepted is no socket yet."""


def _named(dump: Dump, pairs: NDArray[np.int64]) -> dict[str, int]:
    values, counts = np.unique(pairs, return_counts=True)
    found = {}
    for at in np.argsort(-counts, kind="stable"):
        protocol, state = dump.names[int(values[at]) >> 8], int(values[at]) & 0xFF
        unconnected = protocol.startswith("udp") and state == CLOSED
        found[f"{protocol} {UNCONNECTED if unconnected else groups.state_name(state)}"] = int(counts[at])
    return found

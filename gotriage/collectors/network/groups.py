"""Columns of sockets as rows: which way a connection went, connections by peer, ports by peer, rates between looks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from gotriage.host import netdump
from gotriage.host.netdump import CLOSE_WAIT, ESTABLISHED, LISTEN, SYN_SENT, TIME_WAIT
from gotriage.host.sockdiag import STATES
from gotriage.records.network import STUCK

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from gotriage.host.netdump import Dump

    Mask = NDArray[np.bool_]
    Numbers = NDArray[np.float64]

SYN_AGAIN, AGAIN = 2, 4
"""How often the first segment, or a later one, was sent again when its sender counts as unanswered: after 3 s and after
about 3 s at the shortest (net.ipv4.tcp_syn_retries, tcp_retries2)."""
UNUSUAL: Final = ("CLOSE_WAIT", "SYN_SENT", "LAST_ACK", "FIN_WAIT1", "CLOSING", "SYN_RECV")
"""States that say more of a peer than ESTABLISHED, in this order."""


class Marks(NamedTuple):
    """What holds of each socket."""

    own: Mask
    connection: Mask
    inbound: Mask
    ephemeral: Mask
    """Its local port is of the ephemeral range."""


def marks(dump: Dump, own: Mask, ports: tuple[int, int] | None) -> Marks:
    """`ports` is the ephemeral range. What came in is at a port that somebody listens on, or at a low one."""
    tcp = np.isin(dump.kind, [at for at, name in enumerate(dump.names) if name.startswith("tcp")])
    listens = tcp & (dump.state == LISTEN)
    connection = tcp & ~listens & (dump.dport > 0)
    first, last = ports or (32768, 60999)
    ephemeral = (dump.sport >= first) & (dump.sport <= last)
    far = (dump.dport >= first) & (dump.dport <= last)
    inbound = connection & (np.isin(dump.sport, dump.sport[listens]) | (~ephemeral & far))
    return Marks(own, connection, inbound, ephemeral)


def six(dump: Dump, words: netdump.Words) -> netdump.Words:
    """Addresses in one form: those of IPv4 as IPv4 in IPv6 (RFC 4291, 2.5.5.2)."""
    four = np.isin(dump.kind, [at for at, name in enumerate(dump.names) if not name.endswith("6")])
    mapped = np.zeros_like(words)
    mapped[:, 2] = np.frombuffer(b"\0\0\xff\xff", np.uint32)[0]
    mapped[:, 3] = words[:, 0]
    return np.where(four[:, None], mapped, words)


class Group(NamedTuple):
    """Connections of one direction to one peer; `members` are places in the dump."""

    inbound: bool
    port: int
    peer: netdump.Words
    local: netdump.Words
    members: NDArray[np.int64]

    @property
    def peer_text(self) -> str:
        """Address, with the port where this side connected."""
        return netdump.address(self.peer, None if self.inbound else self.port, six=True)

    @property
    def local_text(self) -> str:
        """The address connected from, or the port connected to."""
        return f":{self.port}" if self.inbound else netdump.address(self.local, None, six=True)


class Groups:
    """All connections of the namespace by direction and peer."""

    def __init__(self, dump: Dump, mark: Marks) -> None:
        self._place = place = np.flatnonzero(mark.connection)
        inbound = mark.inbound[place]
        self._keys = keys = np.zeros((len(place), 10), np.uint32)
        keys[:, 0] = inbound
        keys[:, 1] = np.where(inbound, dump.sport[place], dump.dport[place])
        keys[:, 2:6] = six(dump, dump.target)[place]
        keys[:, 6:10] = np.where(inbound[:, None], 0, six(dump, dump.source)[place])
        _, self._first, self._which, self._counts = np.unique(
            keys.view("V40").ravel(), return_index=True, return_inverse=True, return_counts=True
        )
        self._order = np.argsort(self._which, kind="stable")
        self._ends = np.cumsum(self._counts)

    def __len__(self) -> int:
        return len(self._counts)

    def sums(self, mask: Mask) -> NDArray[np.int64]:
        """How many of each group's connections are in the mask."""
        return np.bincount(self._which[mask[self._place]], minlength=len(self))

    def largest(self, weights: NDArray[np.int64], most: int) -> list[int]:
        """The groups with the largest weights above 0, in order."""
        return [int(at) for at in np.argsort(-weights, kind="stable")[:most] if weights[at] > 0]

    def group(self, at: int) -> Group:
        """One of them."""
        key = self._keys[self._first[at]]
        members = self._place[self._order[self._ends[at] - self._counts[at] : self._ends[at]]]
        return Group(bool(key[0]), int(key[1]), key[2:6], key[6:10], members)


def states(dump: Dump, members: NDArray[np.int64] | Mask) -> dict[str, int]:
    """How many are in which state, the most frequent first."""
    counts = np.bincount(dump.state[members], minlength=len(STATES))
    return {state_name(int(at)): int(counts[at]) for at in np.argsort(-counts, kind="stable") if counts[at]}


def state_name(state: int) -> str:
    """The kernel's word."""
    return STATES[state] if state < len(STATES) else str(state)


def telling(by_state: dict[str, int]) -> str:
    """The state that says most."""
    return next((name for name in UNUSUAL if name in by_state), next(iter(by_state), ""))


def unanswered(dump: Dump) -> Mask:
    """Whether a segment was sent so often in vain that the peer does not answer."""
    again: Mask = (dump.state == SYN_SENT) & (dump.resent >= SYN_AGAIN)
    later: Mask = (dump.state == ESTABLISHED) & (dump.resent >= AGAIN)
    return np.logical_or(again, later)


class Moved(NamedTuple):
    """By how much each socket's numbers rose since the look before; `seconds` between them."""

    received: Numbers
    sent: Numbers
    retransmits: Numbers
    drops: Numbers
    seconds: float


class Memory:
    """What a look before knew: numbers by the socket's cookie, and since when it is in CLOSE_WAIT."""

    def __init__(self) -> None:
        self._cookies: NDArray[np.uint64] | None = None
        self._numbers: NDArray[np.int64] = np.zeros((4, 0), np.int64)
        self._at = 0.0
        self._closing: dict[int, tuple[float, int]] = {}

    def moved(self, dump: Dump, now: float) -> Moved | None:
        """Compare with the look before, and remember this one. None at the first look."""
        numbers = np.stack(
            [dump.received.astype(np.int64), dump.acked.astype(np.int64), dump.retransmits.astype(np.int64), dump.drops]
        )
        before = self._before(dump, numbers)
        order = np.argsort(dump.cookie, kind="stable")
        passed, self._at = now - self._at, now
        self._cookies, self._numbers = dump.cookie[order], numbers[:, order]
        if before is None or passed <= 0:
            return None
        return Moved._make((*np.maximum(numbers - before, 0).astype(np.float64), passed))

    def _before(self, dump: Dump, numbers: NDArray[np.int64]) -> NDArray[np.int64] | None:
        """The numbers that each socket had; zero for one that is new, its own for one that has none (TIME_WAIT)."""
        if self._cookies is None:
            return None
        if not len(self._cookies):
            return np.minimum(numbers, 0)
        at = np.minimum(np.searchsorted(self._cookies, dump.cookie), len(self._cookies) - 1)
        known = self._cookies[at] == dump.cookie
        return np.where(known, self._numbers[:, at], np.minimum(numbers, 0))

    def waited(self, dump: Dump, own: Mask, now: float) -> Numbers:
        """Seconds that each socket of ours has been in CLOSE_WAIT at least, 0 for the others.

        The end came with the last ACK or before it: that bounds it at the first look. One whose queue still gets
        shorter is being read, and starts anew.
        """
        waited = np.zeros(dump.number)
        closing: dict[int, tuple[float, int]] = {}
        for at in np.flatnonzero(own & (dump.state == CLOSE_WAIT)):
            cookie, unread = int(dump.cookie[at]), int(dump.recv[at])
            least = float(dump.last_ack[at]) / 1e3 if dump.known[at] else 0.0
            since, before = self._closing.get(cookie, (now - least, unread))
            since = since if before == unread else now
            closing[cookie] = (since, unread)
            waited[at] = now - since
        self._closing = closing
        return waited


def stuck(waited: Numbers) -> Mask:
    """Those that have been left in CLOSE_WAIT."""
    return waited >= STUCK


class Ports(NamedTuple):
    """Ephemeral ports that connections from one address to one peer take."""

    group: Group
    used: int
    own: int
    time_wait: int


def port_use(dump: Dump, mark: Marks, found: Groups, most: int) -> list[Ports]:
    """The peers that take most ports, TIME_WAIT with them."""
    taken = mark.ephemeral & ~mark.inbound
    used, own = found.sums(taken), found.sums(taken & mark.own)
    waiting = found.sums(taken & (dump.state == TIME_WAIT))
    return [Ports(found.group(at), int(used[at]), int(own[at]), int(waiting[at])) for at in found.largest(used, most)]

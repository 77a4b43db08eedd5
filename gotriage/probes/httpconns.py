"""What the connections of http.bpf.c say: calls in flight and ended, other ends, and what cannot be read."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from gotriage.probes import http
from gotriage.probes.tallies import Flying, Key, Tally
from gotriage.records.http import NO_ANSWER, HttpCall, HttpPeer, HttpUnseen
from gotriage.records.routes import route_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from gotriage.probes.tallies import Now
    from gotriage.records.http import Direction

WITH_INODE: Final = np.dtype([("inode", "<u8"), ("conn", http.CONN)])
MOST_IN_FLIGHT: Final = 100
MOST_NAMED: Final = 2000
"""Calls in flight whose route is told, in one look; more are counted only."""
MOST_PEERS: Final = 40
MOST_UNSEEN: Final = 20
MOST_NAMES: Final = 20_000
LEAST_CALLS: Final = 4
"""Reads and writes without a sign of HTTP after which a connection is taken to speak something else."""
WORDS: Final = {http.TLS: "TLS", http.HTTP2: "HTTP/2", http.UPGRADED: "upgraded", http.URING: "io_uring"}
UNKNOWN_PROTOCOL: Final = "unknown protocol"
DIRECTIONS: Final[dict[int, Direction]] = {http.SERVER: "in", http.CLIENT: "out"}


def status_text(status: int) -> str:
    """As the records have it."""
    return NO_ANSWER if status == http.UNANSWERED else str(status)


def address_of(family: int, raw: bytes, port: int = 0) -> str:
    """The other end of a connection: "10.0.0.1:80", "[::1]:80"; without the port where that is 0."""
    if family == http.AF_UNIX:
        return "unix socket"
    if family == http.AF_INET6:
        name = socket.inet_ntop(socket.AF_INET6, raw[:16])
        if name.startswith("::ffff:") and "." in name:  # an IPv4 address on a socket that serves both
            return f"{name[7:]}:{port}" if port else name[7:]
        return f"[{name}]:{port}" if port else name
    name = socket.inet_ntop(socket.AF_INET, raw[:4])
    return f"{name}:{port}" if port else name


class Names:
    """Routes by the hash that the kernel has for them."""

    def __init__(self) -> None:
        self._known: dict[tuple[int, int], Key] = {}

    def key(self, row: np.void, role: int, hashed: int) -> Key:
        """The row of a call: of a connection or of a total of the kernel's."""
        known = self._known.get((role, hashed))
        if known is None:
            if len(self._known) >= MOST_NAMES:
                self._known.clear()
            head = http.parse_head(head_of(row))
            address = address_of(int(row["family"]), row["address"].tobytes(), int(row["remote"]))
            peer = _peer(head.host, address) if role == http.CLIENT else ""
            known = Key(DIRECTIONS.get(role, "in"), "http", "HTTP/1", head.method, route_of(head.path) or "/", peer)
            self._known[role, hashed] = known
        return known

    def of(self, conn: np.void) -> Key:
        """The row of a connection's call."""
        return self.key(conn, int(conn["role"]), int(conn["hash"]))


def _peer(host: str, address: str) -> str:
    """Who is asked: the name that the request has, and where it is; a proxy passes on names that are not its peer's."""
    name = host.rpartition(":")[0] or host
    return address if not host or not any(sign.isalpha() for sign in name) else f"{host} ({address})"


def head_of(row: np.void) -> bytes:
    """The bytes of a head that are there."""
    raw: bytes = row["head"].tobytes()[: int(row["have"])]
    return raw


# -- totals


class Totals:
    """What has been counted since it was last asked, from counters that only grow."""

    def __init__(self, names: Names) -> None:
        self._names = names
        self._before: dict[bytes, tuple[int, NDArray[np.int64]]] = {}

    def new(self, routes: NDArray[Any], totals: NDArray[Any], look: int) -> Iterator[tuple[Key, Tally]]:
        """By row; `look`: the number of the look that ends, in which a total's longest was."""
        counts = totals["slots"].sum(axis=1, dtype=np.int64).tolist()
        for route, total, count in zip(routes, totals, counts, strict=True):
            raw = route.tobytes()
            before = self._before.get(raw)
            if before is not None and before[0] == count:
                continue
            self._before[raw] = (count, total["slots"].astype(np.int64))
            yield (
                self._names.key(total, int(route["role"]), int(route["hash"])),
                self._tally(status_text(int(route["status"])), total, before, look),
            )

    def rest(self, totals: NDArray[Any], look: int) -> Iterator[tuple[Key, Tally]]:
        """Of calls that found no room in the kernel's table: by direction and class of the status."""
        for number, total in enumerate(totals):
            raw, slots = number.to_bytes(4, "little"), total["slots"].astype(np.int64)
            before, count = self._before.get(raw), int(slots.sum())
            if not count or (before is not None and before[0] == count):
                continue
            self._before[raw] = (count, slots)
            side, status = divmod(number, http.CLASSES)
            text = f"{status}xx" if status else NO_ANSWER
            yield Key("out" if side else "in", "http").other, self._tally(text, total, before, look)

    @staticmethod
    def _tally(status: str, total: np.void, before: tuple[int, NDArray[np.int64]] | None, look: int) -> Tally:
        new = total["slots"].astype(np.int64) - (before[1] if before is not None else 0)
        longest = int(total["most"]) / 1e9 if int(total["look"]) == look else 0.0
        sample = http.parse_head(head_of(total)).path if before is None else ""
        return Tally({status: int(new.sum())}, new, longest, sample)

    def idle(self, routes: NDArray[Any], totals: NDArray[Any], look: int, rest: int) -> list[bytes]:
        """Entries that have not counted anything in the last `rest` looks, forgotten here."""
        keys = [route.tobytes() for route in routes[look - totals["look"].astype(np.int64) > rest]]
        for key in keys:
            self._before.pop(key, None)
        return keys


# -- connections


def in_flight(conns: NDArray[Any]) -> NDArray[Any]:
    """Connections whose request waits for its answer, the oldest first."""
    asked = conns[(conns["conn"]["phase"] == http.ASKED) & (conns["conn"]["kind"] == http.HTTP1)]
    result: NDArray[Any] = asked[np.argsort(asked["conn"]["began"])]
    return result


def flying(asked: NDArray[Any], names: Names, now: Now) -> dict[Key, Flying]:
    """How many calls of each row are in flight."""
    found: dict[Key, Flying] = {}
    for row in asked[:MOST_NAMED]["conn"]:
        key = names.of(row)
        found[key] = found.get(key, Flying()).with_one(now.age(int(row["began"])))
    return found


def call_of(conn: np.void, names: Names, now: Now, pids: Mapping[int, int], *, ended: bool) -> HttpCall:
    """One call, in flight or ended; `pids`: our numbers of processes by the kernel's."""
    key, tgid = names.of(conn), int(conn["tgid"])
    same = pids.get(tgid) == tgid
    return HttpCall(
        direction=key.direction,
        protocol=key.protocol,
        method=key.method,
        route=key.route,
        path=http.parse_head(head_of(conn)).path or "/",
        peer=key.peer,
        status=status_text(int(conn["status"])) if ended else "",
        began=now.at(int(conn["began"])),
        seconds=round(int(conn["took"]) / 1e9, 7) if ended else now.age(int(conn["began"])),
        pid=pids.get(tgid),
        thread=int(conn["tid"]) if same else None,
        goroutine=int(conn["goid"]) or None,
        fd=int(conn["fd"]),
        remote=address_of(int(conn["family"]), conn["address"].tobytes(), int(conn["remote"])),
    )


def peers(conns: NDArray[Any]) -> tuple[HttpPeer, ...]:
    """Other ends of HTTP/1 connections that were used lately; those that asked the target without their ports."""
    found: dict[tuple[Direction, str], tuple[int, int]] = {}
    for row in conns[conns["conn"]["kind"] == http.HTTP1]["conn"]:
        direction = DIRECTIONS.get(int(row["role"]))
        if direction is None:
            continue
        port = int(row["remote"]) if direction == "out" else 0
        key = (direction, address_of(int(row["family"]), row["address"].tobytes(), port))
        connections, requests = found.get(key, (0, 0))
        found[key] = (connections + 1, requests + int(row["requests"]))
    rows = [
        HttpPeer(direction=direction, address=address, connections=connections, requests=requests)
        for (direction, address), (connections, requests) in found.items()
    ]
    return tuple(sorted(rows, key=lambda row: (-row.connections, -row.requests, row.address))[:MOST_PEERS])


def unseen(conns: NDArray[Any]) -> tuple[HttpUnseen, ...]:
    """Connections used lately that cannot be read, by reason and place."""
    found: dict[tuple[str, Direction | None, str], int] = {}
    for row in conns["conn"]:
        kind = int(row["kind"])
        if kind == http.HTTP1 or (kind == http.UNKNOWN and not _is_unknown(row)):
            continue
        direction = DIRECTIONS.get(int(row["role"])) or _side(row)
        key = (WORDS.get(kind, UNKNOWN_PROTOCOL), direction, _place(row, direction))
        found[key] = found.get(key, 0) + 1
    rows = [
        HttpUnseen(why=why, direction=direction, place=place, connections=number)
        for (why, direction, place), number in found.items()
    ]
    return tuple(sorted(rows, key=lambda row: (-row.connections, row.why, row.place))[:MOST_UNSEEN])


def _is_unknown(row: np.void) -> bool:
    """It has spoken long enough, and over a network: what services say to local daemons is no news."""
    return int(row["family"]) != http.AF_UNIX and int(row["calls"]) >= LEAST_CALLS and int(row["phase"]) == http.IDLE


def _side(row: np.void) -> Direction | None:
    """Who was asked, where what was read does not say it: servers have the lower port."""
    local, remote = int(row["local"]), int(row["remote"])
    if int(row["family"]) == http.AF_UNIX or local == remote:
        return None
    return "in" if local < remote else "out"


def _place(row: np.void, direction: Direction | None) -> str:
    if int(row["family"]) == http.AF_UNIX:
        return "unix socket"
    if direction == "in":
        return f":{int(row['local'])}"
    return address_of(int(row["family"]), row["address"].tobytes(), int(row["remote"]))


def why_nothing(connections: int, rows: Sequence[HttpUnseen]) -> str:
    """In words, why no request was seen."""
    if not connections:
        return "no socket of the target has sent or received anything since the start"
    if not rows:
        return "sockets of the target carry data, but no HTTP/1 request has come since the start"
    parts = [f"{word} ({_places(rows, word)})" for word in dict.fromkeys(row.why for row in rows)]
    return f"what its sockets carry is {' and '.join(parts)}"


def _places(rows: Iterable[HttpUnseen], word: str) -> str:
    same = [row for row in rows if row.why == word]
    number = sum(row.connections for row in same)
    places = ", ".join(dict.fromkeys(row.place for row in same[:3]))
    return f"{number} {'connection' if number == 1 else 'connections'}, {places}"

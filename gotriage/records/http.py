"""What the target is asked and what it asks others: HTTP requests, and calls that are like them (SQL, TLS, gRPC).

Two ways fill these records. The light one reads plain HTTP/1 at the target's sockets: there a request of a server takes
from the moment its head was read to the moment the head of the answer was written, one of a client from the moment its
head was written to the moment the head of the answer was read. The heavy one probes functions of Go's libraries and
times them whole. Everything is counted while the trace is attached only.
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, ClassVar, Final, Literal

from gotriage.records.base import Record, Row

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

Direction = Literal["in", "out"]
CallKind = Literal["http", "grpc", "sql", "tls"]

NO_ANSWER: Final = "no answer"
"""Status of a request whose connection ended before the answer's head."""
PANIC: Final = "panic"
"""Status of a request whose handler panicked."""
FAILED: Final = "failed"
"""Status of a call that returned an error without a status."""
GRPC: Final = (
    "OK", "Canceled", "Unknown", "InvalidArgument", "DeadlineExceeded", "NotFound", "AlreadyExists", "PermissionDenied",
    "ResourceExhausted", "FailedPrecondition", "Aborted", "OutOfRange", "Unimplemented", "Internal", "Unavailable",
    "DataLoss", "Unauthenticated",
)  # fmt: skip
"""Statuses of gRPC, by number (google.golang.org/grpc/codes)."""
GRPC_ERRORS: Final = frozenset({"Unknown", "DeadlineExceeded", "Unimplemented", "Internal", "Unavailable", "DataLoss"})
"""Those that are the server's fault, as 5xx of HTTP are; all others but OK are the client's."""
OTHER_ROUTES: Final = "(other routes)"
"""The route of requests for which there was no room in the table."""

UNIT: Final = 1024e-9
"""Seconds: the histogram's first four slots are this wide, then it has four slots an octave."""
SLOTS: Final = 104


class HttpRoute(Row, frozen=True, kw_only=True):
    """Calls with the same direction, kind, method, route and peer.

    Attributes:
        direction: "in": the target was asked, "out": it asked.
        call: what kind of call; of SQL and TLS `method` says which ("query", "exec"; "handshake").
        protocol: "HTTP/1", "HTTP/2", "" where it was not told.
        route: the path without the query, what looks like an identifier replaced: "/users/{n}", "/blobs/{hex}"; the
            statement with its values replaced. `sample` is one as it came, without the query.
        peer: who was asked: a host name where the request has one, else address and port; "" for direction "in".
        count: calls since the start; `statuses`: how many by status: "200", "no answer", "panic", "failed", "OK" ...
        client_errors, errors: of `count`: status 4xx; 5xx and calls without a good end.
        slots: how long they took since the start, on the scale of `slot_start`; trailing zeros are left out.
        rate: calls a second, over the record's `window`; `recent`: how many those were, `recent_errors` and
            `recent_client_errors` of them as above.
        p50, p99, longest: seconds, over the window; None when there was none in it. Quantiles are read off the
            histogram, whose slots are a fifth wide; `longest` is exact.
        in_flight: how many have begun and not ended, None where that cannot be told; `oldest`: seconds since the first
            of them began.
    """

    direction: Direction = "in"
    call: CallKind = "http"
    protocol: str = ""
    method: str = ""
    route: str = ""
    peer: str = ""
    sample: str = ""
    count: int = 0
    statuses: dict[str, int] = {}
    client_errors: int = 0
    errors: int = 0
    slots: tuple[int, ...] = ()
    rate: float | None = None
    recent: int = 0
    recent_errors: int = 0
    recent_client_errors: int = 0
    p50: float | None = None
    p99: float | None = None
    longest: float | None = None
    in_flight: int | None = None
    oldest: float | None = None

    @property
    def key(self) -> tuple[str, ...]:
        """What names a route from one record to the next."""
        return self.direction, self.call, self.protocol, self.method, self.route, self.peer

    @property
    def error_share(self) -> float | None:
        """The part of the recent calls with 5xx or without a good end; None without any."""
        return self.recent_errors / self.recent if self.recent else None

    @property
    def client_error_share(self) -> float | None:
        """The part of the recent calls with 4xx; None without any."""
        return self.recent_client_errors / self.recent if self.recent else None


class HttpCall(Row, frozen=True, kw_only=True):
    """One call: in flight, or among the slowest just now.

    Attributes:
        path: as it came, `route`: the row that it counts in.
        status: "" while it is in flight.
        began: when; `seconds`: how long it took, or its age.
        goroutine: goid of who serves or makes it, `thread`: kernel thread that was seen with it; None when not known.
        fd, remote: descriptor and other end of its connection.
    """

    direction: Direction = "in"
    call: CallKind = "http"
    protocol: str = ""
    method: str = ""
    route: str = ""
    path: str = ""
    peer: str = ""
    status: str = ""
    began: datetime | None = None
    seconds: float | None = None
    pid: int | None = None
    thread: int | None = None
    goroutine: int | None = None
    fd: int | None = None
    remote: str = ""


class HttpPeer(Row, frozen=True, kw_only=True):
    """Other ends of connections that requests were seen on: connections now, and requests on those."""

    direction: Direction = "in"
    address: str = ""
    connections: int = 0
    requests: int = 0


class HttpUnseen(Row, frozen=True, kw_only=True):
    """Traffic that is there and cannot be read by this way of looking.

    Attributes:
        why: "TLS", "HTTP/2", "upgraded" (web sockets, tunnels), "io_uring", "unknown protocol".
        direction: None where it was not told.
        place: the target's port for "in", the other end for "out".
        connections: how many there were in the window.
    """

    why: str
    direction: Direction | None = None
    place: str = ""
    connections: int = 0


class Http(Record, frozen=True, kw_only=True, tag="http"):
    """All routes, every look while the trace is attached.

    Attributes:
        rows: at most some hundreds; what goes beyond counts in a row "(other routes)".
        way: "sockets" or "functions": what it was read from, which decides what a duration spans.
        attached: seconds attached since the start; `window`: the last of those that the recent numbers are over.
        count, errors, client_errors: of all calls since the start, as in the rows.
        in_flight: the oldest first, at most a hundred; `in_flight_count`: how many there are, None where that cannot
            be told.
        slowest: of the window, the slowest first, at most some tens.
        peers: with most connections first, at most some tens.
        unseen: what cannot be read; `note`: in words, why there is less to see than there may be, "" when there is no
            reason to think so.
        unmatched: answers seen without their request: several requests sent at once (pipelining), or sent before the
            start.
        lost: calls seen that could not be counted; `slow_lost`: slow ones that were counted and are not listed.
        kinds: which kinds of calls are looked for, as ("http in", "http out", "sql"); `absent`: kinds that the program
            has no code for.
    """

    keep: ClassVar[int] = 600

    rows: tuple[HttpRoute, ...] = ()
    way: str = ""
    attached: float = 0.0
    window: float = 0.0
    count: int = 0
    errors: int = 0
    client_errors: int = 0
    in_flight: tuple[HttpCall, ...] = ()
    in_flight_count: int | None = None
    slowest: tuple[HttpCall, ...] = ()
    peers: tuple[HttpPeer, ...] = ()
    unseen: tuple[HttpUnseen, ...] = ()
    note: str = ""
    unmatched: int = 0
    lost: int | None = None
    slow_lost: int = 0
    kinds: tuple[str, ...] = ()
    absent: tuple[str, ...] = ()


# -- the scale of durations


def slot_start(slot: int) -> float:
    """Seconds from which on a duration counts in that slot: four slots of one unit, then four an octave."""
    if slot < 4:
        return slot * UNIT
    octave, step = divmod(slot, 4)
    return (4 + step) * (1 << octave - 1) * UNIT


def quantile(slots: Sequence[int], share: float) -> float | None:
    """The duration that `share` of them do not exceed, seconds, in between the ends of its slot; None without any."""
    total = sum(slots)
    if not total:
        return None
    rank, below = share * total, 0
    for slot, number in enumerate(slots):
        if number and below + number >= rank:
            low, high = slot_start(slot), slot_start(slot + 1)
            return low + (high - low) * max(rank - below, 0.0) / number
        below += number
    return slot_start(len(slots))


def trimmed(slots: Iterable[int]) -> tuple[int, ...]:
    """A histogram without its trailing zeros."""
    values = [int(value) for value in slots]
    while values and not values[-1]:
        values.pop()
    return tuple(values)


def is_error(status: str) -> bool:
    """5xx of HTTP, and whatever ended without an answer."""
    return status in (NO_ANSWER, PANIC, FAILED) or (len(status) == 3 and status[0] == "5")


def is_client_error(status: str) -> bool:
    """4xx of HTTP."""
    return len(status) == 3 and status[0] == "4"

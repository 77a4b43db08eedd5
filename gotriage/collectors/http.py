"""Plain HTTP/1 read at the target's sockets, by programs in the kernel that count and time it.

The better way is at the two tracepoints of socket reads and writes, which only calls that move data pass; before Linux
6.3 it is at the end of every system call. What goes through TLS, HTTP/2 or io_uring is told of, and not read.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Final, cast

import numpy as np

from gotriage import probes
from gotriage.collectors import NOT_GO, Meter, Unavailable, check_options
from gotriage.errors import GotriageError, NotPermitted
from gotriage.goruntime import client
from gotriage.host import btf, clock, kerneltasks
from gotriage.host.libbpf import Object
from gotriage.probes import http, httpconns
from gotriage.probes.tallies import Now, Tallies, Tally
from gotriage.records.http import NO_ANSWER, Http
from gotriage.records.tracing import Price

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from gotriage.goruntime.tls import Places
    from gotriage.host import Host
    from gotriage.host.libbpf import Link, Ring
    from gotriage.probes.tallies import Key
    from gotriage.records import Record
    from gotriage.target.model import Target

PLACES_DEADLINE: Final = 10.0
"""Seconds that the reader of the target's Go runtime may take."""
AT_SOCKETS: Final = 0.3e-6
AT_ALL_CALLS: Final = 0.9e-6
"""Seconds of the target's CPU each time that data is read or written (bench/http_sockets.py)."""
MOST_PROCESSES: Final = 1000
FULL: Final = 2048
"""Entries of the kernel's table from which on those that rest are taken out of it, so that new ones find room."""
RESTING: Final = 30
"""Looks without a call after which an entry rests."""
RECENT: Final = 12
"""Looks within which a connection counts as in use."""
GONE_AFTER: Final = 0.2
"""Seconds in flight from which on it is looked whether the connection is still there."""
MOST_EVENTS: Final = 5000
_ZERO: Final = b"\0\0\0\0"


class SocketTracer:
    """One trace of all processes of the target, at the tracepoints of sockets."""

    backend: ClassVar[str] = "BPF at sockets"
    programs: ClassVar[tuple[str, ...]] = http.AT_SOCKETS
    seconds_per_hit: ClassVar[float] = AT_SOCKETS

    def __init__(self, host: Host, target: Target) -> None:
        if target.pid is None:
            raise Unavailable("nothing of the target runs", lost=False)
        self._host, self._target = host, target
        self._object: Object | None = None
        self._ring: Ring | None = None
        self._links: list[Link] = []
        self._followed: tuple[int, ...] = ()
        self._pids: dict[int, int] = {}
        self._places_known = False
        self._era, self._look = 0, 1
        self._attached, self._since = 0.0, 0.0
        self._hits, self._lost = 0, 0
        self._names = httpconns.Names()
        self._totals = httpconns.Totals(self._names)
        self._tallies = Tallies()

    # -- before a start

    def check(self) -> None:
        """Raises Unavailable where the kernel lacks what this way needs."""
        if not btf.has_tracepoint(self._host.sys, http.TRACEPOINT):
            raise Unavailable(f"the kernel has no tracepoint sock:{http.TRACEPOINT} (Linux 6.3)")

    def price(self, options: Mapping[str, str]) -> Price:
        """A fraction of a microsecond each time that data is read or written."""
        self.check()
        check_options(options, "http")
        return Price(seconds_per_hit=self.seconds_per_hit)

    # -- on and off

    def start(self, options: Mapping[str, str]) -> None:
        """Load it and attach it."""
        self.check()
        self._object = Object(probes.object_bytes("http"), "http", programs=self.programs)
        self._ring = self._object.ring("slowest")
        self._follow(self._object)
        self.attach()

    def _follow(self, loaded: Object) -> None:
        """The processes of the target, as they are now; `_pids`: ours by the kernel's numbers."""
        wanted = self._target.pids[:MOST_PROCESSES]
        if wanted == self._followed:
            return
        self._followed = wanted
        before, self._pids = self._pids, kernel_numbers(wanted)
        targets = loaded.map("targets")
        for number in before.keys() - self._pids.keys():
            targets.delete(number.to_bytes(4, "little"))
        for number in self._pids.keys() - before.keys():
            targets.update(number.to_bytes(4, "little"), b"\1")
        loaded.set("only", next(iter(self._pids)) if len(self._pids) == 1 else 0)

    def _find_places(self, loaded: Object) -> None:
        """Where the target's threads keep their goroutine; without that, calls are known by thread only."""
        self._places_known, pid = True, self._target.pid
        if pid is None:
            return
        try:
            NOT_GO.check(self._target)
            threads = kerneltasks.tasks(probes.object_bytes("tasks"), pid)
            with client.Reader(pid) as reader:
                bases = {one.own_tid: one.base for one in threads}
                places = cast("Places", reader.call("places", PLACES_DEADLINE, bases=bases))
        except (GotriageError, OSError):
            return
        for name, value in (("tls", places.tls), ("goid", places.goid), ("m", places.m), ("curg", places.curg)):
            loaded.set(f"go_{name}", value)

    def attach(self) -> None:
        """Go on; what was in flight at the last end is forgotten."""
        if self._object is None or self._links:
            return
        self._era += 1
        self._control(self._object)
        for program in self.programs:
            self._links.append(self._object.attach(program))
        self._since = clock.monotonic()

    def detach(self) -> None:
        """No program runs any more."""
        if self._links:
            self._attached = self._seconds()
        while self._links:
            self._links.pop().close()

    def _seconds(self) -> float:
        """Attached since the start."""
        return self._attached + (clock.monotonic() - self._since if self._links else 0.0)

    def _control(self, loaded: Object) -> None:
        """What the programs are told: a new number for each attachment and each look, and what counts as slow."""
        slow = int(self._tallies.slow_from * 1e9)
        loaded.map("controls").update(_ZERO, np.array([(self._era, self._look, slow, 0)], http.CONTROL).tobytes())

    def stop(self) -> None:
        """Everything out of the kernel."""
        self.meter()
        self.detach()
        self._ring = None
        if self._object is not None:
            self._object.close()
            self._object = None

    def close(self) -> None:
        """As stop."""
        self.stop()

    def meter(self) -> Meter:
        """Reads and writes looked at; calls that could not be counted."""
        if self._object is not None:
            self._hits = self._counter(self._object, http.HITS)
            self._lost = self._counter(self._object, http.LOST)
        return Meter(self._hits, self._lost)

    @staticmethod
    def _counter(loaded: Object, which: int) -> int:
        values = loaded.map("meter").lookup(which.to_bytes(4, "little"))
        return int(np.frombuffer(values or b"", np.uint64).sum())

    # -- a look

    def collect(self) -> Iterator[Record]:
        """Everything counted up to now."""
        loaded, ring = self._object, self._ring
        if loaded is None or ring is None:
            return
        attached, now = self._seconds(), Now(clock.monotonic(), clock.now())
        conns = self._connections(loaded)
        asked = httpconns.in_flight(conns)
        gone = self._gone(asked, now)
        found = [*self._counted(loaded), *((self._names.of(row), Tally({NO_ANSWER: 1})) for row in asked[gone]["conn"])]
        for inode in asked[gone]["inode"]:
            loaded.map("conns").delete(int(inode).to_bytes(8, "little"))
        events = [np.frombuffer(event, http.CONN)[0] for event in ring.consume(MOST_EVENTS)]
        slow = [httpconns.call_of(event, self._names, now, self._pids, ended=True) for event in events]
        self._tallies.look(found, slow, attached)
        yield self._record(loaded, conns, asked[~gone], now)
        self._look += 1
        self._control(loaded)
        self._follow(loaded)
        if not self._places_known:
            self._find_places(loaded)

    def _connections(self, loaded: Object) -> NDArray[Any]:
        """All that moved data since the last attachment."""
        inodes, values = loaded.map("conns").items("<u8", http.CONN)
        conns = np.empty(len(values), httpconns.WITH_INODE)
        conns["inode"], conns["conn"] = inodes, values
        result: NDArray[Any] = conns[values["era"] == self._era]
        return result

    def _counted(self, loaded: Object) -> Iterator[tuple[Key, Tally]]:
        """What the kernel has counted since the last look."""
        table = loaded.map("totals")
        routes, totals = table.items(http.ROUTE, http.TOTAL)
        yield from self._totals.new(routes, totals, self._look)
        yield from self._totals.rest(loaded.map("rest").items("<u4", http.TOTAL)[1], self._look)
        if len(routes) > FULL:
            for key in self._totals.idle(routes, totals, self._look, RESTING):
                table.delete(key)

    def _gone(self, asked: NDArray[Any], now: Now) -> NDArray[np.bool_]:
        """Which calls have been in flight for a while, and their connection is not there any more."""
        result = np.zeros(len(asked), np.bool_)
        for number, (inode, conn) in enumerate(asked[: httpconns.MOST_NAMED]):
            if now.age(int(conn["began"])) < GONE_AFTER:
                break
            pid = self._pids.get(int(conn["tgid"]))
            result[number] = pid is None or not self._is_open(pid, int(conn["fd"]), int(inode))
        return result

    def _is_open(self, pid: int, fd: int, inode: int) -> bool:
        try:
            return self._host.proc.link(pid, "fd", str(fd)) == f"socket:[{inode}]"
        except NotPermitted:
            return True
        except (GotriageError, OSError):
            return False

    def _record(self, loaded: Object, conns: NDArray[Any], asked: NDArray[Any], now: Now) -> Http:
        recent = conns[self._look - conns["conn"]["look"].astype(np.int64) <= RECENT]
        rows = self._tallies.rows(httpconns.flying(asked, self._names, now))
        count, errors, client_errors = self._tallies.totals
        unseen = httpconns.unseen(recent)
        return Http(
            at=now.wall,
            rows=rows,
            way="sockets",
            attached=round(self._seconds(), 3),
            window=round(self._tallies.window, 3),
            count=count,
            errors=errors,
            client_errors=client_errors,
            in_flight=tuple(
                httpconns.call_of(row, self._names, now, self._pids, ended=False)
                for row in asked[: httpconns.MOST_IN_FLIGHT]["conn"]
            ),
            in_flight_count=len(asked),
            slowest=self._tallies.slowest(),
            peers=httpconns.peers(recent),
            unseen=unseen,
            note="" if rows else httpconns.why_nothing(len(recent), unseen),
            unmatched=self._counter(loaded, http.UNMATCHED),
            lost=self._counter(loaded, http.LOST),
            slow_lost=self._counter(loaded, http.SLOW_LOST),
            kinds=("http in", "http out"),
        )


def kernel_numbers(pids: Sequence[int]) -> dict[int, int]:
    """The kernel's numbers of processes, and ours."""
    if kerneltasks.outermost():
        return {pid: pid for pid in pids}
    listed = ((pid, kerneltasks.tasks(probes.object_bytes("tasks"), pid)) for pid in pids)
    return {threads[0].kernel_tgid: pid for pid, threads in listed if threads}


class CallTracer(SocketTracer):
    """The same at the end of every system call: for kernels without those tracepoints."""

    backend = "BPF at system calls"
    programs = http.AT_ALL_CALLS
    seconds_per_hit = AT_ALL_CALLS

    def check(self) -> None:
        """It needs nothing but BTF, which loading asks for."""

"""Requests, remote calls, queries and TLS handshakes of a Go program, by probes at functions of its libraries.

This sees what sockets do not show: the inside of TLS, HTTP/2, gRPC, and SQL whatever its protocol. Each call costs the
target two to four breakpoints. Those of a server stand where the kernel carries the instruction out itself (about 1 us
each); the end of an outgoing call is a RET, which is stepped. Options:

    probes   some of "server,client,sql,tls,grpc", all by default
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any, Final, NamedTuple, cast

import numpy as np

from gotriage import probes
from gotriage.collectors import Meter, Unavailable, check_options
from gotriage.errors import GotriageError, TargetGone, UsageError
from gotriage.goruntime import client
from gotriage.goruntime.refusals import DamagedTables, NotGo, UnsupportedGo
from gotriage.host import clock, executable
from gotriage.host.uprobes import CARRIED_OUT, ProbedFile, Uprobes
from gotriage.probes import gocalls, gohttp
from gotriage.probes.tallies import Now, Tallies
from gotriage.records.http import Http
from gotriage.records.tracing import Price

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from gotriage.goruntime.probepoints import Place, Point, ProbePoints
    from gotriage.host import Host
    from gotriage.host.libbpf import Ring
    from gotriage.probes.tallies import Key, Tally
    from gotriage.records import Record
    from gotriage.target.model import Target

DEADLINE: Final = 15.0
"""Seconds that the reader of the program's tables may take; for large ones it is half a second."""
ESTIMATE: Final = 0.15
"""Seconds over which system calls are counted for the estimate."""
MOST_OTHERS: Final = 5000
"""Processes that are looked at for who runs the same file."""
MOST_EVENTS: Final = 2000
MOST_IN_FLIGHT: Final = 100
FULL: Final = 3000
"""Routes in the kernel's table from which on those that rest are taken out."""
_ZERO: Final = struct.pack("=I", 0)
WORDS: Final[dict[str, tuple[str, ...]]] = {
    "server": ("http in",),
    "client": ("http out",),
    "sql": ("sql",),
    "tls": ("tls",),
    "grpc": ("grpc in", "grpc out"),
}


class Plan(NamedTuple):
    """What is going to be probed: file offset and cookie of each place, and the byte that is there by file offset.

    `missing`: words on what is not seen.
    """

    places: tuple[tuple[int, int], ...]
    codes: dict[int, int]
    groups: tuple[str, ...]
    absent: tuple[str, ...]
    missing: tuple[str, ...]
    stepped: bool


class HttpUprobes:
    """One trace of one process."""

    backend = "Go uprobes"

    def __init__(self, host: Host, target: Target) -> None:
        pid = target.pid
        if pid is None:
            raise Unavailable("nothing of the target runs", lost=False)
        self._host, self._target, self._pid = host, target, pid
        self._points: ProbePoints | None = None
        self._plan: Plan | None = None
        self._program: executable.Identity | None = None
        self._file: ProbedFile | None = None
        self._uprobes: Uprobes | None = None
        self._ring: Ring | None = None
        self._stepped = 0.0
        self._calls, self._tallies = gocalls.Calls(pid), Tallies()
        self._panicked: list[tuple[Key, Tally]] = []
        self._number = 1
        self._attached = 0.0
        self._open_since: float | None = None
        self._waiting: NDArray[Any] | None = None
        self._times_on = 0

    # -- before a start

    def price(self, options: Mapping[str, str]) -> Price:
        """Functions that are there, who shares the file, and what the present number of calls would cost."""
        began, before = clock.monotonic(), self._writes()
        plan = self._planned(options)
        self._load()
        clock.sleep(max(ESTIMATE - (clock.monotonic() - began), 0.0))
        after, took = self._writes(), clock.monotonic() - began
        rate = None if before is None or after is None else max(after - before, 0) / took
        ends = self._stepped if plan.stepped else CARRIED_OUT
        words = [f"{len(plan.places)} places in the functions of {', '.join(plan.groups)}", *plan.missing]
        if plan.stepped:
            words.append(f"the end of an outgoing call costs {self._stepped * 1e6:.0f} us on this machine")
        if others := self._others():
            words.append(f"{others} other process{'es run' if others > 1 else ' runs'} the same file: not touched")
        if rate is not None:
            words.append("estimated from the messages that the target writes now, one call for each")
        return Price(
            hits_per_second=round(rate * 3, 1) if rate is not None else None,
            seconds_per_hit=(2 * CARRIED_OUT + ends) / 3,
            words=tuple(words),
        )

    def _planned(self, options: Mapping[str, str]) -> Plan:
        check_options(options, "http_uprobes", probes="GROUPS")
        if self._plan is None:
            wanted = wanted_groups(options.get("probes", ""))
            self._points = self._find()
            self._plan = planned(self._points.points, wanted)
        return self._plan

    def _same(self) -> None:
        """Raises TargetGone when the process is not what it was made for, or runs another program by now."""
        main = self._target.main
        if main is None or main.pid != self._pid or not main.alive():
            raise TargetGone(f"process {self._pid} has ended")
        if executable.identity(self._host, self._pid) != self._program:
            raise TargetGone(f"process {self._pid} runs another program by now")

    def _find(self) -> ProbePoints:
        self._program = executable.identity(self._host, self._pid)
        try:
            with client.Reader(self._pid) as reader:
                names = [row.name for row in gohttp.ALL]
                return cast("ProbePoints", reader.call("probepoints", DEADLINE, names=names))
        except (NotGo, UnsupportedGo, DamagedTables) as error:
            raise Unavailable(str(error), lost=False) from error

    def _load(self) -> None:
        """The program into the kernel, attached to nothing of the target."""
        if self._uprobes is None and self._points is not None:
            constants = {"goid_at": self._points.goid}
            self._uprobes = Uprobes(probes.object_bytes("gohttp"), "gohttp", "go_call", constants)
            self._stepped = self._uprobes.stepped_seconds()
            self._ring = self._uprobes.loaded.ring("slowest")
            for which in gohttp.METERS:  # the trial was counted too
                self._uprobes.loaded.map("meter").update(struct.pack("=I", which), bytes(8))

    def _writes(self) -> int | None:
        """System calls that read or write, whichever are fewer (proc_pid_io(5))."""
        try:
            fields = self._host.proc.read(self._pid, "io").split()
            numbers = dict(zip(fields[::2], map(int, fields[1::2]), strict=False))
            return min(numbers[b"syscr:"], numbers[b"syscw:"])
        except (GotriageError, OSError, ValueError, KeyError):
            return None

    def _others(self) -> int:
        """Other processes with the same file."""
        try:
            mine = executable.identity(self._host, self._pid)
            pids = [pid for pid in self._host.proc.pids()[:MOST_OTHERS] if pid != self._pid]
        except (GotriageError, OSError):
            return 0
        return sum(self._runs(pid, mine) for pid in pids)

    def _runs(self, pid: int, file: executable.Identity) -> bool:
        try:
            return executable.identity(self._host, pid) == file
        except (GotriageError, OSError):
            return False

    # -- on and off

    def start(self, options: Mapping[str, str]) -> None:
        """Load and attach. Raises UsageError, Unavailable, NotPermitted, OSError."""
        self._planned(options)
        self._load()
        self.attach()

    def attach(self) -> None:
        """All places at once; only then is anything counted."""
        if self._uprobes is None or self._plan is None or self._points is None:
            raise UsageError("it has not been started")
        if self._file is None:
            self._file = ProbedFile(self._host, self._pid, self._points.region)
            self._file.check(self._plan.codes)
            self._same()
        self._forget()
        self._uprobes.attach(self._pid, self._file.path, self._plan.places)
        self._waiting = None
        self._times_on += 1
        self._open_since = clock.monotonic()
        self._set(opened=True)

    def detach(self) -> None:
        """Nothing is counted any more, then all places go; calls that have not ended are seen a last time."""
        if self._uprobes is None or self._open_since is None:
            return
        self._set(opened=False)
        self._attached = self._seconds()
        self._open_since = None
        self._waiting = self._uprobes.loaded.map("calls").items(gohttp.CALLER, gohttp.RUNNING)[1].copy()
        self._uprobes.detach()
        self._forget()

    def _forget(self) -> None:
        """Calls in flight: their ends may not have been seen."""
        if self._uprobes is not None:
            running = self._uprobes.loaded.map("calls")
            for key in running.items(gohttp.CALLER, gohttp.RUNNING)[0]:
                running.delete(key.tobytes())

    def _set(self, *, opened: bool) -> None:
        """What the kernel's side goes by."""
        assert self._uprobes
        states = self._uprobes.loaded.map("states")
        state = np.frombuffer(states.lookup(_ZERO) or bytes(gohttp.STATE.itemsize), gohttp.STATE).copy()
        state["open"], state["look"], state["slow"] = opened, self._number, int(self._tallies.slow_from * 1e9)
        states.update(_ZERO, state.tobytes())

    def _seconds(self) -> float:
        """Attached since the start."""
        return self._attached + (clock.monotonic() - self._open_since if self._open_since is not None else 0.0)

    def stop(self) -> None:
        """Everything off, and freed."""
        uprobes, self._uprobes, self._open_since = self._uprobes, None, None
        if uprobes is not None:
            uprobes.close()
        file, self._file = self._file, None
        if file is not None:
            file.close()

    def close(self) -> None:
        """As `stop`."""
        self.stop()

    # -- while it runs

    def meter(self) -> Meter:
        """Probes passed, and calls that could not be counted."""
        hits, stepped, lost, _ = self._meters()
        cost = hits * CARRIED_OUT + stepped * self._stepped
        return Meter(hits=hits + stepped, lost=lost, seconds=cost)

    def _meters(self) -> list[int]:
        if self._uprobes is None:
            return [0] * len(gohttp.METERS)
        table = self._uprobes.loaded.map("meter")
        raw = (table.lookup(struct.pack("=I", which)) or b"" for which in gohttp.METERS)
        return [int(np.frombuffer(values, "<u8").sum()) for values in raw]

    def collect(self) -> Iterator[Record]:
        """All rows as they are now, or as they were at the last detach."""
        if self._uprobes is None or self._plan is None:
            return
        loaded = self._uprobes.loaded
        now = Now(clock.monotonic(), clock.now())
        running = self._running(now)
        routes, totals = loaded.map("totals").items(gohttp.ROUTE, gohttp.TOTAL)
        events = np.frombuffer(b"".join(self._ring.consume(MOST_EVENTS)) if self._ring else b"", gohttp.FINISHED)
        ended = [*self._calls.ended(routes, totals, self._number), *self._panicked]
        self._panicked = []
        self._tallies.look(ended, self._calls.slow(events, now), self._seconds())
        self._rest(routes, totals)
        self._number += 1
        self._set(opened=self._open_since is not None)
        in_flight, flying = self._calls.in_flight(running, now, MOST_IN_FLIGHT)
        count, errors, client_errors = self._tallies.totals
        _, _, lost, untold = self._meters()
        yield Http(
            at=now.wall,
            rows=self._tallies.rows(flying),
            way="functions",
            attached=round(self._seconds(), 3),
            window=round(self._tallies.window, 3),
            count=count,
            errors=errors,
            client_errors=client_errors,
            in_flight=in_flight,
            in_flight_count=len(running),
            slowest=self._tallies.slowest(),
            note=self._note(),
            lost=lost,
            slow_lost=untold,
            kinds=_words(self._plan.groups),
            absent=self._plan.absent,
        )

    def _running(self, now: Now) -> NDArray[Any]:
        """Calls in flight. Requests whose handler panicked and never came back are counted, and gone."""
        if self._waiting is not None:
            return self._waiting
        assert self._uprobes
        table = self._uprobes.loaded.map("calls")
        keys, running = table.items(gohttp.CALLER, gohttp.RUNNING)
        gone = gocalls.unwound(running, now)
        if gone.any():
            for key in keys[gone]:
                table.delete(key.tobytes())
            self._panicked += self._calls.panicked(running[gone])
        return running[~gone]

    def _rest(self, routes: NDArray[Any], totals: NDArray[Any]) -> None:
        """Make room in the kernel's table: what has not come in this look goes."""
        if len(routes) < FULL:
            return
        assert self._uprobes
        table = self._uprobes.loaded.map("totals")
        for route in routes[totals["look"] != self._number]:
            table.delete(route.tobytes())
            self._calls.forget(route)

    def _note(self) -> str:
        """Why there is less to see than there may be."""
        assert self._plan
        notes = list(self._plan.missing)
        if self._times_on > 1 or self._open_since is None:
            notes.insert(0, "attached a part of the time only: calls that reach beyond a sample are not counted")
        return "; ".join(notes)


def wanted_groups(text: str) -> tuple[gohttp.Group, ...]:
    """The option "probes". Raises UsageError."""
    words = [word.strip() for word in text.split(",") if word.strip()]
    if unknown := next((word for word in words if word not in gohttp.GROUPS), None):
        raise UsageError(f"no probes {unknown[:40]!r}; there are: {', '.join(gohttp.GROUPS)}")
    return tuple(group for group in gohttp.GROUPS if not words or group in words)


def planned(points: Sequence[Point], wanted: Sequence[gohttp.Group]) -> Plan:
    """The places for some groups of functions. Raises Unavailable when the program has none of them."""
    found = {point.name: point for point in points}
    present = [g for g in wanted if any(found[name].start is not None for name in gohttp.NEEDED[g])]
    if not present:
        raise Unavailable(f"the program has no code for any of: {', '.join(_words(wanted))}", lost=False)
    rows = [row for row in gohttp.ALL if row.group in present]
    if "server" not in present:
        rows.append(gohttp.PANICS)
    places: list[tuple[Place, int]] = []
    missing: list[str] = []
    for row in rows:
        point = found[row.name]
        if point.start is None or (row.returns and not point.ends):
            if point.refused != "not linked":
                missing.append(f"{row.name} cannot be probed ({point.refused or 'where it returns is not known'})")
            continue
        places.append((point.start, _cookie(point.start, row.action, row.argument, row.kind)))
        places += [(end, _cookie(end, row.returns, row.result, row.kind)) for end in point.ends if row.returns]
    for start in (gohttp.SERVE_HTTP, gohttp.RUN_HANDLER):
        if "server" in present and any(_lacks(found[name]) for name in gohttp.ENDS_OF[start.name]):
            places += [(end, _cookie(end, gohttp.SERVED, 0, gohttp.SERVER)) for end in found[start.name].ends]
    return Plan(
        places=tuple((place.offset, cookie) for place, cookie in places),
        codes={place.offset: place.code for place, _ in places},
        groups=tuple(present),
        absent=_words([group for group in wanted if group not in present]),
        missing=tuple(missing),
        stepped=any(place.stepped for place, _ in places),
    )


def _cookie(place: Place, action: int, argument: int, kind: int) -> int:
    return gohttp.cookie(action, argument, kind, on_retry=place.on_retry, stepped=place.stepped)


def _words(groups: Sequence[str]) -> tuple[str, ...]:
    return tuple(word for group in groups for word in WORDS[group])


def _lacks(point: Point) -> bool:
    """It is there, but cannot be probed."""
    return point.start is None and point.refused != "not linked"

"""System calls counted and timed in the kernel by probes/syscalls.bpf.c, loaded by libbpf: the best way there is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from gotriage import probes
from gotriage.collectors import NOT_GO, Meter, Unavailable
from gotriage.collectors.syscalls import counted, kinds
from gotriage.collectors.syscalls.options import check_target, level_of
from gotriage.collectors.syscalls.record import Look, Recorder
from gotriage.errors import GotriageError
from gotriage.goruntime import threadplaces
from gotriage.host import clock, fds, kerneltasks
from gotriage.host.libbpf import Object, cpus, summed
from gotriage.host.libbpf_api import library
from gotriage.records.syscalls import LEVELS
from gotriage.records.text import clean
from gotriage.records.tracing import Price

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from gotriage.host import Host
    from gotriage.records import Record
    from gotriage.records.syscalls import Level
    from gotriage.target.model import Target

SECONDS_PER_HIT: Final[dict[Level, float]] = {"counts": 0.05e-6, "latency": 0.13e-6, "goroutines": 0.17e-6}
"""CPU time that a call costs more, seconds: a read(2) of /dev/zero in a loop on a current server CPU, ./dev bench."""
MOST_MEMORY: Final = 32 << 20
"""Bytes of the kernel's memory that one of the two tables may take which have room for every CPU."""
FEWEST_FDS, MOST_FDS = 1024, 65536
GOROUTINE_ROOM: Final = 16384
"""Pairs of a goroutine and a call that are counted between two looks."""
MOST_TARGETS: Final = 1024
NO_GO: Final = "no goroutines: "


class BpfTracer:
    """Counts, latency, goroutines; see `gotriage.records.syscalls`."""

    backend = "libbpf"

    def __init__(self, host: Host, target: Target) -> None:
        check_target(host, target)
        library()
        try:
            probes.object_bytes("syscalls")
        except OSError as error:
            raise Unavailable("the compiled BPF programs are not installed", lost=True) from error
        self._host, self._target = host, target
        self._object: Object | None = None
        self._level: Level = "latency"
        self._recorder = Recorder(host)
        self._pids: tuple[int, ...] = ()
        self._kernel_pids: list[int] = []
        self._places_known = False
        self._go_problem = ""
        self._attached_at: float | None = None
        self._attached_before = 0.0
        self._hits = self._lost = 0

    def price(self, options: Mapping[str, str]) -> Price:
        """Nothing is known of how many calls it makes until they are counted."""
        level = level_of(options)
        return Price(
            seconds_per_hit=SECONDS_PER_HIT[level],
            words=("calls of all other processes of this machine become about 0.03 µs slower while it runs",),
        )

    # -- begin and end

    def start(self, options: Mapping[str, str]) -> None:
        """Load and attach. Raises UsageError, MissingFacility, NotPermitted, OSError."""
        self._level = level_of(options)
        pid = check_target(self._host, self._target)
        places = fd_places(self._host, pid)
        self._object = Object(
            probes.object_bytes("syscalls"),
            "syscalls",
            constants={"level": LEVELS.index(self._level) + 1, "fd_places": places, "traits": kinds.table()},
            programs=["leave"] if self._level == "counts" else None,
            sizes={"descriptors": places, "goroutines": goroutine_room() if self._level == "goroutines" else 1},
        )
        if self._level == "goroutines":
            self._find_places(pid)
        self._follow()
        self.attach()

    def attach(self) -> None:
        """Let the programs run."""
        if self._object is None or self._attached_at is not None:
            return
        self._attached_at = clock.monotonic()
        self._object.set("attached_at", int(self._attached_at * 1e9))
        for program in self._running():
            self._object.attach(program)

    def detach(self) -> None:
        """Take the programs off; what they counted stays."""
        if self._object is None or self._attached_at is None:
            return
        self._object.detach()
        self._attached_before += clock.monotonic() - self._attached_at
        self._attached_at = None

    def stop(self) -> None:
        """Undo everything."""
        self.meter()
        loaded, self._object = self._object, None
        if loaded is not None:
            loaded.close()

    close = stop

    def _running(self) -> tuple[str, ...]:
        return ("leave",) if self._level == "counts" else ("leave", "enter")

    # -- what it knows

    @property
    def _attached(self) -> float:
        """Seconds attached so far."""
        return self._attached_before + (clock.monotonic() - self._attached_at if self._attached_at is not None else 0.0)

    def meter(self) -> Meter:
        """Calls of the target, and what had no room."""
        if self._object is not None:
            self._lost = int(summed(self._object.map("lost").items("<u4", "<u8")[1])[0])
        return Meter(self._hits, self._lost)

    def collect(self) -> Iterator[Record]:
        """One record."""
        if self._object is None:
            return
        self._follow()
        pid = self._target.pid
        if not self._places_known and self._level != "counts" and pid is not None and self._recorder.looks:
            self._find_places(pid)
        look = self._look(self._object)
        self._hits = int(look.totals["count"].sum())
        if pid is not None:
            yield self._recorder.record(pid, self._pids, look)

    def _look(self, loaded: Object) -> Look:
        """Everything that the kernel has counted, added up over the CPUs."""
        _, totals = loaded.map("calls").items("<u4", counted.CALL)
        failed, failures = loaded.map("failed").items(counted.FAILED, "<u8")
        _, uses = loaded.map("descriptors").items("<u4", counted.DESCRIPTOR)
        paths, path_uses = loaded.map("paths").items(counted.PATH, counted.PATH_USE)
        look = Look(
            level=self._level,
            attached=self._attached,
            attached_at=self._attached_at,
            totals=summed(totals, ("most",)),
            failed=failed,
            failures=summed(failures),
            descriptors=_use(uses),
            paths=paths,
            path_uses=path_uses,
            problems=(self._go_problem,) if self._go_problem and self._level == "goroutines" else (),
        )
        if self._level == "counts":
            return look
        look.threads = np.frombuffer(loaded.iterate("list"), counted.THREAD)
        look.slow = self._slow(loaded)
        if self._level == "goroutines":
            keys, taken = loaded.map("goroutines").items(counted.GOROUTINE, counted.GOROUTINE_USE, take=True)
            look.goroutines = keys, summed(taken, ("most",))
        return look

    def _slow(self, loaded: Object) -> np.ndarray[Any, np.dtype[Any]]:
        """The slowest calls since the last look, which begin anew with it."""
        slowest = loaded.map("slow_calls")
        _, kept = slowest.items("<u4", counted.SLOWEST)
        slowest.update(bytes(4), bytes(slowest.declared_size))
        rows = kept["rows"].reshape(-1)
        found: np.ndarray[Any, np.dtype[Any]] = rows[rows["took"] > 0]
        return found

    # -- whom it looks at

    def _follow(self) -> None:
        """The target's processes as they are now."""
        loaded, pids = self._object, self._target.pids[:MOST_TARGETS]
        if loaded is None or not pids or pids == self._pids:
            return
        kernel = kerneltasks.kernel_pids(probes.object_bytes("tasks"), pids)
        if not kernel:
            return
        targets = loaded.map("targets")
        for gone in set(self._kernel_pids) - set(kernel):
            targets.delete(gone.to_bytes(4, "little"))
        for come in set(kernel) - set(self._kernel_pids):
            targets.update(come.to_bytes(4, "little"), bytes(4))
        loaded.set("fd_tgid", kernel[0])
        loaded.set("only", kernel[0] if len(kernel) == 1 else 0)
        self._pids, self._kernel_pids = pids, kernel

    def _find_places(self, pid: int) -> None:
        """Where the target's threads keep their goroutine; without it, calls are counted all the same."""
        self._places_known = True
        try:
            NOT_GO.check(self._target)
            places = threadplaces.places_of(pid)
        except (GotriageError, OSError) as error:
            self._go_problem = NO_GO + clean(str(error), 500)
            return
        if self._object is not None:
            self._object.set("go_tls", places.tls)
            self._object.set("go_m", places.m)
            self._object.set("go_curg", places.curg)
            self._object.set("go_goid", places.goid)  # turns it on


def fd_places(host: Host, pid: int) -> int:
    """Room for descriptors: twice as many as are open, a power of two, within bounds."""
    try:
        wanted = 2 * fds.count(host, pid)
    except (GotriageError, OSError):
        wanted = FEWEST_FDS
    most = max(MOST_MEMORY // (counted.DESCRIPTOR.itemsize * cpus()), 64)
    room = 1 << max(wanted - 1, 1).bit_length()
    return min(max(room, FEWEST_FDS), MOST_FDS, most)


def goroutine_room() -> int:
    """Room for pairs of goroutine and call."""
    size = counted.GOROUTINE.itemsize + counted.GOROUTINE_USE.itemsize * cpus() + 64
    return min(GOROUTINE_ROOM, max(MOST_MEMORY // size, 512))


def _use(uses: np.ndarray[Any, np.dtype[Any]]) -> np.ndarray[Any, np.dtype[Any]]:
    """Descriptors added up over the CPUs: a struct of structs, all of the same numbers."""
    numbers = uses.view("<u8").reshape(*uses.shape, -1)
    return np.ascontiguousarray(numbers.sum(axis=1, dtype=np.uint64)).view(counted.DESCRIPTOR).reshape(-1)

"""Probes by the prebuilt CO-RE programs."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final

import numpy as np

from gotriage import probes as programs
from gotriage.collectors import Meter
from gotriage.collectors.probes.raw import KEY, NOTHING, TOTAL, Taken, parse_event, parse_totals
from gotriage.errors import GotriageError, MissingFacility, TargetGone
from gotriage.host import callnames, tracepoints
from gotriage.host.libbpf import Object
from gotriage.host.uprobes import CARRIED_OUT, Uprobes

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from gotriage.collectors.probes.raw import Options
    from gotriage.collectors.probes.scope import Scope
    from gotriage.goruntime.probepoints import Point, ProbePoints
    from gotriage.host import Host
    from gotriage.host.libbpf import Link, Ring
    from gotriage.probes.library import Probe

BACKEND: Final = "libbpf"
GO: Final = "gofunctions"
MOST_EVENTS: Final = 5000
"""Events that are taken at once; the ring holds about so many."""
MOST_INODES: Final = 8000
CALLS: Final = 512
HITS, LOST = 0, 1
ON_RETRY: Final = 0x100

OPENS, OPENS_FAILED, ACCEPTS, CONNECTS, SENDS, RECEIVES, CLOSES, SLOW_FILES, SYNCS, MAPPINGS, WAITS = (
    1 << n for n in range(11)
)
"""enum purpose of calls.bpf.c."""
PURPOSES: Final = {
    "opens": OPENS,
    "open-errors": OPENS_FAILED,
    "accepts": ACCEPTS,
    "slow-files": SLOW_FILES,
    "syncs": SYNCS,
    "mappings": MAPPINGS,
    "futex-waits": WAITS,
}
DNS_PURPOSES: Final = {
    "connect": CONNECTS, "close": CLOSES, "write": SENDS, "sendto": SENDS, "sendmsg": SENDS, "sendmmsg": SENDS,
    "read": RECEIVES, "recvfrom": RECEIVES, "recvmsg": RECEIVES,
}  # fmt: skip
PATH_AT: Final = {"open": 1, "openat": 2, "openat2": 2, "creat": 1}
"""Number of the argument that is the path, from 1 on."""
ADDRESS_AT: Final = {"sendto": 5, "recvfrom": 5}
FORMS: Final = {"sendmsg": 1, "recvmsg": 1, "sendmmsg": 2}
"""enum form of calls.bpf.c."""


def unavailable(probe: Probe, host: Host) -> str:
    """Why this backend cannot do it here, "" when it seems to be able to."""
    if not probe.objects:
        return NOTHING
    try:
        if lacking := tracepoints.missing(host.sys, probe.tracepoints):
            return f"this kernel has no tracepoint {', '.join(lacking)}"
        for name in probe.objects:
            programs.object_bytes(name)
    except (MissingFacility, OSError) as error:
        return str(error)
    return ""


def engines(probes: Sequence[Probe], scope: Scope, options: Options) -> list[LibbpfEngine]:
    """One for each probe: it is verified in a tenth of a second, and comes and goes without touching the others."""
    return [LibbpfEngine(name, [probe], scope, options) for probe in probes for name in probe.objects]


class LibbpfEngine:
    """One object file."""

    backend = BACKEND

    def __init__(self, name: str, probes: Sequence[Probe], scope: Scope, options: Options) -> None:
        self.name, self.probes = name, probes
        self._scope, self._options = scope, options
        self._object: Object | None = None
        self._uprobes: Uprobes | None = None
        self._points: ProbePoints | None = None
        self._ring: Ring | None = None
        self._links: list[Link] = []

    # -- on and off

    def start(self) -> None:
        """Load and attach. Raises MissingFacility, NotPermitted, OSError."""
        if self.name == GO:
            self._load_functions()
        else:
            wanted = dict.fromkeys(name for probe in self.probes for name in probe.objects[self.name])
            self._object = Object(
                programs.object_bytes(self.name), f"gotriage_{self.name}"[:15], constants=self._constants(),
                programs=tuple(wanted),
            )  # fmt: skip
        loaded = self._loaded
        members = loaded.map("targets")
        for tgid, shown in self._scope.tgids.items():
            members.update(struct.pack("=I", tgid), struct.pack("=I", shown))
        self._ring = loaded.ring("events")
        self.attach()

    def _constants(self) -> dict[str, int | bytes]:
        dev, ino = self._scope.namespace
        constants: dict[str, int | bytes] = {"ns_dev": dev, "ns_ino": ino}
        if self.name != "scheduler":  # of the whole thread, and goroutines take half a second to find
            constants |= self._scope.goroutine_places()
        if self.name in ("calls", "scheduler"):
            constants["slow_ns"] = int(self._options.slow * 1e9)
        if self.name == "calls":
            constants |= {"wanted": (table := wanted_calls(self.probes)), "used": purposes_of(table)}
        if self.name == "processes":
            numbers = {name: number for number, name in callnames.call_names().items()}
            constants |= {"execve_number": numbers["execve"], "execveat_number": numbers["execveat"]}
        return constants

    def _load_functions(self) -> None:
        names = list(dict.fromkeys(name for probe in self.probes for name in probe.functions))
        self._points = self._scope.probe_points(names)
        if self._points is None:
            raise MissingFacility(self._scope.no_go or "the functions of the program are not known")
        if not self._places():
            refused = "; ".join(f"{point.name}: {point.refused}" for point in self._points.points)
            raise MissingFacility(f"none of its functions can be probed: {refused}")
        constants: dict[str, int | bytes] = {"go_goid": self._points.goid}
        dev, ino = self._scope.namespace
        self._uprobes = Uprobes(
            programs.object_bytes(GO), "gotriage_go", "go_function", constants | {"ns_dev": dev, "ns_ino": ino}
        )

    def _places(self) -> list[tuple[int, int]]:
        """File offset and cookie of each function that can be probed."""
        kinds = {name: kind for probe in self.probes for name, kind in probe.functions.items()}
        points: tuple[Point, ...] = self._points.points if self._points is not None else ()
        return [
            (point.start.offset, kinds[point.name] | (ON_RETRY if point.start.on_retry else 0))
            for point in points
            if point.start is not None
        ]

    @property
    def _loaded(self) -> Object:
        loaded = self._uprobes.loaded if self._uprobes is not None else self._object
        assert loaded is not None
        return loaded

    def attach(self) -> None:
        """All programs on."""
        if self._uprobes is not None and self._points is not None:
            host, pid = self._scope.host, self._scope.target.pid
            if pid is None:
                raise TargetGone("nothing of the target runs")
            region = self._points.region
            path = host.proc.path(pid, "map_files", region) if region else host.proc.path(pid, "exe")
            self._uprobes.attach(pid, path, self._places())
        elif not self._links:
            self._know_sockets()
            wanted = dict.fromkeys(name for probe in self.probes for name in probe.objects[self.name])
            for program in wanted:
                self._links.append(self._loaded.attach(program))

    def detach(self) -> None:
        """All programs off; what they have counted stays."""
        if self._uprobes is not None:
            self._uprobes.detach()
        while self._links:
            self._links.pop().close()

    def stop(self) -> None:
        """Off, and out of the kernel."""
        self._links.clear()
        uprobes, self._uprobes = self._uprobes, None
        loaded, self._object = self._object, None
        self._ring = None
        if uprobes is not None:
            uprobes.close()
        if loaded is not None:
            loaded.close()

    # -- what there is

    def take(self) -> Taken:
        """Events and totals."""
        taken = Taken()
        if self._ring is None:
            return taken
        self._know_sockets()
        kinds = {kind for probe in self.probes for kind in probe.kinds}
        events = (parse_event(data) for data in self._ring.consume(MOST_EVENTS))
        taken.events = [event for event in events if event is not None and event.kind in kinds]
        keys, values = self._loaded.map("totals").items(KEY, TOTAL)
        taken.totals = [total for total in parse_totals(keys, values) if total.kind in kinds]
        return taken

    def meter(self) -> Meter:
        """Programs run for the target, and events that there was no room for."""
        if self._ring is None:
            return Meter()
        table = self._loaded.map("meter")
        hits, lost = (
            int(np.frombuffer(table.lookup(struct.pack("=I", which)) or b"", "<u8").sum()) for which in (HITS, LOST)
        )
        cost = max((probe.cost for probe in self.probes), default=0.0)
        return Meter(hits, lost, hits * (max(cost, CARRIED_OUT) if self.name == GO else cost))

    def _know_sockets(self) -> None:
        """Tell the kernel's side which sockets are the target's: those that it had, and those accepted since."""
        if self.name != "network" or not any(probe.id == "resets" for probe in self.probes):
            return
        known = self._loaded.map("inodes")
        tgids = {shown: tgid for tgid, shown in self._scope.tgids.items()}
        for pid, inode in _sockets(self._scope):
            known.update(struct.pack("=Q", inode), struct.pack("=I", tgids.get(pid, pid)))


def _sockets(scope: Scope) -> Iterator[tuple[int, int]]:
    """Inodes of the sockets that the target's processes have open, by /proc/PID/fd."""
    left = MOST_INODES
    for pid in scope.pids:
        try:
            names = scope.host.proc.names(pid, "fd")[:left]
        except (GotriageError, OSError):
            continue
        for name in names:
            left -= 1
            try:
                link = scope.host.proc.link(pid, "fd", name)
            except (GotriageError, OSError):
                continue
            if link.startswith("socket:["):
                yield pid, int(link[8:-1])


def purposes_of(table: bytes) -> int:
    """All purposes in the array."""
    used = 0
    for at in range(0, len(table), 8):
        used |= int.from_bytes(table[at : at + 4], "little")
    return used


def wanted_calls(probes: Sequence[Probe], names: Mapping[int, str] | None = None) -> bytes:
    """The array `wanted` of calls.bpf.c: what each system call is looked at for."""
    names = callnames.call_names() if names is None else names
    numbers = {name: number for number, name in names.items() if number < CALLS}
    purposes: dict[str, int] = {}
    for probe in probes:
        for name in probe.calls:
            purpose = DNS_PURPOSES[name] if probe.id == "dns" else PURPOSES[probe.id]
            purposes[name] = purposes.get(name, 0) | purpose
    table = bytearray(CALLS * 8)
    for name, purpose in purposes.items():
        if name in numbers:
            spec = struct.pack("=IBBBx", purpose, PATH_AT.get(name, 0), FORMS.get(name, 0), ADDRESS_AT.get(name, 0))
            table[numbers[name] * 8 : numbers[name] * 8 + 8] = spec
    return bytes(table)

"""Every limit that applies to the target, with use, growth and the line that raises it."""

from __future__ import annotations

import shlex
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from gotriage.errors import AS_ROOT, GotriageError, NotPermitted, TargetGone, reason_of
from gotriage.host import clock, fds, mounts, resources
from gotriage.host.cgroupfs import Cgroups, locate, unified_path
from gotriage.host.unit_limits import configured
from gotriage.records import raising
from gotriage.records.base import Why
from gotriage.records.limits import Limit, LimitTable
from gotriage.records.stream import Gap
from gotriage.records.text import clean
from gotriage.records.trend import growth as lasting_growth

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from gotriage.host import Host
    from gotriage.records import Record
    from gotriage.target.model import Target

WINDOW = 60.0
"""Seconds over which growth is measured."""
LEAST_WINDOW, LEAST_SAMPLES = 8.0, 5
"""Growth is not told from less: a line through two points is noise."""
PROJECTED_FROM = (12.0, 24.0, 48.0)
"""Windows, seconds, in the shortest of which a growth that lasts is sought: only from such a one is the end told."""
FARTHEST = 86_400.0
"""Seconds: an end that lies further away than a day cannot be told from a minute."""
SELDOM = 10.0
"""Seconds between two looks at what is dear: a scan of all processes, a read of all mappings."""
SHARE, SELDOMEST = 1000, 60.0
"""What took t seconds is looked at again after SHARE * t, or SELDOMEST: on a machine with thousands of processes."""
ROOT = Why("permission denied", AS_ROOT, permission=True)
NOT_COUNTED = Why("the kernel counts no use of it per process")


@dataclass(frozen=True, slots=True)
class Rlimit:
    """One line of /proc/PID/limits: its names for setrlimit(2), prlimit(1), systemd.exec(5) and docker run --ulimit."""

    name: str
    option: str
    directive: str
    unit: str = "count"


RLIMITS = {
    "Max cpu time": Rlimit("RLIMIT_CPU", "cpu", "LimitCPU", "seconds"),
    "Max file size": Rlimit("RLIMIT_FSIZE", "fsize", "LimitFSIZE", "bytes"),
    "Max data size": Rlimit("RLIMIT_DATA", "data", "LimitDATA", "bytes"),
    "Max stack size": Rlimit("RLIMIT_STACK", "stack", "LimitSTACK", "bytes"),
    "Max core file size": Rlimit("RLIMIT_CORE", "core", "LimitCORE", "bytes"),
    "Max resident set": Rlimit("RLIMIT_RSS", "rss", "LimitRSS", "bytes"),
    "Max processes": Rlimit("RLIMIT_NPROC", "nproc", "LimitNPROC"),
    "Max open files": Rlimit("RLIMIT_NOFILE", "nofile", "LimitNOFILE"),
    "Max locked memory": Rlimit("RLIMIT_MEMLOCK", "memlock", "LimitMEMLOCK", "bytes"),
    "Max address space": Rlimit("RLIMIT_AS", "as", "LimitAS", "bytes"),
    "Max file locks": Rlimit("RLIMIT_LOCKS", "locks", "LimitLOCKS"),
    "Max pending signals": Rlimit("RLIMIT_SIGPENDING", "sigpending", "LimitSIGPENDING"),
    "Max msgqueue size": Rlimit("RLIMIT_MSGQUEUE", "msgqueue", "LimitMSGQUEUE", "bytes"),
    "Max nice priority": Rlimit("RLIMIT_NICE", "nice", "LimitNICE", "priority"),
    "Max realtime priority": Rlimit("RLIMIT_RTPRIO", "rtprio", "LimitRTPRIO", "priority"),
    "Max realtime timeout": Rlimit("RLIMIT_RTTIME", "rttime", "LimitRTTIME", "microseconds"),
}
"""Names: fs/proc/base.c lnames; units: getrlimit(2)."""


_BY_DIRECTIVE = {known.directive: known for known in RLIMITS.values()}
_OPTIONS = {
    "TasksMax": "--pids-limit",
    "MemoryHigh": "--memory-reservation",
    "MemoryMax": "--memory",
    "MemorySwapMax": "--memory-swap",
}
"""Directive of systemd.resource-control(5) to the option of docker update."""
_DIRECTIVES = {known.directive: known.unit for known in RLIMITS.values()} | {
    "TasksMax": "count",
    "MemoryHigh": "bytes",
    "MemoryMax": "bytes",
    "MemorySwapMax": "bytes",
}
"""Directive of systemd.exec(5) and systemd.resource-control(5) to the unit of its value."""


def growth_of(samples: Sequence[tuple[float, float]]) -> float | None:
    """Slope of the least-squares line through (seconds, use), per second; None while there is too little to tell."""
    if len(samples) < LEAST_SAMPLES or samples[-1][0] - samples[0][0] < LEAST_WINDOW:
        return None
    count = len(samples)
    middle_t = sum(t for t, _ in samples) / count
    middle_v = sum(v for _, v in samples) / count
    spread = sum((t - middle_t) ** 2 for t, _ in samples)
    return sum((t - middle_t) * (v - middle_v) for t, v in samples) / spread if spread else None


def full_in(samples: Sequence[tuple[float, float]], growth: float, limit: float | None) -> float | None:
    """Seconds until the limit is reached at that growth; None for one that does not last: ups and downs have no end."""
    if limit is None or growth <= 0 or lasting_growth(samples, samples[-1][0], PROJECTED_FROM, 0.0) is None:
        return None
    left = max(0.0, (limit - samples[-1][1]) / growth)
    return left if left <= FARTHEST else None


def fullness(row: Limit) -> tuple[float, float]:
    """Sorts the nearest to exhaustion first: by share in use, then by time left."""
    share = row.used / row.soft if row.soft and row.used is not None else -1.0
    return -share, row.full_in if row.full_in is not None else float("inf")


HIGHEST = {
    "kernel.pid_max": 4_194_304,
    "kernel.threads-max": 0x3FFF_FFFF,
    "vm.max_map_count": 0x7FFF_FFFF,
    "fs.file-max": (1 << 63) - 1,
}
"""What the kernel takes at most: PID_MAX_LIMIT (include/linux/threads.h, 64 bit), MAX_THREADS (kernel/fork.c), an int,
a long."""


def roomier(used: float | None, soft: float | None, most: int | None = None) -> int:
    """A limit to suggest: a power of two, at least four times the use and twice the limit of now, 65536 at least.

    Not above `most`, which is what the kernel takes.
    """
    wanted = max(4 * (used or 0), 2 * (soft or 0), 65536)
    power = 1 << (int(wanted) - 1).bit_length()
    return power if most is None else min(power, most)


def by_sysctl(name: str, used: float | None, limit: float) -> str:
    """The command that raises a limit of the machine."""
    value = roomier(used, limit, HIGHEST.get(name))
    return f"sysctl -w {name}={value}" if value > limit else "nothing: the kernel takes no higher value"


class LimitCollector:
    """One `LimitTable` a look."""

    backend = "/proc/PID/limits, cgroupfs, sysctl, statvfs"

    def __init__(self, host: Host, target: Target) -> None:
        self._host, self._target = host, target
        self._cgroups = Cgroups(host)
        self._samples: dict[tuple[str, str], deque[tuple[float, float]]] = {}
        self._seldom: dict[str, tuple[float, float | None]] = {}
        self._systems: list[resources.FileSystem] = []
        self._systems_at = -SELDOM
        self._configured: dict[str, int | None] = {}
        self._configured_at = -3 * SELDOM
        self._in_use: dict[str, float] = {}

    def collect(self) -> Iterator[Record]:
        """Look once; a part that cannot be looked at is a gap, and the others stand."""
        rows: list[Limit] = []
        for name, part in (
            ("rlimits", self._rlimits),
            ("systemd", self._systemd),
            ("cgroup", self._cgroup),
            ("kernel", self._kernel),
            ("filesystems", self._file_systems),
        ):
            try:
                rows += part()
            except TargetGone:
                raise
            except NotPermitted as error:
                yield _gap(name, error, permission=True)
            except (GotriageError, OSError) as error:
                yield _gap(name, error, permission=isinstance(error, PermissionError))
        now = clock.monotonic()
        yield LimitTable(at=clock.now(), rows=tuple(sorted((self._grown(row, now) for row in rows), key=fullness)))

    # -- growth

    def _grown(self, row: Limit, now: float) -> Limit:
        if row.used is None:
            return row
        samples = self._samples.setdefault((row.name, row.subject), deque())
        samples.append((now, row.used))
        while samples and now - samples[0][0] > WINDOW:
            samples.popleft()
        growth = growth_of(samples)
        if growth is None:
            return row
        return msgspec.structs.replace(row, growth=round(growth, 6), full_in=full_in(samples, growth, row.soft))

    def _now_and_then(self, name: str, look: Callable[[], float]) -> float | None:
        """A dear number, measured anew every SELDOM seconds, or as seldom as it is dear."""
        now = clock.monotonic()
        due, value = self._seldom.get(name, (now, None))
        if now >= due:
            try:
                value = look()
            except (GotriageError, OSError):
                value = None
            took = clock.monotonic() - now
            self._seldom[name] = (now + min(max(SELDOM, SHARE * took), SELDOMEST), value)
        return value

    # -- the parts

    def _rlimits(self) -> Iterator[Limit]:
        pid = self._target.pid
        if pid is None:
            return
        limits, used = self._host.proc.limits(pid), resources.of_process(self._host, pid)
        uid = int(self._host.proc.status(pid)["Uid"].split()[0])
        tasks = self._now_and_then("tasks", lambda: resources.tasks_of_user(self._host, pid, uid))
        if tasks is not None:
            used["Max processes"] = tasks
        denied = False
        try:
            used["Max open files"] = fds.count(self._host, pid, checked=True)
        except NotPermitted:
            denied = True
        self._in_use = {RLIMITS[title].directive: use for title, use in used.items() if title in RLIMITS}
        self._in_use["TasksMax"] = resources.tasks_of(self._host, self._target.pids)
        for title, (soft, hard) in limits.items():
            known = RLIMITS.get(title)
            if known is None:
                continue
            use = used.get(title)
            why = None if use is not None else ROOT if denied and title == "Max open files" else NOT_COUNTED
            yield Limit(
                name=known.name,
                scope="rlimit",
                unit=known.unit,
                soft=soft,
                hard=hard,
                unlimited=soft is None,
                used=use,
                fix=self._raise_rlimit(known, use, (soft, hard), pid) if soft is not None else "",
                subject=f"pid {pid}",
                unknown=why,
            )
        yield from self._mappings(pid)

    def _raise_rlimit(self, known: Rlimit, used: float | None, limit: tuple[int, int | None], pid: int | None) -> str:
        """The line that raises a soft limit and lowers no hard one; `limit` is both, a hard one of None is no limit."""
        soft, hard = limit
        if known.unit not in ("count", "bytes") or not soft:
            return ""
        value, before = roomier(used, soft), ""
        if known.name == "RLIMIT_NOFILE":
            most = resources.sysctl(self._host, "fs.nr_open") or raising.NR_OPEN
            if soft < most:
                value = min(value, most)
            elif soft >= raising.NR_OPEN_MOST:
                return "nothing: the kernel takes no higher value"
            else:
                before = f"sysctl -w fs.nr_open={value}; "
        if self._target.container is not None:
            engine = self._target.container.engine
            command = engine if engine in ("docker", "podman") else "the engine"
            return f"{before}{command}: --ulimit {known.option}={raising.ulimit(value, hard)}"
        if self._target.unit and not self._target.unit.endswith(".scope"):
            unit = shlex.quote(clean(self._target.unit))
            line = f"{known.directive}={raising.directive(value, hard)}"
            return f"{before}{_systemctl(self._target)} edit {unit}: [Service] {line}"
        return f"{before}prlimit --pid {pid} --{known.option}={raising.prlimit(value, hard)}" if pid else ""

    def _mappings(self, pid: int) -> Iterator[Limit]:
        limit = resources.sysctl(self._host, "vm.max_map_count")
        if limit is None:
            return
        used = self._now_and_then("mappings", lambda: resources.mappings(self._host, pid))
        fix = by_sysctl("vm.max_map_count", used, limit)
        why = None if used is not None else ROOT
        yield Limit(
            name="vm.max_map_count", scope="kernel", soft=limit, used=used, fix=fix, subject=f"pid {pid}", unknown=why
        )

    def _systemd(self) -> Iterator[Limit]:
        """What the unit is configured to: it may differ from what the process got when it was started."""
        unit = self._target.unit
        if not unit:
            return
        now = clock.monotonic()
        if now - self._configured_at >= SELDOM * 3:
            self._configured = configured(self._host, unit, self._target.user_uid)
            self._configured_at = now
        for name, known in _DIRECTIVES.items():
            soft = self._configured.get(f"{name}Soft", self._configured.get(name))
            if soft is not None:
                hard = self._configured.get(name)
                use = self._in_use.get(name)
                why = None if use is not None else NOT_COUNTED
                yield Limit(
                    name=name,
                    scope="systemd",
                    unit=known,
                    soft=soft,
                    hard=hard,
                    used=use,
                    fix=self._raise_setting(name, use, (soft, hard)),
                    subject=unit,
                    unknown=why,
                )

    def _raise_setting(self, name: str, used: float | None, limit: tuple[int, int | None]) -> str:
        """The line that raises what the unit is configured to."""
        if name in _OPTIONS:
            return self._raise_cgroup(name, _OPTIONS[name], limit[0])
        return self._raise_rlimit(_BY_DIRECTIVE[name], used, limit, self._target.pid)

    def _cgroup(self) -> Iterator[Limit]:
        path = unified_path(self._host, self._target.pid, self._target.cgroup)
        for controller, files in _CGROUP_FILES.items():
            group = locate(self._cgroups, controller, path, self._target.cgroup_v1)
            if group is None or group.whole_machine:
                continue
            for limit_name, use_name, unit, directive in files[group.version]:
                found = group.tightest(limit_name)
                if found is None:
                    continue
                limit, level = found
                yield Limit(
                    name=limit_name,
                    scope="cgroup",
                    unit=unit,
                    soft=limit,
                    used=level.number(use_name),
                    fix=self._raise_cgroup(directive, _OPTIONS[directive], limit),
                    subject=clean(level.path),
                )

    def _raise_cgroup(self, directive: str, option: str, limit: int) -> str:
        value = 2 * limit
        if self._target.container is not None:
            engine = self._target.container.engine
            return f"{engine} update {option}={value}" if engine in ("docker", "podman") else ""
        if self._target.unit:
            return (
                f"{_systemctl(self._target)} set-property {shlex.quote(clean(self._target.unit))} {directive}={value}"
            )
        return ""

    def _kernel(self) -> Iterator[Limit]:
        for row in resources.of_kernel(self._host):
            fix = by_sysctl(row.name, row.used, row.limit)
            yield Limit(name=row.name, scope="kernel", soft=row.limit, used=row.used, fix=fix, subject="machine")

    def _systems_of(self, pid: int) -> list[resources.FileSystem]:
        """The file systems, looked at anew every SELDOM seconds: a full disk does not empty itself in between."""
        now = clock.monotonic()
        if now - self._systems_at >= SELDOM:
            self._systems, self._systems_at = resources.file_systems(self._host, pid), now
        return self._systems

    def _way_in(self, pid: int) -> str:
        """What stands before a path of the target so that a shell here finds it; "" when both see the same files."""
        try:
            same = self._host.proc.shares(pid, "mnt")
            same = same and self._host.proc.link(pid, "root") == "/"
        except (GotriageError, OSError):
            same = self._target.container is None
        return "" if same else f"/proc/{pid}/root"

    def _file_systems(self) -> Iterator[Limit]:
        pid = self._target.pid
        if pid is None:
            return
        points, prefix = mounts.of(self._host, pid), self._way_in(pid)
        for row in self._systems_of(pid):
            path = clean(row.path)
            full = row.used_bytes + row.room_bytes
            mount = mounts.holding(points, row.path)
            seen = shlex.quote(prefix + path)
            fix = f"df -h {seen}"
            if mount is not None:
                fix += f"; du -x --max-depth=2 {shlex.quote(prefix + clean(mount.point))} | sort -n | tail"
            yield Limit(
                name="space", scope="filesystem", unit="bytes", soft=full, used=row.used_bytes, subject=path, fix=fix
            )
            if row.inodes is not None:
                used, room = row.inodes
                fix = f"df -i {seen}"
                yield Limit(name="inodes", scope="filesystem", soft=used + room, used=used, subject=path, fix=fix)

    def close(self) -> None:
        """Nothing is held."""


_CGROUP_FILES = {
    "pids": {
        1: [("pids.max", "pids.current", "count", "TasksMax")],
        2: [("pids.max", "pids.current", "count", "TasksMax")],
    },
    "memory": {
        1: [("memory.limit_in_bytes", "memory.usage_in_bytes", "bytes", "MemoryMax")],
        2: [
            ("memory.max", "memory.current", "bytes", "MemoryMax"),
            ("memory.high", "memory.current", "bytes", "MemoryHigh"),
            ("memory.swap.max", "memory.swap.current", "bytes", "MemorySwapMax"),
        ],
    },
}
"""Controller to, by version: limit file, use file, unit, and systemd's directive."""


def _systemctl(target: Target) -> str:
    return "systemctl --user" if target.user_uid is not None else "systemctl"


def _gap(name: str, error: Exception, *, permission: bool) -> Gap:
    reason, remedy = clean(reason_of(error)), AS_ROOT if permission else ""
    return Gap(at=clock.now(), source=f"limits.{name}", reason=reason, remedy=remedy, permission=permission)

"""The Go programs that run here, for the picker: by the build info of their executables."""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import msgspec

from gotriage.errors import GotriageError, NotPermitted
from gotriage.goruntime import buildinfo
from gotriage.host import cgroup_names, clock, engines, executable, fds, kubernetes, users
from gotriage.host.cgroup_tree import CgroupTree, group_of
from gotriage.host.deadline import Deadline
from gotriage.host.pidns import PidView
from gotriage.records.target import GoService, GoServices
from gotriage.records.text import clean

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gotriage.goruntime.buildinfo import BuildInfo
    from gotriage.host import Host
    from gotriage.host.executable import Identity
    from gotriage.host.proc import Stat
    from gotriage.records import Record
    from gotriage.target.model import Target

MAX_ROWS: Final = 2000
MAX_REMEMBERED: Final = 20_000
"""Executables whose build info, or lack of it, is remembered."""
BUDGET: Final = 2.0
"""Seconds that one look spends on executables it has not seen before; the rest follows at the next look."""
NAMES_EVERY: Final = 15.0
"""Seconds between two questions to the engines for names of containers."""
NAMES_TIMEOUT: Final = 1.0
FULL: Final = 0.9
"""Share of the soft limit of descriptors from which a service is marked, as the rule fd-exhaustion has it."""
_PAGE: Final = os.sysconf("SC_PAGE_SIZE")


@dataclass(slots=True)
class _Sample:
    """CPU time of a process at a look."""

    start_ticks: int
    at: float
    ticks: int


class ServiceCollector:
    """`GoServices`: one row a process whose executable is a Go program."""

    backend = "/proc"

    def __init__(self, host: Host, _target: Target) -> None:
        self._host = host
        self._view = PidView(host)
        self._root = CgroupTree(host).root_of_view()
        self._users = users.names(host)
        self._known: dict[Identity, BuildInfo | None] = {}
        self._samples: dict[int, _Sample] = {}
        self._places: dict[int, int] = {}
        self._names: dict[str, str] = {}
        self._named_at = -NAMES_EVERY

    def close(self) -> None:
        """Nothing is held."""

    def collect(self) -> Iterator[Record]:
        """One `GoServices` in order of appearance: a row keeps its place from one look to the next."""
        rows: list[GoService] = []
        skipped = 0
        deadline = Deadline(BUDGET)
        for pid in self._host.proc.pids():
            try:
                info = self._build_info(pid, deadline)
                if info is not None and len(rows) < MAX_ROWS and self._view.to_theirs(pid) is not None:
                    rows.append(self._row(pid, info))
            except NotPermitted:
                skipped += self._is_missed(pid)
            except (GotriageError, OSError, ValueError):
                continue
        seen = {row.pid for row in rows}
        self._samples = {pid: sample for pid, sample in self._samples.items() if pid in seen}
        rows = self._with_names(_first_of_each_unit(rows))
        yield GoServices(at=clock.now(), rows=tuple(self._in_order(rows)), skipped=skipped)

    def _in_order(self, rows: list[GoService]) -> list[GoService]:
        """Known ones where they were; new ones after them, those with a mark first, then by memory."""
        new = [row for row in rows if row.pid not in self._places]
        new.sort(key=lambda row: (not row.mark, -(row.memory_bytes or 0), row.pid))
        known = sorted((row for row in rows if row.pid in self._places), key=lambda row: self._places[row.pid])
        ordered = [*known, *new]
        self._places = {row.pid: place for place, row in enumerate(ordered)}
        return ordered

    def _is_missed(self, pid: int) -> bool:
        """A kernel thread has no executable to miss, and a process outside of the view is not asked for."""
        try:
            return not self._host.proc.stat(pid).is_kernel_thread and self._view.to_theirs(pid) is not None
        except (GotriageError, OSError, ValueError):
            return False

    def _build_info(self, pid: int, deadline: Deadline) -> BuildInfo | None:
        """Of the process's executable; each file is read once. Raises TargetGone, NotPermitted."""
        identity = executable.identity(self._host, pid)
        if identity in self._known:
            return self._known[identity]
        if deadline.over:
            return None
        info = None
        try:
            info = buildinfo.read(self._host.proc.path(pid, "exe"))
        except PermissionError as error:
            raise NotPermitted(f"the executable of process {pid} may not be read") from error
        except (OSError, GotriageError):
            if executable.identity(self._host, pid) != identity:
                return None  # it changed while it was read: not a word about the file
        if len(self._known) >= MAX_REMEMBERED:
            self._known.clear()
        self._known[identity] = info
        return info

    def _row(self, pid: int, info: BuildInfo) -> GoService:
        proc = self._host.proc
        stat, status = proc.stat(pid), proc.status(pid)
        owner = cgroup_names.owner(group_of(self._host, pid) or "/", self._root)
        open_fds = self._fds(pid)
        limit = self._fd_limit(pid)
        uid = int(status.get("Uid", "0").split()[0])
        age = clock.now().timestamp() - clock.from_ticks(stat.start_ticks).timestamp()
        unit = clean(owner.unit, 256) or None
        return GoService(
            pid=pid,
            name=clean(stat.comm, 64),
            go_version=clean(info.go_version, 64),
            module=clean(info.main.path if info.main else info.path, 300),
            unit=unit,
            container=clean(owner.id, 128) or None,
            user=self._users.get(uid, str(uid)),
            age=max(0.0, round(age, 1)),
            cpu=self._cpu(pid, stat),
            memory_bytes=stat.rss_pages * _PAGE,
            fds=open_fds,
            fd_limit=limit,
            mark=self._mark(pid, open_fds, limit, status),
        )

    def _cpu(self, pid: int, stat: Stat) -> float | None:
        """Cores since the previous look, None at the first."""
        now, ticks = clock.monotonic(), stat.utime + stat.stime
        before = self._samples.get(pid)
        self._samples[pid] = _Sample(stat.start_ticks, now, ticks)
        if before is None or before.start_ticks != stat.start_ticks or now <= before.at:
            return None
        return round((ticks - before.ticks) / clock.TICKS_PER_SECOND / (now - before.at), 3)

    def _fds(self, pid: int) -> int | None:
        """How many descriptors; since Linux 6.2 the size of /proc/PID/fd says it (proc_pid_fd(5))."""
        try:
            return fds.count(self._host, pid, checked=True)
        except (GotriageError, OSError):
            return None

    def _fd_limit(self, pid: int) -> int | None:
        try:
            return self._host.proc.limits(pid).get("Max open files", (None, None))[0]
        except (GotriageError, OSError, ValueError):
            return None

    def _mark(self, pid: int, open_fds: int | None, limit: int | None, status: dict[str, str]) -> str:
        """The worst finding that these few numbers show."""
        if open_fds is not None and limit and open_fds >= FULL * limit:
            return "fd-exhaustion"
        if status.get("TracerPid", "0") != "0":
            return "already-traced"
        try:
            if self._host.proc.link(pid, "exe").endswith(" (deleted)"):
                return "binary-replaced"
        except (GotriageError, OSError):
            return ""
        return ""

    def _with_names(self, rows: list[GoService]) -> list[GoService]:
        """Containers by name where an engine tells it, else by the beginning of the id."""
        wanted = {row.container for row in rows if row.container} - self._names.keys()
        if wanted and clock.monotonic() - self._named_at >= NAMES_EVERY:
            self._named_at = clock.monotonic()
            survey = engines.survey(self._host, Deadline(NAMES_TIMEOUT))
            names = {state.id: kubernetes.path_of(state.pod) or state.name for state in survey.containers}
            often = Counter(names.values())  # a name that two have, as of two engines, picks neither
            self._names = {number: name for number, name in names.items() if name and often[name] == 1}
        return [self._named(row) if row.container else row for row in rows]

    def _named(self, row: GoService) -> GoService:
        assert row.container is not None
        name = self._names.get(row.container, "")
        shown = name or row.container[:12]
        return msgspec.structs.replace(row, container=shown, name=row.name if row.unit else shown)


def _first_of_each_unit(rows: list[GoService]) -> list[GoService]:
    """The oldest process of a unit goes by the unit's name, its helpers by their own."""
    first: dict[tuple[str, str], GoService] = {}
    for row in sorted(rows, key=lambda row: -(row.age or 0.0)):
        if row.unit:
            first.setdefault((row.unit, row.user), row)
    return [
        msgspec.structs.replace(row, name=row.unit.removesuffix(".service"))
        if row.unit and first[row.unit, row.user] is row
        else row
        for row in rows
    ]

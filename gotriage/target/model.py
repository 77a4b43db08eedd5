"""A target, resolved: its processes pinned against PID reuse, its unit, its container, its cgroup."""

from __future__ import annotations

import os
import select
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, BinaryIO, Protocol

from gotriage.errors import GotriageError
from gotriage.host import clock, regular
from gotriage.host.executable import exit_status
from gotriage.records.exits import DUMPED, EXITED, KILLED, exit_words

if TYPE_CHECKING:
    from gotriage.goruntime.client import Reader
    from gotriage.goruntime.corefacts import CoreFacts
    from gotriage.host import Host
    from gotriage.host.executable import Identity
    from gotriage.records.base import Why
    from gotriage.records.target import Event, GoBrief, TargetSpec


CORE_DEADLINE = 600.0
"""Seconds that a look into a core file may take: those of large services have many gigabytes."""


class Process:
    """One process, pinned by pidfd and start time: `alive` never confuses it with a later one of the same PID."""

    def __init__(self, host: Host, pid: int) -> None:
        """Pin it. Raises TargetGone or NotPermitted."""
        self._host = host
        self.pid = pid
        self.pidfd = _pidfd(pid)
        try:
            self.start_ticks = host.proc.stat(pid).start_ticks
            self.started_at = clock.from_ticks(self.start_ticks)
        except Exception:
            self.close()
            raise

    def alive(self) -> bool:
        """Whether it still runs (a zombie does not)."""
        if self.pidfd is not None:
            return not select.select([self.pidfd], [], [], 0)[0]
        try:
            stat = self._host.proc.stat(self.pid)
        except (GotriageError, OSError, ValueError):
            return False
        return stat.start_ticks == self.start_ticks and stat.state not in "ZX"

    def ended(self) -> str:
        """How it ended, in words: "exited, status 2", "killed by SIGKILL"; "" when the kernel does not tell."""
        status = exit_status(self.pidfd) if self.pidfd is not None else None
        if status is None:
            return ""
        if os.WIFSIGNALED(status):
            return exit_words(DUMPED if os.WCOREDUMP(status) else KILLED, os.WTERMSIG(status))
        return exit_words(EXITED, os.WEXITSTATUS(status))

    def close(self) -> None:
        """Let go of the pidfd."""
        if self.pidfd is not None:
            os.close(self.pidfd)
            self.pidfd = None


def _pidfd(pid: int) -> int | None:
    """A pidfd (pidfd_open(2), Linux 5.3), None where there is none or the process is not a real one (tests)."""
    try:
        return os.pidfd_open(pid)
    except (OSError, AttributeError):
        return None


@dataclass(frozen=True, slots=True)
class ContainerRef:
    """A container by its engine ("docker", "podman", "containerd", "lxc", "nspawn", "" when only the cgroup tells)."""

    engine: str
    id: str
    name: str = ""


@dataclass(frozen=True, slots=True)
class CoreRef:
    """A core file, open: descriptors of its plain content and of the program's file (None: the path that it names)."""

    name: str
    fd: int
    exe: int | None
    facts: CoreFacts
    deadline: float = CORE_DEADLINE

    def reader(self) -> Reader:
        """A reader of its own for who asks."""
        from gotriage.goruntime.client import Reader

        return Reader(core=self.fd, exe=self.exe, name=self.name, rate=None)

    def program(self) -> BinaryIO:
        """The program's file, for its build info. Raises OSError."""
        return os.fdopen(regular.opened(self.facts.program) if self.exe is None else os.dup(self.exe), "rb")


@dataclass(frozen=True, slots=True)
class Sighting:
    """Who the main process is by word of the manager or engine, None when there is none, and why."""

    pid: int | None = None
    reason: str = ""


class Follower(Protocol):
    """Knows how to find a target's processes again; one for each kind of target."""

    returns: bool
    """Another main process may come: units and containers, not a PID."""
    group: str
    """The cgroup that holds the whole target, in our paths; "" for none."""

    def members(self, target: Target) -> tuple[int, ...]:
        """All processes now, the main one first. Cheap: asked every second."""
        ...

    def main(self, target: Target, /) -> Sighting | None:
        """Who the main process is now; None when nobody can be asked. Asked when it ended, and now and then."""
        ...

    def close(self) -> None:
        """Let go of connections."""
        ...


@dataclass(slots=True)
class Target:
    """What a collector looks at. The resolver keeps it up to date; collectors only read it.

    Attributes:
        main: the main process, None while nothing runs.
        pids: all processes of the target, the main one first: the unit's or container's cgroup, or the process with its
            descendants.
        cgroup: path in the v2 hierarchy ("/system.slice/x.service"), None where there is none.
        cgroup_v1: controller to path for the v1 hierarchies that the main process is in.
        generation: 1 at the first attach, +1 at each re-attach to a new main process.
        reason: why nothing runs.
        exec_path: the unit's main executable (path of its ExecStart, absolute in the unit's root), "" when not known:
            it can be read also while nothing runs.
        exec_env: the unit's Environment=, as far as it is known: what that executable would be started with.
    """

    spec: TargetSpec
    host: Host
    name: str = ""
    main: Process | None = None
    pids: tuple[int, ...] = ()
    unit: str | None = None
    user_uid: int | None = None
    """Owner of the user manager that runs the unit, None for a system unit."""
    container: ContainerRef | None = None
    cgroup: str | None = None
    cgroup_v1: dict[str, str] = field(default_factory=dict)
    generation: int = 1
    reason: str = ""
    exec_path: str = ""
    exec_env: dict[str, str] = field(default_factory=dict)
    core: CoreRef | None = None
    """The core file that stands for a process; then nothing runs."""
    follower: Follower | None = None
    image: Identity | None = None
    """Which file the main process runs, None when it may not be read."""
    go: GoBrief | None = None
    go_unknown: Why | None = None
    """Why the build info could not be read."""
    go_of: Identity | None = None
    """Which file `go` and `go_unknown` tell of."""
    ran: bool = False
    """A main process was seen at some time."""
    asked_at: float = 0.0
    """When the manager or engine was asked last (host.clock.monotonic)."""
    pending: list[Event] = field(default_factory=list)
    """Notes for the timeline that the next refresh hands out."""

    @property
    def kind(self) -> str:
        """What the user asked for: "pid", "unit", "container", "core", or "none"."""
        return self.spec.kind

    @property
    def container_id(self) -> str:
        """Full id of the container, "" when it is none."""
        return self.container.id if self.container else ""

    @property
    def pid(self) -> int | None:
        """PID of the main process, None while nothing runs."""
        return self.main.pid if self.main else None

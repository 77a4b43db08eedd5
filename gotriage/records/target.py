"""Who is looked at: the specification from the command line and what it resolved to."""

from __future__ import annotations

from datetime import datetime
from typing import ClassVar, Literal

import msgspec

from gotriage.records.base import Record, Row

TargetKind = Literal["pid", "unit", "container", "core", "none"]


NOT_IN_CORE = "a core file holds the memory and registers of a process that is gone, and nothing else of it"
LOOK_LIVE = "look at the service while it runs: --pid, --unit or --container"
"""Why a source or a rule has nothing to say of a core file, and what has."""


class TargetSpec(msgspec.Struct, frozen=True, omit_defaults=True):
    """What the user asked for; `kind` "none" is the picker, which has no target yet; a "core" is a file's path."""

    kind: TargetKind = "none"
    value: str = ""
    user: bool = False
    """The unit belongs to a user manager (`--user`)."""
    root_pid: int | None = None
    """Names, units and journals are resolved as this process sees them."""
    exe: str = ""
    """The program's file that belongs to a core file; "" for the path that the core names."""

    def words(self) -> list[str]:
        """The specification as the command line takes it; no value can be taken for an option."""
        words = [f"--{self.kind}={self.value}"] if self.kind != "none" else []
        if self.user:
            words.append("--user")
        if self.exe:
            words.append(f"--exe={self.exe}")
        if self.root_pid is not None:
            words.append(f"--root-pid={self.root_pid}")
        return words

    def __str__(self) -> str:
        """The specification as people type it."""
        return " ".join(word.replace("=", " ", 1) for word in self.words())


class GoBrief(msgspec.Struct, frozen=True, omit_defaults=True):
    """The few words of Go build info that the header shows; read from the executable, not from the process."""

    version: str
    module: str = ""
    vcs_revision: str = ""
    vcs_modified: bool | None = None


class CoreBrief(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a core file says of itself.

    Attributes:
        made: when the file was last written.
        signal: what the process died of, by name; "" for a core of a process that went on (gcore).
        pid: of the process that it was; command: its first 80 bytes of arguments; threads: how many it had.
    """

    made: datetime
    signal: str = ""
    pid: int | None = None
    command: str = ""
    threads: int = 0


class TargetState(Record, frozen=True, kw_only=True, tag="target"):
    """Who the target is right now, written at attach, at each re-attach and when it ends.

    Attributes:
        state: running; stopped (a unit or container without a process); gone (it ended and will not return);
            core (a core file: nothing runs, and nothing changes).
        pids: every process of the target, the main one first.
        started_at: start of the main process.
        boot_id: /proc/sys/kernel/random/boot_id, which ties start times to one boot.
        generation: counts attachments: 1 is the first, +1 each time the main process was replaced.
        reason: why there is no process, in systemd's or the engine's words.
        go: None when the executable is not a Go program or could not be read (see `unknown`).
    """

    keep: ClassVar[int] = 200

    spec: TargetSpec
    name: str
    state: Literal["running", "stopped", "gone", "core"]
    generation: int = 1
    pid: int | None = None
    pids: tuple[int, ...] = ()
    started_at: datetime | None = None
    comm: str = ""
    exe: str = ""
    unit: str | None = None
    container_id: str | None = None
    container_name: str | None = None
    engine: str | None = None
    cgroup: str | None = None
    host: str = ""
    boot_id: str = ""
    reason: str = ""
    go: GoBrief | None = None
    core: CoreBrief | None = None


class Event(Record, frozen=True, kw_only=True, tag="event"):
    """A moment on the timeline: attached, started, restarted, exited, exec, agent-restarted, oom-kill, note."""

    keep: ClassVar[int] = 5000

    what: str
    detail: str = ""
    pid: int | None = None


class GoService(Row, frozen=True, kw_only=True):
    """A running Go program, as the picker lists it. CPU in cores, memory (RSS) in bytes, age in seconds."""

    pid: int
    name: str
    go_version: str = ""
    module: str = ""
    unit: str | None = None
    container: str | None = None
    user: str = ""
    age: float | None = None
    cpu: float | None = None
    memory_bytes: int | None = None
    fds: int | None = None
    fd_limit: int | None = None
    mark: str = ""
    """The id of the worst finding that can be told from these few numbers, or ""."""


class GoServices(Record, frozen=True, kw_only=True, tag="services"):
    """The Go programs running here; `skipped` processes could not be read without more rights."""

    keep: ClassVar[int] = 5

    rows: tuple[GoService, ...] = ()
    skipped: int = 0

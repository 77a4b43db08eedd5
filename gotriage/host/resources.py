"""How much of each limited thing is in use: by a process, by its user, by the machine, by its file systems.

Sizes in bytes, times in seconds. What the kernel does not count anywhere readable is left out.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gotriage.errors import GotriageError
from gotriage.host import clock
from gotriage.host.inroot import InRoot
from gotriage.host.outputs import outputs

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gotriage.host import Host

MOST_PIDS = 50_000
SAME = 10_000
"""Two file systems that differ by less than this part of their size are one that is seen twice."""
_SIZES = {
    "Max address space": "VmSize",
    "Max data size": "VmData",
    "Max stack size": "VmStk",
    "Max locked memory": "VmLck",
    "Max resident set": "VmRSS",
}
_UID_AND_THREADS = re.compile(rb"^Uid:\s+(\d+).*?^Threads:\s+(\d+)", re.MULTILINE | re.DOTALL)
"""The real uid and the number of threads in /proc/PID/status (proc_pid_status(5))."""


def of_process(host: Host, pid: int) -> dict[str, float]:
    """Use by name of /proc/PID/limits, as far as its status and stat tell. Raises TargetGone, NotPermitted."""
    status, stat = host.proc.status(pid), host.proc.stat(pid)
    found: dict[str, float] = {"Max cpu time": (stat.utime + stat.stime) / clock.TICKS_PER_SECOND}
    for name, field in _SIZES.items():
        words = status.get(field, "").split()
        if words and words[0].isdigit():
            found[name] = int(words[0]) * 1024
    queued = status.get("SigQ", "").partition("/")[0]
    if queued.isdigit():
        found["Max pending signals"] = int(queued)
    return found


def tasks_of_user(host: Host, pid: int, uid: int) -> int:
    """Threads of the processes with that real uid that RLIMIT_NPROC of process `pid` counts (getrlimit(2)).

    Since Linux 5.14 (kernel/ucount.c) a user is counted in each user namespace for itself: a container's user is not
    charged for what has the same uid elsewhere.
    """
    own = _user_namespace(host, pid) if _counts_by_namespace(host) else ""
    total = 0
    for other in host.proc.pids()[:MOST_PIDS]:
        try:
            found = _UID_AND_THREADS.search(host.proc.read(other, "status"))
        except (GotriageError, OSError):
            continue
        if found and int(found[1]) == uid and (not own or _user_namespace(host, other) in (own, "")):
            total += int(found[2])
    return total


def _user_namespace(host: Host, pid: int) -> str:
    """Its name in /proc/PID/ns, "" when it may not be read."""
    try:
        return host.proc.link(pid, "ns", "user")
    except (GotriageError, OSError):
        return ""


def _counts_by_namespace(host: Host) -> bool:
    try:
        numbers = re.match(r"(\d+)\.(\d+)", host.proc.text("sys", "kernel", "osrelease"))
    except (GotriageError, OSError):
        return False
    return numbers is not None and (int(numbers[1]), int(numbers[2])) >= (5, 14)


def tasks_of(host: Host, pids: Iterable[int]) -> int:
    """Threads of these processes: what TasksMax and pids.max count."""
    total = 0
    for pid in pids:
        try:
            total += host.proc.stat(pid).threads
        except (GotriageError, OSError, ValueError):
            continue
    return total


def mappings(host: Host, pid: int) -> int:
    """Memory mappings of a process: what vm.max_map_count limits. Raises TargetGone, NotPermitted."""
    return host.proc.read(pid, "maps").count(b"\n")


@dataclass(frozen=True, slots=True)
class KernelLimit:
    """A limit of the whole machine: sysctl name, limit, use."""

    name: str
    limit: int
    used: int | None


def of_kernel(host: Host) -> list[KernelLimit]:
    """kernel.pid_max, kernel.threads-max, fs.file-max (proc_sys_kernel(5), proc_sys_fs(5)); without unreadable ones."""
    tasks = _tasks(host)
    found = []
    for name, used in (("kernel.pid_max", tasks), ("kernel.threads-max", tasks)):
        limit = sysctl(host, name)
        if limit is not None:
            found.append(KernelLimit(name, limit, used))
    # Where memory is plenty, fs.file-max is LONG_MAX: no limit at all, and no row.
    try:
        allocated, unused, most = (int(word) for word in host.proc.text("sys", "fs", "file-nr").split())
        if most < 1 << 62:
            found.append(KernelLimit("fs.file-max", most, allocated - unused))
    except (GotriageError, OSError, ValueError):
        pass
    return found


def sysctl(host: Host, name: str) -> int | None:
    """A sysctl that is one number, None when it cannot be read."""
    try:
        return int(host.proc.text("sys", *name.split(".")).split()[0])
    except (GotriageError, OSError, ValueError, IndexError):
        return None


def _tasks(host: Host) -> int | None:
    """Threads of the machine: the fourth field of /proc/loadavg."""
    try:
        return int(host.proc.text("loadavg").split()[3].partition("/")[2])
    except (GotriageError, OSError, ValueError, IndexError):
        return None


@dataclass(frozen=True, slots=True)
class FileSystem:
    """One file system the target uses, seen at `path`. `room` counts what an ordinary user can still take.

    Bytes for space; `inodes` None where the file system makes them as needed (btrfs).
    """

    path: str
    used_bytes: int
    room_bytes: int
    inodes: tuple[int, int] | None
    read_only: bool


def file_systems(host: Host, pid: int) -> list[FileSystem]:
    """Those of the executable, the working directory, the log files and /tmp, each once.

    Raises OSError or NotPermitted when the target's root may not be entered.
    """
    with InRoot(host.proc.path(pid, "root")) as root:
        found: list[FileSystem] = []
        seen: set[tuple[str, int | None]] = set()
        for path in _places(host, pid):
            try:
                # A file on an overlay has the device of its layer: the mount is the same all the same.
                names = {("device", root.stat(path).st_dev), ("mount", root.mount(path))}
                if names & seen or (measured := _measure(root, path)) is None:
                    continue
            except OSError:
                continue
            seen |= names - {("mount", None)}
            if not any(_alike(measured, other) for other in found):
                found.append(measured)
        return found


def _alike(one: FileSystem, other: FileSystem) -> bool:
    """A bind mount through an overlay is another device and mount with the same blocks; a write lies between looks."""
    size, room = one.used_bytes + one.room_bytes, one.room_bytes
    return (
        abs(size - other.used_bytes - other.room_bytes) <= size // SAME
        and abs(room - other.room_bytes) <= size // SAME
        and one.read_only == other.read_only
    )


def _places(host: Host, pid: int) -> Iterable[str]:
    paths = [host.proc.link(pid, "cwd").removesuffix(" (deleted)")]
    paths += [row.path for row in outputs(host, pid) if row.kind == "file" and not row.deleted]
    paths += [host.proc.link(pid, "exe").removesuffix(" (deleted)"), "/tmp", "/"]
    return [path for path in paths if path.startswith("/")]


def _measure(root: InRoot, path: str) -> FileSystem | None:
    """As df(1) counts; None for file systems without blocks (proc, sysfs)."""
    facts = root.statvfs(path)
    if not facts.f_blocks:
        return None
    inodes = (facts.f_files - facts.f_ffree, facts.f_favail) if facts.f_files else None
    return FileSystem(
        path=path,
        used_bytes=(facts.f_blocks - facts.f_bfree) * facts.f_frsize,
        room_bytes=facts.f_bavail * facts.f_frsize,
        inodes=inodes,
        read_only=bool(facts.f_flag & 1),
    )

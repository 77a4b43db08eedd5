"""/proc under a configurable root: bounded reads, plain errors.

Every function takes numbers and gives typed values; none follows a path that the target can choose. Each file read
here is made by the kernel, so its size is bounded by the kernel; reads are bounded all the same.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from gotriage.errors import NotPermitted, TargetGone

if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_READ = 16 * 1024 * 1024
"""Longest read of one /proc file, bytes; /proc/PID/maps of 100,000 mappings is about 10 MB."""

NAMESPACES = ("cgroup", "ipc", "mnt", "net", "pid", "time", "user", "uts")


@dataclass(frozen=True, slots=True)
class Stat:
    """What gotriage uses of /proc/PID/stat (proc_pid_stat(5)); times in clock ticks, rss in pages."""

    pid: int
    comm: str
    state: str
    ppid: int
    flags: int
    minflt: int
    majflt: int
    utime: int
    stime: int
    threads: int
    start_ticks: int
    vsize: int
    rss_pages: int

    @property
    def is_kernel_thread(self) -> bool:
        """PF_KTHREAD of include/linux/sched.h."""
        return bool(self.flags & 0x00200000)


def parse_stat(data: bytes) -> Stat:
    """Parse /proc/PID/stat; comm may hold any byte, also ')' and spaces. Raises ValueError on anything else."""
    left, right = data.index(b"("), data.rindex(b")")
    f = data[right + 2 :].split()
    return Stat(
        pid=int(data[:left]),
        comm=data[left + 1 : right].decode("utf-8", "surrogateescape"),
        state=f[0].decode(),
        ppid=int(f[1]),
        flags=int(f[6]),
        minflt=int(f[7]),
        majflt=int(f[9]),
        utime=int(f[11]),
        stime=int(f[12]),
        threads=int(f[17]),
        start_ticks=int(f[19]),
        vsize=int(f[20]),
        rss_pages=int(f[21]),
    )


def parse_fields(data: bytes) -> dict[str, str]:
    """Parse the "Name:\\tvalue" lines of /proc/PID/status, /proc/PID/io, /proc/meminfo and their like."""
    fields = {}
    for line in data.split(b"\n"):
        name, colon, value = line.partition(b":")
        if colon:
            fields[name.decode("utf-8", "replace").strip()] = value.decode("utf-8", "replace").strip()
    return fields


_LIMIT = re.compile(r"^(Max [a-z -]+?)\s{2,}(\S+)\s+(\S+)\s*(\S*)\s*$")


def parse_limits(text: str) -> dict[str, tuple[int | None, int | None]]:
    """Parse /proc/PID/limits (proc_pid_limits(5)): "Max open files" to (soft, hard); None is unlimited."""
    limits = {}
    for line in text.splitlines():
        if match := _LIMIT.match(line):
            soft, hard = (None if word == "unlimited" else int(word) for word in (match[2], match[3]))
            limits[match[1]] = (soft, hard)
    return limits


@dataclass(frozen=True, slots=True)
class Mapping:
    """One line of /proc/PID/maps (proc_pid_maps(5))."""

    start: int
    end: int
    perms: str
    offset: int
    device: str
    inode: int
    path: str

    @property
    def deleted(self) -> bool:
        """The kernel marks the path of an unlinked file so."""
        return self.path.endswith(" (deleted)")


def parse_maps(data: bytes) -> list[Mapping]:
    """Parse /proc/PID/maps; the kernel escapes newlines in paths as \\012."""
    rows = []
    for line in data.splitlines():
        parts = line.split(None, 5)
        if len(parts) < 5:
            continue
        start, _, end = parts[0].partition(b"-")
        path = parts[5].decode("utf-8", "surrogateescape") if len(parts) > 5 else ""
        perms, device = parts[1].decode(), parts[3].decode()
        rows.append(Mapping(int(start, 16), int(end, 16), perms, int(parts[2], 16), device, int(parts[4]), path))
    return rows


class Proc:
    """The proc file system mounted at `root`; the tests give a folder of their own."""

    def __init__(self, root: str | Path = "/proc") -> None:
        self.root = Path(root)

    def path(self, *parts: str | int) -> str:
        """A path below the root."""
        return "/".join((str(self.root), *map(str, parts)))

    def read(self, *parts: str | int, limit: int = MAX_READ) -> bytes:
        """Read one file. Raises TargetGone when it vanished, NotPermitted when the kernel says no, OSError else."""
        path = self.path(*parts)
        try:
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except OSError as error:
            raise translated(error, path) from error
        try:
            chunks, left = [], limit
            while left > 0 and (chunk := os.read(fd, min(left, 1 << 18))):
                chunks.append(chunk)
                left -= len(chunk)
            return b"".join(chunks)
        except OSError as error:
            raise translated(error, path) from error
        finally:
            os.close(fd)

    def text(self, *parts: str | int) -> str:
        """Read one file as text, undecodable bytes as surrogates."""
        return self.read(*parts).decode("utf-8", "surrogateescape")

    def link(self, *parts: str | int) -> str:
        """Read a symbolic link (exe, cwd, root, fd/N, ns/N)."""
        path = self.path(*parts)
        try:
            return os.readlink(path)
        except OSError as error:
            raise translated(error, path) from error

    def shares(self, pid: int | str, kind: str) -> bool:
        """Whether the process is in our namespace of that type (net, user ...). Raises TargetGone, NotPermitted."""
        return self.link(pid, "ns", kind) == self.link("self", "ns", kind)

    def names(self, *parts: str | int) -> list[str]:
        """List a directory, unsorted."""
        path = self.path(*parts)
        try:
            return os.listdir(path)
        except OSError as error:
            raise translated(error, path) from error

    def pids(self) -> list[int]:
        """All process ids that this root shows."""
        return sorted(int(name) for name in self.names() if name.isdigit())

    def stat(self, pid: int) -> Stat:
        """/proc/PID/stat."""
        return parse_stat(self.read(pid, "stat"))

    def status(self, pid: int) -> dict[str, str]:
        """/proc/PID/status as name to text."""
        return parse_fields(self.read(pid, "status"))

    def limits(self, pid: int) -> dict[str, tuple[int | None, int | None]]:
        """/proc/PID/limits."""
        return parse_limits(self.text(pid, "limits"))

    def maps(self, pid: int) -> list[Mapping]:
        """/proc/PID/maps."""
        return parse_maps(self.read(pid, "maps"))

    def cmdline(self, pid: int, limit: int = 256 * 1024) -> list[str]:
        """The argument vector; empty for kernel threads and zombies."""
        data = self.read(pid, "cmdline", limit=limit)
        return [part.decode("utf-8", "surrogateescape") for part in data.rstrip(b"\0").split(b"\0")] if data else []

    def environ(self, pid: int, limit: int = 2 * 1024 * 1024) -> dict[str, str]:
        """The environment at exec; the first of two equal names wins, as in getenv(3)."""
        found: dict[str, str] = {}
        for part in self.read(pid, "environ", limit=limit).split(b"\0"):
            name, equals, value = part.partition(b"=")
            if equals:
                key = name.decode("utf-8", "surrogateescape")
                found.setdefault(key, value.decode("utf-8", "surrogateescape"))
        return found

    def children(self, pid: int) -> list[int]:
        """Direct children of all threads; from /proc/PID/task/*/children, else empty."""
        found: list[int] = []
        for tid in self.names(pid, "task"):
            try:
                found += map(int, self.read(pid, "task", tid, "children").split())
            except (OSError, TargetGone, ValueError):
                continue
        return found

    def namespaces(self, pid: int) -> dict[str, str]:
        """Namespace type to "type:[inode]"; those that the kernel does not have are left out."""
        found = {}
        for name in NAMESPACES:
            try:
                found[name] = self.link(pid, "ns", name)
            except TargetGone:
                continue
        return found

    def cgroup_lines(self, pid: int) -> Iterator[tuple[int, str, str]]:
        """/proc/PID/cgroup (cgroups(7)): hierarchy id, controllers ("" for v2), path."""
        for line in self.text(pid, "cgroup").splitlines():
            hierarchy, _, rest = line.partition(":")
            controllers, _, path = rest.partition(":")
            if hierarchy.isdigit():
                yield int(hierarchy), controllers, path


def translated(error: OSError, path: str) -> Exception:
    """ENOENT and ESRCH become TargetGone, EPERM and EACCES NotPermitted; any other error stays itself."""
    if isinstance(error, (FileNotFoundError, ProcessLookupError)):
        return TargetGone(f"{path} is gone")
    if isinstance(error, PermissionError):
        return NotPermitted(f"{path}: permission denied; run gotriage as root (sudo)")
    return error

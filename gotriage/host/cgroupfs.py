"""The cgroup file systems, v1, v2 and both at once, as this host's mounts show them.

Paths in /proc/PID/cgroup and the root field of a cgroup mount in /proc/PID/mountinfo are both told relative to the
cgroup namespace of the reader (cgroup_namespaces(7)), so one is found below the other whatever namespace the target
or the mount's owner is in.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from gotriage.errors import GotriageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from gotriage.host import Host

MAX_DEPTH = 64
"""How many levels are looked at from a cgroup upwards."""
MAX_FILE = 256 * 1024
UNLIMITED = 1 << 62
"""A v1 counter without a limit reads LONG_MAX in pages (PAGE_COUNTER_MAX, include/linux/page_counter.h)."""

_PLAIN_OPTIONS = frozenset(("rw", "ro", "xattr", "noprefix", "clone_children", "cpuset_v2_mode", "favordynmods"))
_OCTAL = re.compile(r"\\([0-7]{3})")


@dataclass(frozen=True, slots=True)
class CgroupMount:
    """One cgroup mount: `root` is the cgroup that `point` shows; v2 has no controllers here."""

    version: int
    controllers: frozenset[str]
    root: tuple[str, ...]
    point: str

    def has(self, controller: str) -> bool:
        """Whether it is the hierarchy of "memory", "name=systemd" ...; "" is v2, as in /proc/PID/cgroup."""
        return controller in self.controllers if controller else self.version == 2

    def folder(self, path: str) -> str | None:
        """Where the cgroup `path` is, None when the mount does not show it."""
        return self.place(_parts(path))

    def place(self, parts: tuple[str, ...]) -> str | None:
        """Like `folder`, for a path that is taken apart."""
        low = len(self.root)
        if parts[:low] != self.root or ".." in parts[low:]:
            return None
        return "/".join((self.point.rstrip("/"), *parts[low:]))


def parse_mounts(text: str, prefix: str = "") -> list[CgroupMount]:
    """The cgroup mounts of a mountinfo file (proc_pid_mountinfo(5)); mount points get `prefix` in front.

    v2 comes first, and of each hierarchy the widest view.
    """
    found = []
    for line in text.splitlines():
        left, dash, right = line.partition(" - ")
        fields, facts = left.split(" "), right.split(" ")
        if not dash or len(fields) < 6 or len(facts) < 3 or facts[0] not in ("cgroup", "cgroup2"):
            continue
        version = 2 if facts[0] == "cgroup2" else 1
        controllers = _controllers(facts[2]) if version == 1 else frozenset[str]()
        found.append(CgroupMount(version, controllers, _parts(unescaped(fields[3])), prefix + unescaped(fields[4])))
    return sorted(found, key=lambda mount: (-mount.version, sorted(mount.controllers), len(mount.root)))


def _controllers(options: str) -> frozenset[str]:
    """Super block options less those that are no controllers: "rw,cpu,cpuacct" is cpu and cpuacct."""
    words = (word for word in options.split(",") if not word.startswith("release_agent="))
    return frozenset(words) - _PLAIN_OPTIONS


def unescaped(text: str) -> str:
    """Undo the octal escapes of mountinfo (space, tab, newline, backslash)."""
    return _OCTAL.sub(lambda match: chr(int(match[1], 8)), text)


def _parts(path: str) -> tuple[str, ...]:
    return tuple(part for part in path.split("/") if part not in ("", "."))


@dataclass(frozen=True)
class Level:
    """One cgroup directory: its path as the kernel names it, and where it is mounted."""

    path: str
    folder: str

    def exists(self) -> bool:
        """Whether the cgroup is there and may be looked at."""
        return os.access(f"{self.folder}/cgroup.procs", os.F_OK)

    def text(self, name: str) -> str | None:
        """A control file, stripped; None when it is not there or may not be read."""
        try:
            fd = os.open(f"{self.folder}/{name}", os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except OSError:
            return None
        try:
            return os.read(fd, MAX_FILE).decode("utf-8", "replace").strip()
        except OSError:
            return None
        finally:
            os.close(fd)

    def processes(self) -> list[int]:
        """The processes directly in it, as our PID namespace numbers them (0 is one of another); bounded."""
        found = b""
        try:
            with Path(self.folder, "cgroup.procs").open("rb", buffering=0) as file:
                while len(found) < MAX_FILE and (piece := file.read(MAX_FILE)):  # the kernel gives a page at a time
                    found += piece
        except OSError:  # a threaded cgroup refuses
            return []
        return [int(word) for word in found.split() if word.isdigit()]

    def number(self, name: str) -> int | None:
        """A file with one number; None when it is not there or says "max"."""
        text = self.text(name)
        return int(text) if text and _is_number(text) else None

    def table(self, name: str) -> dict[str, int]:
        """A flat keyed file (memory.stat, cpu.stat, memory.events); empty when it is not there."""
        found = {}
        for line in (self.text(name) or "").splitlines():
            key, _, value = line.partition(" ")
            if _is_number(value):
                found[key] = int(value)
        return found


def _is_number(text: str) -> bool:
    return len(text) < 24 and text.lstrip("-").isascii() and text.lstrip("-").isdigit()


@dataclass(frozen=True)
class Group:
    """A cgroup in one hierarchy, with its ancestors as far up as the mount shows them."""

    version: int
    levels: tuple[Level, ...]
    """The cgroup itself first, then its parent, up to the root of the mount."""

    @property
    def leaf(self) -> Level:
        """The cgroup itself."""
        return self.levels[0]

    @property
    def whole_machine(self) -> bool:
        """It is the root of its hierarchy, not of a namespace: it counts the machine (cgroups(7))."""
        if self.version == 1:
            return self.leaf.text("release_agent") is not None
        return self.leaf.text("cgroup.events") is None

    @property
    def path(self) -> str:
        """The cgroup's path in its hierarchy."""
        return self.levels[0].path

    def tightest(self, name: str) -> tuple[int, Level] | None:
        """The smallest number in the file of that name on any level, and the level; None when nothing limits."""
        found: tuple[int, Level] | None = None
        for level in self.levels:
            value = level.number(name)
            if value is not None and 0 <= value < UNLIMITED and (found is None or value < found[0]):
                found = value, level
        return found


class Cgroups:
    """All cgroup mounts that can be reached: our own, else those of process 1, else of the `--root-pid` process."""

    def __init__(self, host: Host) -> None:
        self.host = host

    @cached_property
    def mounts(self) -> list[CgroupMount]:
        """Every mount, the nearest source first."""
        sources = [("self", ""), ("1", self.host.proc.path("1", "root"))]
        if self.host.root_pid is not None:
            pid = str(self.host.root_pid)
            sources.append((pid, self.host.proc.path(pid, "root")))
        found: list[CgroupMount] = []
        for pid, prefix in sources:
            try:
                found += parse_mounts(self.host.proc.text(pid, "mountinfo"), prefix)
            except (GotriageError, OSError):
                continue
        return found

    def v2(self, path: str) -> Group | None:
        """A cgroup of the unified hierarchy; None when no mount shows it."""
        return self._find(path, (mount for mount in self.mounts if mount.has("")))

    def v1(self, controller: str, path: str) -> Group | None:
        """A cgroup of the v1 hierarchy that has the controller ("memory", "cpu", "name=systemd" ...)."""
        return self._find(path, (mount for mount in self.mounts if mount.has(controller)))

    def _find(self, path: str, mounts: Iterable[CgroupMount]) -> Group | None:
        parts = _parts(path)
        for mount in sorted(mounts, key=lambda mount: len(mount.root)):
            levels = tuple(_levels(mount, parts))
            if levels and levels[0].exists():
                return Group(mount.version, levels)
        return None


def _levels(mount: CgroupMount, parts: tuple[str, ...]) -> Iterator[Level]:
    """From the cgroup upwards, nothing for one that the mount does not show.

    A cgroup deeper than MAX_DEPTH levels shows its lowest ones.
    """
    for end in range(len(parts), max(len(mount.root), len(parts) - MAX_DEPTH) - 1, -1):
        folder = mount.place(parts[:end])
        if folder is None:
            return
        yield Level("/" + "/".join(parts[:end]), folder)


def unified_path(host: Host, pid: int | None, otherwise: str | None) -> str | None:
    """The process's path in the unified hierarchy; `otherwise` where there is no process to ask."""
    if pid is None:
        return otherwise
    try:
        return next((path for hierarchy, _, path in host.proc.cgroup_lines(pid) if hierarchy == 0), None)
    except (GotriageError, OSError):
        return otherwise


def controllers(cgroup_v1: dict[str, str]) -> dict[str, str]:
    """Controller to path, with joined names ("cpu,cpuacct") taken apart."""
    return {name: path for names, path in cgroup_v1.items() for name in names.split(",")}


def locate(cgroups: Cgroups, controller: str, v2_path: str | None, v1_paths: dict[str, str]) -> Group | None:
    """The group whose files the controller has: the v1 hierarchy when it is mounted there, else the unified one."""
    path = controllers(v1_paths).get(controller)
    if path is not None and (group := cgroups.v1(controller, path)):
        return group
    return cgroups.v2(v2_path) if v2_path is not None else None

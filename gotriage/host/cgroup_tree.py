"""The processes of a cgroup and its descendants, and cgroups by name: cgroup v2, or systemd's own v1 hierarchy.

Sources: cgroups(7), proc_pid_mountinfo(5). Paths of cgroups are those of our own /proc/PID/cgroup.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Final

from gotriage.errors import GotriageError
from gotriage.host.cgroupfs import parse_mounts

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gotriage.host import Host
    from gotriage.host.cgroupfs import CgroupMount

MAX_GROUPS: Final = 20_000
"""Cgroups visited in one walk."""
MAX_DEPTH: Final = 24
MAX_PIDS: Final = 50_000


class CgroupTree:
    """The hierarchies in which systemd and engines keep their groups, as mounted here."""

    def __init__(self, host: Host) -> None:
        self._host = host
        try:
            self._mounts = parse_mounts(host.proc.text("self", "mountinfo"))
        except (GotriageError, OSError):
            self._mounts = []

    def root_of_view(self) -> str:
        """The cgroup where the tree of `host.root_pid`'s systemd begins, in our paths; "/" without one."""
        if self._host.root_pid is None:
            return "/"
        try:
            mounts = parse_mounts(self._host.proc.text(self._host.root_pid, "mountinfo"))
            own = group_of(self._host, self._host.root_pid)
        except (GotriageError, OSError):
            return "/"
        # The mount's root is shown as we see it; a process outside of its own mount's root tells nothing.
        for mount in mounts:
            if _of_systemd(mount) and own is not None and ".." not in mount.root:
                return "/" + "/".join(mount.root)
        return "/"

    def folders(self, path: str) -> Iterator[str]:
        """Where the cgroup can be looked at: v2 first, then v1."""
        for mount in self._mounts:
            folder = mount.folder(path)
            if folder is not None and os.path.isdir(folder):
                yield folder

    def exists(self, path: str) -> bool:
        """Whether there is such a cgroup."""
        return next(self.folders(path), None) is not None

    def pids(self, path: str) -> list[int]:
        """Our PIDs of all processes in the cgroup and below, in order of their numbers; empty when there is none."""
        for folder in self.folders(path):
            found: set[int] = set()
            for place, _ in _walk(folder):
                found.update(_procs(place))
                if len(found) > MAX_PIDS:
                    break
            if found:
                return sorted(found)
        return []

    def named(self, name: str, root: str = "/") -> list[str]:
        """Paths of the cgroups with that last component, in the first hierarchy that has any."""
        for found in self._by_hierarchy(root):
            paths = [path for path in found if path.rpartition("/")[2] == name]
            if paths:
                return paths
        return []

    def groups(self, root: str = "/") -> list[str]:
        """All cgroup paths below `root` in systemd's hierarchies."""
        return sorted({path for found in self._by_hierarchy(root) for path in found})

    def _by_hierarchy(self, root: str) -> Iterator[list[str]]:
        for mount in self._mounts:
            folder = mount.folder(root) if _of_systemd(mount) else None
            if folder is not None:
                base = root.rstrip("/")
                yield [base + below for _, below in _walk(folder) if below]


def _of_systemd(mount: CgroupMount) -> bool:
    return mount.has("") or mount.has("name=systemd")


def group_of(host: Host, pid: int) -> str | None:
    """The process's cgroup: v2, unless that is the root and v1 knows more. Raises TargetGone, NotPermitted."""
    lines = list(host.proc.cgroup_lines(pid))
    unified = next((path for hierarchy, _, path in lines if hierarchy == 0), None)
    if unified not in (None, "/"):
        return unified
    systemd = next((path for _, names, path in lines if names == "name=systemd"), None)
    if systemd not in (None, "/"):
        return systemd
    return next((path for _, _, path in lines if path != "/"), unified)


def v1_groups(host: Host, pid: int) -> dict[str, str]:
    """Controller to path for the v1 hierarchies of the process. Raises TargetGone, NotPermitted."""
    found = {}
    for hierarchy, controllers, path in host.proc.cgroup_lines(pid):
        if hierarchy:
            found.update(dict.fromkeys(controllers.split(","), path))
    return found


def _walk(folder: str) -> Iterator[tuple[str, str]]:
    """Folder and path below the start of a cgroup and its descendants, breadth first, bounded."""
    waiting, seen = [(folder, "", 0)], 0
    while waiting and seen < MAX_GROUPS:
        place, below, depth = waiting.pop(0)
        seen += 1
        yield place, below
        if depth >= MAX_DEPTH:
            continue
        try:
            with os.scandir(place) as entries:
                names = [entry.name for entry in entries if entry.is_dir(follow_symlinks=False)]
        except OSError:
            continue
        waiting += [(f"{place}/{name}", f"{below}/{name}", depth + 1) for name in names]


def _procs(folder: str) -> list[int]:
    """cgroup.procs; a threaded cgroup refuses (EOPNOTSUPP), and a 0 is a process of another PID namespace."""
    try:
        with Path(folder, "cgroup.procs").open("rb") as file:
            return [int(word) for word in file.read(1 << 20).split() if word != b"0"]
    except (OSError, ValueError):
        return []

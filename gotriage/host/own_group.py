"""A cgroup of gotriage's own, where it would otherwise eat the last memory of the service that it looks at.

That happens when gotriage is started inside the target's limit: by exec into its container, from its unit or slice.
Memory counts against the group in which it is first touched (cgroups(7)), so leaving early is what helps.
"""

from __future__ import annotations

import errno
import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from gotriage.errors import GotriageError
from gotriage.host import citizen
from gotriage.host.cgroupfs import parse_mounts

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gotriage.host import Host
    from gotriage.host.cgroupfs import CgroupMount

NEEDED = 128 * 1024 * 1024
"""Bytes that have to be left for gotriage to stay where it is; agent and front use about 100 MB."""
UNLIMITED = 1 << 60
"""memory.limit_in_bytes of a v1 group without a limit is a page-rounded 2^63."""
PREFIX = "gotriage-"


@dataclass(frozen=True, slots=True)
class Crowded:
    """We run under the limit of the target's `folder`, and only `left` bytes remain below it."""

    folder: Path
    own: Path
    left: int


def crowded(host: Host, target_pid: int, needed: int = NEEDED) -> Crowded | None:
    """Whether we take our memory from the target's own limit, and it is short; None when not, or not to be told."""
    try:
        mount, ours = _memory_group(host, "self")
        _, theirs = _memory_group(host, target_pid)
        limited = _limited(mount, theirs)
        if limited is None or not f"{ours.rstrip('/')}/".startswith(f"{limited.rstrip('/')}/"):
            return None
        folder, own = mount.folder(limited), mount.folder(ours)
        left = _left(Path(folder)) if folder else None
    except (GotriageError, OSError, ValueError, LookupError):
        return None
    if folder is None or own is None or left is None or left >= needed:
        return None
    return Crowded(Path(folder), Path(own), left)


def room(host: Host) -> int | None:
    """Bytes that we may still take: what the machine has, or what is left below our own limit; None when not known."""
    left = [size for size in (citizen.available(), left_for_us(host)) if size is not None]
    return max(min(left), 0) if left else None


def left_for_us(host: Host) -> int | None:
    """Bytes that are left below the memory limit of our own cgroup; None without a limit, or when it cannot be told."""
    try:
        mount, ours = _memory_group(host, "self")
        limited = _limited(mount, ours)
        folder = mount.folder(limited) if limited is not None else None
        return _left(Path(folder)) if folder else None
    except (GotriageError, OSError, ValueError, LookupError):
        return None


def _memory_group(host: Host, pid: int | str) -> tuple[CgroupMount, str]:
    """The hierarchy that counts memory, and the process's place in it. Raises LookupError when none is mounted."""
    mounts = parse_mounts(host.proc.text("self", "mountinfo"))
    places = {}
    for line in host.proc.text(pid, "cgroup").splitlines():
        _, names, path = line.split(":", 2)
        places.update(dict.fromkeys(names.split(","), path))
    for name in ("memory", ""):
        for mount in mounts:
            if mount.has(name) and name in places:
                return mount, places[name]
    raise LookupError("no cgroup counts memory here")


def _limited(mount: CgroupMount, path: str) -> str | None:
    """The nearest cgroup at or above `path` that has a memory limit."""
    while True:
        folder = mount.folder(path)
        if folder is None:
            return None
        if _limit(Path(folder)) is not None:
            return path
        if path in ("", "/"):
            return None
        path = path.rpartition("/")[0] or "/"


def _limit(folder: Path) -> int | None:
    for name in ("memory.max", "memory.limit_in_bytes"):
        with suppress(OSError):
            text = (folder / name).read_text().strip()
            return int(text) if text.isdigit() and int(text) < UNLIMITED else None
    return None


def _left(folder: Path) -> int | None:
    """Limit less what cannot be reclaimed at once: use without inactive file cache."""
    limit = _limit(folder)
    for name in ("memory.current", "memory.usage_in_bytes"):
        with suppress(OSError):
            used = int((folder / name).read_text())
            cache = 0
            for line in (folder / "memory.stat").read_text().splitlines():
                word, _, number = line.partition(" ")
                if word in ("total_inactive_file", "inactive_file"):
                    cache = int(number)
            return None if limit is None else limit - used + cache
    return None


class OwnGroup:
    """A cgroup beside the target's, for our processes."""

    def __init__(self, crowd: Crowded) -> None:
        """Make it. Raises OSError where cgroupfs may not be written, or ends with the target's: in most containers."""
        if os.path.ismount(crowd.folder):  # the folder above is of another file system
            raise OSError(errno.EXDEV, "no cgroup beside it can be seen here")
        beside = crowd.folder.parent
        _sweep(beside)
        self._home = crowd.own
        self.folder = beside / f"{PREFIX}{os.getpid()}"
        self.folder.mkdir(0o755)

    def enter(self, pids: Iterable[int]) -> None:
        """Move our processes in. Raises OSError."""
        for pid in pids:
            (self.folder / "cgroup.procs").write_text(str(pid))

    def leave(self) -> None:
        """Move all back to where they came from, and remove the group."""
        with suppress(OSError, ValueError):
            for word in (self.folder / "cgroup.procs").read_text().split():
                (self._home / "cgroup.procs").write_text(word)
        with suppress(OSError):
            self.folder.rmdir()


def _sweep(beside: Path) -> None:
    """Groups of an earlier gotriage that was killed; one in use cannot be removed."""
    for folder in list(beside.glob(f"{PREFIX}*"))[:100]:
        with suppress(OSError):
            folder.rmdir()

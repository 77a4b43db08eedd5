"""PIDs of another PID namespace: what process N calls 7 may be 4242 to us.

Sources: NSpid of proc_pid_status(5), NS_GET_PARENT of ioctl_ns(2) (linux/nsfs.h).
"""

from __future__ import annotations

import fcntl
import os
from typing import TYPE_CHECKING, Final

from gotriage.errors import GotriageError, NoSuchTarget

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gotriage.host import Host

NS_GET_PARENT: Final = 0xB702
MAX_NESTED: Final = 32
"""MAX_PID_NS_LEVEL of the kernel."""


def own(host: Host) -> tuple[int, int]:
    """Device and inode of our PID namespace, as bpf_get_ns_current_pid_tgid takes them. Raises OSError."""
    facts = os.stat(host.proc.path("self", "ns", "pid"))
    return facts.st_dev, facts.st_ino


class PidView:
    """Translates between our PIDs and those that process `host.root_pid` sees; the identity without one.

    Raises NoSuchTarget from the constructor when that process does not exist, NotPermitted when its namespaces may not
    be read.
    """

    def __init__(self, host: Host) -> None:
        self._proc = host.proc
        self._level = 0
        self._namespace = ""
        if host.root_pid is None:
            return
        if not os.path.isdir(host.proc.path(host.root_pid)):
            raise NoSuchTarget(f"--root-pid {host.root_pid}: no such process")
        namespace = host.proc.link(host.root_pid, "ns", "pid")
        if namespace != host.proc.link("self", "ns", "pid"):
            self._namespace = namespace
            self._level = len(self._nspid(host.root_pid)) - 1

    @property
    def same(self) -> bool:
        """Both see the same PIDs."""
        return not self._namespace

    def to_ours(self, pid: int, first: Iterable[int] = ()) -> int | None:
        """Our PID of what they call `pid`, None when no process has it; `first` are likely ones of ours."""
        if self.same:
            return pid
        tried = set()
        for candidates in (first, self._proc.pids()):
            for ours in candidates:
                if ours not in tried and self.to_theirs(ours) == pid:
                    return ours
                tried.add(ours)
        return None

    def to_theirs(self, ours: int) -> int | None:
        """What they call our PID, None when they do not see it."""
        if self.same:
            return ours
        numbers = self._nspid(ours)
        if len(numbers) <= self._level or not self._inside(ours, len(numbers) - 1 - self._level):
            return None
        return numbers[self._level]

    def _nspid(self, pid: int) -> list[int]:
        try:
            return [int(word) for word in self._proc.status(pid).get("NSpid", "").split()]
        except (GotriageError, OSError, ValueError):
            return []

    def _inside(self, pid: int, steps: int) -> bool:
        """Whether the process's PID namespace is theirs, `steps` parents up."""
        try:
            if steps == 0:
                return self._proc.link(pid, "ns", "pid") == self._namespace
            return self._ancestor(pid, min(steps, MAX_NESTED)) == self._namespace
        except (GotriageError, OSError):
            return False

    def _ancestor(self, pid: int, steps: int) -> str:
        """The PID namespace `steps` parents above the process's own, as "pid:[inode]"."""
        fd = os.open(self._proc.path(pid, "ns", "pid"), os.O_RDONLY | os.O_CLOEXEC)
        try:
            for _ in range(steps):
                parent = fcntl.ioctl(fd, NS_GET_PARENT)
                os.close(fd)
                fd = parent
            return f"pid:[{os.fstat(fd).st_ino}]"
        finally:
            os.close(fd)

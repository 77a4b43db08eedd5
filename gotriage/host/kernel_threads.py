"""What the kernel says about one thread: state, the function it waits in, name and CPU time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from gotriage.errors import GotriageError
from gotriage.host.clock import TICKS_PER_SECOND
from gotriage.host.proc import parse_stat

if TYPE_CHECKING:
    from gotriage.host import Host


@dataclass(frozen=True, slots=True)
class KernelThread:
    """proc_pid_stat(5) and proc_pid_wchan(5); `wchan` is "" where it is hidden or the thread does not wait."""

    state: str
    wchan: str
    comm: str
    cpu_seconds: float


def read_one(host: Host, pid: int, tid: int) -> KernelThread | None:
    """The thread as it is now; None when it is gone or may not be read."""
    try:
        stat = parse_stat(host.proc.read(pid, "task", tid, "stat", limit=4096))
    except (GotriageError, OSError, ValueError, IndexError):
        return None
    try:
        wchan = host.proc.read(pid, "task", tid, "wchan", limit=256).decode("ascii", "replace").strip()
    except (GotriageError, OSError):
        wchan = ""
    seconds = (stat.utime + stat.stime) / TICKS_PER_SECOND
    return KernelThread(stat.state, "" if wchan == "0" else wchan, stat.comm, seconds)

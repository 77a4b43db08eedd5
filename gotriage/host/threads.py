"""Threads one by one, read with few system calls: state, tracer, switches and waiting time for a CPU."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gotriage.host.proc import translated

if TYPE_CHECKING:
    from gotriage.host import Host

_STATE = re.compile(rb"^State:\t(\S)", re.MULTILINE)
_TRACER = re.compile(rb"^TracerPid:\t(\d+)", re.MULTILINE)
_SWITCHES = re.compile(rb"voluntary_ctxt_switches:\t(\d+)")


@dataclass(frozen=True, slots=True)
class Thread:
    """One thread: proc_pid_status(5) and /proc/PID/schedstat (Documentation/scheduler/sched-stats.rst).

    `run_delay` is the time spent waiting for a CPU while runnable, nanoseconds, None without CONFIG_SCHED_INFO;
    `switches` counts voluntary and other context switches.
    """

    tid: int
    state: str
    tracer: int
    switches: int
    run_delay: int | None


def parse_thread(tid: int, status: bytes, schedstat: bytes | None) -> Thread | None:
    """Parse one thread's status and schedstat; None when the status has no state (it is just ending)."""
    state = _STATE.search(status)
    if state is None:
        return None
    tracer = _TRACER.search(status)
    words = (schedstat or b"").split()
    return Thread(
        tid=tid,
        state=state[1].decode("ascii", "replace"),
        tracer=int(tracer[1]) if tracer else 0,
        switches=sum(map(int, _SWITCHES.findall(status))),
        run_delay=int(words[1]) if len(words) > 1 and words[1].isdigit() else None,
    )


def read(host: Host, pid: int, limit: int) -> list[Thread]:
    """At most `limit` threads of the process, lowest thread id first.

    Raises TargetGone when the process is gone, NotPermitted when the kernel refuses; threads that end meanwhile are
    left out.
    """
    path = host.proc.path(pid, "task")
    try:
        folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise translated(error, path) from error
    try:
        tids = sorted(int(name) for name in os.listdir(folder) if name.isdigit())[:limit]
        found = []
        for tid in tids:
            status = _small(f"{tid}/status", folder)
            if status and (thread := parse_thread(tid, status, _small(f"{tid}/schedstat", folder))):
                found.append(thread)
        return found
    finally:
        os.close(folder)


def _small(name: str, folder: int) -> bytes | None:
    """A file of at most 8 KB below an open folder; None when it cannot be read."""
    try:
        fd = os.open(name, os.O_RDONLY | os.O_CLOEXEC, dir_fd=folder)
    except OSError:
        return None
    try:
        return os.read(fd, 8192)
    except OSError:
        return None
    finally:
        os.close(fd)

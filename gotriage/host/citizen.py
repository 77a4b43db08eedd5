"""A good citizen on a sick host: gotriage yields the CPU and the disk, is the first to go, and knows what it costs."""

from __future__ import annotations

import ctypes
import os
import resource
import signal
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from gotriage.host import clock

if TYPE_CHECKING:
    from collections.abc import Iterable

SYS_IOPRIO_SET = {"x86_64": 251, "aarch64": 30, "riscv64": 30, "ppc64le": 273, "s390x": 282}
"""ioprio_set(2) by machine: arch/*/…/syscall*.tbl and include/uapi/asm-generic/unistd.h."""
IOPRIO_WHO_PROCESS = 1
IOPRIO_IDLE = 3 << 13
"""IOPRIO_PRIO_VALUE(IOPRIO_CLASS_IDLE, 0) of include/uapi/linux/ioprio.h."""
M_ARENA_MAX = -8
"""mallopt(3)."""
ALONE = "/proc/self"
MEMINFO = "/proc/meminfo"
AGENT_NICE = 10
"""Nice value of the agent: it yields to the service, and still gets enough of a machine whose every CPU is taken
to look each second; at 19 it would get about a hundredth of what the service gets (weights 110, 15 and 1024 of
sched_prio_to_weight, kernel/sched/core.c)."""
AGENT_SCORE = 1000
"""oom_score_adj of the agent and its helpers: the first to go."""
FRONT_SCORE = 900
"""oom_score_adj of the front: after the agent, and long before the service."""

_libc = ctypes.CDLL(None, use_errno=True)


def yield_cpu(nice: int) -> None:
    """Nice value of the calling thread and of those that it starts (sched(7)); never above what it is already."""
    with suppress(OSError):
        if os.getpriority(os.PRIO_PROCESS, 0) < nice:
            os.setpriority(os.PRIO_PROCESS, 0, nice)


def yield_disk() -> None:
    """The idle I/O class for the calling thread and those that it starts (ioprio_set(2))."""
    number = SYS_IOPRIO_SET.get(os.uname().machine)
    if number is not None:
        _libc.syscall(number, IOPRIO_WHO_PROCESS, 0, IOPRIO_IDLE)


def die_first(score: int) -> None:
    """The kernel's OOM killer takes this process before the service (proc_pid_oom_score_adj(5)); inherited."""
    with suppress(OSError):
        Path(ALONE, "oom_score_adj").write_text(str(score))


def few_arenas(count: int = 2) -> None:
    """glibc keeps an arena a thread, and each holds on to memory; two are enough. Does nothing with another libc."""
    with suppress(AttributeError):
        _libc.mallopt(M_ARENA_MAX, count)


def cpu_seconds() -> float:
    """CPU time of this process and of the helpers that it has waited for, seconds (getrusage(2))."""
    own, helpers = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    return own.ru_utime + own.ru_stime + helpers.ru_utime + helpers.ru_stime


def rss_bytes() -> int | None:
    """Resident memory of this process, bytes (proc_pid_statm(5))."""
    try:
        pages = int(Path(ALONE, "statm").read_text().split()[1])
    except (OSError, ValueError, IndexError):
        return None
    return pages * os.sysconf("SC_PAGE_SIZE")


def room(most: int) -> int:
    """Bytes that this process may still take: half of what is available (proc_meminfo(5)), at most `most`."""
    left = available()
    return most if left is None else min(most, left // 2)


def available() -> int | None:
    """Bytes that the machine can still give away without swapping (MemAvailable of proc_meminfo(5))."""
    with suppress(OSError, ValueError, IndexError):
        for line in Path(MEMINFO).read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    return None


def children(root: int) -> list[int]:
    """Every descendant of process `root`, the nearest first, from /proc/PID/task/*/children; bounded."""
    found: list[int] = []
    waiting = [root]
    while waiting and len(found) < 10_000:
        pid = waiting.pop(0)
        for file in Path(f"/proc/{pid}/task").glob("*/children"):
            with suppress(OSError, ValueError):
                some = [int(word) for word in file.read_text().split()]
                found += some
                waiting += some
    return found


def helpers_of_dead_agent(root: int, score: int) -> list[int]:
    """Orphans that came to process `root`, told from those of the front by the score that they inherited."""
    found = []
    for pid in children(root):
        with suppress(OSError, ValueError):
            if int(Path(f"/proc/{pid}/oom_score_adj").read_text()) == score:
                found.append(pid)
    return found


PATIENCE = 2.0
"""Seconds that a killed process may take to end; one that waits in the kernel for a dead file server never does."""


def end_all(pids: Iterable[int]) -> list[int]:
    """Kill these descendants of ours, and take note of those that are our own children.

    Those that must end by themselves are asked to. Returns those of our children that have not ended within PATIENCE:
    they will when the kernel lets go of them.
    """
    pids = list(pids)
    for pid in pids:
        with suppress(ProcessLookupError, PermissionError):
            os.kill(pid, signal.SIGTERM if _ends_by_itself(pid) else signal.SIGKILL)
    until = clock.monotonic() + PATIENCE
    while pids := [pid for pid in pids if not _collected(pid)]:
        if clock.monotonic() >= until:
            break
        clock.sleep(0.005)
    return pids


BREAKPOINTS = ("ltrace",)
"""Helpers that write breakpoints into a process: were they killed, these would stay, and kill it."""


def _ends_by_itself(pid: int) -> bool:
    with suppress(OSError):
        return Path(f"/proc/{pid}/comm").read_text().strip() in BREAKPOINTS
    return False


def _collected(pid: int) -> bool:
    """Whether it has ended, or is no child of ours."""
    try:
        return os.waitpid(pid, os.WNOHANG)[0] == pid
    except ChildProcessError:
        return True

"""How long each thread ran, and how long it was kept waiting for a CPU: /proc/PID/task/TID/schedstat.

Documentation/scheduler/sched-stats.rst; it is filled also where schedstats are off (CONFIG_SCHED_INFO).
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final, NamedTuple

from gotriage.errors import GotriageError
from gotriage.records.text import clean

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gotriage.host import Host

MOST: Final = 10_000
"""Threads that are read of all processes together."""


class Turn(NamedTuple):
    """Nanoseconds on a CPU, nanoseconds runnable without one, and how often it was put on one."""

    running: int
    waiting: int
    slices: int


def turns(host: Host, pids: Iterable[int]) -> dict[int, Turn]:
    """Of every thread; one that ends meanwhile, and a process that may not be read, is left out."""
    found: dict[int, Turn] = {}
    for pid in pids:
        try:
            folder = os.open(host.proc.path(pid, "task"), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError:
            continue
        try:
            for name in os.listdir(folder):
                if name.isdigit() and len(found) < MOST and (turn := _turn(folder, name)) is not None:
                    found[int(name)] = turn
        except OSError:
            continue
        finally:
            os.close(folder)
    return found


def _turn(folder: int, name: str) -> Turn | None:
    try:
        fd = os.open(f"{name}/schedstat", os.O_RDONLY | os.O_CLOEXEC, dir_fd=folder)
    except OSError:
        return None
    try:
        words = os.read(fd, 256).split()
    except OSError:
        return None
    finally:
        os.close(fd)
    return Turn(*map(int, words[:3])) if len(words) >= 3 and all(word.isdigit() for word in words[:3]) else None


def name(host: Host, tid: int) -> str:
    """The thread's name (proc_pid_comm(5)), "" when it has ended."""
    try:
        return clean(host.proc.read(tid, "comm", limit=64).strip(), 64)
    except (GotriageError, OSError):
        return ""

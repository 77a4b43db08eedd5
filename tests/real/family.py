"""gotriage's processes, from the one that was started to whatever they have started."""

from __future__ import annotations

import contextlib
import ctypes
import os
import re
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterator

_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True)
class Process:
    """One of a machine's processes; the start time tells it from a later one with its number."""

    pid: int
    start: str

    @staticmethod
    def of(pid: int) -> Process | None:
        fields = _stat(pid)
        return Process(pid, fields[19]) if fields else None

    @property
    def alive(self) -> bool:
        fields = _stat(self.pid)
        return bool(fields) and fields[19] == self.start and fields[0] not in "ZX"


def _stat(pid: int) -> list[str]:
    """The fields of /proc/PID/stat from the state on."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return []


def children(pid: int) -> list[int]:
    """Of all its threads."""
    found = []
    for file in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(OSError):
            found += [int(word) for word in file.read_text().split()]
    return found


def below(pid: int) -> list[int]:
    """All descendants, the nearest first."""
    found = children(pid)
    for child in found:
        found += children(child)
    return found


def score(pid: int) -> int:
    with contextlib.suppress(OSError, ValueError):
        return int(Path(f"/proc/{pid}/oom_score_adj").read_text())
    return 0


def comm(pid: int) -> str:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/comm").read_text().strip()
    return "?"


@dataclass
class Tree:
    """One run of gotriage: launcher, agent, front, and what these have started."""

    launcher: subprocess.Popen[bytes]
    seen: set[Process] = field(default_factory=set)

    def look(self) -> dict[str, list[int]]:
        """Role to processes as they are now; each is remembered."""
        pids = children(self.launcher.pid)
        agents = [pid for pid in pids if score(pid) == 1000][:1]
        roles = {
            "launcher": [self.launcher.pid],
            "agent": agents,
            "front": [pid for pid in pids if score(pid) == 900][:1],
            "helper": [pid for agent in agents for pid in below(agent)],
        }
        self.seen |= {found for pid in [self.launcher.pid, *below(self.launcher.pid)] if (found := Process.of(pid))}
        return roles

    def holds(self, pattern: str) -> bool:
        """Whether a descriptor of one of its processes is of that kind."""
        for folder in (Path(f"/proc/{one.pid}/fd") for one in self.seen):
            with contextlib.suppress(OSError):
                if any(re.search(pattern, os.readlink(entry)) for entry in os.scandir(folder)):
                    return True
        return False

    def left(self) -> list[str]:
        """Those of its processes that live, by name."""
        return [f"{comm(one.pid)} (pid {one.pid})" for one in self.seen if one.alive]


@contextmanager
def adopting() -> Iterator[None]:
    """Orphans become our children meanwhile, so that none is overlooked."""
    option = ctypes.c_int(36)  # PR_SET_CHILD_SUBREAPER
    _libc.prctl(option, 1, 0, 0, 0)
    try:
        yield
    finally:
        _libc.prctl(option, 0, 0, 0, 0)

"""How a resource limit is raised, in the words of prlimit(1), systemd.exec(5) and docker run --ulimit.

Only the soft limit stops a process, so that is what is raised; the hard limit stays where it is, or goes along where it
is lower. A line that gave one number for both would lower a hard limit for good: no process gets it back.
A hard limit of None is no limit.
"""

from __future__ import annotations

NR_OPEN = 1048576
"""fs.nr_open by default (Documentation/admin-guide/sysctl/fs.rst): no limit of descriptors may be higher."""
NR_OPEN_MOST = 1 << 30
"""The highest power of two that fs.nr_open takes (fs/file.c, sysctl_nr_open_max)."""


def prlimit(new: int, hard: int | None) -> str:
    """The value of an option of prlimit(1): "65536:" sets the soft limit alone."""
    return f"{new}:" if hard is None or hard >= new else f"{new}:{new}"


def directive(new: int, hard: int | None) -> str:
    """The value of Limit*= (systemd.exec(5)): one number sets both limits, "soft:hard" each."""
    if hard is None:
        return f"{new}:infinity"
    return f"{new}:{hard}" if hard > new else str(new)


def ulimit(new: int, hard: int | None) -> str:
    """The value of --ulimit NAME= (docker-run(1), podman-run(1)); -1 is no limit."""
    return f"{new}:{-1 if hard is None else max(new, hard)}"

"""Attach a target to a main process, and let it go."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from gotriage.errors import GotriageError, TargetGone
from gotriage.host import cgroup_tree, executable
from gotriage.host.cgroup_names import below
from gotriage.target.model import Process

if TYPE_CHECKING:
    from gotriage.target.model import Target


def pin(target: Target, pid: int) -> None:
    """Make `pid` the main process. Raises TargetGone when it has ended, NotPermitted when it may not be seen."""
    process = Process(target.host, pid)
    if not process.alive():
        process.close()
        raise TargetGone(f"process {pid} has ended")
    if target.main:
        target.main.close()
    target.main, target.ran, target.reason = process, True, ""
    target.pids = (pid,)
    target.image = image(target, pid)
    place(target, pid)


def place(target: Target, pid: int) -> None:
    """Note the cgroups of the main process."""
    try:
        lines = list(target.host.proc.cgroup_lines(pid))
        target.cgroup_v1 = cgroup_tree.v1_groups(target.host, pid)
    except (GotriageError, OSError):
        return
    unified = next((path for hierarchy, _, path in lines if hierarchy == 0), None)
    whole = target.follower.group if target.follower else ""
    target.cgroup = whole if whole and unified and below(unified, whole) else unified


def image(target: Target, pid: int) -> executable.Identity | None:
    """Which file the process runs, None when that may not be known."""
    try:
        return executable.identity(target.host, pid)
    except (GotriageError, OSError):
        return None


def unpin(target: Target) -> None:
    """The main process has ended."""
    if target.main:
        target.main.close()
    target.main, target.pids, target.image = None, (), None


def release(target: Target) -> None:
    """Let go of everything: descriptors and connections."""
    unpin(target)
    if target.core is not None:
        for fd in (target.core.fd, target.core.exe):
            if fd is not None:
                os.close(fd)
        target.core = None
    if target.follower:
        target.follower.close()
        target.follower = None

"""A process from outside of /proc's text: which file it runs, whether it is hidden, how it ended."""

from __future__ import annotations

import fcntl
import os
import struct
from typing import TYPE_CHECKING, Final

from gotriage.host.proc import translated

if TYPE_CHECKING:
    from gotriage.host import Host

Identity = tuple[int, int, int]
"""Device, inode and modification time in nanoseconds: another binary has another one."""


def identity(host: Host, pid: int) -> Identity:
    """Which file /proc/PID/exe is; the kernel leads there, also when the file is deleted or in another root.

    Raises TargetGone (kernel threads and zombies have none), NotPermitted, OSError.
    """
    path = host.proc.path(pid, "exe")
    try:
        facts = os.stat(path)
    except OSError as error:
        raise translated(error, path) from error
    return facts.st_dev, facts.st_ino, facts.st_mtime_ns


def hidden(pid: int) -> bool:
    """The process is there although /proc does not show it: it is another user's, and /proc has hidepid (proc(5))."""
    try:
        os.kill(pid, 0)
    except PermissionError:
        return True
    except (OSError, OverflowError):
        return False
    return True


PIDFD_GET_INFO: Final = 0xC040FF0B
"""_IOWR(PIDFS_IOCTL_MAGIC, 11, struct pidfd_info of 64 bytes), include/uapi/linux/pidfd.h, Linux 6.13."""
PIDFD_INFO_EXIT: Final = 1 << 3
"""Linux 6.15: how the process ended, also for one that is not our child, once its parent has collected it."""


def exit_status(pidfd: int) -> int | None:
    """The wait status of an ended process, None when it still runs, is a zombie, or the kernel does not tell."""
    try:
        answer = fcntl.ioctl(pidfd, PIDFD_GET_INFO, struct.pack("=Q56x", PIDFD_INFO_EXIT))
    except OSError:
        return None
    mask, status = struct.unpack("=Q52xi", answer)
    return status if mask & PIDFD_INFO_EXIT else None

"""One tracer that stops a process at a time, over all gotriages of this machine: a lock on a file, by flock(2).

The kernel gives it back when its holder ends, however that ends.
"""

from __future__ import annotations

import fcntl
import os
from contextlib import suppress

from gotriage.host import cache


class TraceLock:
    """The lock for one process, named by PID and start time."""

    def __init__(self, pid: int, start_ticks: int, folder: str | None = None) -> None:
        self._folder = cache.folder() if folder is None else folder
        self._name = f"stops-{pid}-{start_ticks}.lock"
        self._fd: int | None = None

    def take(self) -> bool:
        """Whether it is ours now; True also where there is no place for a lock file (a full or read-only /run)."""
        if not self._folder:
            return True
        try:
            with suppress(FileExistsError):
                os.mkdir(self._folder, 0o700)
            path = f"{self._folder}/{self._name}"
            self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        except OSError:
            return True
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(self._fd)
            self._fd = None
            return False
        return True

    def leave(self) -> None:
        """Give it back, and take its file away."""
        if self._fd is None:
            return
        with suppress(OSError):
            os.unlink(f"{self._folder}/{self._name}")
        os.close(self._fd)
        self._fd = None

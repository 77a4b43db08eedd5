"""One address space, held fast: whether a PID still is the process, and the program, that it was.

An open /proc/PID/mem belongs to the address space that the process had when it was opened. A read from it gives
nothing at all, not even an error, once that is gone: after an end and after an exec, also of the same program, and
whoever has the number then (fs/proc/base.c, mem_rw; since Linux 3.2).
"""

from __future__ import annotations

import os
from contextlib import suppress

from gotriage.errors import GotriageError, NotPermitted, TargetGone
from gotriage.host import Host, vm


class Pinned:
    """The address space that process `pid` has now. Raises TargetGone, NotPermitted, OSError from the constructor."""

    def __init__(self, host: Host, pid: int) -> None:
        self._host, self._pid = host, pid
        self._fd = -1
        try:
            self._started = host.proc.stat(pid).start_ticks
        except TargetGone:
            raise TargetGone(f"process {pid} has ended") from None
        path = host.proc.path(pid, "mem")
        try:
            self._fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except PermissionError as error:
            raise NotPermitted(vm.refusal(pid)) from error
        except (FileNotFoundError, ProcessLookupError) as error:
            raise TargetGone(self._what_happened()) from error
        try:
            self.check()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Let go of it."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def check(self) -> None:
        """Raises TargetGone when it is gone; the text says whether the process ended or runs another program."""
        try:
            alive = bool(os.pread(self._fd, 1, 0))
        except OSError:  # nothing is mapped there, but the address space is
            return
        if not alive:
            raise TargetGone(self._what_happened())

    def _what_happened(self) -> str:
        with suppress(GotriageError, OSError, ValueError):
            stat = self._host.proc.stat(self._pid)
            if stat.start_ticks != self._started:
                return f"process {self._pid} has ended; another one has its number"
            if stat.is_kernel_thread:
                return f"process {self._pid} is a kernel thread"
            if stat.state not in "ZX":
                program = self._host.proc.link(self._pid, "exe")
                return f"process {self._pid} runs another program since: {program}"
        return f"process {self._pid} has ended"

"""One program at many places of a process's file, on and off again.

From Linux 6.10 one system call attaches all of them and one detaches all (some 50 ms). Before that each is a perf event
of its own; from 6.12 on such a one takes 100 ms to go, so the first way matters. (6.6 to 6.9 have the first way too,
but there it saw the main thread only.) Either way the breakpoints stand in that process alone, and go with our end.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import re
from typing import TYPE_CHECKING, Final

from gotriage.errors import TargetGone
from gotriage.host import Host, bpf, clock
from gotriage.host.libbpf import Object
from gotriage.host.proc import translated

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from gotriage.host.libbpf import Link

AT_ONCE: Final = (6, 10)
CARRIED_OUT: Final = 1.1e-6
"""Seconds of the target's CPU time that a probe takes at an instruction that the kernel carries out itself, the program
included (measured on a virtual machine of an AMD EPYC)."""
STEPPED: Final = 15e-6
"""... and at one that the processor steps, in the same place, where this machine cannot be asked."""
TRIES: Final = 300


class ProbedFile:
    """The file that a process runs, held: whatever the process runs later, probes go to no other file.

    Attributes:
        path: leads to it, for this process.
    """

    def __init__(self, host: Host, pid: int, region: str = "") -> None:
        """The program, or the file of a mapping as /proc/PID/map_files names it.

        Raises TargetGone, NotPermitted, OSError.
        """
        path = host.proc.path(pid, "map_files", region) if region else host.proc.path(pid, "exe")
        try:
            self._fd: int | None = os.open(path, os.O_PATH | os.O_CLOEXEC)
        except OSError as error:
            raise translated(error, path) from error
        self.path = f"/proc/self/fd/{self._fd}"

    def check(self, codes: Mapping[int, int]) -> None:
        """Raises TargetGone unless the file has these bytes at these offsets."""
        fd = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            same = all(os.pread(fd, 1, offset) == bytes([code]) for offset, code in codes.items())
        finally:
            os.close(fd)
        if not same:
            raise TargetGone("the target runs another program by now")

    def close(self) -> None:
        """Let go of it; may be called twice."""
        fd, self._fd = self._fd, None
        if fd is not None:
            os.close(fd)


class Uprobes:
    """An object of which one program is attached to places of a file.

    Attributes:
        loaded: the object, for its maps.
        attached: whether it is.
    """

    def __init__(self, data: bytes, name: str, program: str, constants: Mapping[str, int | bytes]) -> None:
        """Load it. Raises as `libbpf.Object`."""
        self._program = program
        self._at_once = tuple(map(int, re.findall(r"\d+", platform.release())[:2])) >= AT_ONCE
        self._links: list[Link] = []
        self._fds: list[int] = []
        if self._at_once:
            try:
                self.loaded = Object(data, name, constants=constants, attach_types={program: bpf.UPROBE_MULTI})
                return
            except OSError as error:
                if error.errno != errno.EINVAL:
                    raise
                self._at_once = False
        self.loaded = Object(data, name, constants=constants)

    @property
    def attached(self) -> bool:
        """Whether breakpoints stand."""
        return bool(self._fds or self._links)

    def attach(self, pid: int, path: str, places: Sequence[tuple[int, int]]) -> None:
        """Attach to places: file offset and cookie of each. All or none. Raises NotPermitted, OSError."""
        self.detach()
        self.add(pid, path, places)

    def add(self, pid: int, path: str, places: Sequence[tuple[int, int]]) -> None:
        """Attach to places of a further file. All or none of these. Raises NotPermitted, OSError."""
        if self._at_once:
            self._fds.append(bpf.link_uprobes(self.loaded.program_fd(self._program), pid, path, places))
            return
        before = len(self._links)
        try:
            for offset, cookie in places:
                self._links.append(self.loaded.attach_uprobe(self._program, pid, path, offset, cookie=cookie))
        except BaseException:
            while len(self._links) > before:
                self._links.pop().close()
            raise

    def detach(self) -> None:
        """Take all breakpoints away; may be called twice."""
        while self._fds:
            os.close(self._fds.pop())
        for link in self._links:  # in order: those that are passed most often stand first
            link.close()
        self._links.clear()

    def close(self) -> None:
        """Detach, and free the program and its maps; may be called twice."""
        self.detach()
        self.loaded.close()

    def stepped_seconds(self) -> float:
        """What a probe at an instruction that the processor steps costs on this machine: tried on our own getppid(3).

        On a virtual machine whose hypervisor wants to know of each step that is ten times as much as elsewhere.
        """
        address = ctypes.cast(ctypes.CDLL(None).getppid, ctypes.c_void_p).value or 0
        region = next((m for m in Host().proc.maps(os.getpid()) if m.start <= address < m.end), None)
        if region is None or ctypes.string_at(address, 1) in (b"\x55", b"\x90"):
            return STEPPED
        free = _seconds_of_a_call()
        self.attach(os.getpid(), region.path, [(address - region.start + region.offset, 0)])
        try:
            return max(_seconds_of_a_call() - free, CARRIED_OUT)
        finally:
            self.detach()


def _seconds_of_a_call() -> float:
    """The fastest of some hundred: what else runs on this machine has no part in it."""
    call = ctypes.CDLL(None).getppid
    best = 1.0
    for _ in range(TRIES):
        begun = clock.monotonic()
        call()
        best = min(best, clock.monotonic() - begun)
    return best

"""The memory of a running process. It is read while the process runs: nothing is stopped, nothing is signalled."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from gotriage.errors import TargetGone
from gotriage.goruntime.memory import Region, Unreadable
from gotriage.host import Host, vm
from gotriage.host.inroot import InRoot, readable
from gotriage.host.pinned import Pinned

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

MAX_REGIONS: Final = 262_144
"""Four times vm.max_map_count's default."""
DELETED: Final = " (deleted)"
_MACHINES: Final = {3: "386", 8: "mips", 21: "ppc64", 22: "s390x", 40: "arm", 62: "amd64", 183: "arm64", 243: "riscv64"}
"""e_machine of include/uapi/linux/elf-em.h, in Go's words."""


def arch_of(head: bytes) -> str:
    """What an ELF header is for, as GOARCH has it; "" when it is no ELF file."""
    if len(head) < 20 or head[:4] != b"\x7fELF":
        return ""
    machine = int.from_bytes(head[18:20], "little" if head[5] == 1 else "big")
    return _MACHINES.get(machine, f"ELF machine {machine}")


class LiveMemory:
    """A process's memory (memory.Memory), pinned: what has another program since is not read.

    Attributes:
        pid: the process.
        live: True.
        arch: of its program, as GOARCH has it.
    """

    def __init__(self, pid: int, host: Host | None = None, *, rate: float | None = None) -> None:
        """`rate`: most bytes a second. Raises TargetGone, NotPermitted, OSError."""
        self.pid = pid
        self.live = True
        self._host = host or Host()
        self._rate = vm.Rate(rate) if rate else None
        self._pinned = Pinned(self._host, pid)
        try:
            self.arch = self._find_arch()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Let go of the process."""
        self._pinned.close()

    def check(self) -> None:
        """Raises TargetGone when the process has ended, or runs another program since."""
        self._pinned.check()

    def regions(self) -> tuple[Region, ...]:
        """The mappings as they are now, by address."""
        mappings = self._host.proc.maps(self.pid)[:MAX_REGIONS]
        self.check()
        return tuple(Region(m.start, m.end, m.perms, m.path, m.offset, m.inode) for m in mappings)

    def read(self, address: int, size: int) -> bytes:
        """Exactly `size` bytes. Raises Unreadable, TargetGone, NotPermitted."""
        try:
            data = vm.read(self.pid, address, size)
        except TargetGone:
            self.check()
            raise
        self.check()
        if len(data) != size:
            raise Unreadable(f"no memory at {address + len(data):#x}")
        return data

    def read_many(
        self, addresses: NDArray[np.uint64], sizes: NDArray[np.int64] | int
    ) -> tuple[NDArray[np.uint8], NDArray[np.int64], NDArray[np.bool_]]:
        """Many pieces at once (memory.Memory.read_many). Raises TargetGone, NotPermitted."""
        result = vm.read_many(self.pid, addresses, sizes, rate=self._rate)
        self.check()
        return result

    def executable(self) -> int:
        """A new descriptor of the program's file, also of a deleted one. Raises OSError."""
        return self._open(self._host.proc.path(self.pid, "exe"))

    def file_of(self, region: Region) -> int:
        """A new descriptor of the file that a region maps.

        By /proc/PID/map_files, which leads to it also when it is deleted, and needs CAP_SYS_ADMIN or
        CAP_CHECKPOINT_RESTORE; else by its path in the process's own root, if that is still the same file.
        Raises OSError, Unreadable.
        """
        if not region.path.startswith("/"):
            raise Unreadable(f"no file is mapped at {region.start:#x}")
        with suppress(OSError):
            return self._open(self._host.proc.path(self.pid, "map_files", f"{region.start:x}-{region.end:x}"))
        with InRoot(self._host.proc.path(self.pid, "root")) as root, root.opened(region.path) as fd:
            if region.path.endswith(DELETED) or (region.inode and os.fstat(fd).st_ino != region.inode):
                raise Unreadable(f"{region.path} is another file by now")
            return os.dup(fd)

    def _open(self, path: str) -> int:
        place = os.open(path, os.O_PATH | os.O_CLOEXEC)
        try:
            fd = readable(place, path)
        finally:
            os.close(place)
        try:
            self.check()
        except TargetGone:
            os.close(fd)
            raise
        return fd

    def _find_arch(self) -> str:
        """From the program's file, else from the first ELF header in memory."""
        with suppress(OSError):
            fd = self.executable()
            try:
                if arch := arch_of(os.pread(fd, 20, 0)):
                    return arch
            finally:
                os.close(fd)
        for region in self.regions():
            if region.path.startswith("/") and region.offset == 0:
                with suppress(Unreadable):
                    if arch := arch_of(self.read(region.start, 20)):
                        return arch
        return ""

"""The memory of another process by process_vm_readv(2): nothing is stopped, nothing is signalled."""

from __future__ import annotations

import ctypes
import errno
import os
from pathlib import Path
from typing import TYPE_CHECKING, Final

from gotriage.errors import MissingFacility, NotPermitted, TargetGone
from gotriage.host import clock, privilege, scatter

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    U64 = NDArray[np.uint64]
    I64 = NDArray[np.int64]

GAP: Final = 64
"""Neighbours with at most so many bytes between them are read as one; a page is the unit that the kernel looks up."""
CREDIT: Final = 0.25
"""Seconds."""
YAMA: Final = "/proc/sys/kernel/yama/ptrace_scope"


class _Iovec(ctypes.Structure):
    _fields_ = (("base", ctypes.c_void_p), ("size", ctypes.c_size_t))


_readv = ctypes.CDLL(None, use_errno=True).process_vm_readv
_readv.argtypes = (
    ctypes.c_int,
    ctypes.c_void_p,
    ctypes.c_ulong,
    ctypes.c_void_p,
    ctypes.c_ulong,
    ctypes.c_ulong,
)
_readv.restype = ctypes.c_ssize_t


class Rate:
    """Holds the reader to so many bytes a second; what CREDIT seconds would allow may be read at once."""

    def __init__(self, bytes_per_second: float) -> None:
        self._speed = bytes_per_second
        self._free_at = 0.0

    def took(self, count: int) -> None:
        """So many bytes were read: sleep until that was not too fast."""
        now = clock.monotonic()
        self._free_at = max(self._free_at, now - CREDIT) + count / self._speed
        if self._free_at - now > 0.001:
            clock.sleep(self._free_at - now)


def read(pid: int, address: int, size: int) -> bytes:
    """The bytes at an address: fewer than `size`, down to none, where the memory ends.

    Raises TargetGone, NotPermitted, MissingFacility, OSError.
    """
    if size <= 0 or not 0 < address < 1 << 64 or address + size > 1 << 64:
        return b""
    size = min(size, scatter.MOST_OF_A_PIECE)
    buffer = ctypes.create_string_buffer(size)
    here, there = _Iovec(ctypes.addressof(buffer), size), _Iovec(address, size)
    got = _readv(pid, ctypes.byref(here), 1, ctypes.byref(there), 1, 0)
    if got < 0:
        _raise_unless_fault(pid)
        return b""
    return ctypes.string_at(buffer, got) if got < size else buffer.raw


def read_many(
    pid: int, addresses: U64, sizes: I64 | int, *, gap: int = GAP, rate: Rate | None = None
) -> tuple[NDArray[np.uint8], I64, NDArray[np.bool_]]:
    """Many pieces: their bytes one after the other as asked for, the n + 1 offsets in them, and which were read whole.

    The bytes of a piece that was not read whole are zero. The memory is looked up in order of address; pieces with at
    most `gap` bytes between them in one go. Raises TargetGone, NotPermitted, MissingFacility, OSError, MemoryError.
    """

    def call(here: int, count: int, there: int, runs: int) -> int:
        got = int(_readv(pid, here, count, there, runs, 0))
        if got < 0:
            _raise_unless_fault(pid)
        if rate is not None:
            rate.took(max(got, 0))
        return max(got, 0)

    return scatter.read_many(addresses, sizes, call, scatter.MOST_PIECES, gap)


def _raise_unless_fault(pid: int) -> None:
    code = ctypes.get_errno()
    if code == errno.EFAULT:
        return
    if code == errno.ESRCH:
        raise TargetGone(f"process {pid} has ended")
    if code in (errno.EPERM, errno.EACCES):
        raise NotPermitted(refusal(pid))
    if code == errno.ENOSYS:
        raise MissingFacility("this kernel has no process_vm_readv (CONFIG_CROSS_MEMORY_ATTACH)")
    if code == errno.ENOMEM:
        raise MemoryError
    raise OSError(code, os.strerror(code), f"memory of process {pid}")


_SCOPES: Final = {
    1: "kernel.yama.ptrace_scope is 1: only root, or CAP_SYS_PTRACE, may read a process that is not its own child",
    2: "kernel.yama.ptrace_scope is 2: only root with CAP_SYS_PTRACE may",
    3: "kernel.yama.ptrace_scope is 3: nobody may until the machine is started again with another value",
}
"""Documentation/admin-guide/LSM/Yama.rst."""


def refusal(pid: int, what: str = "the memory of process {} may not be read") -> str:
    """Why the kernel keeps a process from us, and what would permit it (ptrace(2))."""
    text = what.format(pid)
    scope = yama_scope()
    if scope == 3:
        return f"{text}: {_SCOPES[3]}"
    if "CAP_SYS_PTRACE" not in privilege.capabilities():
        yama = f"; {_SCOPES[scope]}" if scope in _SCOPES else ""
        who = "this container lacks CAP_SYS_PTRACE" if privilege.is_root() else "run gotriage as root (sudo)"
        return f"{text}: {who}, it needs CAP_SYS_PTRACE{yama}"
    return f"{text} despite CAP_SYS_PTRACE: a seccomp filter, a security module or its user namespace forbids it"


def yama_scope() -> int | None:
    """kernel.yama.ptrace_scope; None when the kernel has no Yama."""
    try:
        return int(Path(YAMA).read_text())
    except (OSError, ValueError):
        return None

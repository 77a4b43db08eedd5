"""The memory of another process by process_vm_readv(2): nothing is stopped, nothing is signalled.

A call takes up to 1,024 pieces of the other process's memory (UIO_MAXIOV) and puts each where it is wanted, so that a
million small pieces need about a thousand calls and no copy. A piece that cannot be read ends the call; the next one
goes on behind it.
"""

from __future__ import annotations

import ctypes
import errno
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from gotriage.errors import MissingFacility, NotPermitted, TargetGone
from gotriage.host import clock, privilege

if TYPE_CHECKING:
    from numpy.typing import NDArray

    U64 = NDArray[np.uint64]
    I64 = NDArray[np.int64]

MOST_PIECES: Final = 1024
"""UIO_MAXIOV of include/uapi/linux/uio.h: for either side of a call."""
MOST_BYTES: Final = 16 * 1024 * 1024
"""Bytes of a call beyond which no further piece joins it: what is between two looks at the rate."""
MOST_OF_A_PIECE: Final = 1 << 30
"""Longest piece, bytes; a call ends silently at 2 GiB (MAX_RW_COUNT of include/linux/fs.h)."""
GAP: Final = 64
"""Neighbours with at most so many bytes between them are read as one; a page is the unit that the kernel looks up."""
RUN: Final = 128
"""Pieces that are merged at most."""
CREDIT: Final = 0.25
"""Seconds."""
YAMA: Final = "/proc/sys/kernel/yama/ptrace_scope"

_IOVEC: Final = np.dtype([("base", np.uint64), ("size", np.uint64)])
"""struct iovec on a 64-bit machine."""


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
    size = min(size, MOST_OF_A_PIECE)
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
    addresses = np.ascontiguousarray(addresses, np.uint64)
    sizes = np.broadcast_to(np.asarray(sizes, np.int64), addresses.shape)
    whole = (sizes >= 0) & (sizes <= MOST_OF_A_PIECE)
    sizes = np.where(whole, sizes, 0)
    offsets = np.zeros(len(addresses) + 1, np.int64)
    np.cumsum(sizes, out=offsets[1:])
    data = np.zeros(int(offsets[-1]), np.uint8)
    if len(data):
        plan = _planned(addresses, sizes, offsets, data, gap)
        for piece in _carry_out(pid, plan, rate):
            whole[piece] = False
            data[offsets[piece] : offsets[piece + 1]] = 0
    return data, offsets, whole


@dataclass(slots=True)
class _Plan:
    """What is read: entries by address, each into one place of ours; runs of entries, each one iovec of theirs.

    Attributes:
        here: an iovec for each entry; `ends`: bytes up to each one's end, n + 1 numbers.
        address: where each entry lies in the other process.
        owner: index of the piece that an entry is; -1 for what lies between two pieces.
        there: an iovec for each run; `first`: its first entry, n + 1 numbers.
        nowhere: what is between two pieces goes here.
    """

    here: NDArray[np.void]
    ends: I64
    address: U64
    owner: I64
    there: NDArray[np.void]
    first: I64
    nowhere: NDArray[np.uint8]


def _planned(addresses: U64, sizes: I64, offsets: I64, data: NDArray[np.uint8], gap: int) -> _Plan:
    """Sort, merge neighbours, and lay out the iovecs of both sides."""
    used = np.flatnonzero(sizes)
    if len(used) > 1 and not bool(np.all(addresses[used[1:]] >= addresses[used[:-1]])):
        used = used[np.argsort(addresses[used], kind="stable")]
    start, size = addresses[used], sizes[used].astype(np.uint64)
    end = start + size
    between = np.zeros(len(used), np.uint64)
    joined = np.zeros(len(used), bool)  # with the one before
    if len(used) > 1:
        joined[1:] = (start[1:] >= end[:-1]) & (start[1:] - end[:-1] <= np.uint64(gap)) & (end[:-1] >= start[:-1])
        joined[::RUN] = False
        between[:-1] = np.where(joined[1:], start[1:] - end[:-1], 0)
    nowhere = np.empty(max(gap, 1), np.uint8)

    entry_size = np.stack((size, between), axis=1).ravel()
    kept = np.flatnonzero(entry_size)
    here = np.empty(len(entry_size), _IOVEC)
    here["base"][0::2] = offsets[:-1][used].astype(np.uint64) + np.uint64(data.ctypes.data)
    here["base"][1::2] = nowhere.ctypes.data
    here["size"] = entry_size
    owner = np.full(len(entry_size), -1, np.int64)
    owner[0::2] = used
    ends = np.zeros(len(kept) + 1, np.int64)
    np.cumsum(entry_size[kept], out=ends[1:])

    begins = np.flatnonzero(~joined)
    lasts = np.append(begins[1:], len(used)) - 1
    there = np.empty(len(begins), _IOVEC)
    there["base"] = start[begins]
    there["size"] = end[lasts] - start[begins]
    first = np.append(np.searchsorted(kept, begins * 2), len(kept)).astype(np.int64)
    address = np.stack((start, end), axis=1).ravel()[kept]
    return _Plan(np.ascontiguousarray(here[kept]), ends, address, owner[kept], there, first, nowhere)


def _carry_out(pid: int, plan: _Plan, rate: Rate | None) -> list[int]:
    """Read all; the pieces that could not be. One call for as many runs as fit."""
    here_at, there_at, step = plan.here.ctypes.data, plan.there.ctypes.data, _IOVEC.itemsize
    first, ends = plan.first, plan.ends
    bad: list[int] = []
    run, runs = 0, len(plan.there)
    while run < runs:
        entry = int(first[run])
        most = int(np.searchsorted(first, entry + MOST_PIECES, side="right")) - 1
        filled = int(np.searchsorted(ends[first[run : most + 1]], ends[entry] + MOST_BYTES)) + run
        until = min(most, max(filled, run + 1))
        wanted = int(ends[first[until]] - ends[entry])
        count = int(first[until]) - entry
        got = _readv(pid, here_at + entry * step, count, there_at + run * step, until - run, 0)
        if got < 0:
            _raise_unless_fault(pid)
            got = 0
        if rate is not None:
            rate.took(got)
        if got == wanted:
            run = until
            continue
        entry = int(np.searchsorted(ends, ends[entry] + got, side="right")) - 1
        if plan.owner[entry] >= 0:
            bad.append(int(plan.owner[entry]))
        run = _behind(plan, entry)
    return bad


def _behind(plan: _Plan, entry: int) -> int:
    """The run to go on with behind an entry that cannot be read; the rest of its own, if there is any."""
    run = int(np.searchsorted(plan.first, entry, side="right")) - 1
    if entry + 1 == plan.first[run + 1]:
        return run + 1
    there = plan.there[run]
    start = plan.address[entry + 1]
    there["size"] = there["base"] + there["size"] - start
    there["base"] = start
    plan.first[run] = entry + 1
    return run


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


def refusal(pid: int) -> str:
    """Why the kernel keeps the memory of a process from us, and what would permit it (ptrace(2))."""
    text = f"the memory of process {pid} may not be read"
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

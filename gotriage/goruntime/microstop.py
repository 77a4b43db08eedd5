"""The stacks of goroutines that are on a CPU: the one thing that memory alone cannot tell, so their threads are stopped
for some microseconds each (gotriage.host.microstop). Only ever on request.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from gotriage.goruntime import goroutines
from gotriage.goruntime.machines import thread_ids
from gotriage.goruntime.oncpu import CpuLook, CpuStack
from gotriage.goruntime.printing import stack_of
from gotriage.goruntime.unwind import walk
from gotriage.host import Host, clock
from gotriage.host import microstop as stops

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from gotriage.goruntime.counters import Source
    from gotriage.goruntime.goroutines import Columns
    from gotriage.goruntime.symbols import Functions

    U64 = NDArray[np.uint64]

MOST: Final = 256
"""Threads that are stopped at most: more than that cannot be on CPUs."""
STACK: Final = 64 * 1024
"""Bytes of each stack that are copied while its thread stands."""


class Copied:
    """Stacks that were copied: a Memory of just these bytes."""

    live = False

    def __init__(self, pid: int, arch: str, start: int, data: bytes) -> None:
        self.pid, self.arch = pid, arch
        self._start, self._data = start, np.frombuffer(data, np.uint8)

    def read_many(
        self, addresses: U64, sizes: NDArray[np.int64] | int
    ) -> tuple[NDArray[np.uint8], NDArray[np.int64], NDArray[np.bool_]]:
        """As Memory.read_many, for one piece that begins where the copy does; what lies behind the copy is zero."""
        size = int(np.broadcast_to(sizes, addresses.shape)[0])
        data = np.zeros(size, np.uint8)
        part = self._data[:size]
        data[: len(part)] = part
        return data, np.array([0, size], np.int64), np.array([int(addresses[0]) == self._start])


def on_cpu(source: Source, functions: Functions, host: Host | None = None) -> CpuLook:
    """Stop each thread that runs a goroutine, one after the other, and read its stack.

    Raises Unreadable, TargetGone, NotPermitted.
    """
    at, begun = clock.now().timestamp(), clock.monotonic()
    columns = goroutines.read(source.memory, source.layout, source.found)
    running = columns.unsigned("m")[columns.status == goroutines.RUNNING]
    tids = list(thread_ids(source.memory, source.layout, running).values())[:MOST]
    looks = stops.look(host or Host(), source.memory.pid, tids, stack=STACK)
    # Which goroutine a thread ran is told by its stack pointer; others may run by now, so the stacks are read again.
    columns = goroutines.read(source.memory, source.layout, source.found)
    stacks = tuple(_stack(source, functions, columns, look) for look in looks)
    return CpuLook(at, round(clock.monotonic() - begun, 6), stacks)


def _stack(source: Source, functions: Functions, columns: Columns, look: stops.Look) -> CpuStack:
    if look.error:
        return CpuStack(None, look.tid, look.stopped, error=look.error)
    sp = np.uint64(look.sp)
    on = np.flatnonzero((columns.unsigned("lo") <= sp) & (sp < columns.unsigned("hi")))
    if not len(on):
        return CpuStack(
            None, look.tid, look.stopped, error="the thread was in the scheduler, in C or in a signal handler"
        )
    goid, top = int(columns.unsigned("goid")[on[0]]), columns.unsigned("hi")[on[:1]]
    if int(functions.index(np.array([look.pc], np.uint64))[0]) < 0:
        return CpuStack(goid, look.tid, look.stopped, error=f"at {look.pc:#x}, which is no Go code")
    copy = Copied(source.memory.pid, source.memory.arch, look.sp, look.stack)
    walked = walk(copy, functions, np.array([sp]), np.array([look.pc], np.uint64), top)
    pcs = walked.pcs.get(int(walked.key[0]), (look.pc,))
    stack = stack_of(functions, pcs, trapped=True)
    return CpuStack(goid, look.tid, look.stopped, stack.frames, stack.complete)

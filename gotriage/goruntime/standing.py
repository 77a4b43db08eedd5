"""Where goroutines stood that were on a CPU when a core file was made: from the registers that it keeps of each thread.

A thread whose stack pointer lies in a goroutine's stack ran that goroutine. One that was in a signal handler (a core of
GOTRACEBACK=crash, of SIGQUIT or SIGABRT) has what it was interrupted in on the signal stack, where the kernel put it
(struct rt_sigframe of arch/x86/include/asm/sigframe.h and arch/arm64/kernel/signal.c, struct ucontext of asm-generic).
One that was on its system stack has left the goroutine's own words in g.sched (runtime/asm_amd64.s, systemstack, which
clears sched.sp when it returns).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from gotriage.goruntime import goroutines
from gotriage.goruntime.machines import thread_ids
from gotriage.goruntime.memory import Unreadable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from gotriage.goruntime.corefile import Thread
    from gotriage.goruntime.counters import Source
    from gotriage.goruntime.goroutines import Columns
    from gotriage.goruntime.memory import Memory

    U64 = NDArray[np.uint64]

MOST: Final = 1024
"""Goroutines on a CPU that are looked at: there are no machines with more CPUs."""
SIGNAL_STACK: Final = 1 << 20
"""Bytes of the largest signal stack that is believed; Go's own have 32 KB (runtime/os_linux.go, mpreinit)."""
SEARCHED: Final = 64 * 1024
"""Bytes above the stack pointer in which the kernel's frame is looked for."""
_SP_PC: Final = {"amd64": (20, 21), "arm64": (54, 55)}
"""Words from the begin of struct ucontext to the saved stack pointer and program counter."""
_STACK: Final = 2
"""Words to uc_stack: address, flags, size."""


def place(source: Source, columns: Columns) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    """Set sp and pc of the goroutines on a CPU, where the core file tells them.

    Returns the numbers of those whose pc is an instruction's (a register), and what could not be told, in words.
    """
    threads: Sequence[Thread] = getattr(source.memory, "threads", ())
    running = np.flatnonzero(columns.status == goroutines.RUNNING)[:MOST]
    if not len(running) or not threads:
        return np.zeros(0, np.int64), ()
    exact: list[int] = []
    low, high = columns.unsigned("lo")[running], columns.unsigned("hi")[running]
    for thread in threads:
        _stand(columns, running[(low <= thread.sp) & (thread.sp < high)], thread.sp, thread.pc, exact)
    left = running[~columns.readable[running]]
    by_tid = {thread.tid: thread for thread in threads}
    untold = []
    machines = columns.unsigned("m")[left]
    tids = thread_ids(source.memory, source.layout, machines)
    for who, machine in zip(left.tolist(), machines.tolist(), strict=True):
        lost = _elsewhere(source, columns, who, by_tid.get(tids.get(machine, 0)), exact)
        if lost:
            untold.append(f"the stack of goroutine {int(columns.unsigned('goid')[who])}, which was on a CPU: {lost}")
    return np.array(exact, np.int64), tuple(untold[:5])


def _stand(columns: Columns, which: NDArray[np.intp], sp: int, pc: int, exact: list[int]) -> None:
    for who in which[:1].tolist():
        if sp % 8 == 0 and not columns.readable[who]:
            columns.sp[who], columns.pc[who], columns.readable[who] = sp, pc, True
            exact.append(who)


def _elsewhere(source: Source, columns: Columns, who: int, thread: Thread | None, exact: list[int]) -> str:
    """Place one whose thread was on another stack; why it could not be, or ""."""
    if thread is None:
        return "its thread is not in the core file"
    low, high = int(columns.unsigned("lo")[who]), int(columns.unsigned("hi")[who])
    saved = interrupted(source, thread.sp, low, high)
    if saved is not None:
        _stand(columns, np.array([who]), *saved, exact)
        return ""
    sp = int(columns.unsigned("sched_sp")[who])
    if low <= sp < high and sp % 8 == 0:
        columns.sp[who], columns.pc[who], columns.readable[who] = sp, columns.unsigned("sched_pc")[who], True
        return ""
    return "its thread was on another stack, in a signal handler or in C"


def held(memory: Memory) -> U64:
    """What the threads of a core file hold themselves: their registers, and the stacks that they stand on."""
    threads: Sequence[Thread] = getattr(memory, "threads", ())
    mask = (1 << 64) - 1
    registers = [value & mask for thread in threads[:MOST] for value in thread.registers.values()]
    stacks = [_words(memory, thread.sp) for thread in threads[:MOST]]
    return np.concatenate([np.array(registers, np.uint64), *stacks])


def interrupted(source: Source, sp: int, low: int, high: int) -> tuple[int, int] | None:
    """Stack pointer and program counter of what a signal interrupted, if that stood in [low, high)."""
    words = _words(source.memory, sp)
    place_of_sp, place_of_pc = _SP_PC[source.memory.arch]
    count = len(words) - place_of_pc
    if count <= 0:
        return None
    base, size = words[_STACK : _STACK + count], words[_STACK + 2 : _STACK + 2 + count]
    saved = words[place_of_sp : place_of_sp + count]
    here = np.uint64(sp)
    fits = (saved >= low) & (saved < high) & (base <= here) & (size <= SIGNAL_STACK)
    fits &= np.where(base <= here, here - base, 0) < size
    found = np.flatnonzero(fits)
    if not len(found):
        return None
    at = int(found[0])
    return int(words[at + place_of_sp]), int(words[at + place_of_pc])


def _words(memory: Memory, sp: int) -> U64:
    """What lies above the stack pointer, as far as there is memory."""
    start, size = sp & ~7, SEARCHED
    while size >= 4096:
        end = (start + size) & ~4095
        try:
            return np.frombuffer(memory.read(start, end - start), np.uint64)
        except Unreadable:
            size //= 2
    return np.zeros(0, np.uint64)

"""The threads of a process by the kernel's own numbers, as programs at tracepoints know them (probes/tasks.bpf.c)."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from gotriage.host.libbpf import Object

if TYPE_CHECKING:
    from collections.abc import Iterable

INITIAL: Final = "pid:[4026531836]"
"""The first PID namespace of every kernel (include/linux/proc_ns.h, PROC_PID_INIT_INO)."""
_ROW: Final = np.dtype(
    [("tid", "<u4"), ("own_tid", "<u4"), ("kernel_tid", "<u4"), ("kernel_tgid", "<u4"), ("base", "<u8")]
)


class Task(NamedTuple):
    """A thread: its number for us, for itself and for the kernel; its process's number for the kernel.

    `base` is where its thread-local storage begins (fsbase on x86-64, else 0).
    """

    tid: int
    own_tid: int
    kernel_tid: int
    kernel_tgid: int
    base: int


def tasks(program: bytes, pid: int) -> list[Task]:
    """The threads of a process. `program` is the object "tasks". Raises as `libbpf.Object`."""
    with Object(program, "tasks", constants={"wanted": pid}) as loaded:
        rows = np.frombuffer(loaded.iterate("list"), _ROW)
    return [Task(*map(int, row)) for row in rows.tolist()]


def outermost() -> bool:
    """Whether our PIDs are the kernel's own."""
    try:
        return os.readlink("/proc/self/ns/pid") == INITIAL
    except OSError:
        return False


def kernel_pids(program: bytes, pids: Iterable[int]) -> list[int]:
    """Processes by the kernel's own numbers; those that have gone are left out. Raises as `tasks`."""
    if outermost():
        return list(pids)
    found = []
    for pid in pids:
        threads = tasks(program, pid)
        if threads:
            found.append(threads[0].kernel_tgid)
    return found

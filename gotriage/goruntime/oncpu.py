"""What a short stop of threads gives: the stacks of goroutines that were on a CPU, which memory alone cannot tell."""

from __future__ import annotations

import msgspec

from gotriage.goruntime.report import Frame  # noqa: TC001  # msgspec reads the annotation at run time


class CpuStack(msgspec.Struct, frozen=True, array_like=True):
    """One goroutine on a CPU.

    Attributes:
        id: goid, None where the thread ran none.
        thread: kernel thread that was stopped; `stopped`: for how many seconds.
        frames: the innermost first; `complete`: down to its first function.
        error: why there are none, "" when there are.
    """

    id: int | None
    thread: int
    stopped: float = 0.0
    frames: tuple[Frame, ...] = ()
    complete: bool = True
    error: str = ""


class CpuLook(msgspec.Struct, frozen=True, array_like=True):
    """All of them: when (seconds since 1970), how long it took in all, seconds."""

    at: float
    took: float
    stacks: tuple[CpuStack, ...] = ()

"""The pcs of a stack as the frames that a Go stack trace prints."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from gotriage.goruntime.report import Frame, Stack
from gotriage.goruntime.unwind import TOPFRAME

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gotriage.goruntime.symbols import Functions

TRAPS: Final = frozenset({"runtime.sigpanic", "runtime.asyncPreempt", "runtime.debugCallV2"})
"""Functions that are called by no call: the pc below them is where the program was, not where it returns to."""


def stack_of(functions: Functions, pcs: Sequence[int], *, trapped: bool = False) -> Stack:
    """The frames, innermost first; `trapped`: the first pc is that of an instruction (a register), not a return."""
    numbers = functions.index(np.array(pcs, np.uint64)).tolist()
    frames: list[Frame] = []
    callee = 0
    for pc, number in zip(pcs, numbers, strict=True):
        if number < 0:
            frames.append(Frame(f"{pc:#x}"))
            continue
        exact = trapped or pc == functions.entry(number)
        frames += [_printed(frame) for frame in functions.frames(pc, exact, callee)]
        trapped, callee = functions.name(number) in TRAPS, functions.func_id(number)
    complete = bool(numbers) and numbers[-1] >= 0 and bool(functions.flags(numbers[-1]) & TOPFRAME)
    return Stack(tuple(frames), complete)


def _printed(frame: Frame) -> Frame:
    """A frame as Go prints it: the panic that a program sees is the runtime's gopanic (runtime/traceback.go)."""
    if frame.function != "runtime.gopanic":
        return frame
    return Frame("panic", frame.file, frame.line, frame.inlined)

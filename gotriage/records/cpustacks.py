"""Stacks of goroutines that were on a CPU: had on request, by stopping their threads for a moment."""

from __future__ import annotations

from typing import ClassVar

from gotriage.records.base import Record, Row
from gotriage.records.goroutines import Frame


class CpuStack(Row, frozen=True, kw_only=True):
    """One of them.

    Attributes:
        id: goid, None where the thread ran no goroutine.
        thread: kernel thread; it was stopped for `stopped_seconds`.
        frames: the innermost first; `complete`: they reach down to the goroutine's first function.
        error: why there are no frames, or "".
    """

    thread: int
    id: int | None = None
    stopped_seconds: float = 0.0
    frames: tuple[Frame, ...] = ()
    complete: bool = True
    error: str = ""


class CpuStacks(Record, frozen=True, kw_only=True, tag="cpu_stacks"):
    """The answer to one request: every thread that ran a goroutine, one after the other; `took` seconds in all."""

    keep: ClassVar[int] = 30

    rows: tuple[CpuStack, ...] = ()
    took: float = 0.0

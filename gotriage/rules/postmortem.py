"""What only a core file tells: how the process ended, and where it stood.

panic
    A goroutine that was on a CPU has a panic or a fatal error of the runtime on its stack. The first frame of the
    program's own below it is the place (runtime/panic.go: fatalpanic, fatalthrow; a core of GOTRACEBACK=crash).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from gotriage.records.findings import Fine
from gotriage.records.goroutines import Goroutines
from gotriage.rules import golook

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gotriage.records.goroutines import Frame, Goroutine
    from gotriage.rules import Claim
    from gotriage.rules.evidence import Evidence

PANIC: Final = "panic"
ENDS: Final = frozenset({"runtime.fatalpanic", "runtime.fatalthrow", "runtime.fatal", "runtime.throw"})
"""What the runtime calls when it gives up; a goroutine that recovers from its panic has none of them."""
MOST: Final = 12
"""Frames that are quoted."""


def died(evidence: Evidence) -> Iterator[Claim]:
    """The goroutine that ended the process; nothing for a target that is no core file."""
    table = evidence.current(Goroutines)
    if evidence.target is None or evidence.target.core is None or table is None:
        return
    found = next(((one, frames) for one in table.goroutines if (frames := _fatal(table, one))), None)
    if found is None:
        yield Fine(PANIC, "no goroutine was in a panic or a fatal error")
        return
    one, frames = found
    below = next((at for at, frame in enumerate(frames) if not _runtimes(frame)), 0)
    what = "panicked" if any(frame.function == "panic" for frame in frames[:below]) else "met a fatal error"
    signal = evidence.target.core.signal
    yield evidence.finding(
        PANIC,
        "critical",
        f"goroutine {one.id} {what} at {golook.place(frames[below])}"[:300],
        evidence=(
            *([f"the process ended with {signal}"] if signal else []),
            *(golook.place(frame) for frame in frames[below : below + MOST]),
        ),
        fix="see the goroutine's stack, and the message of the panic in the log",
        view="goroutines",
    )


def _fatal(table: Goroutines, one: Goroutine) -> tuple[Frame, ...]:
    """The stack of a goroutine that ended the process; none for another."""
    if one.state != "running" or not 0 <= one.stack < len(table.stacks):
        return ()
    frames = table.stacks[one.stack].frames
    return frames if any(frame.function in ENDS for frame in frames) else ()


def _runtimes(frame: Frame) -> bool:
    return frame.function == "panic" or frame.function.startswith(
        ("runtime.", "internal/runtime/", "runtime/internal/")
    )

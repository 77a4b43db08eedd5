"""What the process that names samples gives (gotriage.goruntime.profiler), in plain values that cross its pipe.

Text in them comes from the target: it is bounded, but not cleaned for a terminal. `kind` is whose code a frame is:
"user" (the program's own module), "library" (other Go modules), "std", "runtime", "c", "kernel"; "" where not even that
is known.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from gotriage.goruntime.report import Identity


class Place(msgspec.Struct, frozen=True, array_like=True):
    """A frame; `file` without a line is the file that is mapped there; `named`: the function's name is known."""

    function: str
    file: str = ""
    line: int = 0
    kind: str = ""
    inlined: bool = False
    named: bool = True


class NamedStacks(msgspec.Struct, frozen=True, array_like=True):
    """Stacks, innermost first, as indices into `places`; `cut`: numbers of those whose walk went astray."""

    places: tuple[Place, ...] = ()
    stacks: tuple[tuple[int, ...], ...] = ()
    cut: tuple[int, ...] = ()


class GoOffsets(msgspec.Struct, frozen=True, array_like=True):
    """Where the kernel finds a goroutine's facts: bytes into runtime.g (goid, m, gopc, startpc, labels) and
    runtime.m (curg); `thread_local`: bytes from a thread's fsbase to its g, None where that was not found;
    `why` there are none. syscallsp and so on: of a goroutine that has left Go, 0 where this version has none."""

    goid: int = 0
    m: int = 0
    curg: int = 0
    gopc: int = 0
    startpc: int = 0
    labels: int = 0
    why: str = ""
    thread_local: int | None = None
    syscallsp: int = 0
    syscallpc: int = 0
    syscallbp: int = 0


class Origin(msgspec.Struct, frozen=True, array_like=True):
    """Whose a goroutine is: the function of its go statement, its first function; `system`: the runtime's own."""

    creator: Place | None = None
    start: Place | None = None
    system: bool = False


class KnownG(msgspec.Struct, frozen=True, array_like=True):
    """A goroutine that is there now: address of its g, and the words that tell whose it is."""

    address: int
    goid: int
    gopc: int
    startpc: int
    labels: int


class WallGroup(msgspec.Struct, frozen=True, array_like=True):
    """Goroutines that were found at one place: `count` is once for each of them and each sample.

    `stack`, `creator`, `start` and `labels` are indices into the tables of the look, -1 for none.
    """

    count: int
    state: str
    reason: str = ""
    stack: int = -1
    creator: int = -1
    start: int = -1
    labels: int = -1
    system: bool = False


class WallLook(msgspec.Struct, frozen=True, array_like=True):
    """All samples since the beginning: `took` seconds of reading, `seconds` from the first sample to the last."""

    samples: int
    seconds: float
    took: float
    goroutines: int = 0
    omitted: int = 0
    groups: tuple[WallGroup, ...] = ()
    stacks: tuple[tuple[int, ...], ...] = ()
    places: tuple[Place, ...] = ()
    sites: tuple[Place, ...] = ()
    labels: tuple[dict[str, str], ...] = ()


RESULTS: Final[dict[str, Any]] = {
    "attach": Identity,
    "identity": Identity,
    "offsets": GoOffsets,
    "frame_sizes": list[int],
    "stacks_named": NamedStacks,
    "origins": list[Origin],
    "labels": list[dict[str, str] | None],
    "known": list[KnownG],
    "wall": WallLook,
}
"""What each operation gives."""

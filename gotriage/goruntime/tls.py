"""Where a thread keeps its g: for programs in the kernel, which see a thread's registers and know nothing of Go.

On amd64 g lies at a fixed distance from fsbase. Programs without cgo have it at -8 (cmd/link, Tlsoffset); with cgo, as
PIE, shared library or plugin it is a variable of the C library's thread-local storage, and its place is the linker's
and the loader's choice. So it is looked for in the process itself: the one word near each thread's fsbase that is the g
which the runtime says the thread runs (runtime/runtime2.go, m.g0, m.curg, m.gsignal). On arm64 it is register R28.
"""

from __future__ import annotations

from collections import Counter
from itertools import pairwise
from typing import TYPE_CHECKING, Final

import msgspec
import numpy as np

from gotriage.errors import GotriageError
from gotriage.goruntime import machines
from gotriage.goruntime.fields import read_fields

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from gotriage.goruntime.counters import Source
    from gotriage.goruntime.layout import Layout
    from gotriage.goruntime.memory import Memory

USUAL: Final = -8
"""Distance in programs without cgo, bytes."""
BELOW, ABOVE = 8192, 64
"""Bytes around fsbase that are looked through: static TLS of a program and its libraries is below it."""
PAGE: Final = 4096
MOST: Final = 64
"""Threads that are looked at."""
ENOUGH: Final = 0.75
"""Part of the threads that have to agree: one that runs may change its g between two reads."""


class NoThreadLocal(GotriageError):
    """It was not found where threads keep their g; the text says why."""


class Places(msgspec.Struct, frozen=True, array_like=True):
    """Offsets in bytes: of g from fsbase (0 on arm64), of g.goid, g.m and m.curg."""

    tls: int
    goid: int
    m: int
    curg: int


def find(source: Source, bases: Mapping[int, int]) -> Places:
    """The places, from the fsbase of threads (by m.procid: a thread's number in its own namespace).

    Raises NoThreadLocal, Unreadable, TargetGone, NotPermitted.
    """
    layout = source.layout
    distance = 0 if source.memory.arch == "arm64" else _distance(source, bases)
    return Places(distance, layout.offset("g", "goid"), layout.offset("g", "m"), layout.offset("m", "curg"))


def _distance(source: Source, bases: Mapping[int, int]) -> int:
    listed = machines.every(source.memory, source.layout, source.plain("allm", 8, signed=False))
    wanted = {
        "tid": ("procid", "<u8"), "g0": ("g0", "<u8"), "curg": ("curg", "<u8"), "gsignal": ("gsignal", "<u8"),
    }  # fmt: skip
    votes: Counter[int] = Counter()
    telling: Counter[int] = Counter()
    looked = 0
    before, whole = read_fields(source.memory, source.layout, "m", listed, wanted)
    rows = [row for row in np.flatnonzero(whole).tolist() if bases.get(int(before["tid"][row]))][:MOST]
    starts = [bases[int(before["tid"][row])] - BELOW for row in rows]
    windows = _windows(source.memory, starts)
    after, _ = read_fields(source.memory, source.layout, "m", listed, wanted)
    for at, row in enumerate(rows):
        words = windows[at]
        if not words.any():
            continue
        looked += 1
        known = {int(side[name][row]) for side in (before, after) for name in ("g0", "curg", "gsignal")} - {0}
        current = {int(side["curg"][row]) for side in (before, after)} - {0}
        inside = _own_fields(source.layout, int(listed[row]) - starts[at])
        for place in np.flatnonzero(np.isin(words, np.array(sorted(known), np.uint64))).tolist():
            if place * 8 not in inside:
                votes[place * 8 - BELOW] += 1
                telling[place * 8 - BELOW] += int(words[place]) in current
    agreed = [distance for distance, count in votes.items() if count >= max(1, ENOUGH * looked)]
    if not agreed:
        raise NoThreadLocal(
            f"none of the words near the thread pointer of {looked} threads is their goroutine's address"
            if looked
            else "no thread of the Go runtime has a thread pointer that can be read"
        )
    return max(agreed, key=lambda distance: (votes[distance], telling[distance] > 0, distance))


def _windows(memory: Memory, starts: list[int]) -> NDArray[np.uint64]:
    """BELOW + ABOVE bytes from each start as words; pages that are not there are zeros."""
    size = BELOW + ABOVE
    pieces = []
    for start in starts:
        edges = [start, *range(start // PAGE * PAGE + PAGE, start + size, PAGE), start + size]
        pieces += [(begin, end - begin) for begin, end in pairwise(edges)]
    if not pieces:
        return np.zeros((0, size // 8), np.uint64)
    addresses, sizes = np.array(pieces, np.uint64).T
    data, _, _ = memory.read_many(addresses, sizes.astype(np.int64))
    return data.reshape(len(starts), size).view("<u8")


def _own_fields(layout: Layout, begin: int) -> set[int]:
    """Where the window holds the m itself, which knows the same pointers as fields; m.tls, which may be it, is not one.

    `begin` is where the m begins in the window, bytes.
    """
    storage = layout.array("m", "tls")
    own = set(range(begin, begin + layout.size("m"), 8))
    return own - set(range(begin + storage.offset, begin + storage.offset + storage.length * storage.stride, 8))

"""Variables of the runtime found by what they hold: words and slices in the data segments that look like them.

Needs no code, so it serves where none can be read or no table of operands is known.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from gotriage.goruntime.checks import MAX_CPUS, Checks
from gotriage.goruntime.goroutines import MAX_GOROUTINES
from gotriage.goruntime.memory import Unreadable

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from gotriage.goruntime.image import Image
    from gotriage.goruntime.layout import Layout
    from gotriage.goruntime.memory import Memory
    from gotriage.goruntime.moduledata import GoModule

    U64 = NDArray[np.uint64]

MAX_DATA: Final = 64 * 1024 * 1024
"""Bytes of data segments that are scanned."""
PIECE: Final = 4 * 1024 * 1024
MAX_HITS: Final = 20_000
NO_LIMIT: Final = 0x7FFFFFFFFFFFFFFF
"""GOMEMLIMIT=off (runtime/mgcpacer.go, maxInt64)."""
MOST_THREADS: Final = 10_000
"""sched.maxmcount unless runtime/debug.SetMaxThreads was called (runtime/proc.go, schedinit)."""


def all_words(memory: Memory, image: Image) -> Iterator[tuple[int, U64]]:
    """The words of all modules' variables, by piece, each with its address. Raises TargetGone, NotPermitted."""
    for module in image.modules:
        yield from _words_of(memory, module)


def _words_of(memory: Memory, module: GoModule) -> Iterator[tuple[int, U64]]:
    for begin, end in ((module.noptrdata, module.edata), (module.bss, module.enoptrbss)):
        low = begin + -begin % 8
        size = min(max(0, end - low), MAX_DATA) & ~7
        for start in range(0, size, PIECE):
            try:
                piece = memory.read(low + start, min(PIECE, size - start))
            except Unreadable:
                continue
            yield low + start, np.frombuffer(piece, np.uint64)


class Scan:
    """Candidates for a variable, each sound by its contents."""

    def __init__(self, memory: Memory, layout: Layout, image: Image) -> None:
        self._memory, self._layout, self._image = memory, layout, image
        self._checks = Checks(memory, layout, image)

    def find(self, name: str) -> int | None:
        """The first candidate for the variable; None when there is none, or no way to look for it."""
        candidates = getattr(self, f"_{name}", None)
        return None if candidates is None else next(iter(candidates()), None)

    def slices(self, most: int) -> list[int]:
        """Addresses of everything that looks like a slice of pointers; the longest first."""
        found: list[tuple[int, int]] = []
        for base, words in all_words(self._memory, self._image):
            if len(words) < 3:
                continue
            pointer, length, capacity = words[:-2], words[1:-1], words[2:]
            hit = (pointer > 4096) & (pointer % 8 == 0) & (pointer < 1 << 56)
            hit &= (length > 0) & (length <= capacity) & (capacity <= most)
            at = np.flatnonzero(hit)[:MAX_HITS]
            found += zip(length[at].tolist(), (base + at * 8).tolist(), strict=True)
        return [place for _, place in sorted(found, reverse=True)]

    def _allgs(self) -> Iterator[int]:
        return (place for place in self.slices(2 * MAX_GOROUTINES) if self._checks.sound("allgs", place))

    def _allp(self) -> Iterator[int]:
        return (place for place in self.slices(MAX_CPUS) if self._checks.sound("allp", place))

    def _gcController(self) -> Iterator[int]:  # noqa: N802  # named after the variable
        """memoryLimit stands behind gcPercent, heapMinimum (4 MiB * GOGC/100) behind that (runtime/mgcpacer.go)."""
        layout, memory = self._layout, self._memory
        limit = layout.offset("gcControllerState", "memoryLimit")
        for base, words in all_words(self._memory, self._image):
            for index in np.flatnonzero(words == np.uint64(NO_LIMIT))[:MAX_HITS].tolist():
                place = base + 8 * index - limit
                if self._checks.sound("gcController", place):
                    percent = int.from_bytes(memory.read(place, 4), "little", signed=True)
                    at = place + layout.offset("gcControllerState", "heapMinimum")
                    if percent >= 0 and int.from_bytes(memory.read(at, 8), "little") == (4 << 20) * percent // 100:
                        yield place

    def _sched(self) -> Iterator[int]:
        inside = self._layout.offset("schedt", "maxmcount")
        low = 8 * (inside % 8)
        mask, value = np.uint64(0xFFFFFFFF << low & 0xFFFFFFFFFFFFFFFF), np.uint64(MOST_THREADS << low)
        for base, words in all_words(self._memory, self._image):
            for index in np.flatnonzero((words & mask) == value)[:MAX_HITS].tolist():
                place = base + 8 * index - inside + inside % 8
                if self._checks.sound("sched", place):
                    yield place

"""Whether what lies at an address can be a variable of the runtime: each by its own contents.

A wrong address must never pass: goids, states and stacks have to make sense, a goroutine's first function has to be the
entry of a function, and its creator's pc a return address inside one.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final

import numpy as np

from gotriage.goruntime.goroutines import MAX_GOROUTINES, NOT_THERE, STATES, plain
from gotriage.goruntime.memory import Unreadable

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from gotriage.goruntime.image import Image
    from gotriage.goruntime.layout import Layout
    from gotriage.goruntime.memory import Memory

    U64 = NDArray[np.uint64]

MAX_CPUS: Final = 1 << 16


class Checks:
    """Whether what lies at an address can be the variable of that name."""

    def __init__(self, memory: Memory, layout: Layout, image: Image) -> None:
        self._memory, self._layout, self._image = memory, layout, image

    def knows(self, name: str) -> bool:
        """Whether the variable has a check of its own."""
        return hasattr(self, f"_{name}")

    def sound(self, name: str, place: int) -> bool:
        """The contents make sense; True for a variable that has no check of its own and can be read."""
        check = getattr(self, f"_{name}", None)
        try:
            if check is not None:
                return bool(check(place))
            self._memory.read(place, 1)
        except Unreadable:
            return False
        return True

    def _number(self, place: int, size: int = 8, *, signed: bool = False) -> int:
        return int.from_bytes(self._memory.read(place, size), "little", signed=signed)

    def _field(self, place: int, struct_name: str, path: str, size: int = 8, *, signed: bool = False) -> int:
        return self._number(place + self._layout.offset(struct_name, path), size, signed=signed)

    def _slice(self, place: int, most: int) -> tuple[int, int] | None:
        pointer, length, capacity = struct.unpack("<QQQ", self._memory.read(place, 24))
        return (pointer, length) if 0 < length <= capacity <= most and pointer % 8 == 0 and pointer else None

    def _allgs(self, place: int) -> bool:
        head = self._slice(place, 2 * MAX_GOROUTINES)
        if head is None:
            return False
        pointer, length = head
        sample = min(length, 64)
        listed = np.frombuffer(self._memory.read(pointer, 8 * sample), np.uint64)
        return bool((listed != 0).all()) and self.goroutines(listed)

    def goroutines(self, listed: U64) -> bool:
        """Whether these are g's: goids, states, stacks, and at least one that was started by code."""
        layout, memory = self._layout, self._memory
        size = layout.size("g")
        data, _, whole = memory.read_many(listed, size)
        if not whole.all():
            return False
        table = data.reshape(len(listed), size)

        def column(path: str, kind: str = "<u8") -> NDArray[np.uint64]:
            at = layout.offset("g", path)
            raw = np.ascontiguousarray(table[:, at : at + np.dtype(kind).itemsize])
            return raw.view(kind).reshape(-1).astype(np.uint64)

        status = plain(column("atomicstatus", "<u4"))
        goid = column("goid")
        low, high = column("stack.lo"), column("stack.hi")
        startpc, gopc = column("startpc"), column("gopc")
        if not set(status.tolist()) <= STATES.keys():
            return False
        alive = ~np.isin(status, NOT_THERE)
        if (goid[alive] == 0).any() or (goid >= 1 << 48).any():
            return False
        if not ((low < high) | (low == 0)).all() or ((high - low)[low != 0] > 1 << 32).any():
            return False
        started = alive & (startpc != 0)
        functions = self._image.functions
        if not started.any() or not functions.is_entry(startpc[started]).all():
            return False
        made = gopc[started & (gopc != 0)]
        return bool((functions.index(made) >= 0).all() and not functions.is_entry(made).any())

    def _godebugEnv(self, place: int) -> bool:  # noqa: N802  # named after the variable that it checks
        """A *string, nil until the program has looked (runtime/runtime.go, godebugEnv, Go 1.21)."""
        pointer = self._number(place)
        if not pointer:
            return True
        text, length = struct.unpack("<QQ", self._memory.read(pointer, 16))
        return length <= 1 << 16 and (not length or self._memory.read(text, length).isascii())

    def _allglen(self, place: int) -> bool:
        return 0 < self._number(place) <= MAX_GOROUTINES

    def _allp(self, place: int) -> bool:
        head = self._slice(place, MAX_CPUS)
        if head is None:
            return False
        listed = np.frombuffer(self._memory.read(head[0], 8 * min(head[1], 256)), np.uint64)
        data, _, whole = self._memory.read_many(listed, 8)
        both = data.reshape(-1, 8).view("<u4").reshape(-1, 2)
        return bool(whole.all() and (both[:, 0] == np.arange(len(listed))).all() and (both[:, 1] < 8).all())

    def _gomaxprocs(self, place: int) -> bool:
        return 0 < self._number(place, 4) <= MAX_CPUS

    def _ncpu(self, place: int) -> bool:
        return 0 < self._number(place, 4) <= MAX_CPUS

    def _allm(self, place: int) -> bool:
        first = self._number(place)
        if not first or first % 8:
            return False
        own = self._number(first + self._layout.offset("m", "g0"))
        return bool(own) and self._number(own + self._layout.offset("g", "m")) == first

    def _sched(self, place: int) -> bool:
        most = self._field(place, "schedt", "maxmcount", 4, signed=True)
        made = self._field(place, "schedt", "mnext", signed=True)
        idle = self._field(place, "schedt", "nmidle", 4, signed=True)
        return 0 < most <= 0x7FFFFFFF and 0 < made < 1 << 40 and 0 <= idle <= made and most >= 4

    def _gcController(self, place: int) -> bool:  # noqa: N802  # named after the variable that it checks
        percent = self._field(place, "gcControllerState", "gcPercent", 4, signed=True)
        limit = self._field(place, "gcControllerState", "memoryLimit", signed=True)
        least = self._field(place, "gcControllerState", "heapMinimum")
        sane = percent == -1 or 0 <= percent < 1 << 24
        return sane and limit >= 0 and least <= 1 << 48 and (percent < 0 or limit > 0)

    def _memstats(self, place: int) -> bool:
        cycles = self._field(place, "mstats", "numgc", 4)
        forced = self._field(place, "mstats", "numforcedgc", 4)
        total = self._field(place, "mstats", "pause_total_ns")
        last = self._field(place, "mstats", "last_gc_unix")
        return forced <= cycles < 1 << 31 and total < 1 << 60 and (last == 0) == (cycles == 0) and last < 1 << 62

    def _mheap_(self, place: int) -> bool:
        head = self._slice(place + self._layout.offset("mheap", "allspans"), 1 << 32)
        if head is None:
            return False
        listed = np.frombuffer(self._memory.read(head[0], 8 * min(head[1], 64)), np.uint64)
        start = self._layout.offset("mspan", "startAddr")
        pages = self._layout.offset("mspan", "npages")
        data, _, whole = self._memory.read_many(listed + np.uint64(start), 8)
        number, _, also = self._memory.read_many(listed + np.uint64(pages), 8)
        return bool(
            whole.all() and also.all() and (data.view("<u8") % 8192 == 0).all() and (number.view("<u8") < 1 << 36).all()
        )

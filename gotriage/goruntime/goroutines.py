"""Every goroutine of a process, as columns: read from `allgs`, with its stack, without stopping anything.

The order of the reads follows runtime/proc.go (Go 1.21): `allgs` only grows, a g is never freed, so a list read once
stays valid; what changes while it is read is seen by reading each goroutine's words a second time.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import numpy as np

from gotriage.goruntime.fields import cut
from gotriage.goruntime.memory import Unreadable
from gotriage.goruntime.unwind import Walked, walk

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from gotriage.goruntime.layout import Layout
    from gotriage.goruntime.locate import Globals
    from gotriage.goruntime.memory import Memory
    from gotriage.goruntime.symbols import Functions

    U64 = NDArray[np.uint64]
    I64 = NDArray[np.int64]
    Bools = NDArray[np.bool_]

MAX_GOROUTINES: Final = 8_000_000
"""More g's than this are not listed: 8 million are 16 GB of stacks at least."""
CHUNK: Final = 8 * 1024
"""Goroutines whose structs are read at once: so few that these stay in the processor's cache until they are taken
apart."""

IDLE, RUNNABLE, RUNNING, SYSCALL, WAITING, DEAD = 0, 1, 2, 3, 4, 6
COPYSTACK, PREEMPTED, LEAKED, DEADEXTRA = 8, 9, 10, 11
"""g.atomicstatus, runtime/runtime2.go (Go 1.19 to 1.27; 10 and 11 since 1.26)."""
SCAN: Final = 0x1000
"""Bit of the status while the collector scans the stack (runtime/runtime2.go, _Gscan)."""
STATES: Final = {
    IDLE: "idle", RUNNABLE: "runnable", RUNNING: "running", SYSCALL: "syscall", WAITING: "waiting", DEAD: "dead",
    COPYSTACK: "copystack", PREEMPTED: "preempted", LEAKED: "leaked", DEADEXTRA: "dead",
}  # fmt: skip
"""The words of runtime/traceback.go (gStatusStrings)."""
NOT_THERE: Final = (IDLE, DEAD, DEADEXTRA)

_COLUMNS: Final = {
    "lo": ("stack.lo", "<u8"), "hi": ("stack.hi", "<u8"), "m": ("m", "<u8"),
    "sched_sp": ("sched.sp", "<u8"), "sched_pc": ("sched.pc", "<u8"),
    "syscallsp": ("syscallsp", "<u8"), "syscallpc": ("syscallpc", "<u8"),
    "status": ("atomicstatus", "<u4"), "goid": ("goid", "<u8"), "waitsince": ("waitsince", "<i8"),
    "reason": ("waitreason", "u1"), "lockedm": ("lockedm", "<u8"), "parent": ("parentGoid", "<u8"),
    "gopc": ("gopc", "<u8"), "startpc": ("startpc", "<u8"), "waiting": ("waiting", "<u8"),
    "labels": ("labels", "<u8"), "sleep_when": ("sleepWhen", "<i8"), "turns": ("trackingSeq", "u1"),
    "timer": ("timer", "<u8"),
}  # fmt: skip
"""Column to field of runtime.g and its type. `turns` (trackingSeq) counts, modulo 256, how often it stopped running."""


def plain(status: NDArray[np.generic]) -> NDArray[np.uint32]:
    """States without the collector's bit."""
    return np.bitwise_and(status.astype(np.uint32), np.uint32(~SCAN & 0xFFFFFFFF))


@dataclass(slots=True)
class Columns:
    """n goroutines that are not dead, one number each in every column (see `_COLUMNS`).

    Attributes:
        address: of the g.
        dead: how many g's are kept for reuse.
        listing: address of the list of all g's.
        moved: it changed while it was read.
        readable: a stack that may be walked: not on a CPU, not being copied.
    """

    address: U64
    dead: int
    listing: int = 0
    values: dict[str, NDArray[np.generic]] = field(default_factory=dict)
    sp: U64 = field(default_factory=lambda: np.zeros(0, np.uint64))
    pc: U64 = field(default_factory=lambda: np.zeros(0, np.uint64))
    moved: Bools = field(default_factory=lambda: np.zeros(0, bool))
    readable: Bools = field(default_factory=lambda: np.zeros(0, bool))

    def __len__(self) -> int:
        return len(self.address)

    def column(self, name: str) -> NDArray[np.generic]:
        """A column; zeros where this version of Go has no such field."""
        if name not in self.values:
            self.values[name] = np.zeros(len(self), np.uint64)
        return self.values[name]

    def unsigned(self, name: str) -> U64:
        """A column as 64-bit unsigned numbers."""
        return self.column(name).astype(np.uint64, copy=False)

    def only(self, who: NDArray[np.int64]) -> Columns:
        """Those of these numbers."""
        values = {name: column[who] for name, column in self.values.items()}
        chosen = Columns(self.address[who], self.dead, self.listing, values)
        _place(chosen)
        return chosen

    @property
    def status(self) -> NDArray[np.uint32]:
        """The status without the collector's bit."""
        return plain(self.column("status"))


def addresses(memory: Memory, found: Globals) -> tuple[int, U64]:
    """The list of all g's: where it is, and each one's address, sorted. Raises Unreadable when it makes no sense."""
    for _ in range(3):
        pointer, length, capacity = struct.unpack("<QQQ", memory.read(found.address("allgs"), 24))
        if length <= capacity and 0 < length <= MAX_GOROUTINES:
            data = memory.read(pointer, length * 8)
            if struct.unpack("<Q", memory.read(found.address("allgs"), 8))[0] == pointer:
                listed: U64 = np.sort(np.frombuffer(data, np.uint64))
                return pointer, listed[np.searchsorted(listed, 1) :]
    raise Unreadable(f"the list of goroutines (runtime.allgs) has {length} of {capacity} entries: it cannot be read")


def _span(layout: Layout) -> tuple[int, int]:
    """First and last byte + 1 of the fields of g that are read."""
    there = [(path, np.dtype(kind).itemsize) for path, kind in _COLUMNS.values() if layout.has("g", path)]
    places = [(layout.offset("g", path), size) for path, size in there]
    return min(at for at, _ in places), max(at + size for at, size in places)


def read(memory: Memory, layout: Layout, found: Globals) -> Columns:
    """All goroutines without their stacks. Raises Unreadable, TargetGone, NotPermitted."""
    listing, listed = addresses(memory, found)
    low, high = _span(layout)
    fields = {name: place for name, place in _COLUMNS.items() if layout.has("g", place[0])}
    values: dict[str, NDArray[np.generic]] = {name: np.empty(len(listed), kind) for name, (_, kind) in fields.items()}
    kept: U64 = np.empty(len(listed), np.uint64)
    dead = end = 0
    for start in range(0, len(listed), CHUNK):
        chunk = listed[start : start + CHUNK]
        data, _, whole = memory.read_many(chunk + np.uint64(low), high - low)
        table = data.reshape(len(chunk), high - low)
        status = plain(cut(table, layout.offset("g", "atomicstatus") - low, "<u4"))
        there = whole & ~np.isin(status, NOT_THERE)
        dead += int(np.count_nonzero(whole & ~there))
        if not there.all():
            chunk, table = chunk[there], table[there]
        begin, end = end, end + len(chunk)
        kept[begin:end] = chunk
        for name, (path, kind) in fields.items():
            values[name][begin:end] = cut(table, layout.offset("g", path) - low, kind)
    columns = Columns(kept[:end], dead, listing, {name: column[:end] for name, column in values.items()})
    _place(columns)
    return columns


def _place(columns: Columns) -> None:
    """Where each one stands: a system call keeps its own words (runtime/traceback.go, unwinder.initAt)."""
    called = columns.unsigned("syscallsp") != 0
    columns.sp = np.where(called, columns.unsigned("syscallsp"), columns.unsigned("sched_sp"))
    columns.pc = np.where(called, columns.unsigned("syscallpc"), columns.unsigned("sched_pc"))
    status = columns.status
    low, high = columns.unsigned("lo"), columns.unsigned("hi")
    inside = (columns.sp >= low) & (columns.sp < high) & (columns.sp % 8 == 0)
    columns.readable = inside & (status != RUNNING) & (status != COPYSTACK)
    columns.moved = status == COPYSTACK


def walk_all(
    memory: Memory, layout: Layout, functions: Functions, columns: Columns, needles: U64 | None = None
) -> Walked:
    """The stacks of all that may be walked, then a second look at their words: what differs is marked as moved."""
    chosen = np.flatnonzero(columns.readable)
    order = chosen[np.argsort(columns.sp[chosen], kind="stable")]
    some = walk(memory, functions, columns.sp[order], columns.pc[order], columns.unsigned("hi")[order], needles)
    all_of_them = Walked(np.zeros(len(columns), np.uint64), np.zeros(len(columns), bool), some.pcs)
    all_of_them.key[order] = some.key
    all_of_them.complete[order] = some.complete
    all_of_them.mentions = {(int(order[who]), needle) for who, needle in some.mentions}
    if memory.live:
        _look_again(memory, layout, columns)
    return all_of_them


def _look_again(memory: Memory, layout: Layout, columns: Columns) -> None:
    names = ("sched_sp", "sched_pc", "syscallsp", "syscallpc", "status", "goid", "turns")
    fields = {name: _COLUMNS[name] for name in names if layout.has("g", _COLUMNS[name][0])}
    low = min(layout.offset("g", path) for path, _ in fields.values())
    high = max(layout.offset("g", path) + np.dtype(kind).itemsize for path, kind in fields.values())
    for start in range(0, len(columns), CHUNK):
        piece = slice(start, start + CHUNK)
        data, _, whole = memory.read_many(columns.address[piece] + np.uint64(low), high - low)
        table = data.reshape(-1, high - low)
        same = whole.copy()
        for name, (path, kind) in fields.items():
            now, before = cut(table, layout.offset("g", path) - low, kind), columns.values[name][piece]
            same &= plain(now) == plain(before) if name == "status" else now == before
        columns.moved[piece] |= ~same

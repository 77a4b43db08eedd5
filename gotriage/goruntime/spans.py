"""The heap's spans: what fills it by size class, and which object an address lies in.

mheap_.allspans lists every mspan that is or was in use (runtime/mheap.go, Go 1.19 to 1.27).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import numpy as np

from gotriage.goruntime.fields import read_fields
from gotriage.goruntime.memory import Unreadable
from gotriage.goruntime.report import SizeClass

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from gotriage.goruntime.layout import Layout
    from gotriage.goruntime.locate import Globals
    from gotriage.goruntime.memory import Memory

PAGE: Final = 8192
"""runtime/malloc.go, pageSize."""
IN_USE: Final = 1
"""mspan.state of a span that holds objects: runtime/mheap.go, mSpanInUse."""
MANUAL: Final = 2
"""... and of one that the runtime manages itself, as stacks: mSpanManual."""
MAX_SPANS: Final = 16_000_000
MOST_ADDRESS: Final = np.uint64(1 << 57)
"""Behind the last address of a process: with 5 levels of page tables (Documentation/arch/x86/x86_64/5level-paging)."""
MOST_PAGES: Final = np.uint64(1 << 44)


@dataclass(frozen=True, slots=True)
class Spans:
    """The spans in use, sorted by address; sizes in bytes. `manual`: bytes of spans that hold stacks and the like."""

    start: NDArray[np.uint64]
    size: NDArray[np.uint64]
    element: NDArray[np.uint64]
    count: NDArray[np.uint64]
    spanclass: NDArray[np.uint8]
    manual: int = 0
    specials: NDArray[np.uint64] = field(default_factory=lambda: np.zeros(0, np.uint64))
    """First finalizer, cleanup or the like of each span that has some (mspan.specials)."""

    def object_of(self, addresses: NDArray[np.uint64]) -> NDArray[np.uint64]:
        """Where the heap object that holds each address begins; 0 where there is none."""
        if not len(self.start):
            return np.zeros(len(addresses), np.uint64)
        place = np.maximum(np.searchsorted(self.start, addresses, side="right") - 1, 0)
        start, element = self.start[place], np.maximum(self.element[place], np.uint64(1))
        inside = (addresses >= start) & (addresses < start + self.size[place])
        base = start + (addresses - start) // element * element
        return np.where(inside, base, np.uint64(0))


def read_spans(memory: Memory, layout: Layout, found: Globals) -> Spans:
    """Every span that holds objects. Raises Unreadable, NotLocated, KeyError where the layout does not know spans."""
    head = memory.read(found.address("mheap_") + layout.offset("mheap", "allspans"), 24)
    pointer, length, capacity = struct.unpack("<QQQ", head)
    if not 0 < length <= capacity <= 2 * MAX_SPANS:
        raise Unreadable(f"the list of heap spans (mheap_.allspans) has {length} of {capacity} entries")
    listed = np.frombuffer(memory.read(pointer, length * 8), np.uint64)
    wanted = {
        "start": ("startAddr", "<u8"),
        "pages": ("npages", "<u8"),
        "element": ("elemsize", "<u8"),
        "count": ("allocCount", "<u2"),
        "spanclass": ("spanclass", "u1"),
        "state": ("state", "u1"),
        "specials": ("specials", "<u8"),
    }
    columns, whole = read_fields(memory, layout, "mspan", listed[listed != 0], wanted)
    likely = (columns["start"].astype(np.uint64) < MOST_ADDRESS) & (columns["pages"].astype(np.uint64) < MOST_PAGES)
    whole &= likely
    used = whole & (columns["state"] == IN_USE)
    order = np.argsort(columns["start"][used].astype(np.uint64), kind="stable")

    def column(name: str) -> NDArray[np.uint64]:
        return np.take(columns[name][used].astype(np.uint64), order)

    manual = int(columns["pages"][whole & (columns["state"] == MANUAL)].astype(np.uint64).sum()) * PAGE
    return Spans(
        manual=manual,
        specials=np.unique(column("specials")),
        start=column("start"),
        size=column("pages") * np.uint64(PAGE),
        element=column("element"),
        count=column("count"),
        spanclass=column("spanclass").astype(np.uint8),
    )


def size_classes(spans: Spans) -> tuple[SizeClass, ...]:
    """What fills the heap, the largest share first. A span class is a size class and whether its objects hold pointers
    (runtime/mheap.go, spanClass: the lowest bit is noscan; class 0 is one object of its own size)."""
    found = []
    for spanclass in np.unique(spans.spanclass).tolist():
        mine = spans.spanclass == spanclass
        sizes, objects = spans.size[mine], spans.count[mine]
        size = 0 if spanclass < 2 else int(spans.element[mine].max())
        found.append(SizeClass(size, bool(spanclass & 1), int(mine.sum()), int(sizes.sum()), int(objects.sum())))
    return tuple(sorted(found, key=lambda one: -one.bytes))

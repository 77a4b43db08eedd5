"""Which blocked goroutines nothing can ever wake: the channel or lock that they wait on is referred to by nobody else.

The way of Go's own goroutine leak profile (runtime/mgc.go, Go 1.26), from outside and without type information: what
runs, sleeps or waits for the outside world is alive, and so is what its stack and the program's variables lead to; a
goroutine blocked on an object that was reached is alive too, and its stack leads further. What is left when nothing is
added any more waits for ever. Every word that looks like a pointer counts as one, so that an object may be missed, but
one that is told is unreachable - as far as pointers in C memory and in the registers of running threads allow: who asks
should believe only what two looks in a row say.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from gotriage.goruntime.memory import Unreadable
from gotriage.host import clock

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from gotriage.goruntime.image import Image
    from gotriage.goruntime.memory import Memory
    from gotriage.goruntime.spans import Spans

    U64 = NDArray[np.uint64]
    I64 = NDArray[np.int64]
    Bools = NDArray[np.bool_]

PIECE: Final = 8 * 1024 * 1024
"""Bytes of variables, stacks or objects that are looked at together."""
MAX_OBJECTS: Final = 64_000_000
"""Slots for objects in the heap whose marks are kept, one byte each."""
SPECIAL: Final = 64
"""Bytes of a special that are looked at: the largest, specialfinalizer, has 56 (runtime/mheap.go, Go 1.27)."""
MAX_SPECIALS: Final = 2_000_000
MAX_VARIABLES: Final = 1 << 30
"""Bytes of variables of a module: the linker's limit is twice that."""
MAX_ROUNDS: Final = 100_000
"""Steps along references: a list of n elements takes n."""


class TooMuch(Exception):
    """The heap is larger, or the way through it longer, than was allowed: nothing is proven."""


@dataclass(frozen=True, slots=True)
class Blocked:
    """Goroutines that may be blocked for ever: stack from `sp` to `top`, and every object that could wake each.

    Attributes:
        owner: for each object in `objects` the number of its goroutine.
    """

    sp: U64
    top: U64
    owner: I64
    objects: U64


class Heap:
    """Marks objects; every byte that is read counts against the budget.

    Args:
        opaque: objects that are marked but lead nowhere: g's, sudogs and the list of all g's, which lead to everything.
        budget: bytes of heap that may be read; seconds: time that it may take.
    """

    def __init__(self, memory: Memory, spans: Spans, opaque: U64, budget: int, seconds: float) -> None:
        slots = np.maximum(spans.size // np.maximum(spans.element, np.uint64(1)), np.uint64(1)).astype(np.int64)
        self._before = np.concatenate([[0], np.cumsum(slots)])
        if self._before[-1] > MAX_OBJECTS:
            raise TooMuch(f"{int(self._before[-1]):,} objects in the heap")
        self._memory, self._spans, self._left = memory, spans, budget
        self._end = clock.monotonic() + seconds
        self._marked = np.zeros(int(self._before[-1]), bool)
        self._opaque = np.zeros(len(self._marked), bool)
        known = self._numbers(opaque)
        self._opaque[known[known >= 0]] = True

    def _numbers(self, addresses: U64) -> I64:
        """Number of the object that each address lies in, -1 for none."""
        if not len(self._spans.start):
            return np.full(len(addresses), -1, np.int64)
        span = np.maximum(np.searchsorted(self._spans.start, addresses, side="right") - 1, 0)
        offset = addresses - self._spans.start[span]
        inside = (addresses >= self._spans.start[span]) & (offset < self._spans.size[span])
        number = self._before[span] + (offset // np.maximum(self._spans.element[span], np.uint64(1))).astype(np.int64)
        known = inside & (number < self._before[span + 1])
        return np.where(known, number, np.int64(-1))

    def reached(self, addresses: U64) -> Bools:
        """Whether each address lies in an object that was reached; True for one outside of the heap."""
        numbers = self._numbers(addresses)
        if not len(self._marked):
            return np.ones(len(numbers), bool)
        return np.where(numbers >= 0, self._marked[numbers], True)

    def follow(self, words: U64) -> None:
        """Mark what the words point to, and all that those objects lead to. Raises TooMuch."""
        for _ in range(MAX_ROUNDS):
            new = self._mark(words)
            if not len(new):
                return
            words = np.concatenate(list(self._contents(new)) or [np.zeros(0, np.uint64)])
        raise TooMuch("the chain of references is too long")

    def _mark(self, words: U64) -> I64:
        """Numbers of the objects that are newly reached and may hold pointers."""
        if len(words) and len(self._spans.start):
            low, high = self._spans.start[0], self._spans.start[-1] + self._spans.size[-1]
            words = words[(words >= low) & (words < high)]
        numbers = np.unique(self._numbers(words))
        numbers = numbers[numbers >= 0]
        numbers = numbers[~self._marked[numbers]]
        self._marked[numbers] = True
        numbers = numbers[~self._opaque[numbers]]
        span = np.searchsorted(self._before, numbers, side="right") - 1
        return np.compress((self._spans.spanclass[span] & 1) == 0, numbers)

    def _contents(self, numbers: I64) -> Iterator[U64]:
        span = np.searchsorted(self._before, numbers, side="right") - 1
        size = np.minimum(self._spans.element[span], self._spans.size[span])
        start = self._spans.start[span] + (numbers - self._before[span]).astype(np.uint64) * size
        yield from self.words(start, size.astype(np.int64))

    def words(self, start: U64, size: I64) -> Iterator[U64]:
        """The words of pieces of memory. Raises TooMuch."""
        if len(size) and (int(size.min()) < 0 or int(size.max()) > self._left):  # their sum might wrap around
            raise TooMuch("stacks or objects of a size that cannot be")
        self._left -= int(size.sum())
        if self._left < 0 or clock.monotonic() > self._end:
            raise TooMuch("more than may be read for this")
        ends = np.cumsum(size)
        first = 0
        while first < len(start):
            base = int(ends[first - 1]) if first else 0
            last = max(first + 1, int(np.searchsorted(ends, base + PIECE, side="right")))
            data, _, _ = self._memory.read_many(start[first:last], size[first:last] & ~7)
            yield data[: len(data) & ~7].view(np.uint64)
            first = last


def follow_variables(heap: Heap, memory: Memory, image: Image) -> None:
    """Mark what the program's variables with pointers lead to (sections .data and .bss). Raises TooMuch."""
    for module in image.modules:
        for low, high in ((module.data, module.edata), (module.bss, module.ebss)):
            begin = low + -low % 8
            if high - begin > MAX_VARIABLES:
                raise TooMuch(f"{high - begin:,} bytes of variables")
            for start in range(begin, high, PIECE):
                try:
                    data = memory.read(start, min(PIECE, high - start) & ~7)
                except Unreadable:
                    continue
                heap.follow(np.frombuffer(data, np.uint64))


def follow_specials(heap: Heap, memory: Memory, first: U64) -> None:
    """Mark what finalizers and cleanups lead to: their functions, in lists outside of the heap (runtime/mheap.go,
    special: the next one comes first, the function within the first words behind the common part). Raises TooMuch."""
    here, seen = first[first != 0], 0
    while len(here):
        data, _, whole = memory.read_many(here, SPECIAL)
        words = data.view(np.uint64).reshape(len(here), SPECIAL // 8)
        heap.follow(words[whole].reshape(-1))
        seen += len(here)
        if seen > MAX_SPECIALS:
            raise TooMuch(f"more than {MAX_SPECIALS:,} finalizers")
        here = words[whole][:, 0]
        here = here[here != 0]


def unreachable(heap: Heap, blocked: Blocked, roots: tuple[U64, U64]) -> Bools:
    """For each of the blocked goroutines whether nothing can wake it any more. Raises TooMuch.

    `roots`: where the stacks of all other goroutines begin and end.
    """
    start, end = roots
    for words in heap.words(start, (end - start).astype(np.int64)):
        heap.follow(words)
    waiting = np.ones(len(blocked.sp), bool)
    while waiting.any():
        woken = np.zeros(len(waiting), bool)
        woken[blocked.owner[heap.reached(blocked.objects)]] = True
        now = np.flatnonzero(woken & waiting)
        if not len(now):
            break
        waiting[now] = False
        for words in heap.words(blocked.sp[now], (blocked.top[now] - blocked.sp[now]).astype(np.int64)):
            heap.follow(words)
    return waiting

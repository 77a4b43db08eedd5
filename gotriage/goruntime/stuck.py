"""The search for goroutines that nothing can wake, put together for one look: what is alive, what may be stuck."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from gotriage.goruntime import standing
from gotriage.goruntime.goroutines import RUNNING, WAITING
from gotriage.goruntime.reach import Blocked, Heap, TooMuch, follow_specials, follow_variables, unreachable
from gotriage.host import clock

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from gotriage.goruntime.goroutines import Columns
    from gotriage.goruntime.image import Image
    from gotriage.goruntime.memory import Memory
    from gotriage.goruntime.spans import Spans
    from gotriage.goruntime.waits import Waits

    U64 = NDArray[np.uint64]

BUDGET: Final = 64 * 1024 * 1024
"""Bytes of heap in use up to which the search runs by itself."""
MOST_STACKS: Final = 64 * 1024 * 1024
SECONDS: Final = 1.0
AGAIN: Final = 1.0
"""Seconds until a suspicion is looked at once more."""
EVERY: Final = 15.0
LONGEST: Final = 300.0
SHARE: Final = 100
"""A search that took t seconds comes again after SHARE * t: one per cent of a core."""
MAX_BLOCKED: Final = 200_000
CORE_BUDGET, CORE_SECONDS = 1 << 30, 30.0
"""The same for a core file, which is searched once."""


class Search:
    """Looks for them now and then, as far as it is cheap, and believes only what two searches in a row say.

    In a core file, where nothing moves and all registers are known, one search is enough.
    """

    def __init__(self, memory: Memory, image: Image, budget: int = BUDGET, seconds: float = SECONDS) -> None:
        if not memory.live:
            budget, seconds = max(budget, CORE_BUDGET), max(seconds, CORE_SECONDS)
        self._memory, self._image, self._budget, self._seconds = memory, image, budget, seconds
        self._due = 0.0
        self._suspected: set[int] = set()
        self._known: dict[int, bool] = {}

    def look(self, spans: Spans, columns: Columns, waits: Waits, now: float) -> dict[int, bool]:
        """Channel or semaphore to whether nothing alive refers to it; those that were not proven are left out."""
        if now < self._due or int(spans.size.sum()) > self._budget:
            return self._known
        found = stuck_objects(
            self._memory, self._image, spans, columns, waits, self._budget + 2 * MOST_STACKS, self._seconds
        )
        took = clock.monotonic() - now
        if found is None:
            self._suspected, self._known, self._due = set(), {}, now + LONGEST
            return self._known
        lost, alive = found
        sure = lost & self._suspected if self._memory.live else lost
        again = bool(lost - self._suspected)
        self._suspected = lost
        self._known = dict.fromkeys(alive, False) | dict.fromkeys(sure, True)
        self._due = now + (AGAIN if again else min(LONGEST, max(EVERY, SHARE * took)))
        return self._known


def stuck_objects(
    memory: Memory, image: Image, spans: Spans, columns: Columns, waits: Waits, budget: int, seconds: float
) -> tuple[set[int], set[int]] | None:
    """Channels and semaphores that goroutines wait on: those that nothing alive refers to, and the others.

    None when it could not be proven within the budget (bytes, seconds). Raises TargetGone, NotPermitted.
    """
    owner, objects = _what_could_wake(columns, waits)
    if not len(objects):
        return set(), set()
    numbers, owner = np.unique(owner, return_inverse=True)
    if len(numbers) > MAX_BLOCKED:
        return None
    top = columns.unsigned("hi")
    alive = np.ones(len(columns), bool)
    alive[numbers] = False
    alive &= top > columns.unsigned("lo")
    begin = np.where(columns.status == RUNNING, columns.unsigned("lo"), columns.sp)
    try:
        heap = Heap(memory, spans, _opaque(columns, waits), budget, seconds)
        follow_variables(heap, memory, image)
        follow_specials(heap, memory, spans.specials)
        if not memory.live:
            heap.follow(standing.held(memory))
        blocked = Blocked(columns.sp[numbers], top[numbers], owner.astype(np.int64), objects)
        left = unreachable(heap, blocked, (begin[alive], top[alive]))
        reached = heap.reached(objects)
    except TooMuch:
        return None
    lost = set(objects[~reached & left[owner]].tolist())
    return lost, set(objects.tolist()) - lost


def _what_could_wake(columns: Columns, waits: Waits) -> tuple[NDArray[np.int64], U64]:
    """(goroutine, object) for everything that a blocked goroutine waits on: channels, all cases of a select, locks."""
    waiting = columns.status == WAITING
    plain = np.flatnonzero(waiting & (waits.channel != 0))
    locked = np.flatnonzero(waiting & (waits.semaphore != 0))
    cases = np.array([case for case in waits.cases if waits.channel[case[0]] == 0], np.uint64).reshape(-1, 2)
    owner = np.concatenate([plain, locked, cases[:, 0].astype(np.int64)])
    objects = np.concatenate([waits.channel[plain], waits.semaphore[locked], cases[:, 1]])
    return owner.astype(np.int64), objects.astype(np.uint64)


def _opaque(columns: Columns, waits: Waits) -> U64:
    """g's and the sudogs of those that wait: they lead from everything to everything."""
    return np.concatenate([columns.address, waits.sudogs, np.array([columns.listing], np.uint64)])

"""The objects that goroutines wait on, who likely holds the locks among them, and the cycles that those form."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import numpy as np

from gotriage.goruntime.memory import Unreadable
from gotriage.goruntime.report import Edge, ObjectKind, WaitObject

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from gotriage.goruntime.layout import Layout
    from gotriage.goruntime.memory import Memory
    from gotriage.goruntime.spans import Spans
    from gotriage.goruntime.waits import Waits

    U64 = NDArray[np.uint64]

MAX_LOCKS: Final = 256
"""Contended locks whose holders are looked for."""
MAX_HOLDERS: Final = 8
"""More goroutines that refer to a lock than this say nothing about who holds it."""
MAX_OBJECTS: Final = 2000
IDS: Final = 20
MAX_CYCLES: Final = 20

MUTEX_SEMA: Final = 4
"""sync.Mutex: state int32, sema uint32 (sync/mutex.go, Go 1.18 to 1.23; internal/sync/mutex.go since)."""
WRITER_SEMA: Final = 8
READER_SEMA: Final = 12
READER_COUNT: Final = 16
"""sync.RWMutex: w Mutex, writerSem, readerSem, readerCount (sync/rwmutex.go, Go 1.18 to 1.27)."""
MAX_READERS: Final = 1 << 30
"""sync/rwmutex.go, rwmutexMaxReaders: subtracted from readerCount while a writer waits."""
DELTAS: Final = (MUTEX_SEMA, WRITER_SEMA, READER_SEMA, 0)


@dataclass(slots=True)
class Needles:
    """What to look for on the stacks.

    Attributes:
        values: sorted.
        meaning: for each value the semaphores that it may stand for, and whether it is the lock itself (by its distance
            from the semaphore) or only the heap object around it (None).
    """

    values: U64
    meaning: list[list[tuple[int, int | None]]] = field(default_factory=list)


def needles_for(waits: Waits, spans: Spans | None) -> Needles:
    """The addresses of the locks with most waiters, and of the heap objects around them."""
    semaphores, counts = np.unique(waits.semaphore[waits.semaphore != 0], return_counts=True)
    chosen = semaphores[np.argsort(-counts, kind="stable")[:MAX_LOCKS]]
    meant: dict[int, list[tuple[int, int | None]]] = defaultdict(list)
    for semaphore in chosen.tolist():
        for delta in DELTAS:
            if semaphore > delta:
                meant[semaphore - delta].append((semaphore, delta))
    if spans is not None and len(chosen):
        for semaphore, base in zip(chosen.tolist(), spans.object_of(chosen).tolist(), strict=True):
            if base and base not in meant:
                meant[base].append((semaphore, None))
    values = sorted(meant)
    return Needles(np.array(values, np.uint64), [meant[value] for value in values])


def sync_object(functions: Sequence[str], wait_group: int) -> tuple[ObjectKind, int]:
    """What a goroutine that waits on a semaphore waits on, by its innermost functions, and how far behind the object's
    beginning the semaphore lies; `wait_group`: that distance in sync.WaitGroup."""
    names = [name.replace("internal/sync.", "sync.") for name in functions[:8]]
    if "sync.(*RWMutex).RLock" in names or "sync.(*RWMutex).rUnlockSlow" in names:
        return "rwmutex", READER_SEMA
    if "sync.(*RWMutex).Lock" in names:
        inner = any(name.startswith("sync.(*Mutex).") for name in names)
        return "rwmutex", MUTEX_SEMA if inner else WRITER_SEMA
    if any(name.startswith("sync.(*Mutex).") for name in names):
        return "mutex", MUTEX_SEMA
    if "sync.(*WaitGroup).Wait" in names:
        return "waitgroup", wait_group
    return "semaphore", 0


class Objects:
    """Assembles the objects of one look."""

    def __init__(
        self, memory: Memory, layout: Layout, goids: U64, waits: Waits, functions: Mapping[int, Sequence[str]]
    ) -> None:
        """`functions`: number of a goroutine to the names on its stack, innermost first, for all that wait on locks."""
        self._memory, self._goids, self._waits, self._functions = memory, goids, waits, functions
        self._wait_group = layout.offset("sync.WaitGroup", "sema") if layout.has("sync.WaitGroup", "sema") else 0
        self.on = waits.channel.copy()
        """For each goroutine the object that it waits on, 0 for none."""
        self.locks: list[WaitObject] = []
        self.channels: list[WaitObject] = []
        self._held: dict[int, list[int]] = {}
        self._alone: Mapping[int, bool] = {}

    def build(
        self, receiving: NDArray[np.int64], needles: Needles, mentions: set[tuple[int, int]], alone: Mapping[int, bool]
    ) -> tuple[WaitObject, ...]:
        """All objects, those with most waiters first.

        `receiving`: goroutines that receive from their channel; `alone`: of channels and semaphores, see WaitObject.
        """
        self._alone = alone
        self._find_locks(needles, mentions)
        self._find_conds()
        self._find_channels(receiving)
        found = sorted([*self.locks, *self.channels], key=lambda one: -one.waiters)
        return tuple(found[:MAX_OBJECTS])

    # -- locks

    def _find_locks(self, needles: Needles, mentions: set[tuple[int, int]]) -> None:
        waiting = np.flatnonzero(self._waits.semaphore != 0)
        by_semaphore: dict[int, list[int]] = defaultdict(list)
        for who in waiting.tolist():
            by_semaphore[int(self._waits.semaphore[who])].append(who)
        holders = self._holders(needles, mentions)
        merged: dict[int, tuple[ObjectKind, list[int], list[int]]] = {}
        for semaphore, waiters in by_semaphore.items():
            names = next((self._functions[who] for who in waiters if who in self._functions), ())
            kind, delta = sync_object(names, self._wait_group)
            if semaphore <= delta:
                kind, delta = "semaphore", 0  # nothing begins below address 0: what was read is no lock
            place = semaphore - delta
            likely = holders.get((semaphore, delta)) or holders.get((semaphore, None), [])
            _, before, also = merged.get(place, (kind, [], []))
            merged[place] = (kind, before + waiters, also + likely)
            self.on[waiters] = place
        for place, (kind, waiters, likely) in merged.items():
            mine = set(waiters)
            held = [who for who in dict.fromkeys(likely) if who not in mine]
            if kind in ("mutex", "rwmutex") and len(held) <= MAX_HOLDERS:
                self._held[place] = held
            self.locks.append(self._lock(place, kind, waiters, self._held.get(place, [])))

    def _holders(self, needles: Needles, mentions: set[tuple[int, int]]) -> dict[tuple[int, int | None], list[int]]:
        """(semaphore, distance) to the goroutines whose stacks refer to that place."""
        found: dict[tuple[int, int | None], list[int]] = defaultdict(list)
        for who, needle in sorted(mentions):
            for meaning in needles.meaning[needle]:
                found[meaning].append(who)
        return found

    def _lock(self, place: int, kind: ObjectKind, waiters: list[int], holders: list[int]) -> WaitObject:
        ids = sorted(int(self._goids[who]) for who in waiters)
        return WaitObject(
            address=place,
            kind=kind,
            waiters=len(waiters),
            ids=tuple(ids[:IDS]),
            holders=tuple(int(self._goids[who]) for who in holders),
            alone=self._alone.get(int(self._waits.semaphore[waiters[0]])) if kind != "cond" else None,
            detail=self._detail(place, kind),
        )

    def _detail(self, place: int, kind: ObjectKind) -> str:
        """The lock's own state in words (sync/mutex.go: mutexLocked, mutexWoken, mutexStarving; waiters from bit 3)."""
        try:
            if kind == "mutex":
                state = int.from_bytes(self._memory.read(place, 4), "little")
                words = ["locked" if state & 1 else "unlocked"]
                return ", ".join([*words, *(["starving"] if state & 4 else [])])
            if kind == "rwmutex":
                count = int.from_bytes(self._memory.read(place + READER_COUNT, 4), "little", signed=True)
                readers = count + MAX_READERS if count < 0 else count
                return f"{readers} readers, a writer waits or holds it" if count < 0 else f"{readers} readers"
        except Unreadable:
            pass
        return ""

    # -- channels

    def _find_conds(self) -> None:
        for place in np.unique(self._waits.cond[self._waits.cond != 0]).tolist():
            waiters = np.flatnonzero(self._waits.cond == place)
            self.on[waiters] = place
            self.locks.append(self._lock(place, "cond", waiters.tolist(), []))

    def _find_channels(self, receiving: NDArray[np.int64]) -> None:
        """One row a channel: those that wait for it alone by columns (there may be a million), selects one by one."""
        channels = self._waits.channels
        if channels is None:
            return
        selecting: dict[int, set[int]] = defaultdict(set)
        for who, channel in self._waits.cases:
            selecting[channel].add(who)
        alone = self._waits.channel.copy()
        alone[np.array(sorted({who for who, _ in self._waits.cases}), np.int64)] = 0
        waiting = np.flatnonzero(alone)
        waiting = waiting[np.lexsort((self._goids[waiting], alone[waiting]))]
        receives = np.zeros(len(alone), bool)
        receives[receiving] = True
        low = np.searchsorted(alone[waiting], channels.address, side="left").tolist()
        high = np.searchsorted(alone[waiting], channels.address, side="right").tolist()
        for place, address in enumerate(channels.address.tolist()):
            plain, selects = waiting[low[place] : high[place]], sorted(selecting.get(address, ()))
            receivers = int(receives[plain].sum())
            ids = sorted([*self._goids[plain[:IDS]].tolist(), *self._goids[selects].tolist()])
            self.channels.append(
                WaitObject(
                    address=address,
                    kind="channel",
                    waiters=len(plain) + len(selects),
                    ids=tuple(ids[:IDS]),
                    receivers=receivers,
                    senders=len(plain) - receivers,
                    buffered=int(channels.buffered[place]),
                    capacity=int(channels.capacity[place]),
                    closed=bool(channels.closed[place]),
                    alone=self._alone.get(address),
                    detail=f"{len(selects)} in select" if selects else "",
                )
            )

    # -- cycles

    def cycles(self) -> tuple[tuple[Edge, ...], ...]:
        """Goroutines that wait in a circle, each for a lock that the next one likely holds."""
        held = {lock.address: list(self._held.get(lock.address, ())) for lock in self.locks}
        found: dict[frozenset[int], tuple[Edge, ...]] = {}
        for start in sorted({who for holders in held.values() for who in holders}):
            circle = self._circle(start, held)
            if circle and len(found) < MAX_CYCLES:
                found.setdefault(frozenset(edge.waiter for edge in circle), circle)
        return tuple(found.values())

    def _circle(self, start: int, held: Mapping[int, list[int]]) -> tuple[Edge, ...]:
        """The shortest way from a goroutine back to itself."""
        ways: list[tuple[int, tuple[Edge, ...]]] = [(start, ())]
        seen: set[int] = set()
        while ways:
            who, edges = ways.pop(0)
            address = int(self.on[who])
            for holder in held.get(address, ()):
                edge = Edge(int(self._goids[who]), address, int(self._goids[holder]))
                if holder == start:
                    return (*edges, edge)
                if holder not in seen:
                    seen.add(holder)
                    ways.append((holder, (*edges, edge)))
        return ()

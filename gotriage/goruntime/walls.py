"""Where all goroutines are, sampled again and again: a wall-clock profile, by reads of memory that stop nothing.

Most goroutines wait at the same place from one sample to the next: their stacks are read once. One is taken to have
stayed when it is the same goroutine with the same saved registers, and has not run meanwhile: the runtime counts,
modulo 256, how often each stopped running (g.trackingSeq, runtime/proc.go, casgstatus).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import numpy as np

from gotriage.goruntime import goroutines
from gotriage.goruntime.dumping import Reasons
from gotriage.goruntime.fields import positions
from gotriage.goruntime.labels import read_labels
from gotriage.goruntime.naming import is_system
from gotriage.goruntime.profileparts import Place, WallGroup, WallLook
from gotriage.goruntime.unwind import Walked
from gotriage.host import clock

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from gotriage.goruntime.counters import Source
    from gotriage.goruntime.goroutines import Columns
    from gotriage.goruntime.places import Places
    from gotriage.goruntime.symbols import Functions

    U64 = NDArray[np.uint64]

MOST_GROUPS: Final = 20_000
"""Distinct places of goroutines that are told apart in one profile; the rest is counted only."""
FIRST: Final = "runtime.main"
"""Goroutine 1 begins in it; it is started by assembly, and has no creator."""
_PRIME: Final = np.uint64(0x9E3779B97F4A7C15)
_SAME: Final = ("goid", "sched_sp", "sched_pc", "syscallsp", "syscallpc", "turns", "status")


@dataclass(slots=True)
class _Known:
    """The sample before: goroutines by address, and what their stacks were."""

    address: U64
    values: dict[str, NDArray[np.generic]]
    key: U64


@dataclass(slots=True)
class _Group:
    """One place of goroutines, as numbers."""

    count: int
    status: int
    reason: int
    stack: int
    gopc: int
    startpc: int
    labels: int


@dataclass(slots=True)
class _Sums:
    """What a profile has so far."""

    groups: dict[int, _Group] = field(default_factory=dict)
    pcs: dict[int, tuple[int, ...]] = field(default_factory=dict)
    labels: dict[int, dict[str, str]] = field(default_factory=dict)
    samples: int = 0
    began: float = 0.0
    last: float = 0.0
    took: float = 0.0
    goroutines: int = 0
    omitted: int = 0


class Walls:
    """Samples one process."""

    def __init__(self, source: Source, functions: Functions, places: Places) -> None:
        self._source, self._functions, self._names = source, functions, _Names(places)
        self._known: _Known | None = None
        self._sums = _Sums()

    def begin(self) -> None:
        """Forget all samples."""
        self._sums, self._known = _Sums(), None

    def run(self, seconds: float, hz: float) -> None:
        """Sample for so long. Raises Unreadable, TargetGone, NotPermitted."""
        until = clock.monotonic() + seconds
        due = max(clock.monotonic(), self._sums.last + 1 / hz if self._sums.samples else 0.0)
        while due < until:
            if (left := due - clock.monotonic()) > 0:
                clock.sleep(left)
            self.sample()
            due = max(due + 1 / hz, clock.monotonic())  # what was missed is not made up for
        if (left := until - clock.monotonic()) > 0:
            clock.sleep(left)

    def sample(self) -> None:
        """One sample."""
        begun = clock.monotonic()
        source, sums = self._source, self._sums
        columns = goroutines.read(source.memory, source.layout, source.found)
        walked = self._walk(columns)
        waiting = np.isin(columns.status, (goroutines.WAITING, goroutines.LEAKED))
        reason = np.where(waiting, columns.column("reason").astype(np.int64), -1)
        self._add(columns, walked.key, reason)
        now = clock.monotonic()
        sums.began = sums.began or begun
        sums.samples, sums.last = sums.samples + 1, begun
        sums.took += now - begun
        sums.goroutines += len(columns)

    def _walk(self, columns: Columns) -> Walked:
        """Stacks of those that have moved since the sample before; of the others what they were."""
        known = self._known
        order = np.argsort(columns.address, kind="stable")
        kept = np.zeros(len(columns), np.uint64)
        if known is not None:
            at = positions(known.address, columns.address)
            same = (at >= 0) & columns.readable
            for name in _SAME:
                same &= columns.column(name) == known.values[name][at]
            kept = np.where(same, known.key[at], np.uint64(0))
        walked = self._read_stacks(columns, np.flatnonzero(kept == 0))
        walked.key = np.where(kept != 0, kept, walked.key)
        if len(self._sums.pcs) < MOST_GROUPS:
            self._sums.pcs.update(walked.pcs)
        values = {name: columns.column(name)[order] for name in _SAME}
        self._known = _Known(columns.address[order], values, walked.key[order])
        return walked

    def _read_stacks(self, columns: Columns, who: NDArray[np.int64]) -> Walked:
        """The stacks of these; only they are looked at a second time, for what has moved meanwhile."""
        source = self._source
        some = columns.only(who)
        read = goroutines.walk_all(source.memory, source.layout, self._functions, some)
        read.key[some.moved] = 0
        columns.moved[who] |= some.moved
        walked = Walked(np.zeros(len(columns), np.uint64), np.zeros(len(columns), bool), read.pcs)
        walked.key[who] = read.key
        return walked

    def _add(self, columns: Columns, key: U64, reason: NDArray[np.int64]) -> None:
        gopc, startpc, labels = (columns.unsigned(name) for name in ("gopc", "startpc", "labels"))
        status = columns.status
        mixed = key
        for part in (gopc, startpc, labels, status.astype(np.uint64) << np.uint64(8), reason.astype(np.uint64)):
            mixed = (mixed ^ part) * _PRIME + np.uint64(1)
        distinct, first, counts = np.unique(mixed, return_index=True, return_counts=True)
        groups = self._sums.groups
        for name, who, count in zip(distinct.tolist(), first.tolist(), counts.tolist(), strict=True):
            group = groups.get(name)
            if group is not None:
                group.count += count
            elif len(groups) >= MOST_GROUPS:
                self._sums.omitted += count
            else:
                groups[name] = _Group(
                    count, int(status[who]), int(reason[who]), int(key[who]), int(gopc[who]), int(startpc[who]),
                    int(labels[who]),
                )  # fmt: skip
                self._labels_of(int(labels[who]))

    def _labels_of(self, pointer: int) -> dict[str, str]:
        """Read when first seen: later they may be gone."""
        known = self._sums.labels
        if pointer and pointer not in known:
            known[pointer] = read_labels(self._source.memory, self._source.layout, pointer)
        return known.get(pointer, {})

    # -- the result

    def look(self) -> WallLook:
        """What was sampled since `begin`."""
        return _Result(self._sums, self._names, self._source.layout.wait_reasons).look()


class _Names:
    """Names of stacks and sites, each looked up once."""

    def __init__(self, places: Places) -> None:
        self._places = places
        self._stacks: dict[int, tuple[Place, ...]] = {}
        self._sites: dict[tuple[int, bool], Place | None] = {}

    def stack(self, key: int, pcs: tuple[int, ...]) -> tuple[Place, ...]:
        """The frames of a stack, innermost first."""
        found = self._stacks.get(key)
        if found is None:
            if len(self._stacks) >= MOST_GROUPS:
                self._stacks.clear()
            named = self._places.name([(0, pcs, ())], sampled=False)
            found = self._stacks[key] = tuple(named.places[place] for place in named.stacks[0])
        return found

    def site(self, pc: int, *, exact: bool) -> Place | None:
        """The function of a go statement; or, `exact`, the one that begins there."""
        if (pc, exact) not in self._sites:
            if len(self._sites) >= MOST_GROUPS:
                self._sites.clear()
            self._sites[pc, exact] = self._places.start(pc) if exact else self._places.site(pc)
        return self._sites[pc, exact]


class _Result:
    """Sums with names."""

    def __init__(self, sums: _Sums, names: _Names, reasons: tuple[str, ...]) -> None:
        self._sums, self._names = sums, names
        self._places: dict[Place, int] = {}
        self._reasons = Reasons(np.zeros(0, np.int64), reasons)
        self._sites: dict[Place, int] = {}
        self._labels: dict[tuple[tuple[str, str], ...], int] = {}

    def look(self) -> WallLook:
        sums = self._sums
        keys = {group.stack: None for group in sums.groups.values() if group.stack in sums.pcs}
        numbers = {key: number for number, key in enumerate(keys)}
        stacks = tuple(
            tuple(self._places.setdefault(place, len(self._places)) for place in self._names.stack(key, sums.pcs[key]))
            for key in keys
        )
        groups = sorted((self._group(group, numbers) for group in sums.groups.values()), key=lambda one: -one.count)
        return WallLook(
            samples=sums.samples,
            seconds=round(sums.last - sums.began, 6),
            took=round(sums.took, 6),
            goroutines=sums.goroutines,
            omitted=sums.omitted,
            groups=tuple(groups),
            stacks=stacks,
            places=tuple(self._places),
            sites=tuple(self._sites),
            labels=tuple(dict(each) for each in self._labels),
        )

    def _group(self, group: _Group, numbers: dict[int, int]) -> WallGroup:
        start = self._names.site(group.startpc, exact=True)
        labels = self._sums.labels.get(group.labels)
        return WallGroup(
            count=group.count,
            state=goroutines.STATES.get(group.status, f"state {group.status}"),
            reason=self._reasons.name(group.reason),
            stack=numbers.get(group.stack, -1),
            creator=self._site(
                self._names.site(group.gopc, exact=False) if start and start.function != FIRST else None
            ),
            start=self._site(start),
            labels=self._labels.setdefault(tuple(sorted(labels.items())), len(self._labels)) if labels else -1,
            system=start is not None and is_system(start.function),
        )

    def _site(self, place: Place | None) -> int:
        return self._sites.setdefault(place, len(self._sites)) if place is not None else -1

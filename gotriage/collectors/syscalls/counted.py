"""What the programs in the kernel have counted, made into rows: no input or output, only numbers.

The types are the structs of probes/syscalls.bpf.c.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import numpy as np

from gotriage.collectors.syscalls.kinds import CALLS, transfers, waits
from gotriage.host.callnames import call_name
from gotriage.records.errnos import errno_name
from gotriage.records.syscalls import Caller, Share, Slot, Syscall
from gotriage.records.text import clean

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

SLOTS: Final = 128
LEAST: Final = 7
"""Slot 0 is below 2^LEAST nanoseconds; then four slots for each doubling."""
EAGAIN: Final = 11
NS: Final = 1e9
"""Nanoseconds of a second; a division by it gives numbers with few digits."""

CALL: Final = np.dtype(
    [("count", "<u8"), ("errors", "<u8"), ("again", "<u8"), ("bytes", "<u8"), ("sum", "<u8"), ("most", "<u8"),
     ("slots", "<u4", (SLOTS,))]
)  # fmt: skip
USE: Final = np.dtype([("count", "<u8"), ("errors", "<u8"), ("bytes", "<u8"), ("sum", "<u8")])
DESCRIPTOR: Final = np.dtype([("reading", USE), ("writing", USE), ("other", USE)])
FAILED: Final = np.dtype([("call", "<u4"), ("error", "<u4")])
GOROUTINE: Final = np.dtype([("goid", "<u8"), ("call", "<u4"), ("unused", "<u4")])
GOROUTINE_USE: Final = np.dtype(
    [("count", "<u8"), ("errors", "<u8"), ("bytes", "<u8"), ("sum", "<u8"), ("most", "<u8")]
)
OWN: Final = np.dtype([("call", "<u4"), ("errors", "<u4"), ("count", "<u8"), ("sum", "<u8"), ("most", "<u8")])
OWNS: Final = 16
THREAD: Final = np.dtype(
    [("tid", "<u4"), ("own_tid", "<u4"), ("kernel_tid", "<u4"), ("kernel_tgid", "<u4"), ("comm", "S16"),
     ("since", "<u8"), ("goid", "<u8"), ("call", "<u4"), ("unused", "<u4"), ("own", OWN, (OWNS,))]
)  # fmt: skip
SLOW: Final = np.dtype(
    [("began", "<u8"), ("took", "<u8"), ("goid", "<u8"), ("arguments", "<u8", (3,)), ("result", "<i8"),
     ("call", "<u4"), ("tid", "<u4"), ("tgid", "<u4"), ("unused", "<u4")]
)  # fmt: skip
SLOWEST: Final = np.dtype([("least", "<u8"), ("rows", SLOW, (16,))])
PATH: Final = np.dtype([("call", "<u4"), ("error", "<u4"), ("path", "S96")])
PATH_USE: Final = np.dtype([("count", "<u8"), ("last", "<u8")])


def _bounds() -> NDArray[np.float64]:
    """Lower bounds of the slots, and the upper one of the last, in nanoseconds."""
    steps = np.arange(SLOTS)
    found = np.zeros(SLOTS + 1)
    found[1:] = 2.0 ** (LEAST + steps // 4) * (1 + steps % 4 / 4)
    return found


BOUNDS: Final = _bounds()


def quantile(slots: NDArray[np.unsignedinteger], part: float) -> float | None:
    """Seconds that this part of the calls stayed below, evenly spread within a slot; None without any."""
    total = int(slots.sum())
    if not total:
        return None
    reached = np.cumsum(slots)
    at = int(np.searchsorted(reached, part * total))
    before = int(reached[at - 1]) if at else 0
    inside = (part * total - before) / int(slots[at])
    low, high = float(BOUNDS[at]), float(BOUNDS[at + 1])
    return round((low + (high - low) * min(max(inside, 0.0), 1.0)) / NS, 9)


def doublings(slots: NDArray[np.unsignedinteger]) -> tuple[Slot, ...]:
    """The histogram by doublings: upper bound in seconds, calls; from the first that has any to the last."""
    grouped = np.concatenate(([slots[0]], np.add.reduceat(slots[1:], np.arange(0, SLOTS - 1, 4))))
    there = np.flatnonzero(grouped)
    if not len(there):
        return ()
    return tuple(Slot(2.0 ** (LEAST + at) / NS, int(grouped[at])) for at in range(int(there[0]), int(there[-1]) + 1))


@dataclass(slots=True)
class Window:
    """The histograms of earlier looks, so that quantiles are those of the last seconds."""

    seconds: float
    kept: deque[tuple[float, NDArray[np.unsignedinteger]]] = field(
        default_factory=lambda: deque([(0.0, np.zeros((CALLS, SLOTS), np.uint32))])
    )

    def since(self, now: float, slots: NDArray[np.unsignedinteger]) -> tuple[NDArray[np.unsignedinteger], float]:
        """What was added in the last seconds, and how many those are; `now` counts attached seconds."""
        while len(self.kept) > 1 and self.kept[1][0] <= now - self.seconds:
            self.kept.popleft()
        began, before = self.kept[0]
        self.kept.append((now, slots))
        return slots - before, now - began


def errnos(
    totals: NDArray[np.void], keys: NDArray[np.void], counts: NDArray[np.unsignedinteger]
) -> dict[int, dict[str, int]]:
    """Number of a call to errno names and how often, the most frequent first."""
    found: dict[int, dict[str, int]] = {}
    for number in np.flatnonzero(totals["again"]).tolist():
        found[number] = {errno_name(EAGAIN): int(totals["again"][number])}
    for call, error, count in zip(keys["call"].tolist(), keys["error"].tolist(), counts.tolist(), strict=True):
        names = found.setdefault(call, {})
        name = errno_name(error)
        names[name] = names.get(name, 0) + count
    return {call: dict(sorted(names.items(), key=lambda item: -item[1])) for call, names in found.items()}


@dataclass(slots=True)
class Before:
    """Totals at an earlier look, for rates; `at` in attached seconds."""

    at: float = 0.0
    totals: NDArray[np.void] = field(default_factory=lambda: np.zeros(CALLS, CALL))


class Earlier:
    """Remembers looks until they are old enough to tell a rate."""

    LEAST: Final = 0.5
    """Seconds: over less, a rate says more about the moments of the two looks than about the calls."""

    def __init__(self) -> None:
        self._kept = deque([Before()])

    def swap(self, now: float, totals: NDArray[np.void]) -> Before:
        """The look to compare this one with; this one is kept."""
        while len(self._kept) > 1 and self._kept[1].at <= now - self.LEAST:
            self._kept.popleft()
        found = self._kept[0]
        self._kept.append(Before(now, totals))
        return found


def call_rows(
    totals: NDArray[np.void],
    before: Before,
    now: float,
    failures: dict[int, dict[str, int]],
    recent: NDArray[np.unsignedinteger] | None,
) -> list[Syscall]:
    """A row for each call that was made, the busiest first; `recent` are the histograms of the window."""
    passed = now - before.at
    added = totals["count"].astype(np.int64) - before.totals["count"].astype(np.int64)
    all_added = max(int(added.sum()), 1)
    rows = []
    for number in np.flatnonzero(totals["count"]).tolist():
        name, one = call_name(number), totals[number]
        timed = recent is not None

        def rate(column: str, number: int = number) -> float | None:
            difference = int(totals[column][number]) - int(before.totals[column][number])
            return round(difference / passed, 1) if passed > 0 else None

        rows.append(
            Syscall(
                call=name,
                count=int(one["count"]),
                rate=rate("count"),
                share=round(int(added[number]) / all_added, 4),
                errors=int(one["errors"]),
                error_rate=rate("errors"),
                errnos=failures.get(number, {}),
                bytes=int(one["bytes"]) if transfers(name) else None,
                byte_rate=rate("bytes") if transfers(name) else None,
                p50=quantile(recent[number], 0.5) if recent is not None else None,
                p99=quantile(recent[number], 0.99) if recent is not None else None,
                longest=int(one["most"]) / NS if timed else None,
                seconds=int(one["sum"]) / NS if timed else None,
                histogram=doublings(one["slots"]) if timed else (),
                waits=waits(name),
            )
        )
    return sorted(rows, key=lambda row: (-(row.rate or 0.0), -row.count))


# -- who makes the calls


def _added(one: Share, other: Share) -> Share:
    return Share(
        one.count + other.count,
        one.errors + other.errors,
        round(one.seconds + other.seconds, 9),
        max(one.longest, other.longest),
        one.bytes + other.bytes,
    )


def _caller(identity: int, calls: dict[str, Share], own_id: int = 0, name: str = "") -> Caller:
    total, waiting = Share(0), Share(0)
    for call, share in calls.items():
        if waits(call):
            waiting = _added(waiting, share)
        else:
            total = _added(total, share)
    ordered = dict(sorted(calls.items(), key=lambda item: -item[1].count))
    return Caller(id=identity, own_id=own_id, name=name, total=total, waiting=waiting, calls=ordered)


def thread_rows(threads: NDArray[np.void]) -> list[Caller]:
    """Threads of now with their calls, those with the most time in calls first."""
    found = []
    for thread in threads:
        calls: dict[str, Share] = {}
        for own in thread["own"][thread["own"]["call"] != 0]:
            calls[call_name(int(own["call"]) - 1)] = Share(
                int(own["count"]), int(own["errors"]), int(own["sum"]) / NS, int(own["most"]) / NS
            )
        if calls:
            comm = clean(bytes(thread["comm"]), 64)
            found.append(_caller(int(thread["tid"]), calls, int(thread["own_tid"]), comm))
    return busiest(found)


def busiest(callers: Iterable[Caller]) -> list[Caller]:
    """Those with the most time in calls that do not wait first, then by calls."""
    return sorted(callers, key=lambda one: (-one.total.seconds, -one.total.count, -one.waiting.count, one.id))


class Goroutines:
    """Calls by goroutine since the start; of very many, those are forgotten that did the least."""

    MOST: Final = 20_000

    def __init__(self) -> None:
        self._calls: dict[int, dict[str, Share]] = {}
        self.forgotten = 0

    def __len__(self) -> int:
        return len(self._calls)

    def add(self, keys: NDArray[np.void], uses: NDArray[np.void]) -> None:
        """What was counted since the last look."""
        columns = [uses[name].tolist() for name in ("count", "errors", "sum", "most", "bytes")]
        for goid, number, *numbers in zip(keys["goid"].tolist(), keys["call"].tolist(), *columns, strict=True):
            count, errors, total, most, data = numbers
            calls = self._calls.setdefault(goid, {})
            name = call_name(number)
            share = Share(count, errors, total / NS, most / NS, data)
            calls[name] = _added(calls[name], share) if name in calls else share
        if len(self._calls) > self.MOST:
            kept = self._ordered()[: self.MOST // 2]
            self.forgotten += len(self._calls) - len(kept)
            self._calls = {goid: self._calls[goid] for goid in kept}

    def _ordered(self) -> list[int]:
        def weight(goid: int) -> tuple[float, int]:
            calls = self._calls[goid].items()
            return -sum(share.seconds for name, share in calls if not waits(name)), -sum(s.count for _, s in calls)

        return sorted(self._calls, key=weight)

    def rows(self, most: int) -> tuple[list[Caller], int]:
        """The busiest, and how many more there are."""
        shown = self._ordered()[:most]
        return [_caller(goid, self._calls[goid]) for goid in shown], len(self._calls) - len(shown) + self.forgotten

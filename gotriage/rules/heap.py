"""The heap: what survives collections only ever grows.

memory-leak
    Three signs, all taken from what collections find alive, for between two of them the heap holds garbage and tells
    nothing. It rises from each sixth of a window of collections to the next (rules.trend counts in collections here),
    for a minute or more, by a quarter and 16 MiB. Or it doubles within three to five collections in a row, each of
    which finds 15 % more, by 64 MiB and in no less than 20 s: with GOGC=100 a leak makes collections rare; when load
    comes, they come often. Or it doubles within two, and seven tenths of all that was allocated in between survived:
    most objects of a program that is well die young. The first 30 s of a process are left out.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Final

from gotriage.records.findings import Fine, Unknown
from gotriage.records.process import CgroupSample, ProcessSample
from gotriage.records.runtime import GoRuntime
from gotriage.records.units import count, per_minute, seconds, size
from gotriage.rules import golook
from gotriage.rules.trend import growth

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import datetime

    from gotriage.records.findings import Finding
    from gotriage.rules import Claim
    from gotriage.rules.evidence import Evidence

LEAK: Final = "memory-leak"
MIB: Final = 1 << 20
DEFAULTS: Final = {
    LEAK: {
        "seconds": 60.0,
        "rise": 16.0 * MIB,
        "share": 0.25,
        "doubling_seconds": 20.0,
        "doubling_rise": 64.0 * MIB,
        "survivors": 0.7,
        "grace": 30.0,
    },
}
LONGER: Final = (12, 18, 24, 36, 54, 80, 120, 180, 270, 400, 600, 900, 1400, 2000)
"""Windows in collections: two in each sixth at least."""
EACH: Final = 1.15
"""What each of the collections that double the heap finds more than the one before."""
PATIENCE: Final = 2.5
"""Times the last interval between two collections after which a growth seen at them is no longer news."""


@dataclass(frozen=True, slots=True)
class Rise:
    """What was alive after the first and the last collection of a time, and that time in seconds."""

    before: float
    after: float
    seconds: float
    cycles: int


@dataclass(frozen=True, slots=True)
class Mark:
    """A collection: when it was first seen, its number, what it found alive, and the most that was live before it."""

    at: datetime
    number: int
    alive: int
    peak: int


def memory_leak(evidence: Evidence) -> Iterator[Claim]:
    """What collections find alive, over many of them."""
    if not golook.is_go(evidence):
        return
    runtime = evidence.current(GoRuntime)
    if runtime is None or runtime.heap_marked_bytes is None or runtime.gc_cycles is None:
        yield evidence.unknown(LEAK, golook.RUNTIME, runtime.unknown.get("heap_marked_bytes") if runtime else None)
        return
    marks = _marks(evidence)
    found = _steady(evidence, marks) or _doubling(evidence, marks)
    if found is not None:
        yield _leak_finding(evidence, runtime, found)
    elif not marks or (evidence.moment - marks[0].at).total_seconds() < evidence.limit(LEAK, "seconds"):
        reason = f"growth of the heap shows after {seconds(evidence.limit(LEAK, 'seconds'))} of watching"
        yield Unknown(LEAK, reason, golook.WATCH_ON.replace("1m", "2m"))
    else:
        yield Fine(LEAK, f"heap {size(runtime.heap_marked_bytes)} alive, does not grow")


def _marks(evidence: Evidence) -> list[Mark]:
    """The collections that were seen, from the last one before the end of the process's first seconds on."""
    found: list[Mark] = []
    target = evidence.target
    started = target.started_at if target is not None else None
    grace, peak = evidence.limit(LEAK, "grace"), 0
    for look in evidence.series(GoRuntime, 7200):
        if look.gc_cycles is None or look.heap_marked_bytes is None or look.gc_running:
            continue
        if not found or look.gc_cycles > found[-1].number:
            young = started is not None and (look.at - started).total_seconds() < grace
            if young:
                found.clear()
            found.append(Mark(look.at, look.gc_cycles, look.heap_marked_bytes, peak))
            peak = 0
        peak = max(peak, look.heap_live_bytes or 0)
    return found


def _steady(evidence: Evidence, marks: list[Mark]) -> Rise | None:
    """Rising in every sixth of a window of collections."""
    if len(marks) < LONGER[0]:
        return None
    shortest, least = evidence.limit(LEAK, "seconds"), evidence.limit(LEAK, "rise")
    points = [(float(mark.number), float(mark.alive)) for mark in marks]
    end = points[-1][0] + 1
    times = {mark.number: mark.at for mark in marks}
    for window in LONGER:
        found = growth(points, end, (float(window),), least)
        if found is None or found.rise < evidence.limit(LEAK, "share") * found.before:
            continue
        begin = max((number for number in times if number <= end - window), default=marks[0].number)
        long = (evidence.moment - times[begin]).total_seconds()
        if long >= shortest:
            return Rise(found.before, found.after, long, window)
    return None


def _doubling(evidence: Evidence, marks: list[Mark]) -> Rise | None:
    """Two to five collections in a row that each find more than the one before, and twice as much in all."""
    if len(marks) < 3:
        return None
    last = (marks[-1].at - marks[-2].at).total_seconds()
    if (evidence.moment - marks[-1].at).total_seconds() > PATIENCE * last:
        return None
    for number in (3, 4, 5, 6):
        row = marks[-number:]
        if len(row) < number or any(after.alive < EACH * before.alive for before, after in pairwise(row)):
            return None
        long, rise = (row[-1].at - row[0].at).total_seconds(), row[-1].alive - row[0].alive
        enough = rise >= max(row[0].alive, evidence.limit(LEAK, "doubling_rise"))
        enough = enough and long >= evidence.limit(LEAK, "doubling_seconds")
        if enough and (number > 3 or _survivors(row) >= evidence.limit(LEAK, "survivors")):
            return Rise(row[0].alive, row[-1].alive, long, row[-1].number - row[0].number)
    return None


def _survivors(row: Sequence[Mark]) -> float:
    """The least share of what was allocated between two collections that the second of them found alive."""
    shares = [
        (after.alive - before.alive) / (after.peak - before.alive) if after.peak > before.alive else 0.0
        for before, after in pairwise(row)
        if after.number == before.number + 1
    ]
    return min(shares) if len(shares) == len(row) - 1 else 0.0


def _leak_finding(evidence: Evidence, runtime: GoRuntime, found: Rise) -> Finding:
    rate = (found.after - found.before) / max(1.0, found.seconds)
    process, cgroup = evidence.current(ProcessSample), evidence.current(CgroupSample)
    told = [
        f"alive after a collection: {size(found.before)}, then {size(found.after)} {seconds(found.seconds)} later,"
        f" over {count(found.cycles)} collections",
        f"heap goal {size(runtime.heap_goal_bytes)}, in use {size(runtime.heap_in_use_bytes)}",
    ]
    if process is not None and process.rss_bytes is not None:
        told.append(f"RSS {size(process.rss_bytes)}")
    title = f"the live heap grows by {size(rate * 60)}/min: {size(found.after)} survive a collection"
    limit = cgroup.memory_limit_bytes if cgroup is not None else None
    if limit and cgroup is not None and rate > 0:
        used = cgroup.memory_limit_used_bytes or cgroup.memory_working_set_bytes or 0
        title += f"; the limit of {size(limit)} is full in {seconds(max(1.0, (limit - used) / rate))}"
    started = [f"{per_minute(grown)} goroutines" for grown in (_goroutines(evidence, found.seconds),) if grown > 0]
    if started:
        told.append(f"{started[0]} in the same time: see whether they hold it")
    return evidence.finding(
        LEAK,
        "warning",
        title,
        evidence=tuple(told),
        fix="find what refers to it: a map or slice that is only added to, a cache without a bound, goroutines that"
        " stay; two heap profiles compared (go tool pprof -base) name the allocation",
        view="runtime",
    )


def _goroutines(evidence: Evidence, long: float) -> float:
    """Growth of their number in that time, a second; 0 where it is small or unknown."""
    series = [look for look in evidence.series(GoRuntime, long) if look.goroutines is not None]
    if len(series) < 2:
        return 0.0
    grown = (series[-1].goroutines or 0) - (series[0].goroutines or 0)
    return grown / max(1.0, long) if grown >= 20 else 0.0

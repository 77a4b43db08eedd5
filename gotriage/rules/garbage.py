"""Go's garbage collector: it takes the CPUs, what it finds alive only grows, or it knows nothing of the cgroup's limit.

gc-thrash
    A collection that runs takes a quarter of GOMAXPROCS (runtime/mgcpacer.go, gcBackgroundUtilization = 0.25), so
    that a quarter of the time means one after the other. Healthy services that allocate a lot stay below a tenth.
    0.4 is critical: at one half the runtime gives the memory limit up (runtime/mgclimit.go, the CPU limiter). Told
    from GCCPUFraction at two collections, `seconds` and five collections apart.
memory-leak
    What a collection finds alive rises from each sixth of a window of collections to the next (rules.trend counts in
    collections here: between two of them the heap holds garbage and tells nothing), for two minutes or more, by a
    quarter and 16 MiB. Or each of three collections in a row finds half as much again, and the last 64 MiB more than
    the first: with GOGC=100 a pure leak doubles the heap from one to the next. The first minute of a process is left
    out.
gomemlimit-mismatch
    GOMEMLIMIT at or above the cgroup's memory limit, or none while the next collection is due only when the limit is
    used up (95 % of it: the goal is overshot by what is allocated during a cycle): the kernel kills before Go collects.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Final

from gotriage.records.findings import Fine, Severity, Unknown
from gotriage.records.process import CgroupSample, ProcessSample
from gotriage.records.runtime import NO_MEMORY_LIMIT, GoRuntime
from gotriage.records.units import count, per_minute, seconds, share, size
from gotriage.rules import golook, remedies
from gotriage.rules.trend import growth

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from gotriage.records.findings import Finding
    from gotriage.rules import Claim
    from gotriage.rules.evidence import Evidence

THRASH: Final = "gc-thrash"
LEAK: Final = "memory-leak"
LIMIT: Final = "gomemlimit-mismatch"
MIB: Final = 1 << 20
DEFAULTS: Final = {
    THRASH: {"warning": 0.25, "critical": 0.40, "seconds": 10.0, "cycles": 5.0},
    LEAK: {
        "seconds": 120.0,
        "rise": 16.0 * MIB,
        "share": 0.25,
        "doubling_seconds": 20.0,
        "doubling_rise": 64.0 * MIB,
        "grace": 60.0,
    },
    LIMIT: {"projected": 0.95},
}
LONGER: Final = (12, 18, 24, 36, 54, 80, 120, 180, 270, 400, 600, 900, 1400, 2000)
"""Windows in collections: two in each sixth at least."""
HALF_AGAIN: Final = 1.5


def _runtime(evidence: Evidence) -> GoRuntime | None:
    return evidence.current(GoRuntime)


# -- gc-thrash


@dataclass(frozen=True, slots=True)
class Collecting:
    """Between two collections: the collector's share of all CPUs, collections, seconds."""

    share: float
    cycles: int
    seconds: float


def thrashing(evidence: Evidence) -> Iterator[Claim]:
    """The collector's share of the CPUs of late."""
    if not golook.is_go(evidence):
        return
    runtime = _runtime(evidence)
    if runtime is None or runtime.gc_cpu_fraction is None:
        yield evidence.unknown(THRASH, golook.RUNTIME, runtime.unknown.get("gc_cpu_fraction") if runtime else None)
        return
    seen = _collecting(evidence)
    if seen is None:
        yield Fine(THRASH, f"GC used {share(max(0.0, runtime.gc_cpu_fraction))} of the CPUs since the start")
    elif seen.share < evidence.limit(THRASH, "warning"):
        yield Fine(THRASH, f"GC uses {share(seen.share)} of the CPUs")
    else:
        yield _thrash_finding(evidence, runtime, seen)


def _collecting(evidence: Evidence) -> Collecting | None:
    """GCCPUFraction counts from the start and is renewed by each collection (runtime/mgc.go, gcMarkTermination)."""
    target = evidence.target
    if target is None or target.started_at is None:
        return None
    least = evidence.limit(THRASH, "seconds")
    points = [
        (look.last_gc_at, look.gc_cpu_fraction, look.gc_cycles)
        for look in evidence.series(GoRuntime, 3 * least)
        if look.last_gc_at is not None and look.gc_cpu_fraction is not None and look.gc_cycles is not None
    ]
    if len(points) < 2:
        return None
    end, after, cycles = points[-1]
    far = [point for point in points if (end - point[0]).total_seconds() >= least]
    if not far or (evidence.ago(end) or 0) > least:
        return None
    begin, before, earlier = far[-1]
    elapsed, made = (end - begin).total_seconds(), cycles - earlier
    if made < evidence.limit(THRASH, "cycles"):
        return None
    lived, younger = (end - target.started_at).total_seconds(), (begin - target.started_at).total_seconds()
    return Collecting(min(1.0, max(0.0, (after * lived - before * younger) / elapsed)), made, elapsed)


def _thrash_finding(evidence: Evidence, runtime: GoRuntime, seen: Collecting) -> Finding:
    severity: Severity = "critical" if seen.share >= evidence.limit(THRASH, "critical") else "warning"
    limited = runtime.memory_limit_bytes is not None and runtime.memory_limit_bytes < NO_MEMORY_LIMIT
    near = limited and (runtime.mapped_ready_bytes or 0) >= 0.9 * (runtime.memory_limit_bytes or 1)
    told = [f"{count(seen.cycles)} collections in {seconds(seen.seconds)}, {seen.cycles / seen.seconds:.1f} a second"]
    told.append(f"{size(runtime.heap_marked_bytes)} alive, the next collection ends at {size(runtime.heap_goal_bytes)}")
    if limited:
        told.append(
            f"GOMEMLIMIT is {size(runtime.memory_limit_bytes)}, {size(runtime.mapped_ready_bytes)} of it in use"
        )
    if runtime.gc_percent is not None:
        told.append("GOGC is off" if runtime.gc_percent < 0 else f"GOGC is {runtime.gc_percent}")
    cause = "GOMEMLIMIT is too low for what is alive" if near else ""
    if not cause and runtime.gc_percent is not None and 0 <= runtime.gc_percent < 50:
        cause = f"GOGC={runtime.gc_percent} is low"
    alive = runtime.heap_marked_bytes or runtime.heap_live_bytes or 0
    if near:
        enough = _mebibytes(2 * max(alive, runtime.memory_limit_bytes or 0))
        fix = f"GOMEMLIMIT={enough}MiB, and memory for it; or hold less"
    else:
        fix = "GOGC=100 or more; allocate less: see the profile's allocations"
    return evidence.finding(
        THRASH,
        severity,
        f"the garbage collector uses {share(seen.share)} of the CPUs" + (f": {cause}" if cause else ""),
        evidence=tuple(told),
        fix=fix,
        view="runtime",
    )


def _mebibytes(value: float) -> int:
    return max(1, int(value) >> 20)


# -- memory-leak


@dataclass(frozen=True, slots=True)
class Rise:
    """What was alive after the first and the last collection of a time, and that time in seconds."""

    before: float
    after: float
    seconds: float
    cycles: int


def memory_leak(evidence: Evidence) -> Iterator[Claim]:
    """What collections find alive, over many of them."""
    if not golook.is_go(evidence):
        return
    runtime = _runtime(evidence)
    if runtime is None or runtime.heap_marked_bytes is None or runtime.gc_cycles is None:
        yield evidence.unknown(LEAK, golook.RUNTIME, runtime.unknown.get("heap_marked_bytes") if runtime else None)
        return
    marks = _marks(evidence)
    found = _steady(evidence, marks) or _doubling(evidence, marks)
    if found is not None:
        yield _leak_finding(evidence, runtime, found)
    elif not marks or (evidence.moment - marks[0][0]).total_seconds() < evidence.limit(LEAK, "seconds"):
        reason = f"growth of the heap shows after {seconds(evidence.limit(LEAK, 'seconds'))} of watching"
        yield Unknown(LEAK, reason, golook.WATCH_ON.replace("1m", "3m"))
    else:
        yield Fine(LEAK, f"heap {size(runtime.heap_marked_bytes)} alive, does not grow")


def _marks(evidence: Evidence) -> list[tuple[datetime, int, int]]:
    """When each collection was first seen, its number, and what it found alive; without the process's first minute."""
    found: list[tuple[datetime, int, int]] = []
    target = evidence.target
    started = target.started_at if target is not None else None
    grace = evidence.limit(LEAK, "grace")
    for look in evidence.series(GoRuntime, 7200):
        if look.gc_cycles is None or look.heap_marked_bytes is None or look.gc_running:
            continue
        if started is not None and (look.at - started).total_seconds() < grace:
            continue
        if not found or look.gc_cycles > found[-1][1]:
            found.append((look.at, look.gc_cycles, look.heap_marked_bytes))
    return found


def _steady(evidence: Evidence, marks: list[tuple[datetime, int, int]]) -> Rise | None:
    """Rising in every sixth of a window of collections."""
    if len(marks) < LONGER[0]:
        return None
    shortest, least = evidence.limit(LEAK, "seconds"), evidence.limit(LEAK, "rise")
    points = [(float(number), float(alive)) for _, number, alive in marks]
    end = points[-1][0] + 1
    times = {number: at for at, number, _ in marks}
    for window in LONGER:
        found = growth(points, end, (float(window),), least)
        if found is None or found.rise < evidence.limit(LEAK, "share") * found.before:
            continue
        begin = max((number for number in times if number <= end - window), default=marks[0][1])
        long = (evidence.moment - times[begin]).total_seconds()
        if long >= shortest:
            return Rise(found.before, found.after, long, window)
    return None


def _doubling(evidence: Evidence, marks: list[tuple[datetime, int, int]]) -> Rise | None:
    """Three collections in a row that each find half as much again."""
    last = marks[-4:]
    if len(last) < 4 or any(after[2] < HALF_AGAIN * before[2] for before, after in pairwise(last)):
        return None
    long = (last[-1][0] - last[0][0]).total_seconds()
    rise = last[-1][2] - last[0][2]
    if long < evidence.limit(LEAK, "doubling_seconds") or rise < evidence.limit(LEAK, "doubling_rise"):
        return None
    return Rise(last[0][2], last[-1][2], long, last[-1][1] - last[0][1])


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


# -- gomemlimit-mismatch


def memory_limits(evidence: Evidence) -> Iterator[Claim]:
    """GOMEMLIMIT against the cgroup's limit."""
    if not golook.is_go(evidence):
        return
    runtime, cgroup = _runtime(evidence), evidence.current(CgroupSample)
    if runtime is None or runtime.memory_limit_bytes is None:
        yield evidence.unknown(LIMIT, golook.RUNTIME, runtime.unknown.get("memory_limit_bytes") if runtime else None)
        return
    if cgroup is None:
        yield evidence.unknown(LIMIT, "cgroup")
        return
    own, limit = runtime.memory_limit_bytes, cgroup.memory_limit_bytes
    told = "no GOMEMLIMIT" if own >= NO_MEMORY_LIMIT else f"GOMEMLIMIT {size(own)}"
    if limit is None:
        yield Fine(LIMIT, f"{told}, no limit of the cgroup")
    elif NO_MEMORY_LIMIT > own >= limit:
        title = f"GOMEMLIMIT is {size(own)}, the cgroup allows {size(limit)}: it is killed before it collects"
        yield _limit_finding(evidence, runtime, limit, title)
    elif own >= NO_MEMORY_LIMIT and (due := _projected(runtime, cgroup)) >= evidence.limit(LIMIT, "projected") * limit:
        title = f"no GOMEMLIMIT, and the next collection is due at {size(due)} of the {size(limit)} that are allowed"
        yield _limit_finding(evidence, runtime, limit, title)
    else:
        yield Fine(LIMIT, f"{told} of {size(limit)} allowed")


def _projected(runtime: GoRuntime, cgroup: CgroupSample) -> int:
    """What the cgroup will use when the heap has reached its goal."""
    used = cgroup.memory_limit_used_bytes or cgroup.memory_working_set_bytes or 0
    used = max(0, used - (cgroup.memory_active_file_bytes or 0))
    if not runtime.heap_goal_bytes or runtime.heap_live_bytes is None or runtime.gc_percent == -1:
        return 0
    free = (runtime.heap_free_bytes or 0) + max(0, (runtime.heap_in_use_bytes or 0) - runtime.heap_live_bytes)
    return used + max(0, runtime.heap_goal_bytes - runtime.heap_live_bytes - free)


def _limit_finding(evidence: Evidence, runtime: GoRuntime, limit: int, title: str) -> Finding:
    value = f"GOMEMLIMIT={_mebibytes(limit * 0.9)}MiB"
    fix = remedies.keep(
        evidence, line=f"Environment={value}", option=f"-e {value}", otherwise=f"{value} in its environment"
    )
    cgroup = evidence.current(CgroupSample)
    told = [
        f"{size(runtime.heap_live_bytes)} of heap live, the next collection ends at {size(runtime.heap_goal_bytes)}"
    ]
    if cgroup is not None:
        used = cgroup.memory_limit_used_bytes or cgroup.memory_working_set_bytes
        told.append(f"{size(used)} used; the limit is set at {cgroup.memory_limit_path or cgroup.path or 'its cgroup'}")
    told.append("Go does not look at the cgroup's memory limit in any version: GOMEMLIMIT has to say it")
    return evidence.finding(LIMIT, "warning", title, evidence=tuple(told), fix=fix, view="runtime")

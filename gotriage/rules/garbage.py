"""Go's garbage collector: it takes the CPUs, or knows nothing of the cgroup's limit.

gc-thrash
    A collection that runs takes a quarter of GOMAXPROCS (runtime/mgcpacer.go, gcBackgroundUtilization = 0.25), so
    that a quarter of the time means one after the other. Healthy services that allocate a lot stay below a tenth.
    0.4 is critical: at one half the runtime gives the memory limit up (runtime/mgclimit.go, the CPU limiter). On a
    busy machine and under a quota nobody gets GOMAXPROCS CPUs: half of what the target uses is a warning as well, of a
    fifth of a CPU at least, three quarters are critical. That holds where the heap may grow by less than half of what
    is alive until the next collection, by a memory limit or a small GOGC; else only 0.4 of the CPUs are told, for a
    program with a small heap that allocates for its living collects often and cheaply. Told from GCCPUFraction at two
    collections, `seconds` and five collections apart.
gomemlimit-mismatch
    GOMEMLIMIT at or above the cgroup's memory limit, or none while the next collection is due only when the limit is
    used up (95 % of it: the goal is overshot by what is allocated during a cycle): the kernel kills before Go collects.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from gotriage.records.findings import Fine, Severity
from gotriage.records.process import CgroupSample, ProcessSample
from gotriage.records.runtime import NO_MEMORY_LIMIT, GoRuntime
from gotriage.records.units import count, seconds, share, size
from gotriage.rules import golook, remedies

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gotriage.records.findings import Finding
    from gotriage.rules import Claim
    from gotriage.rules.evidence import Evidence

THRASH: Final = "gc-thrash"
LIMIT: Final = "gomemlimit-mismatch"
DEFAULTS: Final = {
    THRASH: {
        "warning": 0.25,
        "critical": 0.40,
        "used": 0.5,
        "used_critical": 0.75,
        "cores": 0.2,
        "seconds": 10.0,
        "cycles": 5.0,
        "room": 1.5,
    },
    LIMIT: {"projected": 0.95},
}


def _runtime(evidence: Evidence) -> GoRuntime | None:
    return evidence.current(GoRuntime)


# -- gc-thrash


@dataclass(frozen=True, slots=True)
class Collecting:
    """Between two collections.

    Attributes:
        share: of GOMAXPROCS CPUs that the collector used; cores: the same in CPUs.
        used: its share of what the target used; None where that is not known.
        cycles, seconds: collections, and the time.
    """

    share: float
    cores: float
    used: float | None
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
        yield Fine(THRASH, "GC runs rarely" if runtime.gc_cycles else "no GC so far")
        return
    severity = _severity(evidence, runtime, seen)
    if severity is None:
        yield Fine(THRASH, f"GC uses {share(seen.share)} of the CPUs")
    else:
        yield _thrash_finding(evidence, runtime, seen, severity)


def _severity(evidence: Evidence, runtime: GoRuntime, seen: Collecting) -> Severity | None:
    goal, alive = runtime.heap_goal_bytes, runtime.heap_marked_bytes
    if goal is None or alive is None or goal > evidence.limit(THRASH, "room") * alive:
        # There is room to collect less often: it is what the program allocates that costs, and that may be its work.
        return "warning" if seen.share >= evidence.limit(THRASH, "critical") else None
    used = seen.used if seen.used is not None and seen.cores >= evidence.limit(THRASH, "cores") else 0.0
    if seen.share >= evidence.limit(THRASH, "critical") or used >= evidence.limit(THRASH, "used_critical"):
        return "critical"
    if seen.share >= evidence.limit(THRASH, "warning") or used >= evidence.limit(THRASH, "used"):
        return "warning"
    return None


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
    taken = min(1.0, max(0.0, (after * lived - before * younger) / elapsed))
    runtime = _runtime(evidence)
    cores = taken * ((runtime.gomaxprocs if runtime is not None else None) or 1)
    known = [one.cpu for one in evidence.series(ProcessSample, 2 * elapsed) if one.cpu is not None and one.at >= begin]
    used = min(1.0, cores * len(known) / sum(known)) if sum(known) > 0 else None
    return Collecting(taken, cores, used, made, elapsed)


def _thrash_finding(evidence: Evidence, runtime: GoRuntime, seen: Collecting, severity: Severity) -> Finding:
    limited = runtime.memory_limit_bytes is not None and runtime.memory_limit_bytes < NO_MEMORY_LIMIT
    near = limited and (runtime.mapped_ready_bytes or 0) >= 0.9 * (runtime.memory_limit_bytes or 1)
    told = [f"{count(seen.cycles)} collections in {seconds(seen.seconds)}, {seen.cycles / seen.seconds:.1f} a second"]
    told.append(f"{size(runtime.heap_marked_bytes)} alive, the next collection ends at {size(runtime.heap_goal_bytes)}")
    if limited:
        told.append(f"GOMEMLIMIT is {size(runtime.memory_limit_bytes)}, {size(runtime.mapped_ready_bytes)} in use")
    if seen.used is not None and seen.share >= evidence.limit(THRASH, "warning"):
        told.append(f"that is {share(seen.used)} of the CPU time that the target used")
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
    much = f"{share(seen.share)} of the CPUs"
    if seen.share < evidence.limit(THRASH, "warning"):
        much = f"{share(seen.used)} of the CPU time that the target gets"
    return evidence.finding(
        THRASH,
        severity,
        f"the garbage collector uses {much}" + (f": {cause}" if cause else ""),
        evidence=tuple(told),
        fix=fix,
        view="runtime",
    )


def _mebibytes(value: float) -> int:
    return max(1, int(value) >> 20)


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

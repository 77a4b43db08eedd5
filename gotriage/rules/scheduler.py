"""Go's scheduler: GOMAXPROCS that does not fit the CPUs allowed, and goroutines that never leave a CPU.

gomaxprocs-mismatch
    Until Go 1.24 GOMAXPROCS is the number of CPUs in the affinity mask, whatever the cgroup's quota; from 1.25 on it
    is the quota, rounded up, two at least, and follows it (runtime/cgroup_linux.go, adjustCgroupGOMAXPROCS; GODEBUG
    containermaxprocs). Twice too many costs latency: the quota is used up early in each period, and all stop.
    It is a warning at four times the CPUs allowed, or where the cgroup was throttled; else worth knowing. Too few is
    told only where the program uses up all it has, for then somebody waits.
cpu-hot-loop
    A goroutine that works for others waits for the next request in between. One that was on a CPU in nine of ten
    looks over 30 s, 10 looks at least, while the process used or waited for nearly a CPU for each such goroutine,
    loops. Looks fall at random into what it does, so ten in a row are no accident.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from typing import TYPE_CHECKING, Final

from gotriage.records.cpustacks import CpuStacks
from gotriage.records.findings import Fine, Severity, Unknown
from gotriage.records.goroutines import GoroutineCounts, Goroutines
from gotriage.records.process import CgroupSample, HostSample, ProcessSample
from gotriage.records.runtime import GoRuntime
from gotriage.records.units import cores, count, seconds, share
from gotriage.rules import golook, profiles, remedies

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from gotriage.records.findings import Finding
    from gotriage.rules import Claim
    from gotriage.rules.evidence import Evidence

PROCS: Final = "gomaxprocs-mismatch"
LOOP: Final = "cpu-hot-loop"
DEFAULTS: Final = {
    PROCS: {"times": 2.0, "warning_times": 4.0, "throttled": 0.05, "seconds": 30.0, "busy": 0.95},
    LOOP: {"seconds": 30.0, "looks": 10.0, "share": 0.9, "cpu": 0.8},
}
SEES_QUOTA: Final = (1, 25)
"""Go version from which on GOMAXPROCS follows the cgroup's CPU quota."""


# -- gomaxprocs-mismatch


def processors(evidence: Evidence) -> Iterator[Claim]:
    """GOMAXPROCS against the quota, or the machine's CPUs where there is none."""
    if not golook.is_go(evidence):
        return
    runtime, cgroup, host = evidence.current(GoRuntime), evidence.current(CgroupSample), evidence.latest(HostSample)
    if runtime is None or runtime.gomaxprocs is None:
        yield evidence.unknown(PROCS, golook.RUNTIME, runtime.unknown.get("gomaxprocs") if runtime else None)
        return
    quota = cgroup.cpu_quota if cgroup is not None else None
    cpus = host.cpus if host is not None else None
    allowed = min((float(value) for value in (quota, cpus) if value), default=None)
    if allowed is None:
        yield evidence.unknown(PROCS, "cgroup" if cgroup is None else "machine")
        return
    fits, now = max(1, math.ceil(allowed)), runtime.gomaxprocs
    if now > 2 and now >= evidence.limit(PROCS, "times") * fits:
        yield _too_many(evidence, now, quota, cpus, fits)
    elif now <= fits / evidence.limit(PROCS, "times") and _used_up(evidence, now):
        yield _too_few(evidence, now, fits)
    else:
        yield Fine(PROCS, f"GOMAXPROCS {now} of {cores(quota) if quota else count(cpus)} CPUs")


def _too_many(evidence: Evidence, now: int, quota: float | None, cpus: int | None, fits: int) -> Finding:
    throttled = _throttled(evidence)
    much = now >= evidence.limit(PROCS, "warning_times") * fits
    severity: Severity = "warning" if much or throttled >= evidence.limit(PROCS, "throttled") else "info"
    by_quota = quota is not None and (cpus is None or quota < cpus)
    allowed = f"the quota is {cores(quota)} CPUs" if by_quota else f"the machine has {count(cpus)} CPUs"
    told = [f"GOMAXPROCS is {now}: so many goroutines run at once; {allowed}"]
    if by_quota:
        told.append(f"the cgroup was throttled in {share(throttled)} of the last periods")
        told.append(_why(evidence, now, cpus))
    value = f"GOMAXPROCS={fits}"
    fix = remedies.keep(
        evidence, line=f"Environment={value}", option=f"-e {value}", otherwise=f"{value} in its environment"
    )
    return evidence.finding(
        PROCS, severity, f"GOMAXPROCS is {now}, {allowed}", evidence=tuple(filter(None, told)), fix=fix, view="runtime"
    )


def _throttled(evidence: Evidence) -> float:
    """Share of the last periods in which the cgroup was throttled."""
    series = evidence.series(CgroupSample, evidence.limit(PROCS, "seconds"))
    known = [one for one in series if one.periods is not None and one.throttled_periods is not None]
    if len(known) < 2:
        return 0.0
    periods = (known[-1].periods or 0) - (known[0].periods or 0)
    return ((known[-1].throttled_periods or 0) - (known[0].throttled_periods or 0)) / periods if periods > 0 else 0.0


def _why(evidence: Evidence, now: int, cpus: int | None) -> str:
    go = evidence.target.go if evidence.target is not None else None
    match = re.match(r"go(\d+)\.(\d+)", go.version) if go is not None else None
    if go is None or match is None:
        return ""
    if cpus is not None and now > cpus:
        return f"the machine has {count(cpus)} CPUs: GOMAXPROCS is set by hand"
    if (int(match[1]), int(match[2])) < SEES_QUOTA:
        return f"{go.version} takes the machine's CPUs and does not see the quota; Go 1.25 does"
    return f"{go.version} would follow the quota: GOMAXPROCS is set by hand, or GODEBUG has containermaxprocs=0"


def _used_up(evidence: Evidence, now: int) -> bool:
    """Whether the program used all of its GOMAXPROCS CPUs, for the whole time."""
    long = evidence.limit(PROCS, "seconds")
    series = evidence.series(ProcessSample, long)
    known = [one.cpu for one in series if one.cpu is not None]
    watched = (series[-1].at - series[0].at).total_seconds() if series else 0.0
    return watched >= long / 2 and bool(known) and min(known) >= evidence.limit(PROCS, "busy") * now


def _too_few(evidence: Evidence, now: int, fits: int) -> Finding:
    runtime = evidence.current(GoRuntime)
    waiting = runtime.runnable if runtime is not None else None
    told = [f"the target used {now} CPUs throughout the last {seconds(evidence.limit(PROCS, 'seconds'))}"]
    if waiting is not None:
        told.append(f"{count(waiting)} goroutines are ready to run and wait for a turn")
    return evidence.finding(
        PROCS,
        "info",
        f"GOMAXPROCS is {now} and all of it is in use, {fits} CPUs are allowed",
        evidence=tuple(told),
        fix="unset GOMAXPROCS where it is set: in the environment, or by runtime.GOMAXPROCS",
        view="runtime",
    )


# -- cpu-hot-loop


def hot_loops(evidence: Evidence) -> Iterator[Claim]:
    """Goroutines that were on a CPU whenever one looked."""
    if not golook.is_go(evidence):
        return
    if evidence.current(GoroutineCounts) is None:
        yield evidence.unknown(LOOP, golook.GOROUTINES)
        return
    used = _cpu(evidence)
    if used is None:
        yield evidence.unknown(LOOP, "process")
        return
    quota = _quota(evidence)
    least = evidence.limit(LOOP, "cpu") * min(1.0, quota)
    if used < least:
        yield Fine(LOOP, f"{cores(used)} CPUs in use")
        return
    looks = _looks(evidence)
    if not looks:
        reason = f"a loop shows after {seconds(evidence.limit(LOOP, 'seconds'))} of watching"
        yield Unknown(LOOP, reason, golook.WATCH_ON)
        return
    hot = _always(evidence, looks)
    if hot and used >= evidence.limit(LOOP, "cpu") * min(float(len(hot)), quota):
        yield _loop_finding(evidence, looks, hot, used)
    else:
        yield Fine(LOOP, f"{cores(used)} CPUs in use, by goroutines that come and go")


def _looks(evidence: Evidence) -> Sequence[GoroutineCounts]:
    """The last looks that span the time and are as many as the thresholds ask for; none where there are not so many."""
    known = evidence.series(GoroutineCounts, 10 * evidence.limit(LOOP, "seconds"))
    for first in range(len(known) - int(evidence.limit(LOOP, "looks")), -1, -1):
        if (known[-1].at - known[first].at).total_seconds() >= evidence.limit(LOOP, "seconds"):
            return known[first:]
    return ()


def _cpu(evidence: Evidence) -> float | None:
    """Cores used or waited for on average over the window: on a busy machine a loop is as hot, and gets less."""
    series = evidence.series(ProcessSample, evidence.limit(LOOP, "seconds"))
    known = [one.cpu + (one.run_delay_rate or 0.0) for one in series if one.cpu is not None]
    return sum(known) / len(known) if known else None


def _quota(evidence: Evidence) -> float:
    """Cores that it may use: of the quota, the machine and GOMAXPROCS the least."""
    cgroup, host = evidence.current(CgroupSample), evidence.latest(HostSample)
    runtime = evidence.current(GoRuntime)
    limits = (
        cgroup.cpu_quota if cgroup is not None else None,
        host.cpus if host is not None else None,
        runtime.gomaxprocs if runtime is not None else None,
    )
    return min((float(limit) for limit in limits if limit), default=math.inf)


def _always(evidence: Evidence, looks: Sequence[GoroutineCounts]) -> dict[int, int]:
    """Goid to number of looks at which it was on a CPU, of those that nearly always were."""
    seen = Counter(one.id for look in looks for one in {one.id: one for one in look.running}.values())
    return {goid: number for goid, number in seen.items() if number >= evidence.limit(LOOP, "share") * len(looks)}


def _loop_finding(evidence: Evidence, looks: Sequence[GoroutineCounts], hot: dict[int, int], used: float) -> Finding:
    starts = {one.id: one.start for look in looks for one in look.running}
    table = evidence.current(Goroutines)
    by_start = Counter(starts[goid] or "?" for goid in hot)
    start = by_start.most_common(1)[0][0]
    who = f"goroutine {next(iter(hot))}" if len(hot) == 1 else f"{count(len(hot))} goroutines"
    told = [
        f"goroutine {goid} was on a CPU in {number} of {len(looks)} looks; it began as {starts[goid] or '?'}"
        for goid, number in list(hot.items())[:4]
    ]
    told.append(f"the target used {cores(used)} CPUs on average, with the time that it waited for one")
    told += [words for goid in list(hot)[:2] if (words := _stack(evidence, goid))]
    told += [words for goid in list(hot)[:2] if table is not None and (words := _created(table, goid))]
    line = profiles.hottest(evidence)
    told += [str(line)] if line is not None else []
    also = f" and {len(by_start) - 1} more functions" if len(by_start) > 1 else ""
    return evidence.finding(
        LOOP,
        "warning",
        f"{who} never left the CPU for {seconds((looks[-1].at - looks[0].at).total_seconds())}: {start}{also}",
        evidence=tuple(told),
        fix=f"look at the loop {f'in {line.place}' if line is not None else f'below {start}'};"
        f"{'' if line is not None else ' its line: press P, or gotriage show profile;'}"
        " a select with default, a retry without a pause or a parser that does not advance are usual",
        view="goroutines",
    )


def _stack(evidence: Evidence, goid: int) -> str:
    """Where a short stop of its thread, on the user's key, found it."""
    stacks = evidence.current(CpuStacks)
    row = next((row for row in stacks.rows if row.id == goid and row.frames), None) if stacks is not None else None
    if row is None:
        return ""
    return f"goroutine {goid} was at {' < '.join(golook.place(frame) for frame in row.frames[:4])}"


def _created(table: Goroutines, goid: int) -> str:
    group = golook.group_of(table, goid)
    by = golook.created(table, group) if group is not None else ""
    return f"goroutine {goid} was created by {by}" if by else ""

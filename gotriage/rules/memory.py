"""Memory: near the cgroup's limit, and killed for it.

memory-limit-near
    What counts is use less file cache, the active cache too: the kernel drops both before it kills, so a program
    that reads its data twice may stand at its limit for ever and be well. 92 % is the warning: many Go services run
    with GOMEMLIMIT at 90 % of the limit on purpose, and are well. 97 % is critical: at that level every allocation
    reclaims first. The level has to hold for some seconds, for a garbage collection takes the peak away. memory.high
    counts as a limit too: above it the kernel slows the program down (Documentation/admin-guide/cgroup-v2.rst).
oom-killed
    Told by the kernel's log, the unit's result, the engine, the log of the service manager, or a counter that rose.
    A kill of the last ten minutes, or one that ended the service, is critical; one of the last day a warning; older
    ones are worth knowing.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Final

from gotriage.records.findings import Finding, Fine, Severity, Unknown
from gotriage.records.logs import OomKill
from gotriage.records.process import CgroupSample, ProcessSample
from gotriage.records.units import clock, count, counted, seconds, share, size, timestamp
from gotriage.rules import remedies
from gotriage.rules.trend import growth

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from gotriage.rules import Claim
    from gotriage.rules.evidence import Evidence

NEAR: Final = "memory-limit-near"
KILLED: Final = "oom-killed"
DEFAULTS: Final = {
    NEAR: {"warning": 0.92, "critical": 0.97, "seconds": 3.0, "growth_seconds": 30.0},
    KILLED: {"critical_seconds": 600.0, "warning_seconds": 86400.0},
}
LONGER: Final = (1, 2, 4, 10, 20)


# -- near the limit


def memory_limit(evidence: Evidence) -> Iterator[Claim]:
    """Memory that cannot be dropped against the tightest limit."""
    if not evidence.running:
        return
    sample = evidence.current(CgroupSample)
    if sample is None:
        yield evidence.unknown(NEAR, "cgroup")
        return
    used, limit = _against(sample)
    if used is None:
        why = sample.unknown.get("memory_bytes") or sample.unknown.get("memory_working_set_bytes")
        yield Unknown(NEAR, why.reason, why.remedy) if why else evidence.unknown(NEAR, "cgroup")
        return
    if limit is None:
        # Without a limit the cgroup's use says little: a bare process shares its cgroup with who knows whom.
        own = evidence.current(ProcessSample)
        yield Fine(NEAR, f"memory {size(own.rss_bytes if own and own.rss_bytes is not None else used)}, no limit")
        return
    yield _near(evidence, sample, used, limit) or Fine(NEAR, f"memory {size(used)} of {size(limit)}")


def _against(sample: CgroupSample) -> tuple[int | None, int | None]:
    """What counts against the limit, and the limit: that of the cgroup that sets it, or memory.high where lower."""
    used, limit = sample.memory_working_set_bytes, sample.memory_limit_bytes
    if sample.memory_high_bytes and sample.memory_high_bytes < (sample.memory_limit_bytes or 1 << 62):
        limit = sample.memory_high_bytes
    elif limit is not None and sample.memory_limit_used_bytes is not None:
        used = sample.memory_limit_used_bytes
    return (None if used is None else max(0, used - (sample.memory_active_file_bytes or 0))), limit


def _near(evidence: Evidence, sample: CgroupSample, used: int, limit: int) -> Finding | None:
    levels = _levels(evidence)
    level = min(levels, default=used / limit)
    if level < evidence.limit(NEAR, "warning"):
        return None
    severity: Severity = "critical" if level >= evidence.limit(NEAR, "critical") else "warning"
    title = f"{size(used)} of {size(limit)} in use ({share(used / limit)})"
    points = [
        (record.at.timestamp(), float(value))
        for record in evidence.series(CgroupSample, 600)
        if (value := _against(record)[0]) is not None
    ]
    windows = [evidence.limit(NEAR, "growth_seconds") * times for times in LONGER]
    grown = growth(points, evidence.moment.timestamp(), windows, limit / 100)
    if grown is not None:
        title += f", +{size(grown.rate * 60)}/min; full in {seconds(max(1.0, (limit - used) / grown.rate))}"
    return evidence.finding(
        NEAR, severity, title, evidence=tuple(_circumstances(sample, limit)), fix=_more(evidence, sample), view="limits"
    )


def _levels(evidence: Evidence) -> list[float]:
    """Share of the limit in each sample of the last seconds."""
    pairs = [_against(record) for record in evidence.series(CgroupSample, evidence.limit(NEAR, "seconds"))]
    return [used / limit for used, limit in pairs if used is not None and limit]


def _circumstances(sample: CgroupSample, limit: int) -> Iterator[str]:
    if sample.memory_high_bytes == limit and limit != sample.memory_limit_bytes:
        yield "the limit is memory.high: above it the kernel slows the program down to reclaim"
    elif sample.memory_limit_path and sample.memory_limit_path != sample.path:
        yield f"the limit is set at {sample.memory_limit_path} and shared by all below it"
    if sample.memory_bytes is not None and sample.memory_working_set_bytes is not None:
        cache = sample.memory_bytes - sample.memory_working_set_bytes + (sample.memory_active_file_bytes or 0)
        yield f"{size(sample.memory_bytes)} with file cache, of which {size(cache)} can be dropped and is left out"
    if sample.limit_hits:
        yield f"the limit was hit {counted(sample.limit_hits, 'time')} so far"
    if sample.memory_pressure is not None and sample.memory_pressure.full_avg10:
        yield f"all its tasks waited for memory {sample.memory_pressure.full_avg10:.0f} % of the last 10 s"


def _more(evidence: Evidence, sample: CgroupSample) -> str:
    limit = sample.memory_limit_bytes or sample.memory_high_bytes or 0
    new = remedies.round_up(2 * limit)
    which = "MemoryHigh" if _against(sample)[1] == sample.memory_high_bytes else "MemoryMax"
    go = ""
    if evidence.target is not None and evidence.target.go is not None:
        go = f"\nlet Go collect before the limit: GOMEMLIMIT={limit * 9 // 10 >> 20}MiB (Go 1.19 and later)"
    if name := remedies.unit_name(evidence):
        return f"{remedies.systemctl(evidence)} set-property {remedies.word(name)} {which}={new}{go}"
    if command := remedies.control(evidence):
        small = new.lower()
        container = remedies.word(remedies.container_name(evidence))
        return f"{command} update --memory {small} --memory-swap {small} {container}{go}"
    if remedies.in_pod(evidence):
        return f"in the pod's specification: resources.limits.memory: {new}i{go}"
    return f"raise the limit of {sample.memory_limit_path or 'the cgroup'} to {new}{go}"


# -- killed


@dataclass(frozen=True, slots=True)
class Kills:
    """OOM kills from all witnesses: how many at least, when the last, what was said."""

    number: int
    last: datetime | None
    first: datetime | None
    said: tuple[str, ...]


def oom_killed(evidence: Evidence) -> Iterator[Claim]:
    """One finding for all kills."""
    kills = _kills(evidence)
    if kills is None:
        if _counter(evidence) is not None or evidence.looked("kernel_log"):
            yield Fine(KILLED, "no OOM kill")
        else:
            yield evidence.unknown(KILLED, "kernel_log")
        return
    ago = evidence.ago(kills.last)
    severity: Severity = "info"
    if not evidence.running or (ago is not None and ago <= evidence.limit(KILLED, "critical_seconds")):
        severity = "critical"
    elif ago is None or ago <= evidence.limit(KILLED, "warning_seconds"):
        severity = "warning"
    sample = evidence.latest(CgroupSample)
    limit = _memory_limit(evidence, sample)
    times = "once" if kills.number == 1 else f"{count(kills.number)} times"
    title = f"killed for memory {times}"
    if kills.last is not None:
        title += f", last at {clock(kills.last)}" if (ago or 0) < 86400 else f", last on {timestamp(kills.last)}"
    if limit:
        title += f"; limit {size(limit)}"
    fix = f"give it more than {size(limit)}, or find what grows" if limit else "give it more memory, or find what grows"
    if sample is not None and (sample.memory_limit_bytes or sample.memory_high_bytes):
        fix = _more(evidence, sample)
    elif limit:
        fix = remedies.keep(
            evidence,
            line=f"MemoryMax={remedies.round_up(2 * limit)}",
            option=f"--memory {remedies.round_up(2 * limit).lower()}",
            otherwise=fix,
            was=size(limit),
        )
    yield evidence.finding(
        KILLED, severity, title, evidence=kills.said[:4], fix=fix, view="overview", since=kills.first
    )


def _memory_limit(evidence: Evidence, sample: CgroupSample | None) -> int | None:
    if sample is not None and sample.memory_limit_bytes is not None:
        return sample.memory_limit_bytes
    if evidence.container is not None and evidence.container.memory_limit_bytes:
        return evidence.container.memory_limit_bytes
    return evidence.unit.limits.get("MemoryMax") if evidence.unit is not None else None


def _kills(evidence: Evidence) -> Kills | None:
    records = evidence.every(OomKill)
    times = [record.at for record in records]
    said = [_kernel_said(record) for record in records[-3:]]
    number = len(records)
    lines = evidence.lines_of("oom", evidence.limit(KILLED, "warning_seconds"), most=50)
    if lines:
        number = max(number, len(lines))
        times += [line.at for line in lines]
        said.append(f"{lines[-1].identifier or 'the log'} at {clock(lines[-1].at)}: {lines[-1].message[:200]}")
    unit, container = evidence.unit, evidence.container
    if unit is not None and unit.result == "oom-kill":
        number = max(number, 1)
        times += [time for time in (unit.exec_main_exit or unit.inactive_enter,) if time]
        said.append(f"systemd: result oom-kill of {unit.name}")
    if container is not None and container.oom_killed:
        number = max(number, 1)
        times += [container.finished_at] if container.finished_at else []
        said.append(f"{container.engine or 'the engine'} says OOMKilled")
    counted = _counter(evidence)
    if counted is not None and counted[0]:
        number = max(number, counted[0])
        times += [counted[1]] if counted[1] else []
        said.append(f"oom_kill of its cgroup: {count(counted[0])}")
    if not number:
        return None
    return Kills(number, max(times, default=None), min(times, default=None), tuple(said))


def _kernel_said(kill: OomKill) -> str:
    cause = {
        "CONSTRAINT_MEMCG": "its cgroup's limit was reached",
        "CONSTRAINT_NONE": "the machine was out of memory",
    }.get(kill.constraint, kill.constraint)
    held = f" holding {size(kill.rss_bytes)}" if kill.rss_bytes is not None else ""
    return f"kernel at {clock(kill.at)}: killed {kill.comm} (pid {kill.pid}){held}" + (f": {cause}" if cause else "")


def _counter(evidence: Evidence) -> tuple[int, datetime | None] | None:
    """Kills that the cgroup has counted, and when the last one happened if that was seen; None when not known.

    The cgroup of a bare process holds others too, so that only what rises while we look counts, and not even that
    proves it was ours.
    """
    series = [record for record in evidence.every(CgroupSample)[-600:] if record.oom_kills is not None]
    if not series:
        return None
    if not (evidence.unit or evidence.container):
        return 0, None
    last: datetime | None = None
    for before, after in pairwise(series):
        if before.path == after.path and (after.oom_kills or 0) > (before.oom_kills or 0):
            last = after.at
    return series[-1].oom_kills or 0, last

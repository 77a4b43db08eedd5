"""Threads: too many, growing, or near a limit of tasks.

A Go program needs about GOMAXPROCS threads and one for each goroutine that is inside a blocking system call or C. The
runtime never gives a thread back that it parked (runtime/proc.go, stopm), and ends the program at 10,000 threads
(runtime/proc.go: sched.maxmcount = 10000). Databases in Go that read files on many goroutines were seen with a few
hundred, so the warning is at 400, more on machines with more than 50 CPUs. Other programs may be made of threads: for
them only limits count. At pids.max and RLIMIT_NPROC clone(2) fails with EAGAIN; systemd's TasksMax and engines set
pids.max.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from gotriage.records.findings import Fine, Severity
from gotriage.records.goroutines import Goroutines
from gotriage.records.process import CgroupSample, HostSample, ProcessSample
from gotriage.records.units import count, counted, per_minute, seconds, share
from gotriage.rules import golook, remedies
from gotriage.rules.trend import growth

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gotriage.records.findings import Finding
    from gotriage.rules import Claim
    from gotriage.rules.evidence import Evidence
    from gotriage.rules.trend import Growth

ID: Final = "thread-explosion"
DEFAULTS: Final = {
    ID: {
        "warning": 400.0,
        "per_cpu": 8.0,
        "critical": 8000.0,
        "growing_from": 100.0,
        "rise": 30.0,
        "seconds": 30.0,
        "limit_warning": 0.80,
        "limit_critical": 0.95,
    }
}
GO_MOST: Final = 10_000
LONGER: Final = (1, 2, 4, 10)


def threads(evidence: Evidence) -> Iterator[Claim]:
    """One finding, for the nearest of the limits or for the number itself."""
    if not evidence.running:
        return
    sample = evidence.current(ProcessSample)
    if sample is None or sample.threads is None:
        yield evidence.unknown(ID, "process", sample.unknown.get("threads") if sample else None)
        return
    found = _near_limit(evidence, sample) or _too_many(evidence, sample)
    yield found or Fine(ID, counted(sample.threads, "thread"))


def _near_limit(evidence: Evidence, sample: ProcessSample) -> Finding | None:
    cgroup = evidence.current(CgroupSample)
    if cgroup is None or not cgroup.pids_limit:
        return None
    used = cgroup.pids_limit_used if cgroup.pids_limit_used is not None else cgroup.pids
    level = (used or 0) / cgroup.pids_limit
    if level < evidence.limit(ID, "limit_warning"):
        return None
    severity: Severity = "critical" if level >= evidence.limit(ID, "limit_critical") else "warning"
    new = 1 << (4 * cgroup.pids_limit).bit_length()
    for_good = remedies.keep(
        evidence,
        line=f"TasksMax={new}",
        option=f"--pids-limit {new}",
        otherwise=f"raise pids.max of {cgroup.pids_limit_path or 'the cgroup'}",
        was=str(cgroup.pids_limit),
    )
    name = remedies.unit_name(evidence)
    now = f"now: {remedies.systemctl(evidence)} set-property --runtime {remedies.word(name)} TasksMax={new}\n"
    return evidence.finding(
        ID,
        severity,
        f"{count(used)} of {count(cgroup.pids_limit)} tasks allowed ({share(level)}): new threads fail at the limit",
        evidence=(
            f"{counted(sample.threads, 'thread')} in {counted(sample.processes, 'process')} of the target",
            f"pids.max is set at {cgroup.pids_limit_path or 'its cgroup'}; beyond it clone(2) fails with EAGAIN",
        ),
        fix=f"{now if name else ''}for good: {for_good}",
        view="limits",
    )


def _too_many(evidence: Evidence, sample: ProcessSample) -> Finding | None:
    """Of a Go program only; several processes are taken on average."""
    if evidence.target is None or evidence.target.go is None:
        return None
    host = evidence.latest(HostSample)
    each = (sample.threads or 0) / max(1, sample.processes)
    limit = max(evidence.limit(ID, "warning"), evidence.limit(ID, "per_cpu") * ((host.cpus if host else None) or 1))
    rising = _rising(evidence)
    if each < limit and (rising is None or each < evidence.limit(ID, "growing_from")):
        return None
    severity: Severity = "critical" if each >= evidence.limit(ID, "critical") else "warning"
    title = f"{count(sample.threads)} threads"
    if sample.processes > 1:
        title += f" in {count(sample.processes)} processes"
    if rising is not None:
        left = (GO_MOST - each) / rising.rate
        title += f", {per_minute(rising.rate)}; Go ends the program at {count(GO_MOST)}, in {seconds(left)}"
    else:
        title += f"; Go needs about one a CPU ({host.cpus if host and host.cpus else '?'} here)"
    return evidence.finding(
        ID,
        severity,
        title,
        evidence=(*_holders(evidence), *_states(sample, rising)),
        fix="bound what blocks a thread: file and device I/O, cgo calls, LockOSThread, DNS by cgo (GODEBUG=netdns=go); "
        "a semaphore around it is enough",
        view="overview",
    )


def _rising(evidence: Evidence) -> Growth | None:
    series = [record for record in evidence.series(ProcessSample, 600) if record.threads is not None]
    points = [(record.at.timestamp(), float(record.threads or 0)) for record in series]
    shortest = evidence.limit(ID, "seconds")
    windows = [shortest * times for times in LONGER]
    return growth(points, evidence.moment.timestamp(), windows, evidence.limit(ID, "rise"))


def _holders(evidence: Evidence) -> Iterator[str]:
    """The goroutines that hold threads: those in a system call or in C, and those that are locked to theirs."""
    table = evidence.current(Goroutines)
    if table is None:
        return
    groups = [group for group in table.rows if group.state == "syscall" and group.count > 1]
    for group in sorted(groups, key=lambda group: -group.count)[:3]:
        by = golook.created(table, group)
        yield (
            f"{count(group.count)} goroutines hold a thread each in a system call or in C at {golook.where(group)}"
            + (f", created by {by}" if by else "")
        )
    locked = sum(one.locked for one in table.goroutines if one.state != "syscall")
    if locked > 1:
        yield f"{count(locked)} goroutines wait and keep a thread for themselves (runtime.LockOSThread)"


_STATES: Final = {
    "S": "sleep in the kernel",
    "D": "wait uninterruptibly (disk or network file system)",
    "R": "run",
    "T": "are stopped",
    "t": "are stopped by a tracer",
}


def _states(sample: ProcessSample, rising: Growth | None) -> Iterator[str]:
    told = [f"{count(n)} {_STATES.get(s, s)}" for s, n in sorted(sample.states.items(), key=lambda i: -i[1]) if n]
    if told:
        yield "of the threads " + ", ".join(told[:3])
    if rising is not None:
        yield f"the floor rose from {count(rising.before)} to {count(rising.after)} in {seconds(rising.seconds)}"
    yield "each thread beyond the CPUs is a goroutine that was in a blocking system call or in C"

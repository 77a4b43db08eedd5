"""The overview's numbers: one sample of the processes, of the cgroup and of the host."""

from __future__ import annotations

from typing import ClassVar

import msgspec

from gotriage.records.base import Record


class ProcessSample(Record, frozen=True, kw_only=True, tag="process"):
    """The target's processes added up (proc_pid_stat(5), proc_pid_status(5), proc_pid_io(5)).

    Rates are per second since the collector's previous look, None at the first. CPU in cores (1.0 is one core
    busy), sizes in bytes, counts since process start.
    """

    keep: ClassVar[int] = 3600

    processes: int = 0
    threads: int | None = None
    states: dict[str, int] = {}
    """Threads by state letter of proc_pid_stat(5): R, S, D, T, t, Z ..."""
    cpu: float | None = None
    cpu_user: float | None = None
    cpu_system: float | None = None
    cpu_seconds: float | None = None
    rss_bytes: int | None = None
    rss_peak_bytes: int | None = None
    swap_bytes: int | None = None
    virtual_bytes: int | None = None
    fds: int | None = None
    read_bytes_rate: float | None = None
    write_bytes_rate: float | None = None
    read_bytes: int | None = None
    write_bytes: int | None = None
    major_faults: int | None = None
    context_switches_rate: float | None = None
    run_delay_rate: float | None = None
    """Seconds per second that runnable threads waited for a CPU (/proc/PID/schedstat field 2)."""
    tracer_pid: int | None = None
    tracer_name: str = ""
    oom_score_adj: int | None = None


class Pressure(msgspec.Struct, frozen=True, omit_defaults=True):
    """One PSI line pair (Documentation/accounting/psi.rst): percent of the last 10 s, and totals in seconds."""

    some_avg10: float | None = None
    full_avg10: float | None = None
    some_total: float | None = None
    full_total: float | None = None


class CgroupSample(Record, frozen=True, kw_only=True, tag="cgroup"):
    """The target's cgroup, v1 or v2 (cgroups(7), Documentation/admin-guide/cgroup-v2.rst).

    `path` is the cgroup whose memory is counted, else the one whose CPU is; where v1 counts, that may be another one
    than the target's own (`TargetState.cgroup`). Limits are the tightest of the cgroup and its ancestors;
    `memory_limit_bytes` None with no entry in `unknown` means unlimited. CPU quota in cores. Throttling counters are
    since the cgroup was made; `throttled_share` is the share (0..1) of the periods since the previous look in which it
    was throttled.
    """

    keep: ClassVar[int] = 3600

    version: int = 2
    path: str = ""
    cpu_quota: float | None = None
    cpu_quota_path: str = ""
    cpu_usage_seconds: float | None = None
    periods: int | None = None
    throttled_periods: int | None = None
    throttled_seconds: float | None = None
    throttled_share: float | None = None
    memory_bytes: int | None = None
    memory_working_set_bytes: int | None = None
    """Usage less inactive file cache: what counts when the kernel decides about an OOM kill."""
    memory_limit_bytes: int | None = None
    memory_limit_path: str = ""
    memory_limit_used_bytes: int | None = None
    """Working set of the cgroup that sets the limit: what counts against it, the target's neighbours too."""
    memory_active_file_bytes: int | None = None
    """Part of the above that is active file cache: read twice, and still dropped before anything is killed."""
    memory_others: int | None = None
    """Processes directly in the cgroup at `path` that are not the target's: its memory is not the target's alone."""
    limit_hits: int | None = None
    """How often the use was at the limit (memory.events max; v1: memory.failcnt of the cgroup that sets the limit)."""
    memory_high_bytes: int | None = None
    swap_bytes: int | None = None
    oom_events: int | None = None
    oom_kills: int | None = None
    pids: int | None = None
    pids_limit: int | None = None
    pids_limit_path: str = ""
    pids_limit_used: int | None = None
    """Tasks in the cgroup that sets the limit."""
    cpu_pressure: Pressure | None = None
    memory_pressure: Pressure | None = None
    io_pressure: Pressure | None = None


class HostSample(Record, frozen=True, kw_only=True, tag="host"):
    """The machine around the target: CPUs, load, memory; sizes in bytes, CPU in cores."""

    keep: ClassVar[int] = 3600

    cpus: int | None = None
    cpu: float | None = None
    steal: float | None = None
    load1: float | None = None
    memory_total_bytes: int | None = None
    memory_available_bytes: int | None = None
    swap_total_bytes: int | None = None
    swap_free_bytes: int | None = None
    cpu_pressure: Pressure | None = None
    memory_pressure: Pressure | None = None
    io_pressure: Pressure | None = None
    uptime: float | None = None

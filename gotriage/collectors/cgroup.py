"""The target's cgroup: CPU quota and throttling, memory against its tightest limit, tasks, PSI."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from gotriage.host import clock
from gotriage.host.cgroupfs import Cgroups, controllers, locate, unified_path
from gotriage.records.base import Why
from gotriage.records.pressure import parse_pressure
from gotriage.records.process import CgroupSample
from gotriage.records.stream import Gap
from gotriage.records.text import clean

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from gotriage.host import Host
    from gotriage.host.cgroupfs import Group, Level
    from gotriage.records import Record
    from gotriage.target.model import Target

NOT_HERE = Why(reason="the controller is not enabled for this cgroup")
IN_ROOT = Why(reason="the target is in the root cgroup, which counts the whole machine")
NO_QUOTA = Why(reason="no CPU quota applies")
FIRST_LOOK = Why(reason="counted from one look to the next")
NO_V1_PRESSURE = Why("cgroup v1 keeps no pressure (PSI) of a group", "boot with systemd.unified_cgroup_hierarchy=1")
NO_V2_MOUNT = Why("no mount shows the cgroup v2 of the target, which keeps its pressure (PSI)")
NO_PRESSURE = Why("the kernel keeps no pressure (PSI) of this cgroup", "boot with psi=1 (CONFIG_PSI)")
OTHERS_EVERY = 10.0
"""Seconds between two looks at who else is in the cgroup that counts memory."""
NO_V1_COUNT = Why(reason="cgroup v1 counts OOM kills, not OOM events")


@dataclass(slots=True)
class Values:
    """Field values of a sample, and why others are not there."""

    known: dict[str, Any] = field(default_factory=dict)
    unknown: dict[str, Why] = field(default_factory=dict)

    def put(self, name: str, value: float | None, why: Why) -> None:
        """One value, or the reason that it is not there."""
        if value is None:
            self.unknown[name] = why
        else:
            self.known[name] = value


def quota(group: Group) -> tuple[float, Level] | None:
    """The tightest CPU quota in cores, and the level that sets it; None when there is none."""
    found: tuple[float, Level] | None = None
    for level in group.levels:
        cores = _quota_at(level, group.version)
        if cores is not None and (found is None or cores < found[0]):
            found = cores, level
    return found


def _quota_at(level: Level, version: int) -> float | None:
    """cpu.max of v2 ("max 100000", "50000 100000"), cpu.cfs_quota_us and cpu.cfs_period_us of v1 (-1 is none)."""
    if version == 1:
        allowed, period = level.number("cpu.cfs_quota_us"), level.number("cpu.cfs_period_us")
    else:
        words = (level.text("cpu.max") or "max").split()
        allowed = int(words[0]) if words and words[0].isdigit() else None
        period = int(words[1]) if len(words) > 1 and words[1].isdigit() else 100_000
    return allowed / period if allowed is not None and allowed > 0 and period else None


_THROTTLING = ("periods", "throttled_periods", "throttled_seconds")


def read_cpu(group: Group | None, usage: Group | None, values: Values) -> None:
    """Quota, throttling at the level that sets it, and CPU time used (`usage`: the group that counts it)."""
    if usage is not None:
        in_root = usage.whole_machine
        values.put("cpu_usage_seconds", None if in_root else _cpu_seconds(usage), IN_ROOT if in_root else NOT_HERE)
    if group is None or group.whole_machine:
        why = NOT_HERE if group is None else IN_ROOT
        values.unknown |= dict.fromkeys(_THROTTLING, why) | ({"cpu_quota": why} if group is None else {})
        return
    level = group.leaf
    if limit := quota(group):
        level = limit[1]
        values.known |= {"cpu_quota": limit[0], "cpu_quota_path": clean(level.path)}
    stat = level.table("cpu.stat")
    nanoseconds, microseconds = stat.get("throttled_time"), stat.get("throttled_usec")
    stopped = nanoseconds / 1e9 if nanoseconds is not None else None if microseconds is None else microseconds / 1e6
    for name, value in zip(_THROTTLING, (stat.get("nr_periods"), stat.get("nr_throttled"), stopped), strict=True):
        values.put(name, value, NOT_HERE)


def _cpu_seconds(group: Group) -> float | None:
    if group.version == 1:
        nanoseconds = group.leaf.number("cpuacct.usage")
        return None if nanoseconds is None else nanoseconds / 1e9
    microseconds = group.leaf.table("cpu.stat").get("usage_usec")
    return None if microseconds is None else microseconds / 1e6


_MEMORY_FILES = {
    1: ("memory.usage_in_bytes", "memory.limit_in_bytes", "total_inactive_file"),
    2: ("memory.current", "memory.max", "inactive_file"),
}


def working_set(level: Level, version: int) -> int | None:
    """Memory in use less inactive file cache, bytes; None when the level does not count memory."""
    usage_file, _, inactive = _MEMORY_FILES[version]
    usage = level.number(usage_file)
    if usage is None:
        return None
    return max(0, usage - level.table("memory.stat").get(inactive, 0))


def read_memory(group: Group, values: Values) -> None:
    """Use, working set, swap, the tightest limits, and the OOM counters."""
    if group.whole_machine:
        values.unknown["memory_bytes"] = IN_ROOT
        return
    usage_file, limit_file, inactive = _MEMORY_FILES[group.version]
    why = NOT_HERE
    usage, stat = group.leaf.number(usage_file), group.leaf.table("memory.stat")
    values.put("memory_bytes", usage, why)
    if usage is not None:
        values.known["memory_working_set_bytes"] = max(0, usage - stat.get(inactive, 0))
    if limit := group.tightest(limit_file):
        values.known |= {"memory_limit_bytes": limit[0], "memory_limit_path": clean(limit[1].path)}
        values.put("memory_limit_used_bytes", working_set(limit[1], group.version), why)
    counted = limit[1].table("memory.stat") if limit else stat
    values.put("memory_active_file_bytes", counted.get(inactive.replace("inactive", "active")), why)
    if group.version == 1:
        values.put("swap_bytes", stat.get("total_swap", stat.get("swap")), Why(reason="no swap accounting"))
        level = limit[1] if limit else group.leaf
        values.put("limit_hits", level.number("memory.failcnt"), why)
        values.put("oom_kills", group.leaf.table("memory.oom_control").get("oom_kill"), why)
        values.unknown["oom_events"] = NO_V1_COUNT
        return
    if high := group.tightest("memory.high"):
        values.known["memory_high_bytes"] = high[0]
    values.put("swap_bytes", group.leaf.number("memory.swap.current"), Why(reason="no swap accounting"))
    events = group.leaf.table("memory.events")
    at_limit = limit[1].table("memory.events") if limit else events
    values.put("limit_hits", at_limit.get("max"), why)
    values.put("oom_events", events.get("oom"), why)
    values.put("oom_kills", events.get("oom_kill"), why)


def read_tasks(group: Group, values: Values) -> None:
    """pids.current and the tightest pids.max."""
    if group.whole_machine:
        values.unknown["pids"] = IN_ROOT
        return
    values.put("pids", group.leaf.number("pids.current"), NOT_HERE)
    if limit := group.tightest("pids.max"):
        values.known |= {"pids_limit": limit[0], "pids_limit_path": clean(limit[1].path)}
        values.put("pids_limit_used", limit[1].number("pids.current"), NOT_HERE)


def read_pressure(unified: Group | None, path: str | None, values: Values) -> None:
    """PSI of the group in the v2 hierarchy, which alone has it; `path` is where it lies there, None for nowhere."""
    why = NO_PRESSURE
    if unified is None:
        why = NO_V1_PRESSURE if path is None else NO_V2_MOUNT
    elif unified.whole_machine:
        why, unified = IN_ROOT, None
    for resource in ("cpu", "memory", "io"):
        text = unified.leaf.text(f"{resource}.pressure") if unified is not None else None
        if text:
            values.known[f"{resource}_pressure"] = parse_pressure(text)
        else:
            values.unknown[f"{resource}_pressure"] = why


class CgroupCollector:
    """cgroupfs of the host's view, v1 and v2."""

    backend = "cgroupfs"

    def __init__(self, host: Host, target: Target) -> None:
        self._target = target
        self._cgroups = Cgroups(host)
        self._before: tuple[str, int, int] | None = None
        self._others: tuple[str, float, int] | None = None

    def close(self) -> None:
        """Nothing is held."""

    def collect(self) -> Iterator[Record]:
        """One sample; nothing while the target has no cgroup, a gap when no mount shows the one it has."""
        at, target = clock.now(), self._target
        if target.cgroup is None and not target.cgroup_v1:
            return
        path = unified_path(self._cgroups.host, target.pid, target.cgroup)
        groups = {
            name: locate(self._cgroups, name, path, target.cgroup_v1) for name in ("cpu", "cpuacct", "memory", "pids")
        }
        unified = self._cgroups.v2(path) if path is not None else None
        if unified is None and not any(groups.values()):
            if target.main is not None:
                self._cgroups = Cgroups(self._cgroups.host)
                yield _no_mount(at, target)
            return
        yield self._sample(at, groups, unified, path)

    def _sample(
        self, at: datetime, groups: dict[str, Group | None], unified: Group | None, own: str | None
    ) -> CgroupSample:
        """One sample; `own` is the target's path in the unified hierarchy, None where there is none."""
        values = Values()
        memory, tasks = groups["memory"], groups["pids"]
        read_cpu(groups["cpu"], groups["cpuacct"], values)
        if memory is not None:
            read_memory(memory, values)
            values.known["memory_others"] = self._count_others(memory)
        else:
            values.unknown["memory_bytes"] = Why(reason="no mount shows the memory controller of this cgroup")
        if tasks is not None:
            read_tasks(tasks, values)
        else:
            values.unknown["pids"] = Why(reason="no mount shows the pids controller of this cgroup")
        values.known["throttled_share"] = self._share(values)
        read_pressure(unified, own, values)
        main = memory or groups["cpu"] or unified
        version, path = (main.version, main.path) if main is not None else (2, "")
        return CgroupSample(at=at, version=version, path=clean(path), unknown=values.unknown, **values.known)

    def _count_others(self, memory: Group) -> int | None:
        """Processes in the group that are not the target's; None where nothing is measured."""
        if memory.whole_machine or not self._target.pids:
            return None
        now, seen = clock.monotonic(), self._others
        if seen is None or seen[0] != memory.path or now - seen[1] >= OTHERS_EVERY:
            own = set(self._target.pids)
            others = sum(1 for pid in memory.leaf.processes() if pid not in own)
            seen = self._others = (memory.path, now, others)
        return seen[2]

    def _share(self, values: Values) -> float | None:
        """The share of periods throttled since the look before; None at the first look and without periods."""
        known = values.known
        if "periods" not in known or "throttled_periods" not in known:
            return None
        path = known.get("cpu_quota_path", "")
        now: tuple[str, int, int] = (path, known["periods"], known["throttled_periods"])
        before, self._before = self._before, now
        if not path:
            values.unknown["throttled_share"] = NO_QUOTA
            return None
        if before is None or before[0] != path:
            values.unknown["throttled_share"] = FIRST_LOOK
            return None
        if now[1] <= before[1]:
            return None
        share: float = (now[2] - before[2]) / (now[1] - before[1])
        return min(1.0, max(0.0, share))


def _no_mount(at: datetime, target: Target) -> Gap:
    paths = controllers(target.cgroup_v1)
    path = target.cgroup or paths.get("memory") or next(iter(paths.values()), "")
    return Gap(
        at=at,
        source="cgroup",
        reason=f"no cgroup mount shows {clean(path)}",
        lost="cgroup limits, throttling and OOM counters",
        remedy="run gotriage in the host's mount and cgroup namespaces, or mount -t cgroup2 none /sys/fs/cgroup",
    )

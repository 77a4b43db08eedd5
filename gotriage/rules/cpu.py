"""CPU throttling by the cgroup's quota.

A period (100 ms by default) in which the quota is used up before its end stops every thread of the group until the next
one (Documentation/scheduler/sched-bwc.rst); requests in flight then wait for tens of milliseconds. A quarter of the
periods is the level of Kubernetes' CPUThrottlingHigh alert. Periods are counted only while the group runs, so a program
that wakes rarely may reach that without harm: its threads must also have been stopped for two hundredths of the time.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Final

from gotriage.records.findings import Fine
from gotriage.records.process import CgroupSample, HostSample, ProcessSample
from gotriage.records.units import cores, count, seconds, share
from gotriage.rules import profiles, remedies

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import datetime

    from gotriage.rules import Claim
    from gotriage.rules.evidence import Evidence

ID: Final = "cpu-throttled"
DEFAULTS: Final = {ID: {"warning": 0.25, "stopped": 0.02, "periods": 10.0, "seconds": 30.0}}


@dataclass(frozen=True, slots=True)
class Throttling:
    """Between two samples, `elapsed` seconds apart: periods, those throttled, seconds that threads were stopped."""

    periods: int
    throttled: int
    stopped: float | None
    elapsed: float

    @property
    def share(self) -> float:
        """Share of the periods that were throttled, 0..1."""
        return self.throttled / self.periods if self.periods else 0.0


def throttling(evidence: Evidence) -> Iterator[Claim]:
    """The share of the last periods that was throttled."""
    if not evidence.running:
        return
    sample = evidence.current(CgroupSample)
    if sample is None or (sample.periods is None and sample.cpu_quota is None):
        why = None if sample is None else sample.unknown.get("cpu_quota") or sample.unknown.get("periods")
        if sample is None or why is not None:
            yield evidence.unknown(ID, "cgroup", why)
        else:
            yield Fine(ID, "no CPU quota")
        return
    if sample.cpu_quota is None:
        yield Fine(ID, "no CPU quota")
        return
    series = evidence.series(CgroupSample, evidence.limit(ID, "seconds"))
    seen = _between(series)
    if seen is None or seen.periods < evidence.limit(ID, "periods") or seen.share < evidence.limit(ID, "warning"):
        told = "" if seen is None or not seen.periods else f", throttled in {share(seen.share)} of periods"
        yield Fine(ID, f"CPU quota {cores(sample.cpu_quota)}{told}")
        return
    if seen.stopped is not None and seen.stopped < evidence.limit(ID, "stopped") * seen.elapsed:
        yield Fine(ID, f"CPU quota {cores(sample.cpu_quota)}, throttled for {seconds(seen.stopped)} only")
        return
    yield evidence.finding(
        ID,
        "warning",
        f"throttled in {share(seen.share)} of periods: quota of {cores(sample.cpu_quota)} CPUs",
        evidence=tuple(_told(evidence, sample, seen)),
        fix=_fix(evidence, sample.cpu_quota),
        view="overview",
        since=_since(evidence),
    )


def _between(series: Sequence[CgroupSample]) -> Throttling | None:
    """From the first to the last sample of the same quota; None where there are not two."""
    usable = [one for one in series if one.periods is not None and one.throttled_periods is not None]
    usable = [one for one in usable if one.cpu_quota_path == usable[-1].cpu_quota_path]
    if len(usable) < 2:
        return None
    first, last = usable[0], usable[-1]
    stopped = None
    if first.throttled_seconds is not None and last.throttled_seconds is not None:
        stopped = last.throttled_seconds - first.throttled_seconds
    return Throttling(
        (last.periods or 0) - (first.periods or 0),
        (last.throttled_periods or 0) - (first.throttled_periods or 0),
        stopped,
        (last.at - first.at).total_seconds(),
    )


def _told(evidence: Evidence, sample: CgroupSample, seen: Throttling) -> Iterator[str]:
    yield f"{count(seen.throttled)} of {count(seen.periods)} periods in {seconds(seen.elapsed)}"
    if seen.stopped is not None:
        yield f"threads were stopped for {seconds(seen.stopped)} in these {seconds(seen.elapsed)}, added up"
        if seen.throttled:
            each = seconds(seen.stopped / seen.throttled)
            yield f"a period that was throttled cost {each}, added up over its threads"
    process = evidence.current(ProcessSample)
    if process is not None and process.cpu is not None:
        waited = process.run_delay_rate
        more = f", and its threads wait {cores(waited)} CPUs' worth of time for one" if waited else ""
        yield f"the target uses {cores(process.cpu)} CPUs{more}"
    yield from profiles.waited(evidence)
    if sample.cpu_quota_path and sample.cpu_quota_path != sample.path:
        yield f"the quota is set at {sample.cpu_quota_path} and shared by all below it"


def _fix(evidence: Evidence, quota: float) -> str:
    more = max(1, round(quota * 2 + 0.49))
    if name := remedies.unit_name(evidence):
        line = f"{remedies.systemctl(evidence)} set-property {remedies.word(name)} CPUQuota={more * 100}%"
    elif command := remedies.control(evidence):
        line = f"{command} update --cpus {more} {remedies.word(remedies.container_name(evidence))}"
    elif remedies.in_pod(evidence):
        line = f"in the pod's specification: resources.limits.cpu: {more}, or none"
    else:
        line = f"raise the quota of its cgroup to {more} CPUs"
    host = evidence.latest(HostSample)
    target = evidence.target
    if target is not None and target.go is not None and host is not None and (host.cpus or 0) > quota:
        line += f"\nor GOMAXPROCS={max(1, int(quota))}: before Go 1.25 the runtime does not see the quota"
    return line


def _since(evidence: Evidence) -> datetime | None:
    """Start of the unbroken run of throttled looks, where its start was seen."""
    level = evidence.limit(ID, "warning")
    begun: datetime | None = None
    for before, after in pairwise(evidence.series(CgroupSample, 3600)):
        if after.throttled_share is None:
            continue
        begun = (begun or before.at) if after.throttled_share >= level else None
    return begun

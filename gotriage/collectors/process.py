"""The overview's numbers of the target's processes, added up, once a second."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from gotriage.errors import GotriageError, NotPermitted, TargetGone
from gotriage.host import clock, fds, threads
from gotriage.host.proc import parse_fields
from gotriage.records.base import Why
from gotriage.records.process import ProcessSample
from gotriage.records.stream import Gap
from gotriage.records.text import clean

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from gotriage.host import Host
    from gotriage.host.proc import Stat
    from gotriage.records import Record
    from gotriage.target.model import Target

MAX_PROCESSES = 512
"""Processes of one target that are read each second."""
EACH_LOOK = 128
"""Up to so many threads are read one by one at each look; more only every SELDOM seconds, and at most MAX_THREADS."""
SELDOM = 5.0
MAX_THREADS = 2048
ROOT = "run gotriage as root (sudo), or with CAP_SYS_PTRACE"
PAGE = os.sysconf("SC_PAGE_SIZE")


@dataclass(slots=True)
class One:
    """What one look says about one process. Sizes in bytes, `io` is (read, written) bytes, `fds` the open files."""

    stat: Stat
    peak: int | None = None
    swap: int | None = None
    io: tuple[int, int] | None = None
    fds: int | None = None
    denied: set[str] = field(default_factory=set)


def parse_io(fields: dict[str, str]) -> tuple[int, int] | None:
    """Bytes read from and written to storage (proc_pid_io(5)), None when the file does not say."""
    try:
        return int(fields["read_bytes"]), int(fields["write_bytes"])
    except (KeyError, ValueError):
        return None


def kilobytes(fields: dict[str, str], name: str) -> int | None:
    """A "kB" line of /proc/PID/status in bytes."""
    words = fields.get(name, "").split()
    return int(words[0]) * 1024 if words and words[0].isdigit() else None


class ProcessCollector:
    """/proc/PID/stat, status, io and fd of each process, and the threads' status and schedstat."""

    backend = "/proc"

    def __init__(self, host: Host, target: Target) -> None:
        self._host, self._target = host, target
        self._before: dict[int, One] = {}
        self._at: float | None = None
        self._threads = _Threads(host)

    def close(self) -> None:
        """Nothing is held."""

    def collect(self) -> Iterator[Record]:
        """One sample, or nothing when no process is left. Raises NotPermitted when none may be read."""
        at, moment = clock.now(), clock.monotonic()
        pids = self._target.pids[:MAX_PROCESSES]
        if len(self._target.pids) > MAX_PROCESSES:
            yield _too_many(at, len(self._target.pids))
        now = {}
        for pid in pids:
            try:
                now[pid] = self._one(pid)
            except TargetGone:
                continue
        if not now:
            return
        passed = moment - self._at if self._at is not None else None
        yield self._sample(at, now, passed)
        self._before, self._at = now, moment

    def _one(self, pid: int) -> One:
        proc = self._host.proc
        one = One(proc.stat(pid))
        status = proc.status(pid)
        one.peak, one.swap = kilobytes(status, "VmHWM"), kilobytes(status, "VmSwap")
        try:
            one.io = parse_io(proc_fields(self._host, pid, "io"))
        except NotPermitted:
            one.denied.add("io")
        except OSError:
            pass
        try:
            one.fds = fds.count(self._host, pid)
        except NotPermitted:
            one.denied.add("fds")
        return one

    def _sample(self, at: datetime, now: dict[int, One], passed: float | None) -> ProcessSample:
        values: dict[str, Any] = {}
        unknown: dict[str, Why] = {}
        stats = [one.stat for one in now.values()]
        ticks = clock.TICKS_PER_SECOND
        values["threads"] = sum(stat.threads for stat in stats)
        values["cpu_seconds"] = sum(stat.utime + stat.stime for stat in stats) / ticks
        values["rss_bytes"] = sum(stat.rss_pages for stat in stats) * PAGE
        values["virtual_bytes"] = sum(stat.vsize for stat in stats)
        values["major_faults"] = sum(stat.majflt for stat in stats)
        values["rss_peak_bytes"] = _sum([one.peak for one in now.values()])
        values["swap_bytes"] = _sum([one.swap for one in now.values()])
        self._add_guarded(now, values, unknown)
        if passed:
            user, system = self._growth(now, "utime"), self._growth(now, "stime")
            values |= {"cpu_user": user / ticks / passed, "cpu_system": system / ticks / passed}
            values["cpu"] = (user + system) / ticks / passed
            for place, name in enumerate(("read_bytes_rate", "write_bytes_rate")):
                values[name] = self._io_rate(now, place, passed)
        values |= self._threads.look(tuple(now), values["threads"], unknown)
        values["oom_score_adj"] = self._oom_score(next(iter(now)))
        return ProcessSample(at=at, processes=len(now), unknown=unknown, **values)

    def _add_guarded(self, now: dict[int, One], values: dict[str, Any], unknown: dict[str, Why]) -> None:
        """What the kernel shows only to the owner and to root: None as soon as one process is hidden."""
        ios = [one.io for one in now.values()]
        if None not in ios:
            values["read_bytes"] = sum(io[0] for io in ios if io)
            values["write_bytes"] = sum(io[1] for io in ios if io)
        values["fds"] = _sum([one.fds for one in now.values()])
        denied = {name for one in now.values() for name in one.denied}
        if "io" in denied:
            why = Why(reason="/proc/PID/io: permission denied", remedy=ROOT, permission=True)
            unknown |= dict.fromkeys(("read_bytes", "write_bytes", "read_bytes_rate", "write_bytes_rate"), why)
        if "fds" in denied:
            unknown["fds"] = Why(reason="/proc/PID/fd: permission denied", remedy=ROOT, permission=True)

    def _growth(self, now: dict[int, One], name: str) -> int:
        """Growth of a counter of Stat since the look before; a process that started since counts from zero."""
        total = 0
        for pid, one in now.items():
            before = self._before.get(pid)
            if before is not None and before.stat.start_ticks == one.stat.start_ticks:
                total += max(0, getattr(one.stat, name) - getattr(before.stat, name))
            elif before is None and one.stat.start_ticks >= self._newest():
                total += getattr(one.stat, name)
        return total

    def _newest(self) -> int:
        """Start of the youngest process of the look before: whatever is new and older than that only came in."""
        return max((one.stat.start_ticks for one in self._before.values()), default=0)

    def _io_rate(self, now: dict[int, One], place: int, passed: float) -> float | None:
        """Bytes per second; None when any process hides its counters."""
        total = 0
        for pid, one in now.items():
            if one.io is None:
                return None
            before = self._before.get(pid)
            if before is not None and before.io is not None and before.stat.start_ticks == one.stat.start_ticks:
                total += max(0, one.io[place] - before.io[place])
        return total / passed

    def _oom_score(self, pid: int) -> int | None:
        try:
            return int(self._host.proc.read(pid, "oom_score_adj", limit=64))
        except (GotriageError, OSError, ValueError):
            return None


class _Threads:
    """States, tracer and the two rates that only single threads tell; thousands of threads are read more seldom."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._last: float | None = None
        self._before: dict[int, threads.Thread] = {}
        self._values: dict[str, Any] = {}
        self._unknown: dict[str, Why] = {}

    def look(self, pids: tuple[int, ...], count: int, unknown: dict[str, Why]) -> dict[str, Any]:
        """Field values of the sample; those of an earlier look while the next one is not due."""
        moment = clock.monotonic()
        if self._last is None or count <= EACH_LOOK or moment - self._last >= SELDOM:
            self._refresh(pids, count, None if self._last is None else moment - self._last)
            self._last = moment
        unknown |= self._unknown
        return self._values

    def _refresh(self, pids: tuple[int, ...], count: int, passed: float | None) -> None:
        now: dict[int, threads.Thread] = {}
        for pid in pids:
            try:
                found = threads.read(self._host, pid, MAX_THREADS - len(now))
            except (GotriageError, OSError):
                continue
            now |= {thread.tid: thread for thread in found}
            if len(now) >= MAX_THREADS:
                break
        self._values, self._unknown = {}, {}
        states: dict[str, int] = {}
        for thread in now.values():
            states[thread.state] = states.get(thread.state, 0) + 1
        if len(now) < count and len(now) >= MAX_THREADS:
            why = Why(reason=f"more than {MAX_THREADS} threads: not all were looked at")
            self._unknown |= dict.fromkeys(("context_switches_rate", "run_delay_rate"), why)
        elif passed:
            self._values |= self._rates(now, passed)
        self._values["states"] = states
        tracer = next((thread.tracer for thread in now.values() if thread.tracer), None)
        if tracer is not None:
            self._values |= {"tracer_pid": tracer, "tracer_name": self._comm(tracer)}
        self._before = now

    def _rates(self, now: dict[int, threads.Thread], passed: float) -> dict[str, float | None]:
        """Context switches and seconds of waiting for a CPU, per second."""
        switches, delay, timed = 0, 0, bool(now)
        for tid, thread in now.items():
            timed = timed and thread.run_delay is not None
            if before := self._before.get(tid):
                switches += max(0, thread.switches - before.switches)
                delay += max(0, (thread.run_delay or 0) - (before.run_delay or 0))
        return {"context_switches_rate": switches / passed, "run_delay_rate": delay / 1e9 / passed if timed else None}

    def _comm(self, pid: int) -> str:
        try:
            return clean(self._host.proc.read(pid, "comm", limit=64).rstrip(b"\n"))
        except (GotriageError, OSError):
            return ""


def proc_fields(host: Host, pid: int, name: str) -> dict[str, str]:
    """A "name: value" file of the process."""
    return parse_fields(host.proc.read(pid, name, limit=8192))


def _sum(values: list[int | None]) -> int | None:
    """The sum, None as soon as one is not known."""
    return None if None in values else sum(value for value in values if value is not None)


def _too_many(at: datetime, count: int) -> Gap:
    return Gap(
        at=at,
        source="process.rest",
        reason=f"{count} processes: only the first {MAX_PROCESSES} are added up",
        lost="CPU, memory and I/O of the others",
        remedy="attach to one of them with --pid",
    )

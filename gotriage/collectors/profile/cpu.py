"""CPU profiles: threads of the target that are on CPUs, with their stacks and goroutines."""

from __future__ import annotations

import os
import platform
from typing import TYPE_CHECKING, ClassVar, Final

from gotriage.collectors import Meter, Unavailable
from gotriage.collectors.profile import building, options
from gotriage.collectors.profile.building import Sums
from gotriage.collectors.profile.naming import Namer
from gotriage.collectors.profile.samplers import BpfSampler, PerfSampler
from gotriage.collectors.profile.throttling import Throttling
from gotriage.errors import GotriageError, NotPermitted, TargetGone
from gotriage.goruntime.profileparts import GoOffsets
from gotriage.goruntime.profiling import Profiling
from gotriage.host import clock, kerneltasks, perfevents, runqueue
from gotriage.probes import object_bytes
from gotriage.records.profile import CpuProfile, ThreadTime
from gotriage.records.tracing import Price

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from gotriage.collectors.profile.options import Options
    from gotriage.collectors.profile.samplers import Sampler
    from gotriage.host import Host
    from gotriage.host.runqueue import Turn
    from gotriage.records import Record
    from gotriage.target.model import Target

HZ: Final = 99
"""Not 100: in step with timers of the target one would see only what they start."""
PER_SAMPLE: Final = 18e-6
"""Seconds of the target's CPU time that a sample takes: 16 µs in the program, which walks both stacks (by the kernel's
own count, bpf_stats_enabled, on a virtual machine of an AMD EPYC), and the interrupt."""
LOOK: Final = 0.2
"""Seconds for which the target's use of CPUs is measured before a start."""
MOST_THREADS: Final = 100
MOST_BASES: Final = 256
INSTEAD: Final = "or take a wall-clock profile, which needs no more than reading its memory"


class CpuTracer:
    """What both backends share: names, sums, records."""

    backend = ""

    def __init__(self, host: Host, target: Target) -> None:
        self._host, self._target = host, target
        self._check()
        self._names: Profiling | None = None
        self._namer: Namer | None = None
        self._sampler: Sampler | None = None
        self._offsets = GoOffsets()
        self._window = _Window(host, target)
        self._options = options.Options(HZ)
        self._notes: tuple[str, ...] = ()

    def _check(self) -> None:
        """Raises Unavailable, MissingFacility or NotPermitted where this backend cannot serve; cheap."""

    def _sample(self, names: Profiling) -> Sampler:
        """Start sampling, detached. Raises as the backend's sampler."""
        raise NotImplementedError

    # -- Tracer

    def price(self, given: Mapping[str, str]) -> Price:
        """By the CPU time that the target uses now. Raises UsageError."""
        wanted = options.parse(given, "cpu", HZ)
        cores = min(_cores(self._host, self._target.pids), os.cpu_count() or 1)
        return Price(
            hits_per_second=round(wanted.hz * cores, 1),
            seconds_per_hit=PER_SAMPLE,
            words=(f"Samples what runs on each CPU {wanted.hz} times a second; nothing is stopped or changed.",),
        )

    def start(self, given: Mapping[str, str]) -> None:
        """Raises UsageError, TargetGone, NotPermitted, MissingFacility, OSError."""
        self._options = options.parse(given, "cpu", HZ)
        pid = self._target.pid
        if pid is None:
            raise TargetGone("nothing of the target runs")
        self._names = Profiling(pid, eager=True)
        go = self._names.identity().go_version != ""
        self._offsets = self._names.offsets(self._bases(pid) if go else None)
        understood = not self._offsets.why
        self._namer = Namer(self._host, self._names, go=understood, linked=platform.machine() == "aarch64")
        self._notes = (
            (f"whose goroutine a sample is cannot be told: {self._offsets.why}",) if go and not understood else ()
        )
        self._sampler = self._sample(self._names)
        self._window.begin(self._options)
        self._sampler.attach()

    def _bases(self, pid: int) -> dict[int, int] | None:
        """fsbase of threads, where it can be had and is needed: a register tells as long as Go code runs."""
        del pid
        return None

    def attach(self) -> None:
        """Go on."""
        if self._sampler is not None:
            self._sampler.attach()
            self._window.attached()

    def detach(self) -> None:
        """Pause."""
        if self._sampler is not None:
            self._sampler.detach()
            self._window.detached()

    def collect(self) -> Iterator[Record]:
        """The profile so far; a new one begins when its time is over."""
        sampler, namer, window = self._sampler, self._namer, self._window
        if sampler is None or namer is None:
            return
        sampler.follow(self._target.pids)
        namer.add(sampler.read(), window.sums)
        notes = (*self._notes, *sampler.notes, *namer.notes, *building.cut_note(window.sums))
        lost = sampler.lost - window.lost_before
        yield window.record(namer, notes, lost, kernel=sampler.kernel and self._options.kernel, go=namer.go)
        if self._options.window is not None and window.seconds >= self._options.window - 0.05:
            window.begin(self._options, lost=sampler.lost)

    def meter(self) -> Meter:
        """Hits and losses since the start."""
        return Meter(self._sampler.hits, self._sampler.lost) if self._sampler is not None else Meter()

    def stop(self) -> None:
        """Undo everything."""
        sampler, self._sampler = self._sampler, None
        names, self._names = self._names, None
        if sampler is not None:
            sampler.close()
        if names is not None:
            names.close()

    def close(self) -> None:
        """As `stop`."""
        self.stop()


class BpfTracer(CpuTracer):
    """A program at each CPU's clock."""

    backend = "libbpf"

    def _check(self) -> None:
        object_bytes("profile")

    def _bases(self, pid: int) -> dict[int, int] | None:
        try:
            found = kerneltasks.tasks(object_bytes("tasks"), pid)
        except (GotriageError, OSError):
            return None
        return {task.own_tid: task.base for task in found[:MOST_BASES] if task.base}

    def _sample(self, names: Profiling) -> Sampler:
        sampler = BpfSampler(self._host, _numbers, self._options.hz, self._offsets, kernel=self._options.kernel)
        sampler.follow(self._target.pids)
        return sampler


class PerfTracer(CpuTracer):
    """Perf events of each thread."""

    backend = "perf_event_open"

    def _check(self) -> None:
        pid = self._target.pid
        if pid is None:
            raise Unavailable("nothing of the target runs")
        try:
            fd = perfevents.open_clock(pid, -1, HZ, kernel=False)
        except NotPermitted as error:
            raise NotPermitted(f"{error}; {INSTEAD}") from error
        os.close(fd)

    def _sample(self, names: Profiling) -> Sampler:
        return PerfSampler(
            self._host,
            self._target.pids,
            self._options.hz,
            names,
            kernel=self._options.kernel,
            go=not self._offsets.why,
        )


def _numbers(pids: Sequence[int]) -> dict[int, int]:
    """The kernel's own number of each process to ours."""
    if kerneltasks.outermost():
        return {pid: pid for pid in pids}
    found = {}
    for pid in pids:
        threads = kerneltasks.tasks(object_bytes("tasks"), pid)
        if threads:
            found[threads[0].kernel_tgid] = pid
    return found


def _cores(host: Host, pids: tuple[int, ...]) -> float:
    """CPUs' worth of time that the processes use now."""

    def ticks() -> int:
        total = 0
        for pid in pids:
            try:
                stat = host.proc.stat(pid)
            except (GotriageError, OSError, ValueError):
                continue
            total += stat.utime + stat.stime
        return total

    before, begun = ticks(), clock.monotonic()
    clock.sleep(LOOK)
    return max(ticks() - before, 0) / clock.TICKS_PER_SECOND / (clock.monotonic() - begun)


class _Window:
    """One profile of a trace: its sums, its time, and what its threads did meanwhile."""

    runs: ClassVar[int] = 0

    def __init__(self, host: Host, target: Target) -> None:
        self._host, self._target = host, target
        self.sums = Sums()
        self.lost_before = 0
        self._options = options.Options(HZ)
        self._began = clock.now()
        self._before: dict[int, Turn] = {}
        self._throttling: Throttling | None = None
        self._attached_at: float | None = None
        self._attached = 0.0
        self._run = 0

    def begin(self, wanted: Options, *, lost: int = 0) -> None:
        """A new profile."""
        _Window.runs += 1
        self._run, self._options = _Window.runs, wanted
        self.sums, self.lost_before = Sums(), lost
        self._before = runqueue.turns(self._host, self._target.pids)
        self._throttling = Throttling(self._host, self._target)
        self._began, self._attached_at, self._attached = clock.now(), clock.monotonic(), 0.0

    def attached(self) -> None:
        """It goes on."""
        self._attached_at = self._attached_at or clock.monotonic()

    def detached(self) -> None:
        """It pauses."""
        self._attached, self._attached_at = self.seconds, None

    @property
    def seconds(self) -> float:
        """How long was sampled."""
        return self._attached + (clock.monotonic() - self._attached_at if self._attached_at is not None else 0.0)

    def record(self, namer: Namer, notes: tuple[str, ...], lost: int, *, kernel: bool, go: bool) -> CpuProfile:
        """The profile so far."""
        now = runqueue.turns(self._host, self._target.pids)
        grown = {tid: _since(turn, self._before.get(tid)) for tid, turn in now.items()}
        busiest = sorted(grown, key=lambda tid: -(grown[tid].running + grown[tid].waiting))
        busiest = [tid for tid in busiest if grown[tid].slices]
        taken = self._throttling.since() if self._throttling is not None else None
        return CpuProfile(
            at=clock.now(),
            run=self._run,
            began=self._began,
            seconds=round(self.seconds, 3),
            hz=self._options.hz,
            lost=lost,
            attributed=self.sums.attributed if go else None,
            threads=tuple(
                ThreadTime(
                    tid=tid,
                    name=runqueue.name(self._host, tid),
                    running=grown[tid].running / 1e9,
                    waiting=grown[tid].waiting / 1e9,
                    slices=grown[tid].slices,
                )
                for tid in busiest[:MOST_THREADS]
            ),
            omitted_threads=max(len(busiest) - MOST_THREADS, 0),
            running=sum(turn.running for turn in grown.values()) / 1e9 if now else None,
            waiting=sum(turn.waiting for turn in grown.values()) / 1e9 if now else None,
            throttled_seconds=taken.seconds if taken is not None else None,
            throttled_periods=taken.throttled if taken is not None else None,
            periods=taken.periods if taken is not None else None,
            kernel=kernel,
            notes=notes,
            **building.parts(self.sums, namer.table),  # type: ignore[arg-type]  # fields of the record by name
        )


def _since(now: Turn, before: Turn | None) -> Turn:
    """What a thread did since; one that was not there before has done all of it since."""
    if before is None or now.running < before.running:
        return now
    return runqueue.Turn(now.running - before.running, now.waiting - before.waiting, now.slices - before.slices)

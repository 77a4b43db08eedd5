"""The Go runtime's own numbers, what it is built from, and its threads, processors and heap spans.

Names follow runtime/metrics and runtime.MemStats where those have one. Three records, by how often they change:
`GoRuntime` with every look, `RuntimeDetail` with tables that are too large to keep for long, `GoBuild` once.
"""

from __future__ import annotations

from datetime import datetime
from typing import ClassVar, Final, Literal

import msgspec

from gotriage.records.base import Record, Row

NO_MEMORY_LIMIT: Final = (1 << 63) - 1
"""GOMEMLIMIT's value for none (math.MaxInt64, runtime/debug.SetMemoryLimit)."""


class GoRuntime(Record, frozen=True, kw_only=True, tag="runtime"):
    """Numbers of one look, sizes in bytes, times in seconds.

    Attributes:
        took: seconds that the look took; the target was not paused.
        gomaxprocs: in force now; `ncpu`: CPUs the runtime saw at its start (affinity, not quota).
        threads: Ms, the runtime's threads; idle_threads and spinning_threads are among them.
        runnable: goroutines in all run queues, `queue` of them in the global one.
        heap_live_bytes: what the collector considers live now; `heap_marked_bytes`: what the last cycle found alive.
        heap_goal_bytes: heap_live_bytes at which the next cycle is due to end (NextGC).
        heap_in_use_bytes: in spans that hold objects (HeapInuse); `mapped_ready_bytes`: mapped and not given back,
            which is what GOMEMLIMIT bounds.
        gc_percent: GOGC in force, -1 for off; memory_limit_bytes: GOMEMLIMIT in force, `NO_MEMORY_LIMIT` for none.
        gc_cycles, gc_forced: since the start; `last_gc_at` the end of the last.
        gc_pause_total_seconds: all stop-the-world pauses of the collector; `last_pause_seconds` the last one.
        gc_cpu_fraction: share of GOMAXPROCS CPUs that the collector used since the start (GCCPUFraction).
    """

    keep: ClassVar[int] = 3600

    took: float = 0.0
    gomaxprocs: int | None = None
    ncpu: int | None = None
    goroutines: int | None = None
    threads: int | None = None
    heap_live_bytes: int | None = None
    heap_marked_bytes: int | None = None
    heap_goal_bytes: int | None = None
    heap_in_use_bytes: int | None = None
    heap_free_bytes: int | None = None
    heap_released_bytes: int | None = None
    stacks_in_use_bytes: int | None = None
    mapped_ready_bytes: int | None = None
    gc_percent: int | None = None
    memory_limit_bytes: int | None = None
    gc_cycles: int | None = None
    gc_forced: int | None = None
    gc_running: bool | None = None
    last_gc_at: datetime | None = None
    gc_pause_total_seconds: float | None = None
    last_pause_seconds: float | None = None
    gc_cpu_fraction: float | None = None
    queue: int | None = None
    runnable: int | None = None
    timers: int | None = None
    idle_processors: int | None = None
    idle_threads: int | None = None
    spinning_threads: int | None = None


class Processor(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A P (runtime2.go): `status` is idle, running, syscall, gcstop or dead; `queue`: goroutines in its queue."""

    id: int
    status: str
    queue: int = 0
    timers: int | None = None
    thread: int | None = None


class RuntimeThread(Row, frozen=True, kw_only=True, gc=False):
    """An M (runtime2.go) and its kernel thread.

    Attributes:
        id, tid: of the M, and of the kernel's thread.
        goroutine: goid that it runs; `locked`: goid of the goroutine that holds it (runtime.LockOSThread).
        processor: id of the P that it has.
        spinning: looks for work.
        state, wchan, comm: in the kernel: proc_pid_stat(5)'s letter, the kernel function it waits in, its name.
        cpu_seconds: CPU time that it used.
    """

    id: int
    tid: int
    goroutine: int | None = None
    locked: int | None = None
    processor: int | None = None
    spinning: bool = False
    state: str = ""
    wchan: str = ""
    comm: str = ""
    cpu_seconds: float | None = None


class SizeClass(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Heap spans of one size class (sizeclasses.go; size 0 is objects over 32 KiB), `bytes` in all.

    `objects` are those allocated as of the last sweep; `noscan`: without pointers.
    """

    size: int
    noscan: bool
    spans: int
    bytes: int
    objects: int


class Pause(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A stop-the-world pause of the collector: its end and its length in seconds."""

    at: datetime
    seconds: float


class Bucket(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A bucket of a histogram of durations: how many were at most so many seconds, and more than the bucket before."""

    seconds: float
    count: int


class RuntimeDetail(Record, frozen=True, kw_only=True, tag="runtime_detail"):
    """The tables behind the numbers; `rows` are the threads. `pauses` are the last ones, newest first, at most 256.

    `run_delays`: how long goroutines were runnable before they ran, ascending, since the start of the program and of
    one in eight times (runtime/metrics: /sched/latencies:seconds).
    """

    keep: ClassVar[int] = 4

    rows: tuple[RuntimeThread, ...] = ()
    omitted: int = 0
    processors: tuple[Processor, ...] = ()
    size_classes: tuple[SizeClass, ...] = ()
    pauses: tuple[Pause, ...] = ()
    run_delays: tuple[Bucket, ...] = ()
    problems: tuple[str, ...] = ()


def quantile(histogram: tuple[Bucket, ...], share: float) -> float | None:
    """The upper bound, in seconds, of the bucket that holds the `share` (0..1) of a histogram; None of an empty one."""
    left = share * sum(bucket.count for bucket in histogram)
    for bucket in histogram:
        left -= bucket.count
        if left <= 0:
            return bucket.seconds
    return None


class Dependency(msgspec.Struct, frozen=True, array_like=True):
    """A module of the build (debug/buildinfo); `replaced_by` is what stands in for it, as "path version", or ""."""

    path: str
    version: str = ""
    sum: str = ""
    replaced_by: str = ""


class GoBuild(Record, frozen=True, kw_only=True, tag="go_build"):
    """Which Go program it is, and how its runtime is read.

    Attributes:
        go_version: as in build info, "go1.24.3".
        module: main module's path; `module_version` its version, "(devel)" for a checkout.
        settings: of the build (debug/buildinfo): "-ldflags", "GOAMD64", "vcs.revision" ...
        cgo, race, pie, stripped: None where it cannot be told.
        layout: how the layout of the runtime's data is known: "table" (of this very version), "near" (of another patch
            release of the same minor, checked), "calibrated" (worked out from the process's data alone).
        located: how the runtime's variables were found: "operands", "data" or "both".
        modules: number of Go modules in memory (moduledata): more than one with plugins and c-shared libraries.
        untested: the layout was never tried on a live process of this kind.
        godebug: GODEBUG in force; `fips`: FIPS 140-3 mode is on.
    """

    keep: ClassVar[int] = 10

    go_version: str = ""
    module: str = ""
    module_version: str = ""
    package: str = ""
    dependencies: tuple[Dependency, ...] = ()
    settings: dict[str, str] = {}
    cgo: bool | None = None
    stripped: bool | None = None
    pie: bool | None = None
    race: bool | None = None
    arch: str = ""
    layout: Literal["", "table", "near", "calibrated"] = ""
    located: str = ""
    modules: int = 1
    untested: bool = False
    godebug: str | None = None
    fips: bool | None = None

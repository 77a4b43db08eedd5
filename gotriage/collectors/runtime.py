"""The Go runtime's own numbers, read from its memory: heap, collector, scheduler, build."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any, Protocol, cast

from msgspec.structs import replace

from gotriage.collectors import NOT_GO
from gotriage.errors import GotriageError, TargetGone
from gotriage.goruntime import buildinfo, client, linkage
from gotriage.goruntime.elf import Elf, ElfError
from gotriage.goruntime.refusals import NotGo
from gotriage.host import clock, kernel_threads
from gotriage.records import runtime as records
from gotriage.records.secrets import mask_text
from gotriage.records.text import clean

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from datetime import datetime

    from gotriage.goruntime import report
    from gotriage.host import Host
    from gotriage.records import Record
    from gotriage.target.model import CoreRef, Target

DEADLINE = 10.0
"""Seconds that one look may take before the reader is killed."""
DETAIL = 2.0
"""Seconds between two looks at the tables: threads, processors, size classes, pauses."""
SHARE = 100
"""... and, where such a look takes t seconds (a span for every 8 KB of a large heap is read), SHARE * t."""
MOST_THREADS = 512
"""Threads that are listed."""
MOST_MODULES = 5000
NAME = 1000
"""Characters of a text that are kept."""
EARLIEST, LATEST = 0.0, 7e9
"""Seconds since 1970 that count as a time."""
MOST = (1 << 63) - 1


_REFUSED = NOT_GO


class Reader(Protocol):
    """What is used of `gotriage.goruntime.client.Reader`."""

    def call(self, op: str, deadline: float, **arguments: object) -> object:
        """Ask the child; raises what the child raised, and a GotriageError when it had to be killed."""
        ...

    def close(self) -> None:
        """End the child."""
        ...


class RuntimeCollector:
    """A `GoRuntime` a look, a `RuntimeDetail` every other, and a `GoBuild` once."""

    backend = "process_vm_readv"

    def __init__(self, host: Host, target: Target, attach: Callable[[int], Reader] = client.Reader) -> None:
        self._host, self._target, self._attach = host, target, attach
        self._reader: Reader | None = None
        self._key: object = None
        self._build: dict[str, Any] = {}
        self._identity: report.Identity | None = None
        self._next_detail = 0.0

    def close(self) -> None:
        """End the reader."""
        reader, self._reader, self._identity, self._build = self._reader, None, None, {}
        if reader is not None:
            reader.close()

    def collect(self) -> Iterator[Record]:
        """One look. Raises Unavailable for a process without Go in it."""
        pid, core = self._target.pid, self._target.core
        if pid is None and core is None:
            return
        _REFUSED.check(self._target)
        if self._reader is None or self._key != (core or pid):
            self.close()
            self._open(core, pid)
            if self._build:
                yield records.GoBuild(at=clock.now(), **self._build)
        deadline = DEADLINE if core is None else core.deadline
        assert self._reader is not None
        try:
            detailed = clock.monotonic() >= self._next_detail
            counters = cast("report.Counters", self._reader.call("counters", deadline, spans=detailed))
            if self._identity is None:
                self._identity = cast("report.Identity", self._reader.call("identity", deadline))
        except NotGo as error:
            raise _REFUSED.refuse(self._target, str(error)) from error
        except TargetGone:
            self.close()
            return
        yield build_of(clock.now(), self._build, self._identity, counters)
        yield numbers_of(counters)
        if detailed:
            self._next_detail = clock.monotonic() + max(DETAIL, SHARE * counters.took)
            yield detail_of(counters, self._kernel(pid, counters) if pid is not None else None)

    def _open(self, core: CoreRef | None, pid: int | None) -> None:
        self._key = core or pid
        if core is None:
            assert pid is not None
            self._reader, self._build = self._attach(pid), read_build(self._host.proc.path(pid, "exe"))
            return
        self._reader, self._build = core.reader(), {}
        with suppress(OSError), core.program() as file:
            self._build = read_build(file.fileno())

    def _kernel(self, pid: int, counters: report.Counters) -> dict[int, kernel_threads.KernelThread]:
        found = {}
        for thread in counters.thread_list[:MOST_THREADS]:
            known = kernel_threads.read_one(self._host, pid, thread.tid) if thread.tid > 0 else None
            if known is not None:
                found[thread.tid] = known
        return found


# -- the build


def read_build(path: str | int) -> dict[str, Any]:
    """The fields of a `GoBuild` that the executable tells; none when it may not be read or has no build info."""
    try:
        with Elf(path) as elf:
            info = buildinfo.read(elf)
            return {} if info is None else _build_fields(elf, info)
    except (GotriageError, OSError, ElfError, ValueError):
        return {}


def _build_fields(elf: Elf, info: buildinfo.BuildInfo) -> dict[str, Any]:
    facts = linkage.facts(elf)
    settings = info.settings
    main = info.main
    return {
        "go_version": clean(info.go_version, NAME),
        "module": clean(main.path, NAME) if main else "",
        "module_version": clean(main.version, NAME) if main else "",
        "package": clean(info.path, NAME),
        "dependencies": tuple(map(_dependency, info.deps[:MOST_MODULES])),
        "settings": {clean(key, NAME): clean(mask_text(value), 4 * NAME) for key, value in settings.items()},
        "cgo": linkage.uses_cgo(elf, settings.get("CGO_ENABLED", "")),
        "stripped": facts.stripped,
        "pie": facts.linkage.endswith("pie"),
        "race": settings.get("-race") == "true",
    }


def _dependency(module: buildinfo.Module) -> records.Dependency:
    replaced = f"{module.replace.path} {module.replace.version}".strip() if module.replace else ""
    return records.Dependency(*(clean(text, NAME) for text in (module.path, module.version, module.sum, replaced)))


def build_of(
    at: datetime, build: dict[str, Any], identity: report.Identity, counters: report.Counters
) -> records.GoBuild:
    """The executable's word, and what was found in memory; without the former the latter alone."""
    fields = dict(build)
    if not fields:
        fields = {"go_version": clean(identity.go_version, NAME), "module": clean(identity.module_path, NAME)}
        fields["stripped"] = identity.stripped
    layout = identity.layout if identity.layout in ("table", "near", "calibrated") else ""
    return records.GoBuild(
        at=at,
        arch=clean(identity.arch, NAME),
        layout=cast("Any", layout),
        located=clean(identity.located, NAME),
        modules=identity.modules,
        untested=identity.untested,
        godebug=clean(counters.godebug, NAME) if counters.godebug is not None else None,
        fips=counters.fips,
        **fields,
    )


# -- the numbers


def numbers_of(counters: report.Counters) -> records.GoRuntime:
    """The numbers of a look. A number that no counter can have was read amiss and is None."""
    pauses = counters.gc_pauses
    return records.GoRuntime(
        at=clock.from_epoch(counters.at),
        took=round(counters.took, 6),
        gomaxprocs=_number(counters.gomaxprocs),
        ncpu=_number(counters.ncpu),
        goroutines=_number(counters.goroutines),
        threads=_number(counters.threads),
        heap_live_bytes=_number(counters.heap_live),
        heap_marked_bytes=_number(counters.heap_marked),
        heap_goal_bytes=_number(counters.heap_goal),
        heap_in_use_bytes=_number(counters.heap_in_use),
        heap_free_bytes=_number(counters.heap_free),
        heap_released_bytes=_number(counters.heap_released),
        stacks_in_use_bytes=_number(counters.stacks_in_use),
        mapped_ready_bytes=_number(counters.mapped_ready),
        gc_percent=counters.gc_percent,
        memory_limit_bytes=_number(counters.memory_limit),
        gc_cycles=_number(counters.gc_cycles),
        gc_forced=_number(counters.gc_forced),
        gc_running=counters.gc_running,
        last_gc_at=_time(counters.last_gc_at),
        gc_pause_total_seconds=counters.gc_pause_total,
        last_pause_seconds=pauses[0][1] if pauses else None,
        gc_cpu_fraction=counters.gc_cpu_fraction,
        queue=_number(counters.queue),
        runnable=_number(counters.runnable),
        timers=_number(counters.timers),
        idle_processors=_number(counters.idle_processors),
        idle_threads=_number(counters.idle_threads),
        spinning_threads=_number(counters.spinning_threads),
    )


def detail_of(
    counters: report.Counters, kernel: dict[int, kernel_threads.KernelThread] | None = None
) -> records.RuntimeDetail:
    """The tables of a look; threads with what the kernel says about them."""
    known = kernel or {}
    return records.RuntimeDetail(
        at=clock.from_epoch(counters.at),
        rows=tuple(_thread(thread, known.get(thread.tid)) for thread in counters.thread_list[:MOST_THREADS]),
        omitted=max(len(counters.thread_list) - MOST_THREADS, 0),
        processors=tuple(
            records.Processor(one.id, clean(one.status, NAME), one.queue, one.timers, one.thread)
            for one in counters.processors
        ),
        size_classes=tuple(
            records.SizeClass(one.size, one.noscan, one.spans, one.bytes, one.objects) for one in counters.size_classes
        ),
        pauses=tuple(
            records.Pause(at, seconds)
            for epoch, seconds in counters.gc_pauses[:256]
            if (at := _time(epoch)) is not None
        ),
        run_delays=tuple(records.Bucket(seconds, count) for seconds, count in counters.run_delays),
        problems=tuple(clean(problem, NAME) for problem in counters.problems),
    )


def _thread(thread: report.Thread, kernel: kernel_threads.KernelThread | None) -> records.RuntimeThread:
    row = records.RuntimeThread(
        id=thread.id,
        tid=thread.tid,
        goroutine=thread.goroutine,
        locked=thread.locked,
        processor=thread.processor,
        spinning=thread.spinning,
    )
    if kernel is None:
        return row
    return replace(
        row,
        state=kernel.state,
        wchan=clean(kernel.wchan, NAME),
        comm=clean(kernel.comm, NAME),
        cpu_seconds=round(kernel.cpu_seconds, 2),
    )


def _number(value: int | None) -> int | None:
    return value if value is not None and 0 <= value <= MOST else None


def _time(epoch: float | None) -> datetime | None:
    return clock.from_epoch(epoch) if epoch is not None and EARLIEST < epoch < LATEST else None

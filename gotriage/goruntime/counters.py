"""The runtime's own counters: heap and collector, processors, threads, run queues. About a dozen small reads.

Formulas follow runtime/mgcpacer.go (heapGoalInternal, memoryLimitHeapGoal), runtime/mstats.go (readmemstats_m) and
runtime/proc.go (schedtrace), Go 1.19 to 1.27.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from gotriage.goruntime import machines
from gotriage.goruntime.fields import read_fields
from gotriage.goruntime.locate import NotLocated
from gotriage.goruntime.memory import Unreadable
from gotriage.goruntime.report import Counters, Processor, Thread
from gotriage.goruntime.spans import read_spans, size_classes
from gotriage.host import clock

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from numpy.typing import NDArray

    from gotriage.goruntime.layout import Layout
    from gotriage.goruntime.locate import Globals
    from gotriage.goruntime.memory import Memory

P_STATES: Final = {0: "idle", 1: "running", 2: "syscall", 3: "gcstop", 4: "dead"}
"""runtime/runtime2.go, _Pidle to _Pdead."""
MAX_CPUS: Final = 1 << 16
FIPS: Final = "crypto/internal/fips140.Enabled"
LONGEST_GODEBUG: Final = 4096
PAUSES: Final = 256
"""runtime/mstats.go, len(mstats.pause_ns)."""
HEADROOM_PERCENT: Final = 3
"""runtime/mgcpacer.go, memoryLimitHeapGoalHeadroomPercent, Go 1.21; before, one megabyte."""
MIN_HEADROOM: Final = 1 << 20
"""runtime/mgcpacer.go, memoryLimitMinHeapGoalHeadroom."""
MIN_BITS: Final = 9
SUB_BITS: Final = 2
SUB_BUCKETS: Final = 4
BUCKETS: Final = 40
"""runtime/histogram.go, timeHistMinBucketBits and its like, Go 1.20 to 1.27."""
GC_OFF: Final = 0
"""runtime/mgc.go, _GCoff: the value of gcphase while no cycle runs."""


@dataclass(slots=True)
class Source:
    """What the counters are read from."""

    memory: Memory
    layout: Layout
    found: Globals
    headroom: int = HEADROOM_PERCENT
    """Per cent of the memory limit kept free; 0 before Go 1.21."""

    def number(self, variable: str, structure: str, path: str, size: int = 8, *, signed: bool = False) -> int:
        """A field of a variable. Raises NotLocated, Unreadable, KeyError when this version has no such field."""
        place = self.found.address(variable) + self.layout.offset(structure, path)
        return int.from_bytes(self.memory.read(place, size), "little", signed=signed)

    def plain(self, variable: str, size: int = 4, *, signed: bool = True) -> int:
        """A variable that is a number."""
        return int.from_bytes(self.memory.read(self.found.address(variable), size), "little", signed=signed)


def read_counters(source: Source, *, spans: bool = True) -> Counters:
    """All counters that can be had; the others are None and `problems` says why. Raises TargetGone, NotPermitted."""
    begun = clock.monotonic()
    at = clock.now().timestamp()
    values: dict[str, Any] = {}
    problems: list[str] = []
    parts: list[Callable[[Source], dict[str, Any]]] = [_heap, _collector, _scheduler, _processors, _threads, _modes]
    for part in [*parts, _spans] if spans else parts:
        try:
            values |= part(source)
        except (NotLocated, Unreadable) as error:
            problems.append(str(error))
        except KeyError as error:
            problems.append(f"not known of this version of Go: {error.args[0]}")
    took = round(clock.monotonic() - begun, 6)
    return Counters(at=at, took=took, problems=tuple(dict.fromkeys(problems)), **values)


# -- heap


def _heap(source: Source) -> dict[str, Any]:
    def read(path: str) -> int:
        return source.number("gcController", "gcControllerState", path)

    percent = source.number("gcController", "gcControllerState", "gcPercent", 4, signed=True)
    limit = source.number("gcController", "gcControllerState", "memoryLimit", signed=True)
    marked = read("heapMarked")
    goal = min(read("gcPercentHeapGoal"), _limit_goal(read, limit, marked, source.headroom))
    return {
        "heap_live": read("heapLive"),
        "heap_marked": marked,
        "heap_goal": goal if goal < 1 << 63 else None,
        "heap_in_use": read("heapInUse"),
        "heap_free": read("heapFree"),
        "heap_released": read("heapReleased"),
        "mapped_ready": read("mappedReady"),
        "gc_percent": percent,
        "memory_limit": limit,
    }


def _limit_goal(read: Callable[[str], int], limit: int, marked: int, headroom_percent: int) -> int:
    """The heap goal that the memory limit alone asks for, bytes (runtime/mgcpacer.go, memoryLimitHeapGoal)."""
    ready, free = read("mappedReady"), read("heapFree")
    other = max(0, ready - free - (read("totalAlloc") - read("totalFree")))
    overage = max(0, ready - limit)
    if other + overage >= limit:
        return marked
    goal = limit - (other + overage)
    headroom = max(MIN_HEADROOM, goal // 100 * headroom_percent)
    goal = headroom if goal < 2 * headroom else goal - headroom
    return max(goal, marked)


def _collector(source: Source) -> dict[str, Any]:
    cycles = source.number("memstats", "mstats", "numgc", 4)
    last = source.number("memstats", "mstats", "last_gc_unix")
    place = source.found.address("memstats") + source.layout.offset("mstats", "gc_cpu_fraction")
    fraction = struct.unpack("<d", source.memory.read(place, 8))[0]
    values: dict[str, Any] = {
        "gc_cycles": cycles,
        "gc_forced": source.number("memstats", "mstats", "numforcedgc", 4),
        "last_gc_at": last / 1e9 if last else None,
        "gc_pause_total": source.number("memstats", "mstats", "pause_total_ns") / 1e9,
        "gc_cpu_fraction": fraction if 0 <= fraction <= 1 else None,
        "gc_pauses": _pauses(source, cycles),
    }
    if source.found.has("gcphase"):
        values["gc_running"] = source.plain("gcphase") != GC_OFF
    return values


def _pauses(source: Source, cycles: int) -> tuple[tuple[float, float], ...]:
    """The ring of the last 256 pauses; that of cycle n is at (n + 255) % 256 (runtime/mstats.go, MemStats.PauseNs)."""
    base = source.found.address("memstats")
    spent = np.frombuffer(source.memory.read(base + source.layout.offset("mstats", "pause_ns"), 8 * PAUSES), "<u8")
    ended = np.frombuffer(source.memory.read(base + source.layout.offset("mstats", "pause_end"), 8 * PAUSES), "<u8")
    newest_first = [(cycles - 1 - back) % PAUSES for back in range(min(cycles, PAUSES))]
    return tuple((int(ended[i]) / 1e9, int(spent[i]) / 1e9) for i in newest_first if ended[i])


def _spans(source: Source) -> dict[str, Any]:
    spans = read_spans(source.memory, source.layout, source.found)
    return {"size_classes": size_classes(spans), "stacks_in_use": spans.manual}


# -- scheduler


def _modes(source: Source) -> dict[str, Any]:
    """FIPS 140-3 mode and GODEBUG in force, where the program has them (Go 1.24; runtime.godebugEnv, Go 1.21)."""
    values: dict[str, Any] = {}
    if source.found.has(FIPS):
        values["fips"] = source.plain(FIPS, 1) == 1
    if source.found.has("godebugEnv"):
        pointer = source.plain("godebugEnv", 8, signed=False)
        values["godebug"] = ""
        if pointer:
            text, length = struct.unpack("<QQ", source.memory.read(pointer, 16))
            if length:
                values["godebug"] = source.memory.read(text, min(length, LONGEST_GODEBUG)).decode("utf-8", "replace")
    return values


def _scheduler(source: Source) -> dict[str, Any]:
    queue = source.found.address("sched") + source.layout.offset("schedt", "runq") + 16
    values: dict[str, Any] = {
        "queue": int.from_bytes(source.memory.read(queue, 4), "little"),
        "idle_processors": source.number("sched", "schedt", "npidle", 4),
        "idle_threads": source.number("sched", "schedt", "nmidle", 4),
        "spinning_threads": source.number("sched", "schedt", "nmspinning", 4),
    }
    for name in ("gomaxprocs", "ncpu"):
        if source.found.has(name):
            values[name] = source.plain(name)
    if "ncpu" not in values and source.found.has("numCPUStartup"):
        values["ncpu"] = source.plain("numCPUStartup")
    if source.layout.has("schedt", "timeToRun"):
        place = source.found.address("sched") + source.layout.offset("schedt", "timeToRun")
        counts = np.frombuffer(source.memory.read(place, 8 * BUCKETS * SUB_BUCKETS), "<u8")
        values["run_delays"] = delays(counts)
    return values


def delays(counts: NDArray[np.uint64]) -> tuple[tuple[float, int], ...]:
    """A timeHistogram as (upper bound in seconds, count), empty buckets left out (runtime/histogram.go, Go 1.21).

    A duration of up to 9 bits falls into bucket 0, one of n bits into n - 8; four sub-buckets each, by the two bits
    behind the highest.
    """
    found = []
    for place in np.flatnonzero(counts).tolist():
        bucket, part = divmod(place, SUB_BUCKETS)
        bits = max(bucket, 1) + MIN_BITS - 1
        low = (0 if bucket == 0 else 1 << (bits - 1)) + (part << (bits - 1 - SUB_BITS))
        found.append(((low + (1 << (bits - 1 - SUB_BITS))) / 1e9, int(counts[place])))
    return tuple(found)


def _processors(source: Source) -> dict[str, Any]:
    pointer, length, capacity = struct.unpack("<QQQ", source.memory.read(source.found.address("allp"), 24))
    if not 0 < length <= capacity <= MAX_CPUS:
        raise Unreadable(f"the list of processors (runtime.allp) has {length} of {capacity} entries")
    listed = np.frombuffer(source.memory.read(pointer, 8 * length), np.uint64)
    timers = _timers(source.layout)
    wanted = {
        "id": ("id", "<i4"), "status": ("status", "<u4"), "head": ("runqhead", "<u4"), "tail": ("runqtail", "<u4"),
        "next": ("runnext", "<u8"), "m": ("m", "<u8"),
    }  # fmt: skip
    columns, whole = read_fields(source.memory, source.layout, "p", listed, wanted)
    lengths, _, _ = source.memory.read_many(listed + np.uint64(timers), 8)
    threads = machines.thread_ids(source.memory, source.layout, columns["m"].astype(np.uint64))
    found = []
    for row in np.flatnonzero(whole).tolist():
        queued = (int(columns["tail"][row]) - int(columns["head"][row])) % (1 << 32)
        status = P_STATES.get(int(columns["status"][row]), "?")
        count = int(lengths.view("<u8")[row])
        thread = threads.get(int(columns["m"][row]))
        queued += int(columns["next"][row] != 0)
        found.append(Processor(int(columns["id"][row]), status, queued, count, thread))
    values: dict[str, Any] = {"processors": tuple(found), "gomaxprocs": len(found)}
    values["runnable"] = sum(one.queue for one in found) + _scheduler(source)["queue"]
    values["timers"] = sum(one.timers or 0 for one in found)
    return values


def _timers(layout: Layout) -> int:
    """Where a p holds the length of its slice of timers (runtime/time.go: p.timers up to Go 1.22, then timers.heap)."""
    path = "timers.heap" if layout.has("p", "timers.heap") else "timers"
    return layout.offset("p", path) + 8


def _threads(source: Source) -> dict[str, Any]:
    listed = machines.every(source.memory, source.layout, source.plain("allm", 8, signed=False))
    wanted = {
        "id": ("id", "<i8"), "tid": ("procid", "<u8"), "curg": ("curg", "<u8"), "p": ("p", "<u8"),
        "locked": ("lockedg", "<u8"), "spinning": ("spinning", "u1"),
    }  # fmt: skip
    columns, whole = read_fields(source.memory, source.layout, "m", listed, wanted)
    current, locked = _goids(source, columns["curg"]), _goids(source, columns["locked"])
    processors = _processor_ids(source, columns["p"])
    found = [
        Thread(
            id=int(columns["id"][row]),
            tid=int(columns["tid"][row]),
            goroutine=current.get(int(columns["curg"][row])),
            processor=processors.get(int(columns["p"][row])),
            spinning=bool(columns["spinning"][row]),
            locked=locked.get(int(columns["locked"][row])),
        )
        for row in np.flatnonzero(whole & (columns["tid"] != 0)).tolist()
    ]
    return {"threads": len(found), "thread_list": tuple(found)}


def _goids(source: Source, pointers: NDArray[np.generic]) -> dict[int, int]:
    return _ids(source, pointers, "g", "goid")


def _processor_ids(source: Source, pointers: NDArray[np.generic]) -> dict[int, int]:
    return _ids(source, pointers, "p", "id", "<i4")


def _ids(source: Source, pointers: NDArray[np.generic], structure: str, path: str, kind: str = "<u8") -> dict[int, int]:
    values = pointers.astype(np.uint64)
    distinct = np.unique(values[values != 0])
    if not len(distinct):
        return {}
    columns, whole = read_fields(source.memory, source.layout, structure, distinct, {"id": (path, kind)})
    return {int(distinct[i]): int(columns["id"][i]) for i in np.flatnonzero(whole).tolist()}

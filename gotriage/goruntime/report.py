"""What a look at a Go runtime gives, in plain values: no address arithmetic is left for whoever reads it.

These structs cross the pipe between the reader, a process of its own that may be killed, and who asked it. Text in
them comes from the target: it is bounded, but not cleaned for a terminal. Times are seconds, sizes bytes, unless a
name says otherwise; times of day are seconds since 1970-01-01 UTC. None means that the value could not be had.
"""

from __future__ import annotations

from typing import Literal

import msgspec

SinceSource = Literal["", "observed", "runtime"]
"""How a waiting time is known: "observed" was measured by comparing looks (at least so long); "runtime" is Go's own
g.waitsince, which only the garbage collector stamps (runtime/mgcmark.go, markroot): late by up to one GC interval or
more, and what Go itself prints as "N minutes"."""


class Frame(msgspec.Struct, frozen=True, array_like=True):
    """A place in the code as a Go stack trace prints it; `inlined`: it has no frame of its own on the stack."""

    function: str
    file: str = ""
    line: int = 0
    inlined: bool = False


class Stack(msgspec.Struct, frozen=True, array_like=True):
    """Frames, the innermost first; `complete`: the walk reached the goroutine's first function."""

    frames: tuple[Frame, ...]
    complete: bool = True


class Goroutine(msgspec.Struct, frozen=True, array_like=True):
    """One goroutine.

    Attributes:
        id: goid.
        state: Go's own word (runtime2.go): idle, runnable, running, syscall, waiting, dead, copystack, preempted ...
        wait_reason: Go's own words (runtime2.go, waitReasonStrings), "" unless waiting.
        stack: index into `Dump.stacks`; -1 where it was not read (on a CPU: only a micro-stop could read it).
        created_by: index into `Dump.sites`; -1 for none (goroutine 1, a thread's own).
        created_by_id: goid of the parent (Go 1.21 and later).
        start: index into `Dump.sites` of its first function.
        waits: seconds that it has been where it is, at least; `since` says how that is known.
        waiting_on: address of the channel, semaphore or other object that it waits on.
        labels: pprof labels.
        thread: kernel thread that it runs on or is in a system call on.
        locked: it holds its thread (runtime.LockOSThread).
        system: the runtime's own.
        moved: it changed while it was read: state and stack may not belong together.
        wake_in: seconds until its timer, for one that sleeps (Go 1.23 and later).
        fd: descriptor that it waits for, in "IO wait".
    """

    id: int
    state: str
    wait_reason: str = ""
    stack: int = -1
    created_by: int = -1
    created_by_id: int | None = None
    start: int = -1
    waits: float | None = None
    since: SinceSource = ""
    waiting_on: int | None = None
    labels: dict[str, str] = {}
    thread: int | None = None
    locked: bool = False
    system: bool = False
    moved: bool = False
    wake_in: float | None = None
    fd: int | None = None


class Group(msgspec.Struct, frozen=True, array_like=True):
    """Goroutines with the same state, wait reason, stack and creator.

    Attributes:
        key: names the group from one look to the next.
        stack, created_by, start: as in Goroutine.
        user: index into the stack's frames of the first one that is not of the runtime or of the standard library;
            that of the standard library's outermost one where there is none; -1 without a stack.
        count: goroutines in it; `ids` are the first 20 by id.
        oldest: longest waiting time, seconds, of `oldest_id`.
        before: count at the look before, None at the first look.
        first: count at the first look.
        moved: how many of them changed while they were read.
        waiting_on: the object that all of them wait on, None when they differ.
    """

    key: str
    state: str
    wait_reason: str
    count: int
    ids: tuple[int, ...]
    stack: int = -1
    user: int = -1
    created_by: int = -1
    start: int = -1
    system: bool = False
    oldest: float | None = None
    oldest_id: int | None = None
    since: SinceSource = ""
    before: int | None = None
    first: int = 0
    moved: int = 0
    waiting_on: int | None = None
    labels: dict[str, str] = {}


ObjectKind = Literal["channel", "mutex", "rwmutex", "waitgroup", "cond", "semaphore", "select", "fd", "timer"]


class WaitObject(msgspec.Struct, frozen=True, array_like=True):
    """Something that goroutines wait on.

    Attributes:
        address: of the hchan, of the sync.Mutex and so on.
        receivers, senders: how many wait on that side of a channel; for others `waiters` counts.
        ids: the first 20 waiting goroutines.
        buffered, capacity, closed: of a channel.
        holders: goroutines that likely hold the lock: their stacks, and no others', refer to it. Go records no owner.
        alone: nothing but the waiters' own stacks refers to it (None: not scanned): no one can ever wake them.
        detail: more in words, as "locked, 12 waiters, starving".
    """

    address: int
    kind: ObjectKind
    waiters: int
    ids: tuple[int, ...]
    receivers: int = 0
    senders: int = 0
    buffered: int | None = None
    capacity: int | None = None
    closed: bool | None = None
    holders: tuple[int, ...] = ()
    alone: bool | None = None
    detail: str = ""


class Edge(msgspec.Struct, frozen=True, array_like=True):
    """In a cycle: goroutine `waiter` waits on `address`, likely held by goroutine `holder`."""

    waiter: int
    address: int
    holder: int


class Dump(msgspec.Struct, frozen=True, array_like=True):
    """Every goroutine at about one time.

    Attributes:
        at: when the read began; took: seconds it took; the target was not paused.
        count: goroutines that are not dead: `system` of the runtime's own among them; `dead`: kept for reuse.
        states: number of each state; `reasons`: number of each wait reason.
        groups: by count, the largest first; `omitted_groups` more were left out.
        goroutines: one by one, at most as many as asked for; `omitted` more. Those of small groups are never left out
            before those of large ones.
        first_at: when the first look was, for `Group.first`; `before_at`: the look before.
        problems: what could not be read, in words.
    """

    at: float
    took: float
    count: int
    system: int = 0
    dead: int = 0
    moved: int = 0
    states: dict[str, int] = {}
    reasons: dict[str, int] = {}
    stacks: tuple[Stack, ...] = ()
    sites: tuple[Frame, ...] = ()
    groups: tuple[Group, ...] = ()
    omitted_groups: int = 0
    goroutines: tuple[Goroutine, ...] = ()
    omitted: int = 0
    objects: tuple[WaitObject, ...] = ()
    cycles: tuple[tuple[Edge, ...], ...] = ()
    first_at: float | None = None
    before_at: float | None = None
    problems: tuple[str, ...] = ()


class Processor(msgspec.Struct, frozen=True, array_like=True):
    """A P (runtime2.go): `status` is idle, running, syscall, gcstop or dead; `queue`: goroutines in its queue."""

    id: int
    status: str
    queue: int = 0
    timers: int | None = None
    thread: int | None = None


class Thread(msgspec.Struct, frozen=True, array_like=True):
    """An M (runtime2.go): kernel thread `tid`; `goroutine` it runs; `processor` it holds."""

    id: int
    tid: int
    goroutine: int | None = None
    processor: int | None = None
    spinning: bool = False
    locked: int | None = None
    """goid of the goroutine that is locked to it."""


class SizeClass(msgspec.Struct, frozen=True, array_like=True):
    """Heap spans of one size class (sizeclasses.go; 0 is objects over 32 KiB): `size` of an object, `spans`, their
    `bytes`, `objects` allocated in them (as of the last sweep), `noscan`: objects without pointers."""

    size: int
    noscan: bool
    spans: int
    bytes: int
    objects: int


class Counters(msgspec.Struct, frozen=True, kw_only=True):
    """The runtime's own numbers. Names follow runtime/metrics and runtime.MemStats where those have one.

    Attributes:
        heap_live: bytes the collector considers live now (gcController.heapLive); `heap_marked` by the last cycle.
        heap_goal: heap_live at which the next cycle is due to end (NextGC).
        heap_in_use: in spans that hold objects (HeapInuse); `mapped_ready`: mapped and not given back.
        gc_percent: GOGC in force, -1 for off; memory_limit: GOMEMLIMIT in force, 2^63-1 for none.
        gc_cycles, gc_forced: since the start; last_gc_at: its end.
        gc_pause_total: seconds of all stop-the-world pauses of the collector; `gc_pauses` are the last ones as
            (end, seconds), newest first, at most 256 (mstats.pause_ns).
        gc_cpu_fraction: share of the CPU time that the collector used since the start (GCCPUFraction).
        gc_running: a cycle runs now.
        threads: Ms; `thread_list`, `processors`: one by one; queue: the global run queue's length.
        runnable: goroutines in all run queues.
        run_delays: how long goroutines were runnable before they ran, since the start, as (upper bound in seconds,
            count): of one in eight times, as /sched/latencies:seconds (schedt.timeToRun).
        godebug: GODEBUG of the environment as the runtime took it.
        fips: FIPS 140-3 mode is on.
    """

    at: float
    took: float
    gomaxprocs: int | None = None
    ncpu: int | None = None
    goroutines: int | None = None
    threads: int | None = None
    heap_live: int | None = None
    heap_marked: int | None = None
    heap_goal: int | None = None
    heap_in_use: int | None = None
    heap_free: int | None = None
    heap_released: int | None = None
    stacks_in_use: int | None = None
    mapped_ready: int | None = None
    gc_percent: int | None = None
    memory_limit: int | None = None
    gc_cycles: int | None = None
    gc_forced: int | None = None
    gc_running: bool | None = None
    last_gc_at: float | None = None
    gc_pause_total: float | None = None
    gc_pauses: tuple[tuple[float, float], ...] = ()
    gc_cpu_fraction: float | None = None
    queue: int | None = None
    runnable: int | None = None
    timers: int | None = None
    idle_processors: int | None = None
    idle_threads: int | None = None
    spinning_threads: int | None = None
    processors: tuple[Processor, ...] = ()
    thread_list: tuple[Thread, ...] = ()
    size_classes: tuple[SizeClass, ...] = ()
    run_delays: tuple[tuple[float, int], ...] = ()
    godebug: str | None = None
    fips: bool | None = None
    problems: tuple[str, ...] = ()


class Identity(msgspec.Struct, frozen=True, kw_only=True):
    """Which runtime it is.

    Attributes:
        go_version: as in build info, "go1.24.3".
        layout: "table" (a table of this very version), "near" (the table of another patch release of the same minor,
            checked), "calibrated" (worked out from the process's data alone).
        located: how the runtime's variables were found: "operands", "data" or both.
    """

    go_version: str
    layout: str
    arch: str = "amd64"
    module_path: str = ""
    stripped: bool = False
    located: str = ""
    modules: int = 1
    """How many moduledata there are: more than one with plugins or c-shared libraries."""
    untested: bool = False
    """The layout was never tried on a live process of this kind (arm64, Go 1.18)."""

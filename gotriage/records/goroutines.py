"""Every goroutine of the target, grouped and one by one, and who waits for what."""

from __future__ import annotations

from datetime import datetime
from typing import ClassVar, Literal

import msgspec

from gotriage.records.base import Record, Row

SinceSource = Literal["", "observed", "runtime"]
"""How a waiting time is known: "observed": seen there ever since, so at least so long; "runtime": Go's own g.waitsince,
which only the garbage collector stamps, so about so long (what Go prints as "N minutes")."""
ObjectKind = Literal["channel", "mutex", "rwmutex", "waitgroup", "cond", "semaphore", "select", "fd", "timer"]


class Frame(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A place in the code as a Go stack trace prints it; `inlined`: it has no frame of its own on the stack."""

    function: str
    file: str = ""
    line: int = 0
    inlined: bool = False


class Stack(msgspec.Struct, frozen=True, array_like=True):
    """Frames, the innermost first; `complete`: they reach down to the goroutine's first function."""

    frames: tuple[Frame, ...] = ()
    complete: bool = True


class Goroutine(Row, frozen=True, kw_only=True):
    """One goroutine.

    Attributes:
        id: goid.
        state: Go's own word (runtime2.go): idle, runnable, running, syscall, waiting, copystack, preempted ...
        wait_reason: Go's own words (waitReasonStrings), "" unless waiting.
        stack: index into `Goroutines.stacks`; -1 where it was not read: on a CPU only a micro-stop could read it.
        created_by, start: indices into `Goroutines.sites` of the go statement and of its first function; -1 for none.
        created_by_id: goid of the parent (Go 1.21 and later).
        since: from when on it has been where it is, at the latest; `since_source` says how that is known.
        waiting_on: address of the channel, semaphore or other object that it waits on.
        labels: pprof labels.
        thread: kernel thread that it runs on or is in a system call on; `locked`: it holds its thread.
        thread_state, wchan: of that thread in the kernel: proc_pid_stat(5)'s letter, the kernel function it waits in.
        system: the runtime's own.
        moved: it changed while it was read: state and stack may not belong together.
        wake_at: when its timer fires, for one that sleeps.
        fd: descriptor that it waits for in "IO wait"; `peer` is the other end of the socket, or the file's name.
    """

    id: int
    state: str
    wait_reason: str = ""
    stack: int = -1
    created_by: int = -1
    created_by_id: int | None = None
    start: int = -1
    since: datetime | None = None
    since_source: SinceSource = ""
    waiting_on: int | None = None
    labels: dict[str, str] = {}
    thread: int | None = None
    locked: bool = False
    thread_state: str = ""
    wchan: str = ""
    system: bool = False
    moved: bool = False
    wake_at: datetime | None = None
    fd: int | None = None
    peer: str = ""


class GoroutineGroup(Row, frozen=True, kw_only=True):
    """Goroutines with the same state, wait reason, stack and creator.

    Attributes:
        key: names the group from one look to the next.
        count: goroutines in it; `before` is that of the look before (None at the first), `first` that of the first.
        ids: the first 20 goids, the lowest first.
        where: first function of the stack that is neither of the runtime nor of the standard library, as
            "main.worker"; `where_file`, `where_line` its place. Without a stack the goroutine's first function.
        created_at: the function that the go statement stands in; `created_by` has its place.
        user: index of `where` in the stack's frames, -1 for none.
        stack, created_by, start: as in `Goroutine`.
        since: from when on `oldest_id`, which has waited longest, has been there, at the latest.
        moved: how many of them changed while they were read.
        waiting_on: the object that all of them wait on, None when they differ.
        labels: pprof labels that all of them have.
    """

    key: str
    state: str
    wait_reason: str = ""
    count: int
    before: int | None = None
    first: int = 0
    ids: tuple[int, ...] = ()
    where: str = ""
    where_file: str = ""
    where_line: int = 0
    created_at: str = ""
    user: int = -1
    stack: int = -1
    created_by: int = -1
    start: int = -1
    since: datetime | None = None
    since_source: SinceSource = ""
    oldest_id: int | None = None
    system: bool = False
    moved: int = 0
    waiting_on: int | None = None
    labels: dict[str, str] = {}


class WaitObject(Row, frozen=True, kw_only=True):
    """Something that goroutines wait on.

    Attributes:
        address: of the hchan, of the sync.Mutex and so on.
        waiters: how many wait; of a channel `receivers` and `senders` say on which side.
        ids: the first 20 waiting goroutines.
        buffered, capacity, closed: of a channel.
        holders: goroutines that likely hold the lock: their stacks refer to it. Go records no owner.
        alone: nothing but the waiters' own stacks refers to it, so that no one can ever wake them; None: not scanned.
        detail: more in words, as "locked, starving".
    """

    address: int
    type: ObjectKind
    waiters: int
    ids: tuple[int, ...] = ()
    receivers: int = 0
    senders: int = 0
    buffered: int | None = None
    capacity: int | None = None
    closed: bool | None = None
    holders: tuple[int, ...] = ()
    alone: bool | None = None
    detail: str = ""


class Edge(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """In a cycle: goroutine `waiter` waits on the lock at `address`, which goroutine `holder` likely holds."""

    waiter: int
    address: int
    holder: int


class Goroutines(Record, frozen=True, kw_only=True, tag="goroutines"):
    """Every goroutine at about one time; nothing in it differs from the last record when nothing has moved.

    Attributes:
        rows: the groups, those that grow first, then by count; `omitted_groups` more were left out.
        goroutines: one by one, as many as the collector was asked for; `omitted` more. Those of small groups are never
            left out before those of large ones.
        stacks, sites: what the indices of groups and goroutines point into.
        objects: what goroutines wait on, that with the most waiters first; channels that stand only in the selects of
            one or two goroutines are left out.
        cycles: rings of goroutines that wait for each other.
        total: goroutines that are not dead, `system` of the runtime's own among them; `dead`: kept for reuse.
        first_at: time of the first look, for `GoroutineGroup.first`.
        problems: what could not be read, in words.
        note: how the refresh was slowed down or shortened, in a sentence, or "".
    """

    keep: ClassVar[int] = 12

    rows: tuple[GoroutineGroup, ...] = ()
    omitted_groups: int = 0
    goroutines: tuple[Goroutine, ...] = ()
    omitted: int = 0
    stacks: tuple[Stack, ...] = ()
    sites: tuple[Frame, ...] = ()
    objects: tuple[WaitObject, ...] = ()
    cycles: tuple[tuple[Edge, ...], ...] = ()
    total: int = 0
    system: int = 0
    dead: int = 0
    first_at: datetime | None = None
    problems: tuple[str, ...] = ()
    note: str = ""


class GroupCount(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """How large a group was at a look: `eldest` is its lowest goid, `settled` the last of its first 20 goids.

    As long as `settled` does not rise, none of the group's first goroutines has left: goids are given in rising order
    (runtime/proc.go, newproc1), so whoever comes later has a higher one.
    """

    count: int
    eldest: int = 0
    settled: int = 0


class OnCpu(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A goroutine that was on a CPU at a look, and its first function."""

    id: int
    start: str = ""


class GoroutineCounts(Record, frozen=True, kw_only=True, tag="goroutine_counts"):
    """The few numbers of every look, kept for long: growth and plots are made of them.

    Attributes:
        took: seconds that the look took; the target was not paused.
        total, system, dead, moved: goroutines, as in `Goroutines`.
        states: how many are in each state; `reasons`: of those that wait, how many for each reason.
        groups: key to size of the 20 largest groups that are not the runtime's own.
        creators: function of the go statement to number of goroutines, the 20 largest.
        running: those on a CPU, at most 20.
    """

    keep: ClassVar[int] = 1800

    took: float = 0.0
    total: int = 0
    system: int = 0
    dead: int = 0
    moved: int = 0
    states: dict[str, int] = {}
    reasons: dict[str, int] = {}
    groups: dict[str, GroupCount] = {}
    creators: dict[str, int] = {}
    running: tuple[OnCpu, ...] = ()

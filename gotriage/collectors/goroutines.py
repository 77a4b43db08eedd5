"""Every goroutine of a live Go process, read from its memory: nothing in the target is stopped, called or written.

The reading itself happens in a child process that can be killed (`gotriage.goruntime.client`); here its plain values
become records: times of day instead of ages, clean text, and what the kernel says about threads in system calls.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Protocol, cast

from gotriage.collectors import NOT_GO
from gotriage.errors import TargetGone
from gotriage.goruntime import client
from gotriage.goruntime.refusals import NotGo
from gotriage.host import clock, kernel_threads
from gotriage.records import goroutines as records
from gotriage.records.cpustacks import CpuStack, CpuStacks
from gotriage.records.stream import Gap
from gotriage.records.text import clean

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from datetime import datetime

    from gotriage.goruntime import oncpu, report
    from gotriage.host import Host
    from gotriage.records import Record
    from gotriage.records.stream import Request
    from gotriage.target.model import Target

LIVE = 5000
"""Goroutines that are sent one by one with each look; groups and counts are of all."""
MOST = 200_000
"""... and when somebody asks for all: a line of the stream has an end (session.stream.MAX_LINE)."""
DEADLINE = 30.0
"""Seconds that one look may take before the reader is killed."""
NAME = 1000
"""Characters of a function, file or label that are kept."""
MOST_THREADS = 256
"""Threads in system calls whose kernel state is read with each look."""
TOP = 20
"""Groups and creators whose numbers are kept for long; ids that a group names."""
FEW = 2
"""Goroutines that may have a channel among the cases of a select without it being worth a line."""
SAME = 1.0
"""Seconds by which the beginning of a wait may seem to move between two looks and still be the same."""


_REFUSED = NOT_GO


class Reader(Protocol):
    """What is used of `gotriage.goruntime.client.Reader`."""

    def call(self, op: str, deadline: float, **arguments: object) -> object:
        """Ask the child; raises what the child raised, and a GotriageError when it had to be killed."""
        ...

    def close(self) -> None:
        """End the child."""
        ...


class GoroutineCollector:
    """A `Goroutines` and a `GoroutineCounts` a look."""

    backend = "process_vm_readv"

    def __init__(self, host: Host, target: Target, attach: Callable[[int], Reader] = client.Reader) -> None:
        self._host, self._target, self._attach = host, target, attach
        self._reader: Reader | None = None
        self._key: object = None
        self._times = Times()

    def close(self) -> None:
        """End the reader."""
        reader, self._reader = self._reader, None
        if reader is not None:
            reader.close()

    def collect(self) -> Iterator[Record]:
        """One look. Raises Unavailable for a process without Go in it."""
        yield from self._look(LIVE)

    def answer(self, request: Request) -> Iterator[Record]:
        """A look with as many goroutines one by one as asked for, at most MOST; or with stacks of those on a CPU."""
        if request.op == "stacks":
            yield from self._stacks()
            return
        yield from self._look(max(1, min(request.limit, MOST)))

    def _call(self, op: str, **arguments: object) -> object:
        pid, core = self._target.pid, self._target.core
        if pid is None and core is None:
            return None
        _REFUSED.check(self._target)
        if self._reader is None or self._key != (core or pid):
            self.close()
            self._reader = core.reader() if core is not None else self._attach(cast("int", pid))
            self._key, self._times = core or pid, Times()
        try:
            return self._reader.call(op, DEADLINE if core is None else core.deadline, **arguments)
        except NotGo as error:
            raise _REFUSED.refuse(self._target, str(error)) from error
        except TargetGone:
            self.close()
            return None

    def _look(self, limit: int) -> Iterator[Record]:
        dump = cast("report.Dump | None", self._call("goroutines", limit=limit))
        if dump is None:
            return
        threads = self._threads(dump)
        yield counts_of(dump)
        yield record_of(dump, self._times, threads)
        for problem in dump.problems[:5]:
            yield Gap(at=clock.now(), source="goroutines.part", reason=clean(problem, NAME), lost="some goroutines")

    def _threads(self, dump: report.Dump) -> dict[int, kernel_threads.KernelThread]:
        """Kernel state of the threads that are in system calls for goroutines."""
        pid = self._target.pid
        found: dict[int, kernel_threads.KernelThread] = {}
        if pid is None:
            return found
        tids = [one.thread for one in dump.goroutines if one.state == "syscall" and one.thread]
        for tid in tids[:MOST_THREADS]:
            thread = kernel_threads.read_one(self._host, pid, tid)
            if thread is not None:
                found[tid] = thread
        return found

    def _stacks(self) -> Iterator[Record]:
        looked = cast("oncpu.CpuLook | None", self._call("stacks"))
        if looked is not None:
            yield cpu_stacks_of(looked)


# -- plain values to records


class Times:
    """Beginnings of waits: the reader says how long, a record from when on, which must not tremble."""

    def __init__(self) -> None:
        self._before: dict[object, datetime] = {}
        self._now: dict[object, datetime] = {}

    def next(self) -> None:
        """A new look begins; who is not seen in it is forgotten after it."""
        self._before, self._now = self._now, {}

    def at(self, key: object, epoch: float | None) -> datetime | None:
        """The time for seconds since 1970; the one of the look before when it is about the same."""
        if epoch is None or not 0 <= epoch < 1e11:
            return None
        time = clock.from_epoch(round(epoch, 1))
        before = self._before.get(key)
        if before is not None and abs(before - time) < timedelta(seconds=SAME):
            time = before
        self._now[key] = time
        return time


def record_of(
    dump: report.Dump, times: Times, threads: dict[int, kernel_threads.KernelThread] | None = None
) -> records.Goroutines:
    """The record of a look."""
    times.next()
    rows = sorted((_group(dump, group, times) for group in dump.groups), key=_order)
    return records.Goroutines(
        at=clock.from_epoch(dump.at),
        rows=tuple(rows),
        omitted_groups=dump.omitted_groups,
        goroutines=tuple(_goroutine(dump, one, times, threads or {}) for one in dump.goroutines),
        omitted=dump.omitted,
        stacks=tuple(records.Stack(tuple(map(_frame, stack.frames)), stack.complete) for stack in dump.stacks),
        sites=tuple(map(_frame, dump.sites)),
        objects=tuple(sorted(map(_object, filter(_tells, dump.objects)), key=lambda found: -found.waiters)),
        cycles=tuple(tuple(records.Edge(e.waiter, e.address, e.holder) for e in cycle) for cycle in dump.cycles),
        total=dump.count,
        system=dump.system,
        dead=dump.dead,
        first_at=times.at("first", dump.first_at),
        problems=tuple(clean(problem, NAME) for problem in dump.problems),
    )


def _tells(found: report.WaitObject) -> bool:
    """Not a channel that stands only in the selects of one or two: every connection of an HTTP client has such."""
    plain = found.receivers + found.senders
    return found.kind != "channel" or bool(found.alone) or plain > 0 or found.waiters > FEW


def counts_of(dump: report.Dump) -> records.GoroutineCounts:
    """The few numbers of a look."""
    own = sorted((group for group in dump.groups if not group.system), key=lambda group: -group.count)
    creators: dict[str, int] = {}
    for group in own:
        if group.created_by >= 0:
            name = clean(dump.sites[group.created_by].function, NAME)
            creators[name] = creators.get(name, 0) + group.count
    running = [one for one in dump.goroutines if one.state == "running" and not one.system]
    return records.GoroutineCounts(
        at=clock.from_epoch(dump.at),
        took=round(dump.took, 6),
        total=dump.count,
        system=dump.system,
        dead=dump.dead,
        moved=dump.moved,
        states=_cleaned(dump.states),
        reasons=_cleaned(dump.reasons),
        groups={
            clean(group.key, NAME): records.GroupCount(
                group.count, min(group.ids, default=0), max(group.ids, default=0)
            )
            for group in own[:TOP]
        },
        creators=dict(sorted(creators.items(), key=lambda item: -item[1])[:TOP]),
        running=tuple(records.OnCpu(one.id, _function(dump, one.start)) for one in running[:TOP]),
    )


def cpu_stacks_of(looked: oncpu.CpuLook) -> Record:
    """The stacks that a short stop of threads gave."""
    return CpuStacks(
        at=clock.from_epoch(looked.at),
        took=round(looked.took, 6),
        rows=tuple(
            CpuStack(
                id=one.id,
                thread=one.thread,
                stopped_seconds=one.stopped,
                frames=tuple(map(_frame, one.frames)),
                complete=one.complete,
                error=clean(one.error, NAME),
            )
            for one in looked.stacks
        ),
    )


def _order(row: records.GoroutineGroup) -> tuple[int, int]:
    growth = row.count - row.before if row.before is not None else 0
    return -max(growth, 0), -row.count


def _group(dump: report.Dump, group: report.Group, times: Times) -> records.GoroutineGroup:
    where = _where(dump, group)
    oldest = None if group.oldest is None else dump.at - group.oldest
    return records.GoroutineGroup(
        key=clean(group.key, NAME),
        state=clean(group.state, NAME),
        wait_reason=clean(group.wait_reason, NAME),
        count=group.count,
        before=group.before,
        first=group.first,
        ids=group.ids[:TOP],
        where=clean(where.function, NAME) if where is not None else "",
        where_file=clean(where.file, NAME) if where is not None else "",
        where_line=where.line if where is not None else 0,
        created_at=_function(dump, group.created_by),
        user=group.user,
        stack=group.stack,
        created_by=group.created_by,
        start=group.start,
        since=times.at(("group", group.key, group.oldest_id), oldest),
        since_source=group.since,
        oldest_id=group.oldest_id,
        system=group.system,
        moved=group.moved,
        waiting_on=group.waiting_on,
        labels=_labels(group.labels),
    )


def _where(dump: report.Dump, group: report.Group) -> report.Frame | None:
    """The function that a group is known by: of its stack, else the first one of its goroutines."""
    if group.stack >= 0:
        frames = dump.stacks[group.stack].frames
        if 0 <= group.user < len(frames):
            return frames[group.user]
        if frames:
            return frames[-1]
    return dump.sites[group.start] if group.start >= 0 else None


def _goroutine(
    dump: report.Dump, one: report.Goroutine, times: Times, threads: dict[int, kernel_threads.KernelThread]
) -> records.Goroutine:
    thread = threads.get(one.thread) if one.thread is not None and one.state == "syscall" else None
    return records.Goroutine(
        id=one.id,
        state=clean(one.state, NAME),
        wait_reason=clean(one.wait_reason, NAME),
        stack=one.stack,
        created_by=one.created_by,
        created_by_id=one.created_by_id,
        start=one.start,
        since=times.at(one.id, None if one.waits is None else dump.at - one.waits),
        since_source=one.since,
        waiting_on=one.waiting_on,
        labels=_labels(one.labels),
        thread=one.thread,
        locked=one.locked,
        thread_state=thread.state if thread is not None else "",
        wchan=clean(thread.wchan, NAME) if thread is not None else "",
        system=one.system,
        moved=one.moved,
        wake_at=times.at(("wake", one.id), None if one.wake_in is None else dump.at + one.wake_in),
        fd=one.fd,
    )


def _object(found: report.WaitObject) -> records.WaitObject:
    return records.WaitObject(
        address=found.address,
        type=found.kind,
        waiters=found.waiters,
        ids=found.ids[:TOP],
        receivers=found.receivers,
        senders=found.senders,
        buffered=found.buffered,
        capacity=found.capacity,
        closed=found.closed,
        holders=found.holders[:TOP],
        alone=found.alone,
        detail=clean(found.detail, NAME),
    )


def _frame(frame: report.Frame) -> records.Frame:
    return records.Frame(clean(frame.function, NAME), clean(frame.file, NAME), frame.line, frame.inlined)


def _function(dump: report.Dump, site: int) -> str:
    return clean(dump.sites[site].function, NAME) if site >= 0 else ""


def _labels(labels: dict[str, str]) -> dict[str, str]:
    return {clean(key, NAME): clean(value, NAME) for key, value in labels.items()} if labels else {}


def _cleaned(numbers: dict[str, int]) -> dict[str, int]:
    return {clean(name, NAME): number for name, number in numbers.items()}

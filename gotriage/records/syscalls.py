"""System calls of the target while they are traced: how often, how long, how they fail, for whom and on what."""

from __future__ import annotations

from datetime import datetime
from typing import ClassVar, Literal

import msgspec

from gotriage.records.base import Record, Row

Level = Literal["counts", "latency", "goroutines"]
"""How much is measured: calls, errors and bytes; and how long each takes; and which goroutine makes it."""
LEVELS: tuple[Level, ...] = ("counts", "latency", "goroutines")


class Share(msgspec.Struct, frozen=True, array_like=True):
    """A part of the calls since the start: how many, how many failed, seconds in them, the longest of them, bytes.

    `seconds` and `longest` are 0 where time is not measured.
    """

    count: int
    errors: int = 0
    seconds: float = 0.0
    longest: float = 0.0
    bytes: int = 0


class Slot(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A step of a histogram: calls that took less than `below` seconds, and no less than the step before."""

    below: float
    count: int


class Syscall(Row, frozen=True, kw_only=True):
    """One system call; counts are since the start of the trace, the time it was detached left out.

    Attributes:
        call: its name, "call N" where that is not known.
        rate, byte_rate: a second, since the record before.
        share: the part of all calls in that time, 0 to 1.
        errors: calls that failed; `errnos` says how, by name, most frequent first.
        bytes: read or written, by the results of calls that transfer; None for calls that do not.
        p50, p99: seconds, of the last seconds (`Syscalls.window`), estimated from a histogram whose steps are a
            quarter of a doubling: at most 13 % off. None without any call, or where time is not measured.
        longest, seconds: since the start: the longest call, and all together; seconds, exact.
        histogram: of all calls since the start, in doublings.
        waits: it waits by nature (futex, epoll_pwait): its time says nothing bad.
    """

    call: str
    count: int = 0
    rate: float | None = None
    share: float | None = None
    errors: int = 0
    error_rate: float | None = None
    errnos: dict[str, int] = {}
    bytes: int | None = None
    byte_rate: float | None = None
    p50: float | None = None
    p99: float | None = None
    longest: float | None = None
    seconds: float | None = None
    histogram: tuple[Slot, ...] = ()
    waits: bool = False


class Caller(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A thread or a goroutine that makes calls.

    Attributes:
        id: thread id in our PID namespace, or goroutine id; goroutine 0 is the scheduler's own work.
        own_id: a thread's id in its own PID namespace, which is the one that Go knows.
        total: of all calls but those that wait by nature; `waiting`: of those.
        calls: by name.
    """

    id: int
    own_id: int = 0
    name: str = ""
    total: Share = Share(0)
    waiting: Share = Share(0)
    calls: dict[str, Share] = {}


class Descriptor(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What calls were about: a descriptor, with the file or the connection that it is now.

    `type`, `name`, `peer` are as in the view of open files; a number that was closed and given anew since the start
    counts as one.
    """

    fd: int
    type: str = ""
    name: str = ""
    peer: str = ""
    reads: Share = Share(0)
    writes: Share = Share(0)
    others: Share = Share(0)


class FailedPath(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A path on which calls failed, as it was given (relative ones to the process's directory, or to a descriptor)."""

    call: str
    error: str
    path: str
    count: int
    last_at: datetime


class Blocked(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A thread that is in a system call now.

    Attributes:
        since: when it began; None where that is not known. `at_least`: the call began at that time or earlier.
        waits: it waits by nature, which is what threads without work do.
        goroutine: on whose behalf; None where that is not known, 0 for the scheduler.
        fd, name, peer: what it is about, where the call is about a descriptor.
        wchan: the kernel's function that it sleeps in, "" where the kernel hides it or it does not sleep.
    """

    tid: int
    own_tid: int = 0
    thread: str = ""
    call: str
    since: datetime | None = None
    at_least: bool = False
    waits: bool = False
    goroutine: int | None = None
    fd: int | None = None
    name: str = ""
    peer: str = ""
    wchan: str = ""


class SlowCall(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One of the slowest calls, those that wait by nature left out.

    `result` is the number returned, None when it failed (`error`).
    """

    began_at: datetime
    seconds: float
    call: str
    tid: int | None = None
    thread: str = ""
    goroutine: int | None = None
    fd: int | None = None
    name: str = ""
    peer: str = ""
    error: str = ""
    result: int | None = None


class Syscalls(Record, frozen=True, kw_only=True, tag="syscalls"):
    """All of it, each second while it is traced; the busiest call first.

    Attributes:
        level: what is measured; None for a backend that only knows totals.
        attached: seconds that it has counted.
        window: seconds that p50 and p99 are of.
        count, errors, rate: of all calls.
        threads, goroutines, descriptors: the busiest; `..._omitted` more are not listed.
        slowest: of the last `window` seconds or so, the slowest first.
        problems: what could not be told, in words.
    """

    keep: ClassVar[int] = 120

    rows: tuple[Syscall, ...] = ()
    level: Level | None = None
    attached: float = 0.0
    window: float = 0.0
    count: int | None = None
    errors: int | None = None
    rate: float | None = None
    threads: tuple[Caller, ...] = ()
    threads_omitted: int = 0
    goroutines: tuple[Caller, ...] = ()
    goroutines_omitted: int = 0
    descriptors: tuple[Descriptor, ...] = ()
    descriptors_omitted: int = 0
    paths: tuple[FailedPath, ...] = ()
    blocked: tuple[Blocked, ...] = ()
    blocked_omitted: int = 0
    slowest: tuple[SlowCall, ...] = ()
    problems: tuple[str, ...] = ()

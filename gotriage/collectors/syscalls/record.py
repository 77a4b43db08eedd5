"""From what the kernel has counted to one record: remembers what rates, windows and the slowest calls need."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np

from gotriage.collectors.syscalls import counted, kinds
from gotriage.collectors.syscalls.blocked import Known, Watch
from gotriage.collectors.syscalls.subjects import Subject, Subjects
from gotriage.host import clock
from gotriage.host.callnames import call_name
from gotriage.records.errnos import errno_name
from gotriage.records.syscalls import Descriptor, FailedPath, Share, SlowCall, Syscalls
from gotriage.records.text import clean

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from gotriage.host import Host
    from gotriage.records.syscalls import Blocked, Caller, Level

    Table = NDArray[np.void]

WINDOW: Final = 10.0
"""Seconds of calls that p50 and p99 are of."""
SLOW_FOR: Final = 60.0
"""Seconds that a slow call stays among the slowest."""
SLOWEST: Final = 20
CALLERS: Final = 48
DESCRIPTORS: Final = 48
PATHS: Final = 32
KERNEL_CLOSED: Final = 1 << 31
"""Larger first arguments are no descriptors: -1, AT_FDCWD."""


def _none(kind: np.dtype[Any]) -> Callable[[], NDArray[Any]]:
    return lambda: np.zeros(0, kind)


@dataclass(slots=True)
class Look:
    """What was counted since the start, added up over the CPUs; of `slow` and `goroutines` what is new.

    `attached`: seconds that it counted; `attached_at`: since when it does so without a pause, CLOCK_MONOTONIC.
    """

    level: Level
    attached: float
    attached_at: float | None
    totals: Table
    failed: Table = field(default_factory=_none(counted.FAILED))
    failures: NDArray[np.uint64] = field(default_factory=_none(np.dtype("<u8")))
    descriptors: Table = field(default_factory=_none(counted.DESCRIPTOR))
    paths: Table = field(default_factory=_none(counted.PATH))
    path_uses: Table = field(default_factory=_none(counted.PATH_USE))
    threads: Table = field(default_factory=_none(counted.THREAD))
    slow: Table = field(default_factory=_none(counted.SLOW))
    goroutines: tuple[Table, Table] | None = None
    problems: tuple[str, ...] = ()


class _Slow(NamedTuple):
    """A slow call as it was counted, with the thread as we know it."""

    began: float
    seconds: float
    call: str
    kernel_tid: int
    kernel_tgid: int
    goid: int
    fd: int | None
    result: int


class Recorder:
    """Makes the records of one trace."""

    def __init__(self, host: Host) -> None:
        self.looks = 0
        self._subjects = Subjects(host)
        self._watch = Watch(host, self._subjects)
        self._earlier = counted.Earlier()
        self._window = counted.Window(WINDOW)
        self._goroutines = counted.Goroutines()
        self._slow: deque[_Slow] = deque(maxlen=1000)

    def record(self, pid: int, pids: Sequence[int], look: Look) -> Syscalls:
        """The record of a look at a target whose main process is `pid`."""
        self.looks += 1
        timed = look.level != "counts"
        recent, window = self._window.since(look.attached, look.totals["slots"]) if timed else (None, 0.0)
        failures = counted.errnos(look.totals, look.failed, look.failures)
        before = self._earlier.swap(look.attached, look.totals)
        rows = counted.call_rows(look.totals, before, look.attached, failures, recent)
        threads = counted.thread_rows(look.threads)
        goroutines, goroutines_omitted = self._by_goroutine(look)
        descriptors, omitted = self._by_descriptor(pid, look.descriptors)
        blocked, blocked_omitted = self._blocked(pids, look)
        return Syscalls(
            at=clock.now(),
            rows=tuple(rows),
            level=look.level,
            attached=round(look.attached, 3),
            window=round(window, 3),
            count=sum(row.count for row in rows),
            errors=sum(row.errors for row in rows),
            rate=round(sum(row.rate or 0.0 for row in rows), 1),
            threads=tuple(threads[:CALLERS]),
            threads_omitted=max(len(threads) - CALLERS, 0),
            goroutines=tuple(goroutines),
            goroutines_omitted=goroutines_omitted,
            descriptors=tuple(descriptors),
            descriptors_omitted=omitted,
            paths=tuple(_paths(look)),
            blocked=tuple(blocked),
            blocked_omitted=blocked_omitted,
            slowest=tuple(self._slowest(pid, look)),
            problems=(*look.problems, *self._left_out()),
        )

    def _left_out(self) -> tuple[str, ...]:
        unseen = self._watch.unseen
        return (f"{unseen:,} threads more were not looked at for calls that they sleep in",) if unseen else ()

    def _by_goroutine(self, look: Look) -> tuple[list[Caller], int]:
        if look.goroutines is None:
            return [], 0
        self._goroutines.add(*look.goroutines)
        return self._goroutines.rows(CALLERS)

    def _by_descriptor(self, pid: int, uses: Table) -> tuple[list[Descriptor], int]:
        """The descriptors with the most time, or without times the most calls; the last place stands for all beyond."""
        used = np.flatnonzero(_over(uses, "count"))
        if not len(used):
            return [], 0
        order = used[np.lexsort((-_over(uses, "count")[used], -_over(uses, "sum")[used]))][:DESCRIPTORS]
        subjects = self._subjects.of(pid, order.tolist())
        rows = []
        for fd in order.tolist():
            last = fd == len(uses) - 1
            subject = Subject("", f"descriptors from {fd} on") if last else subjects.get(fd, Subject("", "closed"))
            reads, writes, others = (_share(uses[name][fd]) for name in ("reading", "writing", "other"))
            rows.append(
                Descriptor(
                    fd=fd, type=subject.type, name=subject.name, peer=subject.peer, reads=reads, writes=writes,
                    others=others,
                )
            )  # fmt: skip
        return rows, len(used) - len(order)

    def _blocked(self, pids: Sequence[int], look: Look) -> tuple[list[Blocked], int]:
        known: dict[int, Known] = {}
        since = int((look.attached_at or 0.0) * 1e9)
        inside = look.threads["since"] >= max(since, 1)
        for thread in look.threads[inside] if look.attached_at is not None else ():
            goid = int(thread["goid"]) if look.level == "goroutines" else None
            known[int(thread["tid"])] = Known(
                int(thread["call"]), int(thread["since"]) / counted.NS, int(thread["own_tid"]), goid
            )
        return self._watch.look(pids, known)

    def _slowest(self, pid: int, look: Look) -> list[SlowCall]:
        now, wall = clock.monotonic(), clock.now()
        for row in look.slow:
            number = int(row["call"])
            fd = int(row["arguments"][0]) if kinds.has_fd(call_name(number)) else None
            self._slow.append(
                _Slow(
                    int(row["began"]) / counted.NS, int(row["took"]) / counted.NS, call_name(number), int(row["tid"]),
                    int(row["tgid"]), int(row["goid"]), fd if fd is not None and fd < KERNEL_CLOSED else None,
                    int(row["result"]),
                )
            )  # fmt: skip
        recent = sorted((one for one in self._slow if now - one.began - one.seconds < SLOW_FOR), key=_by_seconds)
        self._slow = deque(recent[: SLOWEST * 4], maxlen=self._slow.maxlen)
        shown = recent[:SLOWEST]
        subjects = self._subjects.of(pid, [one.fd for one in shown if one.fd is not None])
        threads = {int(row["kernel_tid"]): row for row in look.threads}
        return [_slow_call(one, wall - timedelta(seconds=now - one.began), threads, subjects) for one in shown]


def _by_seconds(one: _Slow) -> float:
    return -one.seconds


def _slow_call(one: _Slow, began_at: Any, threads: dict[int, Any], subjects: dict[int, Subject]) -> SlowCall:  # noqa: ANN401
    thread = threads.get(one.kernel_tid)
    subject = subjects.get(one.fd, Subject()) if one.fd is not None else Subject()
    failed = -4095 <= one.result < 0
    return SlowCall(
        began_at=began_at,
        seconds=one.seconds,
        call=one.call,
        tid=int(thread["tid"]) if thread is not None else None,
        thread=clean(bytes(thread["comm"]), 64) if thread is not None else "",
        goroutine=one.goid or None,
        fd=one.fd,
        name=subject.name,
        peer=subject.peer,
        error=errno_name(-one.result) if failed else "",
        result=None if failed else one.result,
    )


def _over(uses: Table, column: str) -> NDArray[np.int64]:
    """A number of each descriptor over its three kinds of calls."""
    total: NDArray[np.int64] = sum(uses[name][column].astype(np.int64) for name in ("reading", "writing", "other"))  # type: ignore[assignment]
    return total


def _share(use: Any) -> Share:  # noqa: ANN401  # one element of a numpy array of structs
    return Share(int(use["count"]), int(use["errors"]), int(use["sum"]) / counted.NS, 0.0, int(use["bytes"]))


def _paths(look: Look) -> list[FailedPath]:
    """Paths on which calls failed, the most frequent first."""
    now, wall = clock.monotonic(), clock.now()
    rows = [
        FailedPath(
            call=call_name(int(key["call"])),
            error=errno_name(int(key["error"])),
            path=clean(bytes(key["path"]), 96),
            count=int(use["count"]),
            last_at=wall - timedelta(seconds=round(max(now - int(use["last"]) / counted.NS, 0.0), 3)),
        )
        for key, use in zip(look.paths, look.path_uses, strict=True)
    ]
    return sorted(rows, key=lambda row: (-row.count, row.path))[:PATHS]

"""Threads that are in a system call now: from /proc, with the begin from the kernel's programs where they know it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Final, NamedTuple

from gotriage.collectors.syscalls.kinds import has_fd, waits
from gotriage.errors import GotriageError
from gotriage.host import clock, kernel_threads
from gotriage.host.callnames import call_name
from gotriage.host.callstate import CallState, call_state
from gotriage.records.syscalls import Blocked
from gotriage.records.text import clean

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from datetime import datetime

    from gotriage.collectors.syscalls.subjects import Subjects
    from gotriage.host import Host

LOOKED: Final = 256
"""Threads whose call is read from /proc with each look."""
SHOWN: Final = 64
LEAST: Final = 0.01
"""Seconds after which a call of a thread that does not sleep counts as one that lasts."""


class Known(NamedTuple):
    """What the kernel's programs know of a thread in a call; `began` by CLOCK_MONOTONIC, seconds."""

    call: int
    began: float
    own_tid: int
    goid: int | None


@dataclass(slots=True)
class _Seen:
    """A call that a thread was seen in, and how often it had run until then: unchanged, it is the same call."""

    state: CallState
    runs: int
    at: float


class Watch:
    """Remembers from look to look since when a thread was seen in the same call."""

    def __init__(self, host: Host, subjects: Subjects) -> None:
        self._host, self._subjects = host, subjects
        self._seen: dict[int, _Seen] = {}
        self.unseen = 0
        """Threads that the last look left out."""

    def look(self, pids: Iterable[int], known: Mapping[int, Known]) -> tuple[list[Blocked], int]:
        """Who is in a call: those that do not wait by nature first, the longest first; and how many more there are."""
        now, self.unseen = clock.monotonic(), 0
        found: list[tuple[int, Blocked]] = []
        seen: dict[int, _Seen] = {}
        for pid in pids:
            for tid in self._threads(pid, known):
                state = call_state(self._host, pid, tid)
                row = self._row(pid, tid, state, known.get(tid), now, seen)
                if row is not None:
                    found.append((pid, row))
        self._seen = seen
        found.sort(key=lambda item: (item[1].waits, item[1].since or clock.now(), item[1].tid))
        return self._named(found[:SHOWN]), max(len(found) - SHOWN, 0)

    def _threads(self, pid: int, known: Mapping[int, Known]) -> list[int]:
        try:
            tids = [int(name) for name in self._host.proc.names(pid, "task") if name.isdigit()]
        except (GotriageError, OSError):
            return []
        if len(tids) > LOOKED:
            tids.sort(key=lambda tid: (tid not in known, known[tid].began if tid in known else 0.0))
            self.unseen += len(tids) - LOOKED
        return tids[:LOOKED]

    def _row(
        self, pid: int, tid: int, state: CallState | None, known: Known | None, now: float, seen: dict[int, _Seen]
    ) -> Blocked | None:
        if state is None:
            if known is None or now - known.began < LEAST:
                return None
            name = call_name(known.call)
            return Blocked(
                tid=tid, own_tid=known.own_tid, call=name, since=_time(now, known.began), waits=waits(name),
                goroutine=known.goid,
            )  # fmt: skip
        runs = self._runs(pid, tid)
        before = self._seen.get(tid)
        same = before is not None and runs is not None and (before.state, before.runs) == (state, runs)
        first = before.at if same and before is not None else now
        if runs is not None:
            seen[tid] = _Seen(state, runs, first)
        certain = known is not None and known.call == state.number
        name = call_name(state.number)
        return Blocked(
            tid=tid,
            own_tid=known.own_tid if known is not None else 0,
            call=name,
            since=_time(now, known.began if certain and known is not None else first),
            at_least=not certain,
            waits=waits(name),
            goroutine=known.goid if certain and known is not None else None,
            fd=state.arguments[0] if has_fd(name) and state.arguments[0] < 1 << 31 else None,
        )

    def _runs(self, pid: int, tid: int) -> int | None:
        """How often the thread has got a CPU: the third word of schedstat (sched-stats.rst)."""
        try:
            return int(self._host.proc.read(pid, "task", tid, "schedstat", limit=256).split()[2])
        except (GotriageError, OSError, ValueError, IndexError):
            return None

    def _named(self, found: list[tuple[int, Blocked]]) -> list[Blocked]:
        """With the thread's name, where it sleeps, and what its descriptor is."""
        subjects = {
            pid: self._subjects.of(pid, [row.fd for of, row in found if of == pid and row.fd is not None])
            for pid in {pid for pid, _ in found}
        }
        rows = []
        for pid, row in found:
            thread = kernel_threads.read_one(self._host, pid, row.tid)
            subject = subjects[pid].get(row.fd) if row.fd is not None else None
            rows.append(
                Blocked(
                    tid=row.tid,
                    own_tid=row.own_tid,
                    thread=clean(thread.comm, 64) if thread is not None else "",
                    call=row.call,
                    since=row.since,
                    at_least=row.at_least,
                    waits=row.waits,
                    goroutine=row.goroutine,
                    fd=row.fd,
                    name=subject.name if subject is not None else "",
                    peer=subject.peer if subject is not None else "",
                    wchan=clean(thread.wchan, 64) if thread is not None else "",
                )
            )
        return rows


def _time(now: float, moment: float) -> datetime:
    return clock.now() - timedelta(seconds=round(now - moment, 3))

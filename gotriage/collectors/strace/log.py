"""Lines of strace put together: calls that were interrupted by other threads' lines, sums, failures, what was slow."""

from __future__ import annotations

import heapq
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, NamedTuple

from gotriage.collectors.strace.lines import Line, parse_call, parse_line, parse_restarted, parse_signal, parse_where
from gotriage.host import clock
from gotriage.records.errnos import RESTARTED, USUAL
from gotriage.records.straced import Straced, StracedCall, StracedFailure, StracedSignal, StracedSum
from gotriage.records.text import clean

if TYPE_CHECKING:
    from datetime import datetime

ROWS: Final = 1000
"""Calls that a record has one by one."""
SLOWEST: Final = 20
FAILURES: Final = 200
SIGNALS: Final = 50
ENDS: Final = 50
INSIDE: Final = 200
NAMES: Final = 600
"""Names of calls: Linux has some 370."""
THREADS: Final = 100_000
TEXT: Final = 600
"""Characters of arguments that are kept."""
WHERE: Final = 300
WAITS: Final = (
    " futex futex_wait futex_waitv poll ppoll select pselect6 epoll_wait epoll_pwait epoll_pwait2 nanosleep"
    " clock_nanosleep pause rt_sigsuspend rt_sigtimedwait wait4 waitid io_getevents io_uring_enter restart_syscall"
    " msgrcv semtimedop semop accept accept4 sched_yield "
)
"""Calls that wait by nature."""


class _Done(NamedTuple):
    """A call that has ended, its texts as they came."""

    tid: int
    at: float | None
    call: str
    arguments: str
    result: str
    error: str
    words: str
    seconds: float | None


@dataclass(slots=True)
class _Sum:
    count: int = 0
    errors: int = 0
    seconds: float = 0.0
    longest: float = 0.0


@dataclass(slots=True)
class _Failure:
    words: str
    count: int = 0
    last: float | None = None


@dataclass(slots=True)
class Log:
    """Takes what strace writes, piece by piece; `record` says what is known by now. All in bounded room."""

    count: int = 0
    unread: int = 0
    note: str = ""
    outside_stops: int = 0
    """Times that somebody stopped the target by a signal meanwhile."""
    _rest: bytes = b""
    _sums: dict[str, _Sum] = field(default_factory=dict)
    _failures: dict[tuple[str, str, str], _Failure] = field(default_factory=dict)
    _signals: dict[tuple[str, str, int | None], int] = field(default_factory=dict)
    _ends: deque[str] = field(default_factory=lambda: deque(maxlen=ENDS))
    _rows: deque[_Done] = field(default_factory=lambda: deque(maxlen=ROWS))
    _slowest: list[tuple[float, int, _Done]] = field(default_factory=list)
    _inside: dict[int, Line] = field(default_factory=dict)
    _threads: set[int] = field(default_factory=set)

    def feed(self, data: bytes) -> None:
        """The next bytes; a line may be cut anywhere."""
        lines = (self._rest + data).split(b"\n")
        self._rest = lines.pop()[-65536:]
        for line in lines:
            self._take(parse_line(line.decode("utf-8", "replace")))

    def _take(self, line: Line) -> None:
        if line.kind in ("done", "begun", "resumed") and len(self._threads) < THREADS:
            self._threads.add(line.tid)
        if line.kind == "done":
            self._inside.pop(line.tid, None)
            self._add(_done(line, line.at))
        elif line.kind in ("begun", "left"):
            if len(self._inside) < THREADS:
                self._inside[line.tid] = line
        elif line.kind == "resumed":
            self._resume(line)
        elif line.kind == "signal":
            self._signal(line.text)
        elif line.kind == "ended":
            self._inside.pop(line.tid, None)
            who = f"thread {line.tid}: " if line.tid else ""
            self._ends.append(clean(who + line.text, 120))
        elif line.kind == "unread" and line.text.strip():
            self.unread += 1
            self.note = self.note or clean(line.text, 200)

    def _resume(self, line: Line) -> None:
        begun = self._inside.pop(line.tid, None)
        if begun is not None and begun.call != line.call:
            begun = None
        before = begun.text if begun is not None else "… "
        whole = parse_call(line.call, before + line.text, line.tid, line.at)
        if whole.kind == "done":
            self._add(_done(whole, begun.at if begun is not None else None))
        else:
            self._take(whole)

    def _add(self, done: _Done) -> None:
        self.count += 1
        self._rows.append(done)
        # rt_sigreturn(2) ends a signal handler: its result is that of the call which the signal interrupted.
        failed = bool(done.error) and done.result != "?" and done.call != "rt_sigreturn"
        total = self._sums.get(done.call)
        if total is None:
            total = self._sums.setdefault(done.call if len(self._sums) < NAMES else "(others)", _Sum())
        total.count += 1
        total.errors += failed
        if done.seconds is not None:
            total.seconds += done.seconds
            total.longest = max(total.longest, done.seconds)
            self._keep_slow(done, done.seconds)
        if failed:
            self._fail(done)

    def _keep_slow(self, done: _Done, seconds: float) -> None:
        if f" {done.call} " in WAITS or (len(self._slowest) == SLOWEST and seconds <= self._slowest[0][0]):
            return
        heapq.heappush(self._slowest, (seconds, self.count, done))
        if len(self._slowest) > SLOWEST:
            heapq.heappop(self._slowest)

    def _fail(self, done: _Done) -> None:
        key = (done.call, done.error, parse_where(done.call, done.arguments)[:WHERE])
        failure = self._failures.get(key)
        if failure is None:
            if len(self._failures) >= FAILURES:
                key = ("(others)", "", "")
            failure = self._failures.setdefault(key, _Failure(done.words))
        failure.count += 1
        failure.last = done.at

    def _signal(self, text: str) -> None:
        name, code, sender = parse_signal(text)
        if name.startswith("stopped by") or (
            name in ("SIGSTOP", "SIGTSTP", "SIGTTIN", "SIGTTOU") and code == "SI_USER"
        ):
            self.outside_stops += 1
        key = (clean(name, 40), clean(code, 40), sender if code.startswith("SI_") else None)
        if key in self._signals or len(self._signals) < SIGNALS:
            self._signals[key] = self._signals.get(key, 0) + 1

    # -- the record

    def record(self, at: datetime, seconds: float) -> Straced:
        """What is known after so many seconds."""
        failures = [_failure(key, failure) for key, failure in self._failures.items()]
        inside = sorted(self._inside.values(), key=lambda line: line.at or 0.0)
        return Straced(
            at=at,
            rows=tuple(_row(done) for done in self._rows),
            count=self.count,
            left_out=self.count - len(self._rows),
            sums=tuple(sorted(map(_sum, self._sums.items()), key=lambda row: (-row.seconds, -row.count))),
            failures=tuple(sorted(failures, key=lambda row: (row.usual, -row.count))),
            slowest=tuple(_row(done) for _, _, done in sorted(self._slowest, reverse=True)),
            inside=tuple(_row(_begun(line)) for line in inside[:INSIDE]),
            signals=tuple(
                StracedSignal(signal=name, code=code, sender=sender, count=count)
                for (name, code, sender), count in sorted(self._signals.items(), key=lambda item: -item[1])
            ),
            ends=tuple(self._ends),
            threads=len(self._threads),
            seconds=round(seconds, 3),
            unread=self.unread,
            note=self.note,
        )


def _done(line: Line, at: float | None) -> _Done:
    call = parse_restarted(line.call, line.text)
    error = RESTARTED if line.error.startswith(RESTARTED) else line.error
    return _Done(line.tid, at, call, line.text, line.result, error, line.words, line.seconds)


def _begun(line: Line) -> _Done:
    text = line.text.rstrip(", ")
    return _Done(line.tid, line.at, parse_restarted(line.call, line.text), text, "", "", "", None)


def _row(done: _Done) -> StracedCall:
    return StracedCall(
        began_at=clock.from_epoch(done.at) if done.at is not None else None,
        tid=done.tid,
        call=clean(done.call, 64),
        arguments=clean(done.arguments, TEXT),
        result=clean(done.result, 200),
        error=done.error,
        words=clean(done.words, 200),
        seconds=done.seconds,
        where=clean(parse_where(done.call, done.arguments), WHERE),
    )


def _sum(item: tuple[str, _Sum]) -> StracedSum:
    name, total = item
    return StracedSum(
        call=clean(name, 64),
        count=total.count,
        errors=total.errors,
        seconds=round(total.seconds, 6),
        longest=total.longest,
        waits=f" {name} " in WAITS,
    )


def _failure(key: tuple[str, str, str], failure: _Failure) -> StracedFailure:
    call, error, where = key
    return StracedFailure(
        call=clean(call, 64),
        error=error,
        words=clean(failure.words, 200),
        where=clean(where, WHERE),
        count=failure.count,
        last_at=clock.from_epoch(failure.last) if failure.last is not None else None,
        usual=error in USUAL,
    )

"""System calls as they are shown: what a row of the table leads to, and who makes calls, on what, how slow."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from gotriage.records.errnos import USUAL, errno_words
from gotriage.records.goroutines import Goroutines
from gotriage.records.syscalls import Share, Syscalls
from gotriage.render import text, units
from gotriage.render.columns import Column
from gotriage.render.goroutines import short

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterator, Sequence
    from datetime import datetime

    from gotriage.records.syscalls import Blocked, Caller, Descriptor, SlowCall, Syscall
    from gotriage.session.store import Session

LONG = 1.0
"""Seconds in a call that does not wait by nature, from which on a thread counts as stuck in it."""
FEW = 3
"""Calls that a line names."""
ESTIMATED = "p50 and p99 are read from a histogram with four steps to a doubling: at most 13 % off"


class Section(NamedTuple):
    """A table with a heading; `items` names each row, `note` says what is not in it."""

    title: str
    columns: tuple[Column, ...]
    rows: Sequence[object]
    items: Sequence[Hashable] = ()
    note: str = ""


@dataclass(frozen=True, slots=True)
class CallerLine:
    """A thread or a goroutine."""

    who: str
    what: str
    count: int
    failed: int
    seconds: float | None
    longest: float | None
    mostly: str


@dataclass(frozen=True, slots=True)
class DescriptorLine:
    """A descriptor."""

    fd: int
    what: str
    reads: int
    read: int
    writes: int
    written: int
    others: int
    failed: int
    seconds: float | None


@dataclass(frozen=True, slots=True)
class SlowLine:
    """A slow call."""

    at: datetime
    seconds: float
    call: str
    who: str
    result: str
    what: str


@dataclass(frozen=True, slots=True)
class BlockedLine:
    """A thread that is in a call."""

    since: str
    call: str
    who: str
    wchan: str
    what: str


@dataclass(frozen=True, slots=True)
class ErrorLine:
    """How a call fails."""

    count: int
    share: float
    error: str
    words: str


CALLERS = (
    Column("who", "WHO", "text", 20),
    Column("count", "CALLS", "count", 9),
    Column("failed", "FAILED", "count", 7),
    Column("seconds", "TIME", "latency", 6),
    Column("longest", "LONGEST", "latency", 7),
    Column("mostly", "MOSTLY", "text", 0),
    Column("what", "RUNS", "text", 40, wide=True),
)
DESCRIPTORS = (
    Column("fd", "FD", "count", 6),
    Column("reads", "READS", "count", 9),
    Column("read", "BYTES", "bytes", 6),
    Column("writes", "WRITES", "count", 9),
    Column("written", "BYTES", "bytes", 6),
    Column("others", "OTHER", "count", 8),
    Column("failed", "FAILED", "count", 8, wide=True),
    Column("seconds", "TIME", "latency", 6),
    Column("what", "WHAT IT IS NOW", "text", 0),
)
SLOWEST = (
    Column("at", "BEGAN", "time", 8),
    Column("seconds", "TOOK", "latency", 6),
    Column("call", "CALL", "text", 12),
    Column("who", "WHO", "text", 22),
    Column("result", "RESULT", "text", 8),
    Column("what", "ON", "text", 0),
)
BLOCKED = (
    Column("since", "FOR", "text", 8),
    Column("call", "CALL", "text", 12),
    Column("who", "WHO", "text", 26),
    Column("what", "ON", "text", 0),
    Column("wchan", "SLEEPS IN", "text", 20),
)
PATHS = (
    Column("count", "TIMES", "count", 7),
    Column("last_at", "LAST", "time", 8),
    Column("call", "CALL", "text", 11),
    Column("error", "ERROR", "text", 7),
    Column("path", "PATH", "text", 0),
)


class Doing:
    """What goroutines do, as far as the view of goroutines knows: their first function; who is on which thread."""

    def __init__(self, session: Session) -> None:
        record = session.latest(Goroutines)
        self._starts: dict[int, str] = {}
        self._threads: dict[int, int] = {}
        for one in record.goroutines if record is not None else ():
            if record is not None and 0 <= one.start < len(record.sites):
                self._starts[one.id] = short(record.sites[one.start].function)
            if one.thread is not None and one.state == "syscall":
                self._threads[one.thread] = one.id

    def start(self, goid: int) -> str:
        """The function that it began with, "" when that is not known (any more)."""
        return "the scheduler, for nobody" if goid == 0 else self._starts.get(goid, "")

    def on(self, own_tid: int) -> int | None:
        """The goroutine that is in a system call on the thread; None when there is none."""
        return self._threads.get(own_tid)


# -- rows


def error_lines(row: Syscall) -> list[ErrorLine]:
    """How a call fails, the most frequent first."""
    return [ErrorLine(count, count / max(row.count, 1), name, errno_words(name)) for name, count in row.errnos.items()]


def bad_errors(row: Syscall) -> int:
    """Calls that failed otherwise than as part of normal work."""
    return sum(count for name, count in row.errnos.items() if name not in USUAL)


def _caller(one: Caller, who: str, what: str, call: str, *, timed: bool) -> CallerLine:
    share = one.calls.get(call, Share(0)) if call else _both(one)
    mostly = ", ".join(f"{name} {units.count(each.count)}" for name, each in list(one.calls.items())[:FEW])
    return CallerLine(
        who, what, share.count, share.errors, share.seconds if timed else None, share.longest if timed else None, mostly
    )


def _both(one: Caller) -> Share:
    """All calls of a caller; the times are those of calls that do not wait by nature."""
    total, waiting = one.total, one.waiting
    return Share(total.count + waiting.count, total.errors + waiting.errors, total.seconds, total.longest)


def threads(record: Syscalls, doing: Doing, call: str = "") -> Section:
    """Threads that make calls, or this call."""
    found = [one for one in record.threads if not call or call in one.calls]
    if call:
        found.sort(key=lambda one: -one.calls[call].count)
    rows = []
    for one in found:
        goid = doing.on(one.own_id or one.id)
        rows.append(_caller(one, f"{one.id} {one.name}", doing.start(goid) if goid else "", call, timed=True))
    note = _more(record.threads_omitted, "thread")
    return Section("By thread", CALLERS, rows, [("thread", one.id) for one in found], note)


def goroutines(record: Syscalls, doing: Doing, call: str = "") -> Section:
    """Goroutines that make calls, or this call."""
    found = [one for one in record.goroutines if not call or call in one.calls]
    if call:
        found.sort(key=lambda one: -one.calls[call].count)
    rows = [
        _caller(one, f"goroutine {one.id}" if one.id else "the scheduler", doing.start(one.id), call, timed=True)
        for one in found
    ]
    note = _more(record.goroutines_omitted, "goroutine")
    if record.level != "goroutines":
        note = "not measured at this level: v turns it on"
    return Section("By goroutine", CALLERS, rows, [("goroutine", one.id) for one in found], note)


def descriptors(record: Syscalls) -> Section:
    """Descriptors that calls were about."""
    timed = record.level in ("latency", "goroutines")
    rows = [_descriptor(one, timed=timed) for one in record.descriptors]
    note = _more(record.descriptors_omitted, "descriptor")
    return Section("By file and peer", DESCRIPTORS, rows, [("fd", one.fd) for one in record.descriptors], note)


def _descriptor(one: Descriptor, *, timed: bool) -> DescriptorLine:
    reads, writes, others = one.reads, one.writes, one.others
    return DescriptorLine(
        one.fd,
        subject(one.type, one.name, one.peer),
        reads.count,
        reads.bytes,
        writes.count,
        writes.bytes,
        others.count,
        reads.errors + writes.errors + others.errors,
        reads.seconds + writes.seconds + others.seconds if timed else None,
    )


def subject(kind: str, name: str, peer: str) -> str:
    """What a descriptor is, in a few words."""
    where = f"{name} → {peer}" if peer else name
    return f"{kind} {where}" if kind and kind not in ("file", "anon", "dir", "char") else where


def slowest(record: Syscalls, doing: Doing, call: str = "") -> Section:
    """The slowest calls of the last minute."""
    found = [one for one in record.slowest if not call or one.call == call]
    rows = [
        SlowLine(one.began_at, one.seconds, one.call, _slow_who(one, doing), _result(one), _on(one.fd, one))
        for one in found
    ]
    items = [("goroutine", one.goroutine) if one.goroutine else ("slow", at) for at, one in enumerate(found)]
    note = "" if record.level != "counts" else "not measured at this level: v turns it on"
    return Section("Slowest of the last minute", SLOWEST, rows, items, note)


def _slow_who(one: SlowCall, doing: Doing) -> str:
    if one.goroutine:
        start = doing.start(one.goroutine)
        return f"goroutine {one.goroutine}" + (f" {start}" if start else "")
    return f"thread {one.tid} {one.thread}" if one.tid is not None else "a thread that has ended"


def _result(one: SlowCall) -> str:
    return one.error or (units.count(one.result) if one.result is not None else units.UNKNOWN)


def _on(fd: int | None, one: SlowCall | Blocked) -> str:
    return "" if fd is None else f"fd {fd} {subject('', one.name, one.peer)}".rstrip()


def stuck(record: Syscalls) -> list[Blocked]:
    """Threads that have been in a call for long that does not wait by nature."""
    return [
        one
        for one in record.blocked
        if not one.waits and one.since is not None and (record.at - one.since).total_seconds() >= LONG
    ]


def blocked(record: Syscalls, doing: Doing, call: str = "") -> Section:
    """Threads that are in a call now: those that wait by nature last."""
    found = [one for one in record.blocked if not call or one.call == call]
    rows = [
        BlockedLine(_age(record, one), one.call, _blocked_who(one, doing), one.wchan, _on(one.fd, one)) for one in found
    ]
    note = _more(record.blocked_omitted, "thread") if not call else ""
    return Section("In a call now", BLOCKED, rows, [("blocked", one.tid) for one in found], note)


def _age(record: Syscalls, one: Blocked) -> str:
    if one.since is None:
        return units.UNKNOWN
    age = max((record.at - one.since).total_seconds(), 0.0)
    return f"{'≥' if one.at_least else ''}{units.latency(round(age, 6))}"


def _blocked_who(one: Blocked, doing: Doing) -> str:
    goid = one.goroutine if one.goroutine is not None else doing.on(one.own_tid or one.tid)
    if goid:
        start = doing.start(goid)
        return f"goroutine {goid} {start}".rstrip()
    return f"thread {one.tid} {one.thread}"


def paths(record: Syscalls, call: str = "") -> Section:
    """Paths on which calls failed."""
    found = [one for one in record.paths if not call or one.call == call]
    return Section("Paths that failed", PATHS, found, [("path", one.call, one.error, one.path) for one in found])


def _more(omitted: int, one: str) -> str:
    return f"and {units.counted(omitted, f'{one} more', f'{one}s more')}" if omitted else ""


# -- text


def lines(session: Session, width: int | None = None) -> Iterator[str]:
    """What `show syscalls` prints besides its table."""
    record = session.latest(Syscalls)
    if record is None:
        return
    yield head(record)
    for problem in record.problems:
        yield f"  {problem}"
    doing = Doing(session)
    sections = (
        blocked(record, doing), slowest(record, doing), paths(record), descriptors(record), threads(record, doing),
        goroutines(record, doing),
    )  # fmt: skip
    for section in sections:
        if section.rows:
            yield ""
            yield section.title
            yield from (f"  {line}" for line in text.table(section.rows[:20], section.columns, width and width - 2))


def head(record: Syscalls) -> str:
    """One line: how many, how many failed, for how long it has counted."""
    parts = [f"{units.rate(record.rate)} now, {units.count(record.count)} calls in {units.seconds(record.attached)}"]
    if record.errors is not None and record.count:
        parts.append(f"{units.count(record.errors)} failed")
    if record.level is not None:
        parts.append(f"level {record.level}")
    return ", ".join(parts)

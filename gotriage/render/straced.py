"""Single system calls as strace tells them, as they are shown: sums, failures by place, slow ones, and one by one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from gotriage.records.errnos import errno_words
from gotriage.records.straced import Straced
from gotriage.render import text, units
from gotriage.render.columns import Column
from gotriage.render.syscalls import Section

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from datetime import datetime

    from gotriage.records.straced import StracedCall, StracedFailure
    from gotriage.session.store import Session


@dataclass(frozen=True, slots=True)
class SumLine:
    """All calls of one name."""

    share: float | None
    seconds: float
    each: float | None
    longest: float
    count: int
    errors: int | None
    call: str


@dataclass(frozen=True, slots=True)
class FailureLine:
    """Calls that failed alike."""

    count: int
    last_at: datetime | None
    call: str
    error: str
    where: str
    words: str


@dataclass(frozen=True, slots=True)
class CallLine:
    """One call."""

    at: datetime | None
    tid: int
    call: str
    seconds: float | None
    result: str
    about: str


SUMS = (
    Column("share", "OF TIME", "share", 7),
    Column("seconds", "TIME", "latency", 7),
    Column("each", "EACH", "latency", 7),
    Column("longest", "LONGEST", "latency", 7),
    Column("count", "CALLS", "count", 8),
    Column("errors", "FAILED", "count", 7),
    Column("call", "CALL", "text", 0),
)
FAILURES = (
    Column("count", "TIMES", "count", 7),
    Column("last_at", "LAST", "time", 8),
    Column("call", "CALL", "text", 11),
    Column("error", "ERROR", "text", 12),
    Column("where", "ON", "text", 0, weight=2),
    Column("words", "WHICH MEANS", "text", 0),
)
CALLS = (
    Column("at", "BEGAN", "time", 8),
    Column("tid", "THREAD", "count", 7),
    Column("seconds", "TOOK", "latency", 6),
    Column("call", "CALL", "text", 12),
    Column("result", "RESULT", "text", 12),
    Column("about", "ARGUMENTS", "text", 0),
)


def sums(record: Straced) -> Section:
    """As strace -c has them: by the time in them, those that wait by nature last and without a part of the whole."""
    total = sum(row.seconds for row in record.sums if not row.waits)
    rows = [
        SumLine(
            share=row.seconds / total if total and not row.waits else None,
            seconds=row.seconds,
            each=row.seconds / row.count if row.count else None,
            longest=row.longest,
            count=row.count,
            errors=row.errors or None,
            call=f"{row.call}  (waits)" if row.waits else row.call,
        )
        for row in sorted(record.sums, key=lambda row: (row.waits, -row.seconds))
    ]
    return Section("All calls, by the time in them", SUMS, rows, [("call", row.call) for row in record.sums])


def failures(record: Straced) -> Section:
    """How calls failed, and where."""
    rows = [
        FailureLine(row.count, row.last_at, row.call, row.error, row.where or units.UNKNOWN, means(row))
        for row in record.failures
    ]
    items = [("failed", row.call, row.error, row.where) for row in record.failures]
    return Section("Calls that failed", FAILURES, rows, items)


def means(row: StracedFailure) -> str:
    """Why it failed, in words."""
    return errno_words(row.error) or row.words


def slowest(record: Straced) -> Section:
    """The slowest that do not wait by nature."""
    items = [("slow", at) for at in range(len(record.slowest))]
    return Section("Slowest", CALLS, lines_of(record.slowest), items)


def inside(record: Straced) -> Section:
    """Calls that have not returned."""
    items = [("inside", at) for at in range(len(record.inside))]
    return Section("Not returned yet", CALLS, lines_of(record.inside), items)


def calls(record: Straced, most: int) -> Section:
    """The newest one by one, the newest last."""
    rows = record.rows[-most:]
    first = len(record.rows) - len(rows)
    more = record.count - len(rows)
    note = f"and {units.count(more)} before these, which are in the sums" if more else ""
    items = [("row", first + at) for at in range(len(rows))]
    return Section("One by one", CALLS, lines_of(rows), items, note)


def lines_of(rows: Iterable[StracedCall]) -> list[CallLine]:
    """Calls as lines of a table with the columns CALLS."""
    return [_line(row) for row in rows]


def _line(row: StracedCall) -> CallLine:
    result = row.error or row.result or "…"
    return CallLine(row.began_at, row.tid, row.call, row.seconds, result, row.arguments)


def events(record: Straced) -> list[str]:
    """Signals and threads that ended, in words; what could not be read."""
    said = []
    for one in record.signals:
        sender = f" by process {one.sender}" if one.sender is not None else ""
        said.append(f"{one.signal} {units.count(one.count)}x{sender}" + (f" ({one.code})" if one.code else ""))
    said += record.ends
    if record.unread:
        said.append(f"{units.counted(record.unread, 'line')} not understood, as {record.note!r}")
    return said


def head(record: Straced) -> str:
    """One line: how many calls of how many threads in what time."""
    failed = sum(row.errors for row in record.sums)
    parts = [
        f"{units.count(record.count)} calls of {units.counted(record.threads, 'thread')}"
        f" in {units.seconds(round(record.seconds, 1))}"
    ]
    if failed:
        parts.append(f"{units.count(failed)} failed")
    return ", ".join(parts)


def lines(session: Session, width: int | None = None) -> Iterator[str]:
    """What `show syscalls --trace strace` prints besides the calls one by one."""
    record = session.latest(Straced)
    if record is None:
        return
    yield head(record)
    for section in (failures(record), slowest(record), inside(record), sums(record)):
        if section.rows:
            yield ""
            yield section.title
            yield from (f"  {line}" for line in text.table(section.rows[:40], section.columns, width and width - 2))
    said = events(record)
    if said:
        yield ""
        yield "Signals and ends"
        yield from (f"  {line}" for line in said)

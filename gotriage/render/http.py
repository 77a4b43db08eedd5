"""Requests as they are shown: one line that sums up, rows, the distribution of durations, and why little is seen."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from gotriage.records.http import Http, HttpCall, HttpRoute, is_client_error, is_error, slot_start
from gotriage.render import units
from gotriage.render.text import fit

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from gotriage.records.http import HttpUnseen
    from gotriage.session.store import Session

MOST_LISTED: Final = 10
SPANS: Final = {
    "sockets": "from the request's head to the head of its answer",
    "functions": "as long as the function took",
}
"""What a duration is, by `Http.way`."""


class Part(NamedTuple):
    """Words and how bad they are: "", "warning", "critical"; "strong", "dim"."""

    text: str
    role: str = ""


class Bar(NamedTuple):
    """One octave of a histogram: durations from `low` to `high` seconds."""

    low: float
    high: float
    number: int


def headline(record: Http) -> Iterator[Part]:
    """Rates in and out, what fails, how long the slowest took, what is in flight: over the window."""
    for direction, word in (("in", "in"), ("out", "out")):
        rows = [row for row in record.rows if row.direction == direction]
        recent = sum(row.recent for row in rows)
        if rows:
            rate = recent / record.window if record.window > 0 else None
            yield Part(f"{units.rate(rate)} {word}", "strong" if direction == "in" else "")
            yield from _failing(rows, recent)
    if record.in_flight_count:
        oldest = max((call.seconds or 0.0 for call in record.in_flight), default=0.0)
        yield Part(f"{units.count(record.in_flight_count)} in flight, oldest {units.seconds(oldest)}")
    longest = max((row.longest for row in record.rows if row.longest is not None), default=None)
    if longest is not None:
        yield Part(f"slowest {units.seconds(longest)}", "dim")
    if record.window > 0:
        yield Part(f"over {units.seconds(_rounded(record.window))}", "dim")


def _failing(rows: Sequence[HttpRoute], recent: int) -> Iterator[Part]:
    errors = sum(row.recent_errors for row in rows)
    clients = sum(row.recent_client_errors for row in rows)
    if errors:
        yield Part(f"{units.share(errors / recent)} failed", "critical" if errors / recent >= 0.05 else "warning")
    if clients:
        yield Part(f"{units.share(clients / recent)} 4xx", "dim")


def _rounded(seconds: float) -> float:
    return round(seconds) if seconds >= 1 else round(seconds, 1)


def losses(record: Http) -> Iterator[str]:
    """What is known to lack in the counts."""
    if record.lost:
        yield f"{units.counted(record.lost, 'call')} could not be counted"
    if record.unmatched:
        yield f"{units.counted(record.unmatched, 'answer')} to requests that came before the start, or several at once"


def unseen_words(rows: Sequence[HttpUnseen]) -> str:
    """Traffic that cannot be read: "TLS on :8443 (12 connections)"; "" for none."""
    parts = []
    for row in rows:
        where = {"in": "on", "out": "to", None: "at"}[row.direction]
        parts.append(f"{row.why} {where} {row.place} ({units.counted(row.connections, 'connection')})")
    return ", ".join(parts)


def name_of(row: HttpRoute | HttpCall, *, short: bool = False) -> str:
    """Method and route; of one that is asked of others, whom: in short without the address beside a name."""
    name = " ".join(part for part in (row.method, row.route) if part) or row.call
    peer = row.peer.partition(" (")[0] if short else row.peer
    return f"{name} → {peer}" if peer else name


def what(row: HttpRoute | HttpCall) -> str:
    """What kind of call: "HTTP/1 in", "SQL out"."""
    return f"{row.protocol or row.call.upper()} {row.direction}"


def statuses(row: HttpRoute) -> list[tuple[str, int, float, str]]:
    """Status, how many, their part, and a role; the most frequent first."""
    total = max(row.count, 1)
    return [
        (
            status,
            number,
            number / total,
            "critical" if is_error(status) else "warning" if is_client_error(status) else "",
        )
        for status, number in sorted(row.statuses.items(), key=lambda entry: (-entry[1], entry[0]))
    ]


def mix(row: HttpRoute) -> str:
    """The statuses in one cell: "200 99 %  503 1.0 %"."""
    return "  ".join(f"{status} {units.share(part)}" for status, _, part, _ in statuses(row)[:4])


def octaves(slots: Sequence[int]) -> list[Bar]:
    """The histogram, four slots at a time, from the first that has something to the last."""
    bars = [
        Bar(slot_start(place), slot_start(place + 4), sum(slots[place : place + 4]))
        for place in range(0, len(slots), 4)
    ]
    filled = [place for place, bar in enumerate(bars) if bar.number]
    return bars[filled[0] : filled[-1] + 1] if filled else []


def calls_of(calls: Sequence[HttpCall], row: HttpRoute) -> list[HttpCall]:
    """Those that count in a row."""
    return [
        call
        for call in calls
        if (call.direction, call.call, call.method, call.route, call.peer)
        == (row.direction, row.call, row.method, row.route, row.peer)
    ]


def who(call: HttpCall) -> str:
    """Who serves it: "goroutine 812", else "thread 4711"."""
    if call.goroutine is not None:
        return f"goroutine {call.goroutine}"
    return f"thread {call.thread}" if call.thread is not None else units.UNKNOWN


def call_line(call: HttpCall) -> str:
    """One call in a line of text."""
    words = [f"{units.seconds(call.seconds):>7}", f"{call.status or '…':<9}", call.direction, call.method, call.path]
    return "  ".join([*(word for word in words if word), who(call)])


def lines(session: Session, width: int | None = None) -> Iterator[str]:
    """What `show http` prints below its table: the sum, what is not seen, the slowest, what is in flight."""
    record = session.latest(Http)
    if record is None:
        return
    yield "  ".join(part.text for part in headline(record)) or "no request seen"
    if record.note:
        yield f"  {record.note}"
    elif record.unseen:
        yield f"  not read: {unseen_words(record.unseen)}"
    for text in losses(record):
        yield f"  {text}"
    for title, calls in (("slowest just now", record.slowest), ("in flight", record.in_flight)):
        if calls:
            yield ""
            yield title
        for call in calls[:MOST_LISTED]:
            line = f"  {call_line(call)}"
            yield line if width is None else fit(line, width).rstrip()

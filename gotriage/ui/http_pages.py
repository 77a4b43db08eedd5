"""The page about one route: numbers, statuses, the distribution of durations, what is in flight and what was slow."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from gotriage.render import http, units
from gotriage.ui.goroutine_pages import open_item as open_goroutine
from gotriage.ui.plot import bar
from gotriage.ui.spans import PageLine, fit, labelled

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterator, Sequence

    from gotriage.records.http import Http, HttpCall, HttpRoute
    from gotriage.ui.front import Front
    from gotriage.ui.spans import Span

    Build = Callable[[int], Sequence[PageLine]]
    Latest = Callable[[], Http | None]

LABEL: Final = 12
MOST_CALLS: Final = 15
MOST_PEERS: Final = 8
BAR: Final = 40


def opened(front: Front, item: Hashable) -> tuple[str, Build] | None:
    """The page of the goroutine that served a call."""
    match item:
        case ("call", int(goroutine), _, _):
            return open_goroutine(front, ("goroutine", goroutine))
    return None


def route_page(latest: Latest, key: tuple[str, ...], width: int) -> Iterator[PageLine]:
    """Everything about one row, as it is now."""
    record = latest()
    row = next((row for row in record.rows if row.key == key), None) if record is not None else None
    if record is None or row is None:
        yield PageLine()
        yield PageLine((("It has not been called any more.", "strong"),))
        return
    yield PageLine()
    yield PageLine(((f" {http.name_of(row)}", "title"), (f"   {http.what(row)}", "dim")))
    if row.sample and row.sample != row.route:
        yield from _fact("for example", row.sample, width)
    yield PageLine()
    yield from _numbers(record, row, width)
    yield PageLine()
    yield from _histogram(row, width, http.SPANS.get(record.way, ""))
    yield from _calls("in flight", http.calls_of(record.in_flight, row), width)
    yield from _calls("slowest just now", http.calls_of(record.slowest, row), width)
    yield from _peers(record, row)


def _fact(label: str, text: str, width: int, role: str = "") -> Iterator[PageLine]:
    for spans in labelled(label, text, width, role=role, indent=1, column=LABEL + 1):
        yield PageLine(spans, ("fact", label))


def _numbers(record: Http, row: HttpRoute, width: int) -> Iterator[PageLine]:
    recent = [f"{units.rate(row.rate)}", f"{units.count(row.recent)} calls"]
    for number, word in ((row.recent_errors, "failed"), (row.recent_client_errors, "4xx")):
        if number:
            recent.append(f"{units.count(number)} {word} ({units.share(number / max(row.recent, 1))})")
    yield from _fact(f"last {units.seconds(round(record.window))}", "  ".join(recent), width)
    took = [("median", row.p50), ("99 % within", row.p99), ("longest", row.longest)]
    if row.recent:
        yield from _fact("took", "  ".join(f"{word} {units.seconds(value)}" for word, value in took), width)
    if row.in_flight is not None:
        oldest = f", the oldest for {units.seconds(row.oldest)}" if row.oldest is not None else ""
        yield from _fact("in flight", f"{units.count(row.in_flight)}{oldest}", width)
    yield from _fact("in all", f"{units.count(row.count)} calls in {units.seconds(round(record.attached))}", width)
    for number, (status, count, part, role) in enumerate(http.statuses(row)):
        label = "" if number else "by status"
        spans: list[Span] = [(" ", ""), (fit(label, LABEL + 1), "label"), (fit(status, 10), role or "strong")]
        yield PageLine((*spans, (f"{units.count(count):>12}  {units.share(part):>6}", "")), ("status", status))


def _histogram(row: HttpRoute, width: int, meaning: str) -> Iterator[PageLine]:
    bars = http.octaves(row.slots)
    if not bars:
        return
    yield PageLine(((" how long it took", "title"), (f"   {meaning}", "dim")))
    most = max(one.number for one in bars)
    cells = max(min(width - 36, BAR), 10)
    for one in bars:
        heavy, _ = bar(one.number / most, cells)
        span = f"{units.seconds(one.low):>7} – {units.seconds(one.high):<7}"
        line = ((f" {span} ", "dim"), (f"{units.count(one.number):>12}  ", ""), (heavy, "plot"))
        yield PageLine(line, ("bar", one.low))
    yield PageLine()


def _calls(title: str, calls: Sequence[HttpCall], width: int) -> Iterator[PageLine]:
    if not calls:
        return
    yield PageLine(((f" {title}", "title"), (f"   {units.count(len(calls))} listed" if len(calls) > 1 else "", "dim")))
    for number, call in enumerate(calls[:MOST_CALLS]):
        time = units.clock(call.began)
        who = http.who(call)
        space = max(width - 42, 10)
        spans = (
            (f" {units.seconds(call.seconds):>7}  ", "strong"),
            (fit(call.status or "…", 5), "dim"),
            (f" {time}  ", "dim"),
            (fit(call.path, space), ""),
            (f"  {who}", "accent" if call.goroutine is not None else "dim"),
        )
        item = ("call", call.goroutine, title, number) if call.goroutine is not None else (title, number)
        yield PageLine(spans, item)
    yield PageLine()


def _peers(record: Http, row: HttpRoute) -> Iterator[PageLine]:
    """Who asks: known for all routes together, as a connection carries many."""
    peers = [peer for peer in record.peers if peer.direction == row.direction]
    if not peers:
        return
    word = "who asks" if row.direction == "in" else "who is asked"
    yield PageLine(((f" {word}", "title"), ("   over all routes", "dim")))
    for peer in peers[:MOST_PEERS]:
        words = f"{units.counted(peer.connections, 'connection')}, {units.counted(peer.requests, 'request')}"
        yield PageLine(((f" {fit(peer.address, 30)}", ""), (f"  {words}", "dim")), ("peer", peer.address))

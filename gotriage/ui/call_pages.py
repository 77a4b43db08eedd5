"""Pages about traced system calls: one call, what is stuck and slow now, who makes calls, on which descriptors."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gotriage.records.errnos import USUAL
from gotriage.records.syscalls import Syscalls
from gotriage.render import syscalls, text, units
from gotriage.render.text import wrap
from gotriage.ui.goroutine_pages import open_item as open_goroutine
from gotriage.ui.plot import bar
from gotriage.ui.spans import PageLine, cut_spans, fit

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterator, Sequence

    from gotriage.records.syscalls import Syscall
    from gotriage.render.syscalls import Section
    from gotriage.ui.front import Front
    from gotriage.ui.spans import Span

    Build = Callable[[int], Sequence[PageLine]]

BAR = 24
LABEL = 10


def open_item(front: Front, item: Hashable) -> tuple[str, Build] | None:
    """The page that a line leads to: a goroutine, as far as the view of goroutines knows it."""
    match item:
        case ("goroutine", int(number)) if number > 0:
            return open_goroutine(front, item)
    return None


def call_page(front: Front, name: str, width: int) -> Iterator[PageLine]:
    """Everything about one call."""
    record = front.session.latest(Syscalls)
    row = next((row for row in record.rows if row.call == name), None) if record is not None else None
    if record is None or row is None:
        yield PageLine()
        yield PageLine(((f"{name} has not been called since the trace began", "strong"),))
        return
    doing = syscalls.Doing(front.session)
    yield from _head(record, row, width)
    yield from _histogram(row, width)
    yield from _errors(row, width)
    sections = [
        syscalls.paths(record, name), syscalls.blocked(record, doing, name), syscalls.slowest(record, doing, name),
        syscalls.threads(record, doing, name), syscalls.goroutines(record, doing, name),
    ]  # fmt: skip
    if row.bytes is not None:
        sections.append(syscalls.descriptors(record)._replace(title="By file and peer, over all calls"))
    for section in sections:
        if section.rows or (section.note and section.title.startswith("By goroutine")):
            yield from section_lines(section, width)


def _head(record: Syscalls, row: Syscall, width: int) -> Iterator[PageLine]:
    spans: list[Span] = [(row.call, "title"), (f"   {units.rate(row.rate)}", "strong")]
    spans += [("  ", ""), (units.share(row.share), ""), (" of all calls", "dim")]
    if row.bytes is not None:
        spans.append((f"   {units.size(row.byte_rate)}/s", ""))
    yield PageLine(cut_spans(spans, width))
    since = f"{units.count(row.count)} calls in {units.seconds(record.attached)}"
    yield PageLine(((fit("since", LABEL), "label"), (since, ""), (" of counting", "dim")))
    if row.seconds is not None:
        spans = [(fit("took", LABEL), "label"), (f"p50 {units.latency(row.p50)}", "strong")]
        spans += [(f"   p99 {units.latency(row.p99)}", "strong"), (f"   longest {units.latency(row.longest)}", "")]
        spans.append((f"   all together {units.latency(round(row.seconds, 6))}", "dim"))
        yield PageLine(cut_spans(spans, width))
    if row.waits:
        yield PageLine((("it waits by nature: a long time here says nothing bad", "dim"),))
    yield PageLine()


def _histogram(row: Syscall, width: int) -> Iterator[PageLine]:
    if not row.histogram:
        return
    most = max(slot.count for slot in row.histogram)
    cells = max(min(width - 40, 60), 8)
    yield PageLine((("How long it takes", "title"),))
    for slot in row.histogram:
        heavy, thin = bar(slot.count / most if most else 0.0, cells)
        yield PageLine(
            (
                (f"  under {units.latency(slot.below):>6} ", "label"),
                (heavy, "plot"),
                (thin, "faint"),
                (f" {slot.count:>11,} ", ""),
                (f"{units.share(slot.count / max(row.count, 1)):>6}", "dim"),
            ),
            ("slot", slot.below),
        )
    for line in wrap(f"{syscalls.ESTIMATED}; of the last seconds, the bars of all", width - 4):
        yield PageLine(((f"  {line}", "faint"),))
    yield PageLine()


def _errors(row: Syscall, width: int) -> Iterator[PageLine]:
    """How it fails, each error in words."""
    if not row.errnos:
        return
    yield PageLine((("Why it fails", "title"),))
    for line in syscalls.error_lines(row):
        head = f"{units.count(line.count):>11} {units.share(line.share):>6}  {line.error:<12}"
        role = "dim" if line.error in USUAL else "warning"
        for at, words in enumerate(wrap(line.words, max(width - len(head) - 4, 20))):
            left = head if not at else " " * len(head)
            yield PageLine(((f"  {left} ", role), (words, "")), ("error", line.error))
    yield PageLine()


def now_page(front: Front, width: int) -> Iterator[PageLine]:
    """What is in a call now, the slowest calls, and paths that failed."""
    record = front.session.latest(Syscalls)
    if record is None:
        yield PageLine((("nothing is known yet", "dim"),))
        return
    doing = syscalls.Doing(front.session)
    for section in (syscalls.blocked(record, doing), syscalls.slowest(record, doing), syscalls.paths(record)):
        yield from section_lines(section, width)


def who_page(front: Front, width: int) -> Iterator[PageLine]:
    """Threads and goroutines."""
    record = front.session.latest(Syscalls)
    if record is None:
        yield PageLine((("nothing is known yet", "dim"),))
        return
    doing = syscalls.Doing(front.session)
    for section in (syscalls.goroutines(record, doing), syscalls.threads(record, doing)):
        yield from section_lines(section, width)
    yield PageLine((("TIME is in calls that do not wait by nature; LONGEST of those", "faint"),))


def descriptor_page(front: Front, width: int) -> Iterator[PageLine]:
    """Descriptors."""
    record = front.session.latest(Syscalls)
    if record is None:
        yield PageLine((("nothing is known yet", "dim"),))
        return
    yield from section_lines(syscalls.descriptors(record), width)
    text = "A number that was closed and given anew since the trace began counts as what it is now."
    for line in wrap(text, width - 2):
        yield PageLine(((line, "faint"),))


def section_lines(section: Section, width: int) -> Iterator[PageLine]:
    """A table of a page, a line a row."""
    yield PageLine(((section.title, "title"),))
    if not section.rows:
        yield PageLine(((f"  {section.note or 'none'}", "dim"),))
        yield PageLine()
        return
    heading, *lines = text.table(section.rows, section.columns, width - 2)
    yield PageLine(((f"  {heading}", "label"),))
    for at, line in enumerate(lines):
        item = section.items[at] if at < len(section.items) else (section.title, at)
        yield PageLine(((f"  {line}", ""),), item)
    if section.note:
        yield PageLine(((f"  {section.note}", "dim"),))
    yield PageLine()

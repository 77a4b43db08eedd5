"""Pages about one probe: its histogram, its table, its events as they come; and one event with the stack behind it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from gotriage.probes.library import BY_ID
from gotriage.records.probes import Probes
from gotriage.render import probes, text, units
from gotriage.render.text import wrap
from gotriage.ui.plot import bar
from gotriage.ui.spans import PageLine, cut_spans, labelled

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterator, Sequence

    from gotriage.probes.library import Probe
    from gotriage.records.probes import ProbeEvent, ProbeHistogram, ProbeState
    from gotriage.ui.front import Front
    from gotriage.ui.spans import Span

    Build = Callable[[int], Sequence[PageLine]]

SHOWN: Final = 500
"""Events on a page, the newest first."""


def probe_page(front: Front, name: str, width: int) -> Iterator[PageLine]:
    """Everything that a probe has seen."""
    probe = BY_ID[name]
    record = front.session.latest(Probes)
    yield from _head(probe, record.of(name) if record is not None else None, width)
    for one in probes.histograms(front.session, name):
        yield from _histogram(one, width)
    rows = probes.counts(front.session, name)
    if rows:
        heading, *lines = text.table(rows, probes.count_columns(probe), width - 2)
        yield PageLine(((f"  {heading}", "label"),))
        yield from (PageLine(((f"  {line}", ""),), ("count", at)) for at, line in enumerate(lines))
        yield PageLine()
    happened = probes.events(front.session, name)
    if happened:
        yield from _events(probe, happened[-SHOWN:], width)
    if not rows and not happened:
        yield PageLine((("nothing has been seen yet", "dim"),))


def _head(probe: Probe, state: ProbeState | None, width: int) -> Iterator[PageLine]:
    spans: list[Span] = [(probe.title, "title")]
    if state is not None:
        role = {"on": "good", "failed": "warning", "unavailable": "warning"}.get(state.state, "dim")
        spans += [(f"   {state.state}", role), (f"   {state.backend}", "dim")]
        if state.lost:
            spans.append((f"   {units.count(state.lost)} lost", "warning"))
        if state.omitted:
            spans.append((f"   {units.count(state.omitted)} came too fast to be shown", "warning"))
    yield PageLine(cut_spans(spans, width))
    for line in wrap(probe.about, width):
        yield PageLine(((line, "dim"),))
    said = [f"not seen: {probe.limits}" if probe.limits and probe.group != "own" else probe.limits]
    if state is not None:
        said += [state.reason, *(f"not by {passed}" for passed in state.passed_over)]
    for words in filter(None, said):
        for line in wrap(words, width):
            yield PageLine(((line, "faint"),))
    yield PageLine()


def _histogram(one: ProbeHistogram, width: int) -> Iterator[PageLine]:
    most = max((bucket.count for bucket in one.buckets), default=0)
    cells = max(min(width - 34, 60), 8)
    if one.name:
        yield PageLine(((one.name, "strong"),))
    for bucket in one.buckets:
        heavy, thin = bar(bucket.count / most if most else 0.0, cells)
        label = probes.bucket_label(bucket, one.unit)
        spans = ((f"  {label:>14} ", "label"), (heavy, "plot"), (thin, "faint"), (f" {bucket.count:>11,}", ""))
        yield PageLine(spans, ("bucket", one.name, bucket.low))
    yield PageLine()


def _events(probe: Probe, happened: Sequence[ProbeEvent], width: int) -> Iterator[PageLine]:
    newest = list(reversed(happened))
    heading, *lines = text.table(newest, probes.event_columns(probe), width - 2)
    yield PageLine(((f"  {heading}", "label"),))
    for event, line in zip(newest, lines, strict=True):
        yield PageLine(((f"  {line}", "warning" if event.failed else ""),), item_of(event))


def item_of(event: ProbeEvent) -> Hashable:
    """What names an event on a page."""
    return "event", event.probe, event.number, event.at


def open_item(front: Front, item: Hashable) -> tuple[str, Build] | None:
    """The page that a line leads to: an event has one."""
    if not isinstance(item, tuple) or len(item) != 4 or item[0] != "event":
        return None
    name = str(item[1])

    def build(width: int) -> Sequence[PageLine]:
        event = next((row for row in probes.events(front.session, name) if item_of(row) == item), None)
        return list(event_page(event, width)) if event is not None else [PageLine((("it is no longer kept", "dim"),))]

    return "event", build


def event_page(event: ProbeEvent, width: int) -> Iterator[PageLine]:
    """All that is known of an event."""
    titles = {column.field: column.title.capitalize() for column in BY_ID[event.probe].columns}
    yield PageLine(((BY_ID[event.probe].title, "title"),))
    yield PageLine()
    facts = (
        ("what", event.what), ("detail", event.detail), ("result", event.result),
        ("took", units.latency(event.took) if event.took is not None else ""), ("by", event.by),
        ("at", units.timestamp(event.at)), ("pid", _number(event.pid)), ("tid", _number(event.tid)),
        ("process", event.process), ("goroutine", _number(event.goroutine)),
    )  # fmt: skip
    names = {"at": "Time", "tid": "Thread", "process": "Process", "detail": "Detail", "goroutine": "Goroutine"}
    for field, value in facts:
        if value:
            label = names.get(field) or titles.get(field) or field.capitalize()
            role = "warning" if field == "result" and event.failed else ""
            yield from (PageLine(spans) for spans in labelled(label, value, width, indent=0, column=17, role=role))
    if event.stack:
        yield PageLine()
        yield PageLine((("Stack of who asked for it", "title"),))
        for name in event.stack:
            yield PageLine(((f"  {name}", "strong" if name == event.by else ""),))


def _number(value: int | None) -> str:
    return str(value) if value is not None else ""

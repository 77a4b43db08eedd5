"""What the screens say about traces: one line on the one in sight, a word in the rule, a question before a start."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gotriage.catalog import source
from gotriage.records.process import ProcessSample
from gotriage.records.tracing import Trace, Traces
from gotriage.render import units
from gotriage.render.text import wrap
from gotriage.ui.spans import PageLine, spread

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gotriage.catalog import Source
    from gotriage.ui.front import Front
    from gotriage.ui.spans import Span, Spans

ROLES = {"free": "good", "light": "good", "heavy": "warning", "stops": "critical"}
MUCH = 0.25
"""A part of the target's CPU that a trace must not cost unseen."""


def trace_of(front: Front, name: str) -> Trace | None:
    """The trace of a source, at the cursor."""
    record = front.session.latest(Traces)
    return record.of(name) if record is not None else None


def active(front: Front) -> list[Trace]:
    """Traces that somebody asked for and that are attached, or will be again."""
    record = front.session.latest(Traces)
    return [row for row in record.rows if row.active and row.asked] if record is not None else []


def left(front: Front, row: Trace) -> str:
    """How long it still runs: "12s", "" when that is not known."""
    moment = front.session.moment
    if row.ends_at is None or moment is None:
        return ""
    return units.seconds(max((row.ends_at - moment).total_seconds() // 1, 0.0))


def rule_spans(front: Front) -> list[Span]:
    """For the rule of every screen: what runs now that costs the target something."""
    spans: list[Span] = []
    for row in active(front):
        text = " ".join(part for part in ("▶", row.source, left(front, row)) if part)
        spans.append((f" {text} ", ROLES.get(row.price_class, "warning")))
    return spans


def status_line(front: Front, name: str, width: int) -> Spans:
    """Backend, meter, loss and countdown of the trace; how to start it when it does not run."""
    catalogued = source(name)
    price = catalogued.price if catalogued is not None else "light"
    right: list[Span] = [(f" {price} ", ROLES[price])]
    row = trace_of(front, name)
    return spread([(" ", ""), *_status(front, row, price)], right, width)


def _status(front: Front, row: Trace | None, price: str) -> list[Span]:
    if row is None or row.state in ("off", "priced"):
        return [("not running", "dim"), ("   s", "key"), (" starts it", "dim")] if front.link is not None else []
    if row.state in ("refused", "failed"):
        return [(f"{row.state}: {row.reason}", "warning"), *([(f"  → {row.remedy}", "accent")] if row.remedy else [])]
    if row.state == "starting":
        return [("starting …", "dim")]
    spans: list[Span] = [(row.backend, "strong")]
    if row.state == "ended":
        return [*spans, (f"  ended {units.clock(row.ended_at)}: {row.reason}", "dim"), *_lost(row)]
    spans.append((f"  {_attached(row)}", "" if row.on_share >= 1.0 else "info"))
    if row.asked and (seconds := left(front, row)):
        spans.append((f"  {seconds} left", "dim"))
    spans += _meter(row)
    return [*spans, *_lost(row)] if price != "free" else spans


def _attached(row: Trace) -> str:
    if row.on_share >= 1.0:
        return "running"
    on = row.on_share * row.round_seconds
    return f"sampled {units.seconds(round(on, 1 if on >= 1 else 2))} of {units.seconds(round(row.round_seconds))}"


def _meter(row: Trace) -> list[Span]:
    spans: list[Span] = []
    if row.hits_per_second is not None:
        spans.append((f"  {units.count(round(row.hits_per_second))} hits/s", "dim"))
    cost = cost_of(row)
    if cost is not None:
        role = "warning" if row.target_cpu and cost > MUCH * row.target_cpu else "dim"
        spans.append((f"  ~{units.share(cost)} of a core", role))
    return spans


def cost_of(row: Trace) -> float | None:
    """Cores that it costs the target by its meter and the price of a hit; None when either is not known."""
    if row.hits_per_second is None or row.price is None or row.price.seconds_per_hit is None:
        return None
    return row.hits_per_second * row.price.seconds_per_hit * row.on_share


def _lost(row: Trace) -> list[Span]:
    return [(f"  {units.count(row.lost)} lost", "warning")] if row.lost else []


# -- the question


def question(front: Front, name: str, seconds: float, width: int) -> Iterator[PageLine]:
    """What it would cost, as far as that can be told, and what else there is to know; the price comes as it is told."""
    row = trace_of(front, name)
    catalogued = source(name)
    who = front.target.name if front.target is not None else "the target"
    yield PageLine()
    yield PageLine(((f"Start {name} on {who} for {units.seconds(seconds)}?", "strong"),))
    yield PageLine()
    told = row is not None and row.state != "starting" and (row.price is not None or row.state == "refused")
    if row is None or not told:
        yield PageLine((("  working out what it would cost …", "dim"),))
    elif row.state == "refused":
        yield from _paragraph(f"It cannot be started: {row.reason}", width, "warning")
        if row.remedy:
            yield from _paragraph(f"→ {row.remedy}", width, "accent")
    else:
        yield from _price_lines(front, row, catalogued, width)
    yield PageLine()
    start = f" start, {units.seconds(seconds)}, it ends by itself    "
    yield PageLine((("  [y]", "key"), (start, ""), ("[n]", "key"), (" no", "")))


def _price_lines(front: Front, row: Trace, catalogued: Source | None, width: int) -> Iterator[PageLine]:
    assert row.price is not None
    hits, cores = row.price.hits_per_second, row.price.cores
    sample = front.session.latest(ProcessSample)
    cpu = sample.cpu if sample is not None else row.target_cpu_before
    stops = catalogued is not None and catalogued.price == "stops"
    counts = catalogued is None or not (stops or catalogued.sends)
    if stops:
        text = "It stops every thread of the target at every system call or breakpoint that it looks at"
        yield from _paragraph(f"{text}{f': here {hits:,.0f} a second' if hits is not None else ''}.", width)
    if cores is not None and hits is not None and row.price.seconds_per_hit is not None:
        of = f", {cores / cpu:.0%} of what the target uses now" if cpu else ""
        each = units.seconds(row.price.seconds_per_hit)
        yield from _paragraph(f"About {hits:,.0f} hits a second at {each} each: {cores:.2g} cores{of}.", width)
    elif counts:
        yield from _paragraph("How often it would be hit is not known beforehand; a meter runs while it does.", width)
    if row.budget is not None:
        text = f"It is held to {row.budget:.0%} of the target's CPU: where it costs more, it looks a part of the time."
        yield from _paragraph(text, width)
    for word in row.price.words:
        yield from _paragraph(word, width)
    yield PageLine()
    yield PageLine((("  by ", "dim"), (row.backend, "strong")))
    for passed in row.passed_over:
        yield from _paragraph(f"not by {passed}", width, "dim")


def _paragraph(text: str, width: int, role: str = "") -> Iterator[PageLine]:
    for part in wrap(text, width - 4):
        yield PageLine((("  ", ""), (part, role)))

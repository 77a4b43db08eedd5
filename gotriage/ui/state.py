"""What a view shows when it has nothing to show: why, what is lost by it, and what to type."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gotriage import catalog
from gotriage.records.environment import Environment
from gotriage.records.logs import LogLines, LogSource
from gotriage.records.stream import Heartbeat
from gotriage.render import units
from gotriage.session.logs import log_state
from gotriage.ui.spans import PageLine, labelled

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from gotriage.catalog import View
    from gotriage.records.base import Why
    from gotriage.records.stream import CollectorState, Gap
    from gotriage.ui.front import Front
    from gotriage.ui.spans import Span, Spans

FORBIDDEN = "⊘"
"""Stands where a value is not permitted; a dash where it was not measured."""


def gaps_of(front: Front, sources: Sequence[str]) -> list[Gap]:
    """The open gaps of these sources and of parts of them ("files.sockets" is a part of "files")."""
    return [gap for gap in front.session.gaps() if gap.source.partition(".")[0] in sources]


def missing(why: Why | None) -> Span:
    """What stands in the place of a value that is not there."""
    return (FORBIDDEN, "warning") if why is not None and why.permission else (units.UNKNOWN, "dim")


def nothing_page(front: Front, view: View, width: int) -> list[PageLine]:
    """The whole page of a view without a record."""
    gaps = list({gap.reason: gap for gap in reversed(gaps_of(front, view.sources))}.values())[::-1]
    lines = [PageLine()]
    for gap in gaps:
        lines += gap_lines(view.title, gap, width)
        lines.append(PageLine())
    if gaps:
        if view.table is LogLines:
            lines += _places(front, view, width)
    else:
        lines += _waiting(front, view, width)
    return lines


def gap_lines(title: str, gap: Gap, width: int) -> Iterator[PageLine]:
    """A gap as a panel: what is not there and why, what is lost, what allows it."""
    word = "not permitted" if gap.permission else "not measured"
    head: Spans = (
        (f"{FORBIDDEN if gap.permission else units.UNKNOWN} ", "warning"),
        (title, "strong"),
        (f"   {word}", "warning"),
    )
    item = ("gap", gap.source, gap.reason)
    yield PageLine(head, item)
    for label, text, role in (("reason", gap.reason, ""), ("lost", gap.lost, ""), ("to allow", gap.remedy, "accent")):
        if text:
            for spans in labelled(label, text, width, role=role, indent=4, column=11):
                yield PageLine(spans, item)


def _waiting(front: Front, view: View, width: int) -> Iterator[PageLine]:
    """No record and no gap: nothing runs, or the first look is still to come."""
    target = front.target
    if target is not None and target.state not in ("running", "core"):
        yield PageLine(
            (("– ", "dim"), (view.title, "strong"), (f"   nothing runs: {target.name} is {target.state}", ""))
        )
        if target.reason:
            for spans in labelled("reason", target.reason, width, indent=4, column=11):
                yield PageLine(spans)
        return
    states = _states(front, view)
    if view.table is LogLines and all(state is not None and _has_looked(state) for state in states.values()):
        yield PageLine((("– ", "dim"), (view.title, "strong"), (f"   {_no_lines(front)}", "")))
        yield PageLine()
        yield from _places(front, view, width)
        return
    if all((row := catalog.source(name)) is not None and row.asked and not row.duty for name in view.sources):
        yield PageLine((("– ", "dim"), (view.title, "strong"), ("   not traced so far", "dim")))
        yield PageLine()
        for name in view.sources:
            row = catalog.source(name)
            assert row is not None
            for spans in labelled(name, f"{row.price}: {row.about}", width, role="dim", indent=4, column=_COLUMN):
                yield PageLine(spans)
        return
    yield PageLine((("– ", "dim"), (view.title, "strong"), ("   looking …", "dim")))
    yield PageLine()
    for name, state in states.items():
        if state is None:
            yield PageLine((("    ", ""), (f"{name:<14}", "label"), ("not started", "dim")))
        elif state.last is None:
            yield PageLine((("    ", ""), (f"{name:<14}", "label"), (f"{state.state}, no look yet", "dim")))
        else:
            text = f"looked at {units.clock(state.last)}, nothing to report"
            yield PageLine((("    ", ""), (f"{name:<14}", "label"), (text, "dim")))


def _states(front: Front, view: View) -> dict[str, CollectorState | None]:
    """What each source of a view is doing, as the last heartbeat says; None when it was not started."""
    beat = front.session.latest(Heartbeat)
    return {name: beat.collectors.get(name) if beat is not None else None for name in view.sources}


def _has_looked(state: CollectorState) -> bool:
    return state.last is not None or state.state in ("off", "failed")


# -- a log without a line


def _no_lines(front: Front) -> str:
    """Why there is no line: nothing of what was found can be read, or nothing has been written."""
    state = log_state(front.session)
    found = state.sources if state is not None else ()
    if found and all(source.state in ("unreadable", "none") for source in found):
        return "nothing that the target writes can be read here"
    return "nothing logged so far"


def _places(front: Front, view: View, width: int) -> Iterator[PageLine]:
    """Where the output goes, and how each place fares that was found."""
    given = front.session.latest(Environment)
    state = log_state(front.session)
    found = state.sources if state is not None else ()
    told = {source.name for source in found}
    rows = [
        (LogSource(name=name, where=stream.goes_to), "")
        for stream in (given.streams if given is not None else ())
        if (name := _STREAMS.get(stream.fd, "")) and name not in told
    ]
    rows += [(source, "warning" if source.state != "ok" else "") for source in found]
    for source, role in rows:
        text = ": ".join(part for part in (source.where, source.detail) if part) or source.state
        for spans in labelled(source.name, text, width, role=role, indent=4, column=_COLUMN):
            yield PageLine(spans)
        if source.remedy:
            for spans in labelled("", f"→ {source.remedy}", width, role="accent", indent=4, column=_COLUMN):
                yield PageLine(spans)
    for name, looked in _states(front, view).items():
        if looked is not None and looked.last is not None and not any(name == row[0].name for row in rows):
            text = f"looked at {units.clock(looked.last)}"
            for spans in labelled(name, text, width, role="dim", indent=4, column=_COLUMN):
                yield PageLine(spans)


_STREAMS = {1: "stdout", 2: "stderr"}
_COLUMN = 15


def note(front: Front, sources: Sequence[str], width: int) -> Spans:
    """One line about what a view that shows something still cannot see; empty when it sees everything."""
    from gotriage.ui.spans import cut_spans

    gaps = gaps_of(front, sources)
    if not gaps:
        return ()
    gap = gaps[0]
    more = f"  (+{len(gaps) - 1} more: ?)" if len(gaps) > 1 else ""
    sign = FORBIDDEN if gap.permission else units.UNKNOWN
    spans: list[Span] = [(f" {sign} ", "warning"), (gap.reason, "dim")]
    if gap.remedy:
        spans += [("  → ", "dim"), (gap.remedy, "accent")]
    return cut_spans([*spans, (more, "dim")], width)

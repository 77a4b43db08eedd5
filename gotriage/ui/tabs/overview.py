"""Unit, cgroup, process and build in one place; below them the numbers that matter, against limits and over time."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gotriage.records.files import FileCounts
from gotriage.records.logs import OomKill
from gotriage.records.process import HostSample
from gotriage.records.stream import Gap
from gotriage.records.target import Event, TargetState
from gotriage.render import units
from gotriage.render.text import wrap
from gotriage.ui.chain import chain
from gotriage.ui.gauges import LABEL, gauges
from gotriage.ui.page_tab import PageTab
from gotriage.ui.spans import PageLine, cut, cut_spans, fit, width_of
from gotriage.ui.state import FORBIDDEN, gaps_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from gotriage.records import Record
    from gotriage.records.base import Why
    from gotriage.ui.front import Front
    from gotriage.ui.spans import Span

TALL = 40
"""Lines of a page from which the plots that are worth it get three lines each."""


class OverviewTab(PageTab):
    """One page; Enter on a row shows the record behind it."""

    @property
    def kinds(self) -> Sequence[type[Record]]:
        """Its own, and what the limits come from."""
        return (*self.view.records, FileCounts, Event, Gap)

    def lines(self, width: int) -> Sequence[PageLine]:
        """The whole page."""
        return page(self.front, width, self.page.size.height)


def page(front: Front, width: int, height: int) -> list[PageLine]:
    """The whole page for so many cells and lines."""
    lines = list(chain(front, width))
    lines.append(PageLine())
    whys: dict[str, Why] = {}
    tall = height >= TALL
    lines += gauges(front, width, whys, tall=tall)
    lines += _host(front, width)
    lines += _notes(front, whys, width)
    lines += _events(front, width, 12 if tall else 3)
    return lines


# -- the machine, what is not there, and what happened


def _host(front: Front, width: int) -> Iterator[PageLine]:
    host = front.session.latest(HostSample)
    if host is None:
        return
    parts = [f"CPU {units.cores(host.cpu)} of {units.count(host.cpus)}"]
    if host.load1 is not None:
        parts.append(f"load {host.load1:.2f}")
    if host.memory_available_bytes is not None:
        parts.append(f"{units.size(host.memory_available_bytes)} of {units.size(host.memory_total_bytes)} available")
    if host.steal:
        parts.append(f"stolen {units.cores(host.steal)}")
    yield PageLine(((fit("machine", LABEL), "label"), (cut("   ".join(parts), width - LABEL), "dim")), HostSample)


def _notes(front: Front, whys: dict[str, Why], width: int) -> Iterator[PageLine]:
    """Why numbers are missing, one line a reason."""
    reasons: dict[tuple[str, str, bool], list[str]] = {}
    for label, why in whys.items():
        reasons.setdefault((why.reason, why.remedy, why.permission), []).append(label)
    for gap in gaps_of(front, ("process", "cgroup", "machine", "unit", "container", "kernel_log", "file_counts")):
        reasons.setdefault((gap.reason, gap.remedy, gap.permission), []).append(gap.source)
    for (reason, remedy, permission), labels in reasons.items():
        sign = FORBIDDEN if permission else units.UNKNOWN
        yield from _note((f"{sign} ", "warning"), ", ".join(labels), reason, remedy, width)


def _note(sign: Span, labels: str, reason: str, remedy: str, width: int) -> Iterator[PageLine]:
    """What is not there, why, and what allows it: on one line where it fits, else a line or more each."""
    spans: list[Span] = [sign, (labels, ""), (f"  {reason}", "dim")]
    if remedy:
        spans += [("  → ", "dim"), (remedy, "accent")]
    if width_of(spans) <= width:
        yield PageLine(tuple(spans))
        return
    yield PageLine(cut_spans((sign, (labels, "")), width))
    for text in wrap(reason, width - 4):
        yield PageLine((("    ", ""), (text, "dim")))
    for number, text in enumerate(wrap(remedy, width - 6) if remedy else ()):
        yield PageLine((("      " if number else "    → ", "dim"), (text, "accent")))


def _events(front: Front, width: int, most: int) -> Iterator[PageLine]:
    """The last things that happened."""
    events: list[tuple[Event | OomKill, str, str]] = [
        (event, event.what, event.detail) for event in front.session.series(Event)
    ]
    events += [(kill, "oom-kill", kill.message or kill.comm) for kill in front.session.series(OomKill)]
    events.sort(key=lambda entry: entry[0].at)
    for event, what, detail in events[-most:]:
        role = "critical" if what in ("oom-kill", "exited") else "warning"
        spans: list[Span] = [(fit(units.clock(event.at), LABEL), "dim"), (what, role), (f"  {detail}", "")]
        yield PageLine(cut_spans(spans, width), (TargetState, event.at.timestamp(), what))

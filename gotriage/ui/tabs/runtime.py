"""The Go runtime's own numbers: settings against limits, heap, collector and scheduler, what fills the heap."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gotriage.records.environment import Environment
from gotriage.records.goroutines import GoroutineCounts
from gotriage.records.process import CgroupSample, ProcessSample
from gotriage.records.runtime import GoBuild, GoRuntime
from gotriage.records.stream import Gap
from gotriage.ui.not_go import not_go_page
from gotriage.ui.page_tab import PageTab
from gotriage.ui.runtime_page import page
from gotriage.ui.spans import PageLine
from gotriage.ui.state import note, nothing_page

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gotriage.records import Record


class RuntimeTab(PageTab):
    """One page; Enter on a line shows the record behind it."""

    @property
    def kinds(self) -> Sequence[type[Record]]:
        """Its own, and what they are held against."""
        return (*self.view.records, GoroutineCounts, CgroupSample, ProcessSample, Environment, Gap)

    def lines(self, width: int) -> Sequence[PageLine]:
        """The whole page; why there is none."""
        session = self.front.session
        if session.latest(GoRuntime) is None:
            build = page(self.front, width, self.page.size.height) if session.latest(GoBuild) is not None else []
            why = list(not_go_page(self.front, self.view, width)) or nothing_page(self.front, self.view, width)
            return [*build, *why]
        lacks = note(self.front, self.view.sources, width)
        lines = page(self.front, width, self.page.size.height)
        return [*lines, PageLine(), PageLine(lacks)] if lacks else lines

"""The Go runtime's own numbers: settings against limits, heap, collector and scheduler, what fills the heap."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from gotriage.records.environment import Environment
from gotriage.records.goroutines import GoroutineCounts
from gotriage.records.process import CgroupSample, ProcessSample
from gotriage.records.runtime import GoBuild, GoRuntime
from gotriage.records.stream import Gap
from gotriage.ui.detail import row_page
from gotriage.ui.not_go import not_go_page
from gotriage.ui.runtime_page import page
from gotriage.ui.spans import PageLine
from gotriage.ui.state import note, nothing_page
from gotriage.ui.tab import Tab
from gotriage.ui.widgets.page import Page

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from textual.app import ComposeResult

    from gotriage.catalog import View
    from gotriage.records import Record
    from gotriage.ui.front import Front
    from gotriage.ui.tab import Hint


class RuntimeTab(Tab):
    """One page; Enter on a line shows the record behind it."""

    hints: ClassVar[Sequence[Hint]] = (("⏎", "the record"),)

    def __init__(self, front: Front, view: View) -> None:
        super().__init__(front, view)
        self._page = Page(self._build, id="runtime")

    @property
    def kinds(self) -> Sequence[type[Record]]:
        """Its own, and what they are held against."""
        return (*self.view.records, GoroutineCounts, CgroupSample, ProcessSample, Environment, Gap)

    def compose(self) -> ComposeResult:
        """One page."""
        yield self._page

    def pull(self) -> None:
        """Compose at the cursor."""
        self._page.compose_again()

    def _build(self, width: int) -> Sequence[PageLine]:
        session = self.front.session
        if session.latest(GoRuntime) is None:
            build = page(self.front, width, self._page.size.height) if session.latest(GoBuild) is not None else []
            why = list(not_go_page(self.front, self.view, width)) or nothing_page(self.front, self.view, width)
            return [*build, *why]
        lacks = note(self.front, self.view.sources, width)
        lines = page(self.front, width, self._page.size.height)
        return [*lines, PageLine(), PageLine(lacks)] if lacks else lines

    def find(self, text: str, step: int = 1) -> bool:
        """The next or previous line with the text."""
        return self._page.find(text, step)

    def copied(self) -> str:
        """The selected lines."""
        return self._page.item_text

    def detail(self) -> tuple[str, Callable[[int], Sequence[PageLine]]] | None:
        """The record behind the selected line, as it is at the cursor."""
        kind = self._page.item
        if isinstance(kind, tuple):
            kind = kind[0]
        if not isinstance(kind, type) or self.front.session.latest(kind) is None:
            return None

        return kind.__name__, lambda width: record_page(self.front, kind, width)


def record_page(front: Front, kind: type[Record], width: int) -> list[PageLine]:
    """Every field of the newest record of the type."""
    record = front.session.latest(kind)
    return row_page(record, (), width) if record is not None else []

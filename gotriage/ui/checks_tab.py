"""The base of tabs that are a page and whose `s` starts an active check: something is sent, after a question."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from textual.binding import Binding

from gotriage.records.tracing import Traces
from gotriage.ui.page_tab import PageTab
from gotriage.ui.spans import PageLine
from gotriage.ui.state import note, nothing_page
from gotriage.ui.trace_tab import Traced

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from textual.app import ComposeResult
    from textual.binding import BindingType

    from gotriage.records import Record
    from gotriage.render.sections import Line
    from gotriage.ui.tab import Hint


class ChecksTab(Traced, PageTab):
    """A line on the check, and the page; `a` asks what to check."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("a", "about", show=False)]
    asks: ClassVar[str] = "check"
    """What `a` asks for."""
    hint: ClassVar[str] = ""
    hints: ClassVar[Sequence[Hint]] = (
        ("s", "start the check, after a question"),
        ("a", "say what to check"),
        ("y", "copy"),
    )
    by_itself: ClassVar[bool] = False

    def sections(self, width: int) -> Iterable[Line]:
        """For a tab to fill in: the page; nothing when there is no record yet."""
        raise NotImplementedError

    def chosen(self, text: str) -> dict[str, str]:
        """For a tab to fill in: the options for what was typed."""
        raise NotImplementedError

    @property
    def kinds(self) -> Sequence[type[Record]] | None:
        """Its records, and how the check fares."""
        return (*self.view.records, Traces)

    def compose(self) -> ComposeResult:
        """The check's line above the page."""
        yield self.trace_status
        yield from PageTab.compose(self)

    def pull(self) -> None:
        """The page, then the check."""
        PageTab.pull(self)
        Traced.pull(self)

    def lines(self, width: int) -> Sequence[PageLine]:
        """Why there is none, or what lacks, then the sections."""
        page = list(self._page(width))
        if not page:
            return nothing_page(self.front, self.view, width)
        lacks = note(self.front, self.view.sources, width)
        return [PageLine(lacks), PageLine(), *page] if lacks else page

    def _page(self, width: int) -> Iterator[PageLine]:
        for number, line in enumerate(self.sections(width)):
            yield PageLine(line, number if line else None)

    def detail(self) -> None:
        """Enter leads nowhere: nothing is cut here."""
        return

    def keys(self) -> Sequence[Hint]:
        """Start, start with words, copy."""
        return (*self.trace_hints(), *((("a", self.asks),) if self._live else ()), ("y", "copy"))

    def action_about(self) -> None:
        """Ask what to check, then check it."""
        if not self._live:
            self.action_trace()
            return
        self.screen.ask(self.asks, self._start_about, hint=self.hint)  # type: ignore[attr-defined]  # every screen is a Frame

    def _start_about(self, text: str) -> None:
        if text.strip():
            self.start_asking(self.trace, self.chosen(text.strip()))

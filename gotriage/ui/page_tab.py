"""The tab of a view that is one page of lines: composed anew at the cursor, searched and copied by line."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from gotriage.ui.detail import row_page
from gotriage.ui.tab import Tab
from gotriage.ui.widgets.page import Page

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from textual.app import ComposeResult

    from gotriage.catalog import View
    from gotriage.records import Record
    from gotriage.ui.front import Front
    from gotriage.ui.spans import PageLine
    from gotriage.ui.tab import Hint


class PageTab(Tab):
    """One page; Enter on a line shows the record that it is about, where the line's item is that record's type."""

    hints: ClassVar[Sequence[Hint]] = (("⏎", "the record"),)

    def __init__(self, front: Front, view: View) -> None:
        super().__init__(front, view)
        self.page = Page(self.lines, id=view.id)

    def lines(self, width: int) -> Sequence[PageLine]:
        """For a tab to fill in: the whole page for so many cells."""
        raise NotImplementedError

    def compose(self) -> ComposeResult:
        """One page."""
        yield self.page

    def pull(self) -> None:
        """Compose at the cursor."""
        self.page.compose_again()

    def find(self, text: str, step: int = 1) -> bool:
        """The next or previous line with the text."""
        return self.page.find(text, step)

    def copied(self) -> str:
        """The selected lines."""
        return self.page.item_text

    def detail(self) -> tuple[str, Callable[[int], Sequence[PageLine]]] | None:
        """The record behind the selected line, as it is at the cursor."""
        kind = self.page.item
        if isinstance(kind, tuple):
            kind = kind[0]
        if not isinstance(kind, type) or self.front.session.latest(kind) is None:
            return None
        return kind.__name__, lambda width: record_page(self.front, kind, width)


def record_page(front: Front, kind: type[Record], width: int) -> list[PageLine]:
    """Every field of the newest record of the type."""
    record = front.session.latest(kind)
    return row_page(record, (), width) if record is not None else []

"""The tab of a view that is a table: columns of the catalogue, a line above that sums up, one below on what lacks."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar

from gotriage.render import units
from gotriage.render.cells import cell
from gotriage.ui.detail import row_page
from gotriage.ui.spans import PageLine
from gotriage.ui.state import note, nothing_page
from gotriage.ui.tab import Tab
from gotriage.ui.widgets.chrome import OneLine
from gotriage.ui.widgets.page import Page
from gotriage.ui.widgets.table import LEAST, BigTable

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Mapping, Sequence

    from textual.app import ComposeResult

    from gotriage.catalog import View
    from gotriage.records import Record
    from gotriage.render.columns import Column
    from gotriage.ui.front import Front
    from gotriage.ui.spans import Spans
    from gotriage.ui.tab import Hint


class TableTab(Tab):
    """A summary line, the table, and a line about gaps; a page instead when there is no record.

    A view with more than columns overrides `summary`, `key`, `role`, `text`, `rows` or `detail_of`.
    """

    DEFAULT_CSS = """
    TableTab > .note { display: none; }
    TableTab > #nothing { display: none; }
    TableTab.-nothing > #nothing { display: block; }
    TableTab.-nothing > BigTable { display: none; }
    TableTab.-note > .note { display: block; }
    """
    spare: ClassVar[Sequence[str]] = ()
    """Columns that give way first on a narrow terminal."""
    sizes: ClassVar[Mapping[str, int]] = {}
    """Widths of columns, where the catalogue's do not suit the screen."""
    least: ClassVar[int] = LEAST
    """Cells that the open column has at least, before others give way."""
    hints: ClassVar[Sequence[Hint]] = (("⏎", "open"), ("&", "filter"), ("o", "sort"))

    def __init__(self, front: Front, view: View) -> None:
        super().__init__(front, view)
        columns = [replace(column, width=self.sizes.get(column.field, column.width)) for column in view.columns]
        self.table = BigTable(columns, key=self.key, role=self.role, text=self.text, spare=self.spare, least=self.least)
        self._nothing = Page(self._nothing_page, id="nothing")
        self._summary = OneLine(self._summary_line)
        self._note = OneLine(self.note_line)
        self._summary.add_class("summary")
        self._note.add_class("note")
        self.record: Record | None = None

    # -- for a view to override

    def latest(self) -> Record | None:
        """The record to show."""
        assert self.view.table is not None
        return self.front.session.latest(self.view.table)

    def rows(self, record: Record) -> Sequence[object]:
        """The rows to show of the view's record."""
        rows: Sequence[object] = record.rows  # type: ignore[attr-defined]  # a table record names its rows so
        return rows

    def summary(self, record: Record, width: int) -> Spans:  # noqa: ARG002  # the shape that views fill in
        """One line that sums the table up."""
        return ((units.counted(self.table.counts[1], "row"), "dim"),)

    def key(self, row: object) -> Hashable:
        """What names a row from one look to the next."""
        return tuple(getattr(row, column.field) for column in self.view.columns[:2])

    def role(self, row: object, column: Column) -> str:
        """The role of a cell."""
        return "dim" if self.text(row, column) == "–" else ""

    def text(self, row: object, column: Column) -> str:
        """The text of a cell."""
        return cell(row, column)

    def detail_of(self, row: object, width: int) -> Sequence[PageLine]:
        """The page about a row."""
        return row_page(row, self.view.columns, width, self.text)

    def note_line(self, width: int) -> Spans:
        """The line below: what lacks; () for none."""
        return note(self.front, self.view.sources, width)

    def name_of(self, row: object) -> str:
        """A short name of a row, for the breadcrumb."""
        return self.text(row, self.view.columns[0])

    def empty(self, record: Record, width: int) -> Sequence[PageLine]:  # noqa: ARG002  # the shape that views fill in
        """The page for a record without rows."""
        return [PageLine(), PageLine((("– ", "dim"), (self.view.title, "strong"), ("   there is none", "dim")))]

    # -- tab

    def _nothing_page(self, width: int) -> Sequence[PageLine]:
        if self.record is None:
            return nothing_page(self.front, self.view, width)
        return self.empty(self.record, width)

    def compose(self) -> ComposeResult:
        """Lay it out."""
        yield self._summary
        yield self.table
        yield self._nothing
        yield self._note

    def pull(self) -> None:
        """Read the session at its cursor."""
        self.record = self.latest()
        rows = self.rows(self.record) if self.record is not None else ()
        nothing = not rows
        if nothing != self.has_class("-nothing"):
            self.set_class(nothing, "-nothing")
            self.call_after_refresh(self.take_focus)
        self.set_class(bool(self.note_line(80)) and not nothing, "-note")
        self.table.show(rows)
        if nothing:
            self._nothing.compose_again()
        self._summary.update()
        self._note.update()

    def keys(self) -> Sequence[Hint]:
        """Without rows only Enter works, on a gap."""
        return () if self.has_class("-nothing") else self.hints

    def take_focus(self) -> None:
        """Keys go to what is in sight."""
        (self._nothing if self.has_class("-nothing") else self.table).focus()

    def _summary_line(self, width: int) -> Spans:
        if self.record is None:
            return ()
        only: Spans = ()
        if self.table.filter:
            shown, count = self.table.counts
            only = ((f"{shown:,} of {count:,} with {self.table.filter!r}   ", "warning"),)
        return ((" ", ""), *only, *self.summary(self.record, width - 1))

    def find(self, text: str, step: int = 1) -> bool:
        """The next or previous place with the text."""
        return self.table.find(text, step) if not self.has_class("-nothing") else self._nothing.find(text, step)

    def narrow(self, text: str) -> bool:
        """Show only rows with the text."""
        self.table.narrow(text)
        self._summary.update()
        return True

    def back(self) -> bool:
        """Take the filter away."""
        if not self.table.filter:
            return False
        self.narrow("")
        return True

    def sort(self, *, reverse: bool = False) -> str:
        """By the next column, or the other way round."""
        return self.table.sort(reverse=reverse)

    def detail(self) -> tuple[str, Callable[[int], Sequence[PageLine]]] | None:
        """The page about the selection."""
        row = self.table.row
        if row is None:
            return None
        return self.name_of(row), lambda width: self.detail_of(row, width)

    def copied(self) -> str:
        """The selection as text."""
        return self.table.row_text

"""The libraries that the loader would find, missing ones first; `d` shows the dynamic section and the notes."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from textual.binding import Binding

from gotriage.records.libraries import Libraries, Library
from gotriage.render.cells import cell
from gotriage.render.text import wrap
from gotriage.ui.screens.page import PageScreen
from gotriage.ui.spans import PageLine, labelled
from gotriage.ui.table_tab import TableTab

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterator, Sequence

    from textual.binding import BindingType

    from gotriage.records import Record
    from gotriage.render.columns import Column
    from gotriage.ui.spans import Span, Spans
    from gotriage.ui.tab import Hint


class LibrariesTab(TableTab):
    """The table; a program without libraries says that it needs none."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("d", "dynamic", show=False)]
    hints: ClassVar[Sequence[Hint]] = (("⏎", "open"), ("d", "dynamic section"), ("&", "filter"))
    spare: ClassVar[Sequence[str]] = ("package",)
    least: ClassVar[int] = 30

    def rows(self, record: Record) -> Sequence[object]:
        """Missing ones first, then those with missing versions, then in the order of loading."""
        assert isinstance(record, Libraries)
        return sorted(record.rows, key=rank)

    def summary(self, record: Record, width: int) -> Spans:  # noqa: ARG002  # cut by the line itself
        """How it is linked, and what lacks."""
        assert isinstance(record, Libraries)
        spans: list[Span] = [(record.linkage, "strong")]
        if record.libc not in ("none", "unknown"):
            spans.append((f"  {record.libc} {record.libc_version}".rstrip(), "dim"))
        if record.cgo is not None and record.is_go:
            spans.append(("  cgo" if record.cgo else "  no cgo", "dim"))
        if record.stripped:
            spans.append(("  stripped", "dim"))
        if record.interpreter_found is False:
            spans.append((f"  loader {record.interpreter} is missing", "critical"))
        for count, what in ((record.missing, "missing"), (record.missing_versions, "symbol versions missing")):
            if count:
                spans.append((f"  {count} {what}", "critical"))
        if not record.missing and not record.missing_versions:
            spans.append(("  nothing missing", "good"))
        return tuple(spans)

    def empty(self, record: Record, width: int) -> Sequence[PageLine]:
        """A program that needs no library says so."""
        assert isinstance(record, Libraries)
        note = record.note or "The program asks for no library."
        lines = [PageLine(((text, ""),)) for text in wrap(note, width)]
        return [PageLine(), *lines, PageLine(), PageLine((("d", "key"), (" shows the notes and sections", "dim")))]

    def keys(self) -> Sequence[Hint]:
        """The sections are there without libraries, too."""
        return super().keys() or (("d", "sections"),)

    def key(self, row: object) -> Hashable:
        """A library of the tree."""
        assert isinstance(row, Library)
        return row.name, row.needed_by

    def text(self, row: object, column: Column) -> str:
        """Depth as indent; a missing file with what to install."""
        assert isinstance(row, Library)
        if column.field == "name":
            return "  " * max(row.depth - 1, 0) + row.name
        if column.field == "path" and row.path is None:
            return "missing" + (f": install {row.install}" if row.install else "")
        if column.field == "path" and row.missing_versions:
            return f"{row.path}  lacks {row.missing_versions[0].split()[0]}"
        return cell(row, column)

    def role(self, row: object, column: Column) -> str:
        """Red for what is missing."""
        assert isinstance(row, Library)
        if column.field in ("name", "path") and (row.path is None or row.missing_versions):
            return "critical"
        return "" if column.field in ("name", "path") else "dim"

    def action_dynamic(self) -> None:
        """The dynamic section and the notes, as readelf -d -n has them."""
        if isinstance(self.record, Libraries):
            record = self.record
            build = lambda width: list(dynamic_page(record, width))  # noqa: E731  # one expression, used once
            self.app.push_screen(PageScreen(self.front, (self.view.title, "dynamic section and notes"), build))

    def command(self) -> str:
        """Also the loader's own view of the live process."""
        return f"{self.view.command}; grep -F .so /proc/{{pid}}/maps"


def rank(row: Library) -> int:
    """0 missing, 1 with missing versions, 2 fine."""
    return 0 if row.path is None else (1 if row.missing_versions else 2)


def dynamic_page(record: Libraries, width: int) -> Iterator[PageLine]:
    """Sections one after the other, each entry with its tag."""
    section = ""
    if not record.dynamic:
        for text in wrap(record.note or "there is no dynamic section: nothing is loaded at start", width):
            yield PageLine(((text, ""),))
    for number, entry in enumerate(record.dynamic):
        if entry.section != section:
            section = entry.section
            yield PageLine()
            yield PageLine(((section, "title"),))
        for spans in labelled(entry.tag, entry.value, width, indent=2, column=22):
            yield PageLine(spans, number)
    if record.extra_loaded:
        yield PageLine()
        yield PageLine((("loaded, and explained by no DT_NEEDED (dlopen, NSS, plugins)", "title"),))
        for path in record.extra_loaded:
            yield PageLine((("  ", ""), (path, "")), path)

"""The target's namespaces and who shares them; below, what the kernel lets it do."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from gotriage.records.namespaces import Namespace, Namespaces
from gotriage.render.cells import cell
from gotriage.render.namespaces import sections
from gotriage.ui.detail import row_page, section
from gotriage.ui.page_tab import PageTab
from gotriage.ui.spans import PageLine, cut, fit
from gotriage.ui.state import note, nothing_page

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from gotriage.render.columns import Column
    from gotriage.ui.spans import Span
    from gotriage.ui.tab import Hint

WIDE = 120


class NamespacesTab(PageTab):
    """A table of few rows and lists below it, on one page."""

    every: ClassVar[float] = 2.0
    hints: ClassVar[Sequence[Hint]] = (("⏎", "open"), ("!", "shell in them"), ("y", "copy"))

    def lines(self, width: int) -> Sequence[PageLine]:
        """The whole page; why there is none."""
        record = self.front.session.latest(Namespaces)
        if record is None:
            return nothing_page(self.front, self.view, width)
        lacks = note(self.front, self.view.sources, width)
        return [*([PageLine(lacks), PageLine()] if lacks else []), *page(record, self.view.columns, width)]

    def detail(self) -> tuple[str, Callable[[int], Sequence[PageLine]]] | None:
        """A namespace with all that is known of it."""
        item, record = self.page.item, self.front.session.latest(Namespaces)
        rows = [row for row in record.rows if key(row) == item] if record is not None else []
        if not rows:
            return None
        return rows[0].type, lambda width: row_page(rows[0], self.view.columns, width)


def key(row: Namespace) -> tuple[str, str, int | None]:
    """What names a row from one look to the next."""
    return row.type, row.of, row.inode


def page(record: Namespaces, columns: Sequence[Column], width: int) -> list[PageLine]:
    """Table, then sections."""
    lines = [PageLine(_summary(record)), PageLine(), *_table(record, columns, width), PageLine()]
    for title, pairs in sections(record):
        lines += section(title, pairs, width)
    return lines


def _summary(record: Namespaces) -> tuple[Span, ...]:
    rows = [row for row in record.rows if row.of == "main process"]
    own = [row.type for row in rows if row.host is False]
    unknown = any(row.host is None for row in rows)
    first: Span = (f"{len(own)} of {len(rows)} are its own: {', '.join(own)}", "strong")
    if not own:
        first = (
            "the host's own could not be read" if unknown else "all of them are the host's",
            "dim",
        )
    threads = [row.type for row in record.rows if row.of == "threads"]
    return (first, (f"   threads of it are in others: {', '.join(threads)}", "warning")) if threads else (first,)


def _table(record: Namespaces, columns: Sequence[Column], width: int) -> Iterator[PageLine]:
    shown = [column for column in columns if not column.wide or width >= WIDE]
    room = width - sum(column.width + 2 for column in shown if column.width)
    sizes = [column.width or room for column in shown]
    head = [fit(column.title, size, right=column.right) for column, size in zip(shown, sizes, strict=True)]
    yield PageLine(((cut("  ".join(head), width), "label"),))
    for row in record.rows:
        spans: list[Span] = []
        for column, size in zip(shown, sizes, strict=True):
            spans.append((fit(cell(row, column), size, right=column.right) + "  ", _role(row, column)))
        yield PageLine((*spans[:-1], (spans[-1][0].rstrip(), spans[-1][1])), item=key(row))


def _role(row: Namespace, column: Column) -> str:
    """What is the host's steps back."""
    if row.of == "threads":
        return "warning"
    return "dim" if row.host and column.field != "type" else ""

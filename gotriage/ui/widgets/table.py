"""A table of any length: only the rows in sight become text."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from gotriage.render.cells import cell
from gotriage.ui.spans import cut_middle, fit, marked
from gotriage.ui.widgets.lines import GUTTER, LineView, strip_of

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Sequence

    from textual import events
    from textual.strip import Strip

    from gotriage.render.columns import Column
    from gotriage.ui.spans import Span

WIDE = 120
"""Terminals wider than this show the wide columns too."""
GAP = 2


LEAST = 16
"""Cells that the open column has at least, before other columns give way."""


def fitting(columns: Sequence[Column], total: int, spare: Sequence[str] = (), least: int = LEAST) -> list[Column]:
    """The columns that fit beside each other: wide ones only on wide terminals, then those in `spare` go first."""
    kept = [column for column in columns if not column.wide or total > WIDE]

    def need() -> int:
        return sum(column.width or least for column in kept) + GAP * (len(kept) - 1)

    for field in spare:
        if need() <= total:
            break
        kept = [column for column in kept if column.field != field]
    while need() > total and len(kept) > 1:
        kept.remove(next((column for column in reversed(kept) if column.width), kept[-1]))
    return kept


def widths(columns: Sequence[Column], total: int) -> list[int]:
    """Cells of each column: its own width; open ones (0) take what is left, by their weight."""
    gaps = GAP * max(len(columns) - 1, 0)
    fixed = sum(column.width for column in columns)
    left = max(total - gaps - fixed, 0)
    if not any(column.width == 0 for column in columns):
        return [columns[0].width + min(left, 24), *[column.width for column in columns[1:]]]
    opened = [column for column in columns if column.width == 0]
    if len(opened) > 1:
        return _by_weight(columns, left)
    if left > 90:  # a very wide terminal: the other text columns may have some of it
        return _shared(columns, left)
    return [column.width or left for column in columns]


def _by_weight(columns: Sequence[Column], left: int) -> list[int]:
    total = sum(column.weight for column in columns if column.width == 0)
    return [column.width or left * column.weight // total for column in columns]


def _shared(columns: Sequence[Column], left: int) -> list[int]:
    texts = [column for column in columns if column.unit == "text" and column.width >= 16]
    extra = min((left - 60) // max(len(texts), 1), 24) if texts else 0
    rest = left - extra * len(texts)
    return [(column.width + (extra if column in texts else 0)) or rest for column in columns]


class BigTable(LineView):
    """Rows under a heading, with a cursor, a sort order, a filter and a search.

    `key` names a row, so that the cursor stays on it when new rows come; `role` and `text` say how a cell looks. A
    `steady` table is sorted when it is asked to and not again: values that change do not move rows.
    """

    head: ClassVar[int] = 1

    def __init__(
        self,
        columns: Sequence[Column],
        *,
        key: Callable[[object], Hashable] | None = None,
        role: Callable[[object, Column], str] | None = None,
        text: Callable[[object, Column], str] = cell,
        spare: Sequence[str] = (),
        least: int = LEAST,
        steady: bool = False,
        id: str | None = None,  # noqa: A002  # Textual's own name for it
    ) -> None:
        super().__init__(id=id)
        self.columns = list(columns)
        self._key = key
        self._role = role
        self._text = text
        self._spare = spare
        self._least = least
        self._steady = steady
        self.hidden: frozenset[str] = frozenset()
        self._all: Sequence[object] = ()
        self._rows: Sequence[object] = ()
        self._filter = ""
        self._search = ""
        self._sorted: tuple[str, bool] | None = None

    # -- content

    def show(self, rows: Sequence[object]) -> None:
        """Show these rows: filtered and sorted as before, the cursor on the same row as before."""
        if rows is self._all:
            return
        selected = self._key(self.row) if self._key is not None and self.row is not None else None
        before = self._rows if self._steady and self._sorted is not None else ()
        self._all = rows
        self._arrange(before)
        if selected is not None and self._key is not None and (not self.row or self._key(self.row) != selected):
            self._find_again(selected)
        self.cursor = min(self.cursor, max(len(self._rows) - 1, 0))
        self.refresh()

    def _find_again(self, selected: Hashable) -> None:
        assert self._key is not None
        for place, row in enumerate(self._rows):
            if self._key(row) == selected:
                moved = place - self.cursor
                self.cursor = place
                self.scroll_to(y=round(self.scroll_y) + moved, animate=False)
                return

    def _arrange(self, before: Sequence[object] = ()) -> None:
        """Filter and sort; rows that were shown `before` keep their order, new ones follow."""
        rows = self._all
        if self._filter:
            wanted = self._filter.lower()
            rows = [row for row in rows if wanted in self.haystack(row)]
        if before and (key := self._key) is not None:
            places = {key(row): place for place, row in enumerate(before)}
            rows = sorted(rows, key=lambda row: places.get(key(row), len(places)))
        elif self._sorted is not None:
            field, reverse = self._sorted
            known = [row for row in rows if getattr(row, field) is not None]
            known.sort(key=lambda row: _sortable(getattr(row, field)), reverse=reverse)
            rows = known + [row for row in rows if getattr(row, field) is None]
        self._rows = rows
        self.set_line_count(len(rows))

    def haystack(self, row: object) -> str:
        """What search and filter look at: all the row's columns, in lower case."""
        return "\x00".join([self._text(row, column) for column in self.columns]).lower()

    @property
    def row(self) -> object | None:
        """The selected row."""
        return self._rows[self.cursor] if 0 <= self.cursor < len(self._rows) else None

    @property
    def counts(self) -> tuple[int, int]:
        """Rows shown and rows there are."""
        return len(self._rows), len(self._all)

    @property
    def filter(self) -> str:
        """What rows must contain to be shown, "" when all are."""
        return self._filter

    @property
    def row_text(self) -> str:
        """The selected row as one line."""
        return "" if self.row is None else "  ".join(self._text(self.row, column) for column in self.columns)

    # -- order, filter, search

    def narrow(self, text: str) -> None:
        """Show only the rows that contain the text, ignoring case; "" shows all."""
        self._filter = text
        self._arrange()
        self.cursor = 0
        self.scroll_to(y=0, animate=False)
        self.refresh()

    def sort(self, *, reverse: bool = False) -> str:
        """Sort by the next column in sight (after the last: the order of the source), or turn the order round."""
        fields = [column.field for column in self.shown]
        if reverse:
            if self._sorted is not None:
                self._sorted = (self._sorted[0], not self._sorted[1])
        elif self._sorted is None:
            self._order(fields[0])
        else:
            place = fields.index(self._sorted[0]) + 1 if self._sorted[0] in fields else 0
            self._order(fields[place]) if place < len(fields) else self._order("")
        self._arrange()
        self.refresh()
        return self.order

    def _order(self, field: str) -> None:
        """Numbers largest first, texts from A."""
        column = next((column for column in self.columns if column.field == field), None)
        self._sorted = (field, column.right) if column is not None else None

    @property
    def order(self) -> str:
        """What the rows are sorted by, in words."""
        if self._sorted is None:
            return "the source's own order"
        title = next(column.title for column in self.columns if column.field == self._sorted[0])
        return f"{title}, {'largest' if self._sorted[1] else 'smallest'} first"

    def find(self, text: str, step: int = 1) -> bool:
        """Go to the next row with the text, ignoring case."""
        self._search = text.lower()
        count = len(self._rows)
        if not self._search:
            self.refresh()
            return True
        for distance in range(1, count + 1):
            place = (self.cursor + step * distance) % count
            if self._search in self.haystack(self._rows[place]):
                self.select(place)
                return True
        return False

    # -- drawing

    @property
    def shown(self) -> list[Column]:
        """The columns in sight."""
        columns = [column for column in self.columns if column.field not in self.hidden]
        return fitting(columns, self.line_width - GUTTER, self._spare, self._least)

    @property
    def item_count(self) -> int:
        """How many items the cursor can stand on."""
        return len(self._rows)

    def draw_head(self, line: int, width: int) -> Strip:  # noqa: ARG002  # one line of head
        """The heading."""
        spans: list[Span] = [(" " * GUTTER, "")]
        columns = self.shown
        for column, size in zip(columns, widths(columns, width - GUTTER), strict=True):
            mark = ""
            if self._sorted is not None and self._sorted[0] == column.field:
                mark = "▼" if self._sorted[1] else "▲"
            title = f"{mark}{column.title}" if column.right else f"{column.title}{mark}"
            spans += [(fit(title, size, right=column.right), "accent" if mark else "heading"), (" " * GAP, "")]
        return strip_of(spans, width, self.palette, "surface")

    def draw(self, line: int, width: int) -> Strip:
        """One line."""
        if line >= len(self._rows):
            return self.blank(width)
        row = self._rows[line]
        spans: list[Span] = list(self.bar(line))
        columns = self.shown
        for column, size in zip(columns, widths(columns, width - GUTTER), strict=True):
            text = self._text(row, column)
            if column.width == 0:
                text = cut_middle(text, size)
            role = self._role(row, column) if self._role is not None else ("dim" if text == "–" else "")
            spans += marked(fit(text, size, right=column.right), role, self._search)
            spans.append((" " * GAP, ""))
        return strip_of(spans, width, self.palette, "selected" if line == self.cursor else "")

    def on_resize(self, event: events.Resize) -> None:  # noqa: ARG002  # other columns may be in sight
        """Draw for the new width."""
        self.refresh()


def _sortable(value: object) -> tuple[int, float, str]:
    """Numbers before texts, so that a column of both sorts without an error."""
    if isinstance(value, (int, float)):
        return 0, float(value), ""
    return 1, 0.0, str(value)

"""A page of composed lines; what does not change is not drawn again."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gotriage.ui.spans import text_of
from gotriage.ui.widgets.lines import GUTTER, LineView, strip_of

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Sequence

    from textual import events
    from textual.strip import Strip

    from gotriage.ui.spans import PageLine

Builder = "Callable[[int], Sequence[PageLine]]"
"""Composes a page for a width in cells."""


class Page(LineView):
    """Shows what a builder composes for the present width; the cursor keeps to its item by the item's own name."""

    def __init__(self, build: Callable[[int], Sequence[PageLine]] | None = None, *, id: str | None = None) -> None:  # noqa: A002
        super().__init__(id=id)
        self._build = build
        self._lines: Sequence[PageLine] = ()
        self._items: list[Hashable] = []
        self._places: dict[Hashable, tuple[int, int]] = {}
        self._found = -1
        self._touched = False

    # -- content

    def show(self, build: Callable[[int], Sequence[PageLine]]) -> None:
        """Compose with this builder from now on."""
        self._build = build
        self.compose_again()

    def compose_again(self) -> None:
        """Compose for the present width and draw what has changed."""
        if self._build is None or not self.size.width:
            return
        before, item = self._lines, self.item
        self._lines = self._build(self.line_width - GUTTER)
        self._index()
        self.set_line_count(len(self._lines))
        self._keep_cursor(item)
        if len(before) != len(self._lines):
            self.refresh()
            return
        for number, (old, new) in enumerate(zip(before, self._lines, strict=True)):
            if old != new:
                self.redraw(number)

    def _index(self) -> None:
        self._items, self._places = [], {}
        for number, line in enumerate(self._lines):
            if line.item is None:
                continue
            if line.item in self._places:
                self._places[line.item] = (self._places[line.item][0], number)
            else:
                self._items.append(line.item)
                self._places[line.item] = (number, number)

    def _keep_cursor(self, item: Hashable | None) -> None:
        """The cursor stays on its item; until somebody has moved it, it stays on the first one."""
        place = min(self.cursor, max(len(self._items) - 1, 0)) if self._touched else 0
        if self._touched and item in self._places:
            place = self._items.index(item)
        if place != self.cursor:
            self.cursor = place
            self.refresh()

    @property
    def item(self) -> Hashable | None:
        """What the cursor stands on."""
        return self._items[self.cursor] if 0 <= self.cursor < len(self._items) else None

    @property
    def item_text(self) -> str:
        """The selected item's lines as bare text; the whole page when there is nothing to select."""
        lines = [line for line in self._lines if line.item == self.item]
        return "\n".join(text_of(line.spans).rstrip() for line in lines)

    def find(self, text: str, step: int = 1) -> bool:
        """Go to the next line with the text, ignoring case."""
        wanted, count = text.lower(), len(self._lines)
        if not wanted:
            self._found = -1
            return True
        start = self._found if self._found >= 0 else (-1 if step > 0 else count)
        for distance in range(1, count + 1):
            line = (start + step * distance) % count
            if wanted in text_of(self._lines[line].spans).lower():
                self._found = line
                item = self.item_at(line)
                if item is not None:
                    self.select(item, keep=True)
                self.reveal(line, line)
                return True
        return False

    # -- LineView

    def select(self, item: int, *, keep: bool = False) -> None:
        """Put the cursor on an item; from now on it keeps to what it stands on."""
        self._touched = True
        super().select(item, keep=keep)

    @property
    def item_count(self) -> int:
        """How many items the cursor can stand on."""
        return len(self._items)

    def span_of_item(self, item: int) -> tuple[int, int]:
        """First and last line of an item."""
        return self._places[self._items[item]]

    def item_at(self, line: int) -> int | None:
        """The item that a line belongs to."""
        item = self._lines[line].item if 0 <= line < len(self._lines) else None
        return None if item is None else self._items.index(item)

    def draw(self, line: int, width: int) -> Strip:
        """One line."""
        if line >= len(self._lines):
            return self.blank(width)
        content = self._lines[line]
        item = self.item_at(line)
        first = item is not None and item == self.cursor and self.span_of_item(item)[0] == line
        return strip_of((*self.bar(item), *content.spans), width, self.palette, "selected" if first else content.fill)

    def on_resize(self, event: events.Resize) -> None:  # noqa: ARG002  # the width may have changed
        """Compose for the new width."""
        self.compose_again()

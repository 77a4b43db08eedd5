"""The base of pages, tables and logs: a scrolling view that draws only lines in sight, with a cursor over items."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from rich.segment import Segment
from textual.binding import Binding
from textual.geometry import Size
from textual.message import Message
from textual.reactive import reactive
from textual.scroll_view import ScrollView
from textual.strip import Strip

from gotriage.ui.spans import safe, width_of
from gotriage.ui.theme import DARK, PALETTES, Palette, fill_of, style_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from textual import events
    from textual.binding import BindingType

    from gotriage.ui.spans import Span

GUTTER = 1
"""Cells at the left where the cursor's bar stands, so that it is seen without colour too."""


def palette_of(name: str) -> Palette:
    """The palette of a theme by its name."""
    return PALETTES.get(name, DARK)


def strip_of(spans: Iterable[Span], width: int, palette: Palette, fill: str = "") -> Strip:
    """Spans as a strip of exactly `width` cells. Every text passes `safe` once more on the way."""
    back = fill_of(palette, fill)
    segments = [Segment(safe(text), back + style_of(palette, role)) for text, role in spans if text]
    return Strip(segments).adjust_cell_length(width, back)


class LineView(ScrollView, can_focus=True):
    """Lines with a cursor. A subclass says how many lines and items there are, and draws a line.

    The cursor is the number of an item, 0 to `item_count` - 1. Without items the keys scroll. The first `head` lines
    of the view stay where they are.
    """

    DEFAULT_CSS = """
    LineView { background: $background;
               scrollbar-size-vertical: 1; scrollbar-color: $foreground 20%;
               scrollbar-background: $background; scrollbar-background-hover: $background;
               scrollbar-background-active: $background; scrollbar-color-hover: $foreground 30%;
               scrollbar-color-active: $foreground 40%;
               overflow-x: hidden; overflow-y: auto; scrollbar-gutter: stable; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("down,j", "move(1)", show=False),
        Binding("up,k", "move(-1)", show=False),
        Binding("pagedown,ctrl+f,ctrl+d", "leap(1)", show=False),
        Binding("pageup,ctrl+b,ctrl+u", "leap(-1)", show=False),
        Binding("g,home", "edge(-1)", show=False),
        Binding("G,end", "edge(1)", show=False),
        Binding("enter", "enter", show=False),
    ]

    head: ClassVar[int] = 0
    cursor: reactive[int] = reactive(0, repaint=False)

    class Moved(Message):
        """The cursor stands on another item."""

        def __init__(self, view: LineView) -> None:
            super().__init__()
            self.view = view

    class Entered(Message):
        """Enter, or a second click, on an item."""

        def __init__(self, view: LineView) -> None:
            super().__init__()
            self.view = view

    # -- for subclasses

    @property
    def item_count(self) -> int:
        """How many items the cursor can stand on."""
        return 0

    def span_of_item(self, item: int) -> tuple[int, int]:
        """First and last line of an item."""
        return item, item

    def item_at(self, line: int) -> int | None:
        """The item that a line belongs to."""
        return line if line < self.item_count else None

    def draw(self, line: int, width: int) -> Strip:
        """One line, `width` cells wide; lines count from 0 below the head."""
        raise NotImplementedError

    def draw_head(self, line: int, width: int) -> Strip:
        """One line of the head, which does not scroll."""
        raise NotImplementedError

    # -- drawing

    @property
    def palette(self) -> Palette:
        """The colours in use."""
        return palette_of(self.app.theme)

    @property
    def line_width(self) -> int:
        """Cells that a line may use."""
        return max(self.scrollable_content_region.width or self.size.width, 1)

    def set_line_count(self, lines: int) -> None:
        """Tell the scroll bar how long the content is now."""
        size = Size(0, lines + self.head)
        if size != self.virtual_size:
            self.virtual_size = size

    def render_line(self, y: int) -> Strip:
        """What Textual asks for: line `y` of the visible part."""
        width = self.line_width
        if y < self.head:
            return self.draw_head(y, width)
        return self.draw(y - self.head + round(self.scroll_y), width)

    def blank(self, width: int) -> Strip:
        """An empty line."""
        return Strip.blank(width, fill_of(self.palette, ""))

    @property
    def page_height(self) -> int:
        """Lines in sight below the head."""
        return max(self.size.height - self.head, 1)

    # -- moving

    def action_move(self, step: int) -> None:
        """One item up or down; beyond the first or last one, and without items, the page scrolls."""
        if not self.item_count or not 0 <= self.cursor + step < self.item_count:
            self.scroll_relative(y=step, animate=False)
            return
        first, last = self.span_of_item(self.cursor)
        top, bottom = round(self.scroll_y), round(self.scroll_y) + self.page_height - 1
        if (step > 0 and last > bottom) or (step < 0 and first < top):
            self.scroll_relative(y=step, animate=False)
            return
        self.select(self.cursor + step)

    def action_leap(self, pages: int) -> None:
        """A page up or down."""
        lines = pages * max(self.page_height - 1, 1)
        if not self.item_count:
            self.scroll_relative(y=lines, animate=False)
            return
        first, _ = self.span_of_item(self.cursor)
        wanted = min(max(first + lines, 0), max(self.virtual_size.height - self.head - 1, 0))
        item = self.item_at(wanted)
        self.scroll_relative(y=lines, animate=False)
        self.select(item if item is not None else (self.item_count - 1 if pages > 0 else 0), keep=True)

    def action_edge(self, side: int) -> None:
        """To the first or the last item."""
        self.select(0 if side < 0 else self.item_count - 1, keep=True)
        self.scroll_to(y=0 if side < 0 else self.virtual_size.height, animate=False)

    def action_enter(self) -> None:
        """Open the item under the cursor."""
        if self.item_count:
            self.post_message(self.Entered(self))

    def select(self, item: int, *, keep: bool = False) -> None:
        """Put the cursor on an item and bring it into sight (`keep`: leave the scrolling to the caller)."""
        item = min(max(item, 0), max(self.item_count - 1, 0))
        if item != self.cursor:
            before, self.cursor = self.cursor, item
            self._redraw_item(before)
            self._redraw_item(item)
            self.post_message(self.Moved(self))
        if not keep and self.item_count:
            self.reveal(*self.span_of_item(item))

    def reveal(self, first: int, last: int) -> None:
        """Scroll as little as is needed for the lines to be in sight; the first one wins."""
        top = round(self.scroll_y)
        if last >= top + self.page_height:
            top = last - self.page_height + 1
        if first < top:
            top = first
        if top != round(self.scroll_y):
            self.scroll_to(y=top, animate=False)

    def _redraw_item(self, item: int) -> None:
        if 0 <= item < self.item_count:
            first, last = self.span_of_item(item)
            self.redraw(first, last - first + 1)

    def redraw(self, line: int, count: int = 1) -> None:
        """Draw some lines again."""
        self.refresh_lines(line + self.head, count)

    def on_click(self, event: events.Click) -> None:
        """A click selects; a click on what is selected opens it."""
        if event.y < self.head:
            return
        item = self.item_at(event.y - self.head + round(self.scroll_y))
        if item is None:
            return
        if item == self.cursor:
            self.action_enter()
        else:
            self.select(item)

    def bar(self, item: int | None) -> Sequence[Span]:
        """The cursor's bar, where the line belongs to the selected item."""
        return (("▌" if item is not None and item == self.cursor else " ", "mark"),)


def padded(spans: Sequence[Span], width: int) -> Sequence[Span]:
    """The spans with blanks up to `width` cells."""
    return (*spans, (" " * max(width - width_of(spans), 0), ""))

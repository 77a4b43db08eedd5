"""A flame graph in lines of text: the root on top, a cell a function, as wide as its part of the samples.

Cells are told apart by a bar at their left edge and by their names; whose code it is, is a calm colour besides.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Final

from rich.segment import Segment
from rich.style import Style
from textual.binding import Binding
from textual.message import Message
from textual.strip import Strip

from gotriage.render import flame, profile, units
from gotriage.render.goroutines import short
from gotriage.ui.spans import fit, safe, spread
from gotriage.ui.theme import fill_of
from gotriage.ui.widgets.lines import GUTTER, LineView, strip_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from textual import events
    from textual.binding import BindingType

    from gotriage.render.flame import Cell, Node
    from gotriage.ui.spans import Span, Spans
    from gotriage.ui.theme import Palette

EDGE: Final = "▏"
CHOSEN: Final = "▶"
KINDS: Final = {
    "user": "own code",
    "library": "modules",
    "std": "standard library",
    "runtime": "Go runtime",
    "c": "C",
    "kernel": "kernel",
}
"""Whose code, in the words of the legend."""
_DARK: Final = {
    "user": ("#2f5d50", "#35675a"),
    "library": ("#31566e", "#38607a"),
    "std": ("#3f4c6b", "#475577"),
    "runtime": ("#574a63", "#62546f"),
    "c": ("#5f5440", "#6b5f49"),
    "kernel": ("#633f41", "#6f484a"),
    "group": ("#2b343e", "#323c47"),
    "": ("#3a3f45", "#42474e"),
}
_LIGHT: Final = {
    "user": ("#bfe0d2", "#b1d7c7"),
    "library": ("#bfdcee", "#b0d2e7"),
    "std": ("#cbd5f0", "#bdc9ea"),
    "runtime": ("#dccfe6", "#d2c2de"),
    "c": ("#ece0c6", "#e4d5b4"),
    "kernel": ("#f0cfcf", "#e8c0c0"),
    "group": ("#e3e7ea", "#d8dde1"),
    "": ("#dddfe2", "#d2d5d9"),
}
"""Background of cells of each kind, two each for neighbours; contrast to the text is above 4.5 to 1."""
LEAST_NAME: Final = 3
"""Cells that a name has at least: less would be an ellipsis beside its first letter."""


class FlameView(LineView):
    """Draws a tree; the cursor stands on a node, and zooming makes a node fill the first row."""

    head: ClassVar[int] = 1
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("left,h", "aside(-1)", show=False),
        Binding("right,l", "aside(1)", show=False),
    ]

    class Zoomed(Message):
        """Another node fills the first row."""

    def __init__(self, *, id: str | None = None) -> None:  # noqa: A002  # Textual's own name for it
        super().__init__(id=id)
        self.root = flame.Node(flame.ROOT, flame.GROUP)
        self._top = self._chosen = self.root
        self._way: list[tuple[tuple[str, str], ...]] = []
        self._rows: list[list[Cell]] = []
        self._places: dict[Node, tuple[int, Cell]] = {}
        self._laid_for = -1
        self._chance = 0.0
        self._search = ""

    # -- content

    def show(self, root: Node, chance: float = 0.0) -> None:
        """Draw this tree; zoom and cursor stay on the same functions where they are there.

        `chance`: changes of less than this part of all samples get no colour.
        """
        self._chance = chance
        zoomed, chosen = self._top.path, self._chosen.path
        self.root = root
        self._top, self._chosen = root.at(zoomed), root.at(chosen)
        if self._chosen is not self._top and self._top not in _line_of(self._chosen):
            self._chosen = self._top
        self._lay_out()

    def _lay_out(self) -> None:
        width = max(self.line_width - GUTTER, 1)
        self._rows = flame.rows(self._top, width)
        self._places = {cell.node: (at, cell) for at, row in enumerate(self._rows) for cell in row if cell.node}
        self._laid_for = width
        self.set_line_count(len(self._rows))
        self._settle()
        self.refresh()

    def _settle(self) -> None:
        """The cursor stands on a node that is drawn: the chosen one or the nearest above it."""
        node: Node | None = self._chosen
        while node is not None and self._place(node) is None:
            node = node.parent
        self._chosen = node if node is not None else self._top
        place = self._place(self._chosen)
        self.cursor = place[0] if place is not None else 0

    def _place(self, node: Node) -> tuple[int, Cell] | None:
        return self._places.get(node)

    @property
    def chosen(self) -> Node:
        """What the cursor stands on."""
        return self._chosen

    @property
    def zoomed(self) -> bool:
        """Whether a part is shown only."""
        return self._top is not self.root

    # -- moving

    @property
    def item_count(self) -> int:
        """Rows."""
        return len(self._rows)

    def _choose(self, node: Node) -> None:
        place = self._place(node)
        if place is None:
            return
        before, self._chosen = self.cursor, node
        self.cursor = place[0]
        self._redraw_item(before)
        self._redraw_item(place[0])
        self.reveal(place[0], place[0])
        self.post_message(self.Moved(self))

    def action_move(self, step: int) -> None:
        """To the caller, or to the widest callee."""
        if step < 0:
            if self._chosen is not self._top and self._chosen.parent is not None:
                self._choose(self._chosen.parent)
            return
        drawn = [child for child in self._chosen.sorted if self._place(child) is not None]
        if drawn:
            self._choose(drawn[0])

    def action_aside(self, step: int) -> None:
        """To the neighbour in the row."""
        nodes = [cell.node for cell in self._rows[self.cursor] if cell.node is not None] if self._rows else []
        if self._chosen in nodes:
            place = nodes.index(self._chosen) + step
            if 0 <= place < len(nodes):
                self._choose(nodes[place])

    def action_leap(self, pages: int) -> None:
        """So many callers up or widest callees down as a page has lines."""
        for _ in range(max(self.page_height - 1, 1)):
            self.action_move(pages)

    def action_edge(self, side: int) -> None:
        """To the top, or down to where most samples of what is chosen end."""
        if side < 0:
            self._choose(self._top)
            return
        node = self._chosen
        while (below := [child for child in node.sorted if self._place(child) is not None]) and node.own < below[
            0
        ].value:
            node = below[0]
        self._choose(node)

    def action_enter(self) -> None:
        """Zoom: what is chosen fills the first row."""
        if self._chosen is not self._top and self._chosen.children:
            self._way.append(self._top.path)
            self._top = self._chosen
            self._zoom()

    def back(self) -> bool:
        """Undo a zoom; False when there is none."""
        if not self.zoomed:
            return False
        self._top = self.root.at(self._way.pop()) if self._way else self.root
        self._zoom()
        return True

    def _zoom(self) -> None:
        self._lay_out()
        self.scroll_to(y=0, animate=False)
        self.post_message(self.Zoomed())

    def find(self, text: str, step: int = 1) -> bool:
        """Choose the next node with the text in its name; all of them are marked."""
        self._search = text.lower()
        self.refresh()
        if not text:
            return True
        nodes = [cell.node for row in self._rows for cell in row if cell.node is not None]
        hits = [node for node in nodes if self._search in node.name.lower()]
        if not hits:
            return False
        here = nodes.index(self._chosen) if self._chosen in nodes else -1
        order = [node for node in nodes[here + 1 :] + nodes[: here + 1] if node in hits]
        self._choose(order[0] if step > 0 else ([node for node in order if node is not self._chosen] or order)[-1])
        return True

    def on_click(self, event: events.Click) -> None:
        """A click selects, one on what is selected zooms; one on the first row zooms out."""
        line, column = event.y - self.head + round(self.scroll_y), event.x - GUTTER
        if not 0 <= line < len(self._rows) or event.y < self.head:
            return
        cell = next((cell for cell in self._rows[line] if cell.start <= column < cell.start + cell.size), None)
        if cell is None or cell.node is None:
            return
        if cell.node is self._chosen:
            if cell.node is self._top:
                self.back()
            else:
                self.action_enter()
        else:
            self._choose(cell.node)

    def on_resize(self, event: events.Resize) -> None:  # noqa: ARG002  # the width may have changed
        """Lay out for the new width."""
        if max(self.line_width - GUTTER, 1) != self._laid_for:
            self._lay_out()

    # -- drawing

    def draw_head(self, line: int, width: int) -> Strip:  # noqa: ARG002  # one line of head
        """The way to what fills the first row; the legend beside it where there is room."""
        way = [shorter(node) for node in reversed(_line_of(self._top))]
        shown = " › ".join(way if len(way) <= 4 else [way[0], "…", *way[-2:]])
        left: Spans = (
            (" ", ""),
            (shown if self.zoomed else "callers above callees", "heading" if self.zoomed else "dim"),
        )
        legend = self._legend(width)
        room = sum(len(text) for text, _ in legend)
        text = strip_of(spread(left, (), width - room), width - room, self.palette, "surface")
        return Strip([*text, *(self._painted(kind, name) for name, kind in legend)])

    def _legend(self, width: int) -> Sequence[Span]:
        """Kinds that are there, as text and kind; shorter words on a narrow screen."""
        there = {node.kind for row in self._rows for cell in row if (node := cell.node) is not None}
        words = [(f" {KINDS[kind] if width > 110 else kind} ", kind) for kind in KINDS if kind in there]
        return words if sum(len(text) for text, _ in words) <= width // 2 + 8 else []

    def _painted(self, kind: str, text: str) -> Segment:
        return Segment(text, Style(color=self.palette.text, bgcolor=_colors(self.palette)[kind][0]))

    def draw(self, line: int, width: int) -> Strip:
        """One row of cells."""
        if line >= len(self._rows):
            return self.blank(width)
        back = fill_of(self.palette, "")
        segments = list(strip_of(self.bar(line if line == self.cursor else None), GUTTER, self.palette))
        at = 0
        for number, cell in enumerate(self._rows[line]):
            if cell.start > at:
                segments.append(Segment(" " * (cell.start - at), back))
            segments += self._cell(cell, number + line)
            at = cell.start + cell.size
        return Strip(segments).adjust_cell_length(width, back)

    def _cell(self, cell: Cell, number: int) -> list[Segment]:
        node = cell.node
        if node is None:
            style = Style(color=self.palette.dim, bgcolor=_colors(self.palette)[""][0])
            text = f"{EDGE}+{cell.more}"
            return [Segment(fit(text if cell.size >= len(text) else EDGE, cell.size), style)]
        colors = _colors(self.palette)
        back = colors.get(node.kind, colors[""])[number % 2]
        style = Style(color=self.palette.text, bgcolor=back)
        found = self._search and self._search in node.name.lower()
        if found:
            style = Style(color=self.palette.background, bgcolor=self.palette.warning)
        changed = flame.change(node, self.root)
        if changed is not None and abs(changed) >= max(self._chance, flame.SOME) and not found:
            style += Style(color=self.palette.critical if changed > 0 else self.palette.good, bold=True)
        edge = EDGE
        if node is self._chosen:
            style += Style(bold=True, reverse=True)
            edge = CHOSEN
        return [Segment(safe(edge + self._text(node, cell.size - 1)), style)]

    def _text(self, node: Node, size: int) -> str:
        """Name and share in just so many cells; the share gives way first, then folders of the package."""
        if size < LEAST_NAME:
            return " " * size
        changed = flame.change(node, self.root)
        part = units.share(flame.share(node, self.root)) if changed is None else profile.points(changed)
        room = size - len(part) - 2
        if room >= len(node.name):
            return f"{fit(node.name, room)} {part} "
        name = shorter(node)
        if len(name) > size:
            name = name.removeprefix("runtime.")
        return f"{fit(name, room)} {part} " if room >= len(name) else fit(name, size)


def _colors(palette: Palette) -> dict[str, tuple[str, str]]:
    return _DARK if palette.dark else _LIGHT


def shorter(node: Node) -> str:
    """Its name without the folders of its package; a creator keeps the words before it."""
    if node.kind != flame.GROUP:
        return short(node.name)
    words, by, function = node.name.partition(flame.BY)
    return f"{words}{by}{short(function)}" if by else node.name


def _line_of(node: Node) -> list[Node]:
    """It and those above it, up to the root."""
    found = [node]
    while (parent := found[-1].parent) is not None:
        found.append(parent)
    return found

"""Pages of sections: a title, labelled values, small tables. One declaration for text output and the screens."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from gotriage.render.text import cells_wide, fit, wrap

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

Line = tuple[tuple[str, str], ...]
"""Pieces of text, each with the name of its role; () is an empty line."""
LABEL: Final = 17
GAP: Final = 2
LEAST: Final = 8
"""Cells that a column of a table keeps when others give way."""
NO_WIDTH: Final = 1 << 20


def heading(title: str, beside: str = "") -> Line:
    """The line above a section."""
    return ((title, "title"), *((f"  {beside}", "dim"),) * bool(beside))


def labelled(label: str, value: str, width: int | None, role: str = "") -> Iterator[Line]:
    """A label and its value, wrapped beside it; nothing where there is no value."""
    if not value:
        return
    for number, line in enumerate(wrap(value, max((width or NO_WIDTH) - GAP - LABEL, LEAST))):
        yield (" " * GAP, ""), (fit(label if not number else "", LABEL), "label"), (line, role)


def table(
    heads: Sequence[str],
    rows: Sequence[Sequence[str]],
    width: int | None,
    *,
    right: Sequence[int] = (),
    role: Callable[[int, int], str] = lambda _row, _column: "",
) -> Iterator[Line]:
    """A heading and a line a row; the widest columns give way where they must. `role` of a cell by row and column."""
    sizes = [max([cells_wide(head), *(cells_wide(row[at]) for row in rows)]) for at, head in enumerate(heads)]
    excess = sum(sizes) + GAP * len(sizes) - (width or NO_WIDTH)
    for at in sorted(range(len(sizes)), key=lambda place: -sizes[place]):
        taken = min(max(excess, 0), max(sizes[at] - LEAST * 2, 0))
        sizes[at], excess = sizes[at] - taken, excess - taken
    yield tuple((" " * GAP + fit(head, sizes[at], right=at in right), "dim") for at, head in enumerate(heads))
    for number, row in enumerate(rows):
        yield tuple(
            (" " * GAP + fit(text, sizes[at], right=at in right), role(number, at)) for at, text in enumerate(row)
        )


def plain(lines: Iterable[Line]) -> Iterator[str]:
    """The lines as bare text."""
    for line in lines:
        yield "".join(text for text, _ in line).rstrip()

"""Text with roles: what pages are composed of before any colour is known.

A span is literal text and the name of a role ("dim", "critical" ...); a line is a sequence of spans. Nothing here is
ever parsed as markup, so a process name with brackets in it is a process name with brackets in it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from rich.cells import cell_len, set_cell_size

from gotriage.records.text import clean
from gotriage.render.text import wrap

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable, Iterator, Sequence

Span = tuple[str, str]
"""Literal text and its role; the role "" is plain text."""
Spans = tuple[Span, ...]

ELLIPSIS = "…"


@dataclass(frozen=True, slots=True)
class PageLine:
    """One line of a page.

    Attributes:
        item: what the line belongs to, for the cursor; lines of one item stand together. None cannot be selected.
        fill: role of the background of the whole line, "" for the page's own.
    """

    spans: Spans = ()
    item: Hashable | None = field(default=None)
    fill: str = ""


def width_of(spans: Iterable[Span]) -> int:
    """Terminal cells that the spans take."""
    return sum(cell_len(text) for text, _ in spans)


def text_of(spans: Iterable[Span]) -> str:
    """The bare text."""
    return "".join(text for text, _ in spans)


def fit(text: str, width: int, *, right: bool = False) -> str:
    """The text in exactly `width` cells: padded, or cut with an ellipsis at its end."""
    wide = cell_len(text)
    if wide > width:
        return cut(text, width)
    pad = " " * (width - wide)
    return pad + text if right else text + pad


def cut(text: str, width: int) -> str:
    """The text in at most `width` cells; a cut one ends in an ellipsis."""
    if cell_len(text) <= width:
        return text
    if width <= 0:
        return ""
    return set_cell_size(text, width - 1) + ELLIPSIS


def cut_middle(text: str, width: int) -> str:
    """The text in at most `width` cells; of a long path both ends stay, more of the last part."""
    wide = cell_len(text)
    if wide <= width or width < 12 or wide != len(text):
        return cut(text, width)
    head = (width - 1) // 3
    return text[:head] + ELLIPSIS + text[len(text) - (width - 1 - head) :]


def cut_spans(spans: Sequence[Span], width: int) -> Spans:
    """The spans in at most `width` cells."""
    kept: list[Span] = []
    left = width
    for text, role in spans:
        wide = cell_len(text)
        if wide > left:
            kept.append((cut(text, left), role))
            break
        kept.append((text, role))
        left -= wide
    return tuple(kept)


def spread(left: Sequence[Span], right: Sequence[Span], width: int) -> Spans:
    """The left spans, cut where they must be, and the right ones at the right edge of `width` cells."""
    space = width - width_of(right)
    if space <= 0:
        return cut_spans(right, width)
    shown = cut_spans(left, space - 1 if right else space)
    return (*shown, (" " * (space - width_of(shown)), ""), *right)


def marked(text: str, role: str, wanted: str) -> list[Span]:
    """The text with each place of `wanted` (lower case) in the role "match"."""
    if not wanted or wanted not in (lower := text.lower()) or len(lower) != len(text):
        return [(text, role)]
    spans: list[Span] = []
    start = 0
    while (place := lower.find(wanted, start)) >= 0:
        spans += [(text[start:place], role), (text[place : place + len(wanted)], "match")]
        start = place + len(wanted)
    return [*spans, (text[start:], role)]


def labelled(label: str, text: str, width: int, *, role: str = "", indent: int = 4, column: int = 9) -> Iterator[Spans]:
    """A label and wrapped text beside it: the label once, the text's lines under each other."""
    space = width - indent - column
    for number, line in enumerate(wrap(text, space)):
        yield (" " * indent, ""), (fit(label if not number else "", column), "label"), (line, role)


def safe(text: str) -> str:
    """The text with whatever no terminal should see made visible (a second gate; records are clean already)."""
    return text if text.isascii() and text.isprintable() else clean(text)

"""Everything about one row: every field with its name, nothing cut."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gotriage.records.base import Why
from gotriage.render.cells import cell, words
from gotriage.ui.spans import PageLine, cut_spans, labelled, width_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from gotriage.render.columns import Column

LABEL = 18


def row_page(
    row: object, columns: Sequence[Column], width: int, text: Callable[[object, Column], str] = cell
) -> list[PageLine]:
    """The fields of a row: those of the columns as they read there, then the others."""
    by_field = {column.field: column for column in columns}
    names = [column.field for column in columns]
    names += [name for name in getattr(row, "__struct_fields__", ()) if name not in by_field]
    lines: list[PageLine] = []
    for name in names:
        value = getattr(row, name)
        if value in (None, "", (), {}) and name not in by_field:
            continue
        shown = text(row, by_field[name]) if name in by_field else _other(value)
        lines += [PageLine(spans, item=name) for spans in labelled(_label(name), shown, width, indent=2, column=LABEL)]
    return lines


def _label(name: str) -> str:
    return name.replace("_", " ")


def _other(value: object) -> str:
    if isinstance(value, Why):
        return "; ".join(part for part in (value.reason, value.remedy) if part)
    if isinstance(value, (tuple, list)):
        return "\n".join(words(item) for item in value)
    return words(value)


def section(title: str, pairs: Sequence[tuple[str, str]], width: int, *, column: int = LABEL) -> Iterator[PageLine]:
    """A heading and its name-value lines; pairs without a value are left out."""
    yield PageLine(((title, "title"),))
    for label, value in pairs:
        if value:
            for spans in labelled(label, value, width, indent=2, column=column):
                yield PageLine(spans, item=(title, label))
    yield PageLine()


def beside(left: Sequence[PageLine], right: Sequence[PageLine], width: int) -> Iterator[PageLine]:
    """Two columns; the cursor goes through the left one, and on where that ends."""
    for number in range(max(len(left), len(right))):
        first = left[number] if number < len(left) else PageLine()
        second = right[number] if number < len(right) else PageLine()
        spans = cut_spans(first.spans, width)
        yield PageLine(
            (*spans, (" " * (width - width_of(spans) + 3), ""), *second.spans),
            second.item if first.item is None else first.item,
        )

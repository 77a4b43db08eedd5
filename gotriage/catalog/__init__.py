"""The table of contents: one row a view. Tabs, `show VIEW`, JSON, help, palette, snapshot and replay follow from it.

Collectors are only named here; the agent loads them. A source lists its backends best first: when one is
`Unavailable`, the agent takes the next.
"""

from __future__ import annotations

from gotriage.catalog.shapes import Price, Source, View
from gotriage.catalog.sources import PICKER_SOURCES, SOURCES
from gotriage.catalog.views import PARTS, VIEWS
from gotriage.records import AnyRecord
from gotriage.render.columns import Column


def part(name: str) -> View | None:
    """What is printed of a source that is not its view's first, or None."""
    return next((row for row in PARTS if row.id == name), None)


def view(name: str) -> View | None:
    """The view of that id, or None."""
    return next((row for row in VIEWS if row.id == name), None)


def source(name: str) -> Source | None:
    """The source of that name, or None."""
    return next((row for row in SOURCES + PICKER_SOURCES if row.name == name), None)


__all__ = [
    "PARTS", "PICKER_SOURCES", "SOURCES", "VIEWS", "AnyRecord", "Column", "Price", "Source", "View", "part", "source",
    "view",
]  # fmt: skip

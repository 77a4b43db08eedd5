"""What the Go views show for a target that is not Go: a plain sentence, and where to look instead."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gotriage.render.runtime import not_go
from gotriage.render.text import wrap
from gotriage.ui.spans import PageLine

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gotriage.catalog import View
    from gotriage.ui.front import Front


def not_go_page(front: Front, view: View, width: int) -> Iterator[PageLine]:
    """The whole page; nothing when the target may be Go, or something else is the matter."""
    reason = not_go(front.session)
    if not reason:
        return
    yield PageLine()
    yield PageLine((("– ", "dim"), (view.title, "strong"), (f"   {reason}", "")))
    text = (
        "Neither its executable nor a library that it has loaded carries the tables that Go's linker writes, so there"
        " are no goroutines and no Go runtime to read. All other views work as for any program."
    )
    for line in wrap(text, width - 4):
        yield PageLine((("    ", ""), (line, "dim")))

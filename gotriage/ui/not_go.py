"""What the Go views show for a target that is not Go: a plain sentence, and where to look instead."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gotriage.records.environment import Environment
from gotriage.ui.spans import PageLine, wrap
from gotriage.ui.state import gaps_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gotriage.catalog import View
    from gotriage.ui.front import Front


def not_go(front: Front) -> bool:
    """The executable was read and holds no Go."""
    given = front.session.latest(Environment)
    return given is not None and given.is_go is False


def not_go_page(front: Front, view: View, width: int) -> Iterator[PageLine]:
    """The whole page; nothing when the target may be Go, or something else is the matter."""
    if gaps_of(front, view.sources) or not not_go(front):
        return
    given = front.session.latest(Environment)
    name = (given.exe.rpartition("/")[2] if given is not None else "") or "the target"
    yield PageLine()
    yield PageLine((("– ", "dim"), (view.title, "strong"), (f"   {name} is not a Go program", "")))
    text = (
        "Neither its executable nor a library that it has loaded carries the tables that Go's linker writes, so there"
        " are no goroutines and no Go runtime to read. All other views work as for any program."
    )
    for line in wrap(text, width - 4):
        yield PageLine((("    ", ""), (line, "dim")))

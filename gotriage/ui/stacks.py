"""Stacks and places in code as lines of a page, with source lines where the file can be read."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gotriage.goruntime.exports import ENDS
from gotriage.host.sources import Sources
from gotriage.records.text import clean
from gotriage.render.goroutines import place, short
from gotriage.ui.spans import PageLine, cut, cut_middle, spread

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterator, Sequence

    from gotriage.records.goroutines import Frame
    from gotriage.ui.spans import Span

WIDE = 120
QUOTED = 4
"""Frames of the program's own whose source line is shown."""
_SOURCES = Sources()


def source_line(file: str, number: int) -> str:
    """The line of code, "" when this machine does not have the file or it may not be read."""
    found = _SOURCES.line(file, number)
    return clean(found.strip(), 300) if found else ""


def frame_line(frame: Frame, role: str, width: int, item: Hashable | None, indent: int = 2) -> PageLine:
    """Function, and at the right its place: with folders where there is room."""
    wide = width >= WIDE
    name = frame.function if wide else short(frame.function)
    where = f"{frame.file}:{frame.line}" if wide and frame.file else place(frame.file, frame.line)
    where = cut_middle(where, max(width // 2, 20))
    left: list[Span] = [(" " * indent, ""), (name, role), ("  inlined" if frame.inlined and wide else "", "faint")]
    return PageLine(spread(left, [(where, "dim")], width), item)


def stack_lines(
    frames: Sequence[Frame], user: int, width: int, item: Hashable | None, *, complete: bool = True, indent: int = 2
) -> Iterator[PageLine]:
    """The innermost frame first; the first one of the program's own stands out, and quotes its line of code."""
    quoted = 0
    for number, frame in enumerate(frames):
        if frame.function == ENDS:
            continue
        own = user >= 0 and number >= user
        role = "strong" if number == user else ("" if own or user < 0 else "dim")
        yield frame_line(frame, role, width, item, indent)
        if own and quoted < QUOTED and (code := source_line(frame.file, frame.line)):
            quoted += 1
            text = cut(code, width - indent - 10)
            yield PageLine(((" " * (indent + 2), ""), (f"{frame.line:>5} │ ", "faint"), (text, "info")), item)
    if not complete:
        yield PageLine(
            ((" " * indent, ""), ("… and on: the stack could not be followed to its beginning", "warning")), item
        )


def first_own(frames: Sequence[Frame]) -> int:
    """Index of the first frame that is neither of the runtime nor of the standard library, by its package; else -1.

    A package of the standard library has no dot in its first element, which a module path needs to be fetched.
    """
    for number, frame in enumerate(frames):
        package = frame.function.partition("[")[0]
        head = package.partition("/")[0] if "/" in package else package.partition(".")[0]
        if head == "main" or ("/" in package and "." in head):
            return number
    return -1

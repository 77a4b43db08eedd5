"""One log line, or one group of similar lines, in full."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gotriage.render import units
from gotriage.render.text import wrap
from gotriage.ui.detail import section
from gotriage.ui.spans import PageLine
from gotriage.ui.widgets.log_view import level_word

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gotriage.records.logs import LogLine
    from gotriage.session.loggroups import LogGroup
    from gotriage.ui.spans import Span


def line_page(line: LogLine, width: int) -> Iterator[PageLine]:
    """One line in full: the whole message, its fields, and where it comes from."""
    head: list[Span] = [(units.timestamp(line.at), "strong"), (f".{line.at.microsecond:06d}", "dim")]
    word = level_word(line)
    yield PageLine((*head, (f"   {word}", "warning"), (f"   {line.identifier}", "label")))
    yield PageLine()
    for text in line.message.replace("\t", "    ").split("\n"):
        for part in wrap(text, width - 2):
            yield PageLine((("  ", ""), (part, "")))
    if line.truncated:
        yield PageLine((("  … the line was longer and is cut here", "warning"),))
    yield PageLine()
    if line.fields:
        yield from section("Fields", list(line.fields.items()), width, column=22)
    origin = [
        ("source", line.source),
        ("stream", line.stream),
        ("kind", line.kind),
        ("priority", "" if line.priority is None else str(line.priority)),
        ("pid", "" if line.pid is None else str(line.pid)),
        ("boot", line.boot),
        ("lines", str(line.count) if line.count > 1 else ""),
    ]
    yield from section("Origin", origin, width, column=22)


def group_page(group: LogGroup, width: int) -> Iterator[PageLine]:
    """One group: how many and since when, and its newest line in full."""
    span = (group.last - group.first).total_seconds()
    pairs = [
        ("count", f"{group.count:,}"),
        ("first", units.timestamp(group.first)),
        ("last", units.timestamp(group.last)),
        ("rate", f"{group.count / span * 60:,.1f} a minute" if span > 0 else ""),
        ("alike", group.template),
    ]
    yield from section("Similar lines", pairs, width)
    yield PageLine((("The newest one", "title"),))
    yield from line_page(group.example, width)

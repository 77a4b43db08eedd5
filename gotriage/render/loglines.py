"""One log line as one line of text: who says it where that is not the program, the message, and its fields."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gotriage.records.logtext import STAMP_KEYS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gotriage.records.logs import LogLine

OTHERS = frozenset(("systemd", "oom", "dropped", "coredump"))
"""Kinds of lines that are not the program's own: their fields are the manager's bookkeeping."""
LONGEST = 200
"""Characters of a field's value that stand on the line."""


def first_line(text: str) -> str:
    """The text as one line: tabs as blanks, what follows the first line counted."""
    first, _, rest = text.partition("\n")
    first = first.replace("\t", "  ")
    return f"{first}  ↵{rest.count(chr(10)) + 1}" if rest else first


def who(line: LogLine) -> str:
    """Who says it, when it is not the program; "" when it is."""
    return (line.identifier or line.kind) if line.kind in OTHERS else ""


def fields(line: LogLine) -> Iterator[tuple[str, str]]:
    """The fields worth a place beside the message; the time that the line repeats is not."""
    if line.kind in OTHERS:
        return
    for name, value in line.fields.items():
        if name not in STAMP_KEYS:
            yield name, value.partition("\n")[0][:LONGEST].replace("\t", " ")


def said(line: LogLine) -> str:
    """All that a line says; of several lines the fields end the first."""
    name = who(line)
    first, end, rest = line.message.partition("\n")
    first = (f"{name}: " if name else "") + first
    return "".join((first, *(f"  {key}={value}" for key, value in fields(line)), end, rest))

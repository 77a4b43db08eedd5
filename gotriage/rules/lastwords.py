"""What was said when it ended: by the service manager, and by the program itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gotriage.records.logtext import RANKS
from gotriage.records.units import clock

if TYPE_CHECKING:
    from gotriage.records.logs import LogLine
    from gotriage.rules.evidence import Evidence

LONGEST = 200
"""Characters of a log line that become evidence."""
LOOKED_AT = 60
"""Newest lines among which the program's own last words are sought."""
_BAD = RANKS["error"]
_NOT_ITS_OWN = ("systemd", "oom", "coredump", "dropped")
"""Kinds of lines that others write about the program (records.logs)."""


def quoted(line: LogLine) -> str:
    """A line in quotes with its time: its first line, cut."""
    text = line.message.split("\n", 1)[0]
    error = line.fields.get("error") or line.fields.get("err")
    if error and error not in text:
        text = f"{text}: {error}"
    short = text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"
    return f'{clock(line.at)} "{short}"'


def manager(evidence: Evidence, word: str, seconds: float, most: int = 2) -> list[str]:
    """The service manager's newest lines about the unit that hold a word, oldest first; the telling ones before others.

    What fails between fork and exec is logged by the child, under the name "(program)".
    """
    lines = [line for line in evidence.lines(word, seconds) if line.kind == "systemd" or _is_child(line)]
    telling = [
        line for line in lines if "with result" not in line.message and not line.message.startswith("Failed to start")
    ]
    return [f"systemd: {quoted(line)}" for line in (telling or lines)[-most:]]


def _is_child(line: LogLine) -> bool:
    return line.identifier.startswith("(") and line.identifier.endswith(")")


def own(evidence: Evidence, most: int = 1) -> list[str]:
    """The program's own last words: its newest line, better one that is an error and near the end."""
    lines = evidence.session.logs.tail(LOOKED_AT, evidence.moment)
    lines = [line for line in lines if line.kind not in _NOT_ITS_OWN and line.message and not _is_child(line)]
    bad = [line for line in lines if line.kind or (line.level and RANKS.get(line.level, 7) <= _BAD)]
    return [f"it said at {quoted(line)}" for line in (bad or lines)[-most:]]

"""ltrace(1) on running processes, for seconds: it writes a breakpoint into the program's calls of libraries.

What was seen of 0.7.3, the last release: a process with one thread survives it (115 of 115 times, its end at random
moments, PIE or not, with forks). One with several threads does not (0 of 12): others run on while a breakpoint is out
for one. And while it runs it must not be killed by SIGKILL, because its breakpoints stay (0 of 9).
Hence it runs on processes with one thread only, it is asked to end and never killed, and it never starts a program:
those are left behind as orphans when it fails.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from gotriage.errors import GotriageError, MissingFacility
from gotriage.host import tools
from gotriage.host.attached import Attached
from gotriage.host.keeper import OUT

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gotriage.host import Host

PACKAGE: Final = "apt install ltrace, dnf install ltrace"
MOST_OUTPUT: Final = 1024 * 1024
"""Bytes of its summary, a line a function."""
_ROW: Final = re.compile(r"^ *[0-9.]+ +(?P<seconds>[0-9.]+) +(?P<each>\d+) +(?P<calls>\d+) (?P<name>\S+)$")


def find() -> str:
    """Its path. Raises MissingFacility."""
    path = tools.find("ltrace")
    if path is None:
        raise MissingFacility(f"ltrace is not installed ({PACKAGE})")
    return path


def single_threaded(host: Host, pids: Sequence[int]) -> tuple[int, ...]:
    """Those of the processes that have one thread."""
    found = []
    for pid in pids:
        try:
            if host.proc.stat(pid).threads == 1:
                found.append(pid)
        except (GotriageError, OSError, ValueError):
            continue
    return tuple(found)


def parse_summary(text: str) -> list[tuple[str, int, float]]:
    """What ltrace -c writes when it ends: function, calls, seconds in them."""
    found = []
    for line in text.splitlines():
        match = _ROW.match(line)
        if match is not None and match["name"] != "total":
            found.append((match["name"], int(match["calls"]), float(match["seconds"])))
    return found


class Ltrace(Attached):
    """One run; its summary comes with its end. It is asked to end, and waited for."""

    name = "ltrace"
    killable = False

    def __init__(self, host: Host, path: str, pids: Sequence[int], seconds: float) -> None:
        """Attach to processes with one thread each. Raises TargetGone, NotPermitted, MissingFacility, OSError."""
        words = [path, "-c", "-o", OUT, *(word for pid in pids for word in ("-p", str(pid)))]
        super().__init__(host, words, pids, seconds, MOST_OUTPUT)

    def summary(self) -> list[tuple[str, int, float]]:
        """Function, calls, seconds; nothing before the end."""
        return parse_summary(self.read(0, MOST_OUTPUT).decode("utf-8", "replace"))

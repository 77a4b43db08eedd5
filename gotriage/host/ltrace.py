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

from gotriage.errors import GotriageError, MissingFacility, NotPermitted, TargetGone
from gotriage.host import clock, tools
from gotriage.host.deadline import Deadline
from gotriage.host.keeper import OUT, Kept
from gotriage.host.letgo import let_go, stopped, tracer_of
from gotriage.records.text import clean

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gotriage.host import Host

PACKAGE: Final = "apt install ltrace, dnf install ltrace"
MOST_OUTPUT: Final = 1024 * 1024
"""Bytes of its summary, a line a function."""
ATTACHES: Final = 10.0
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


class Ltrace:
    """One run; its summary comes with its end.

    Attributes:
        pid: of ltrace.
    """

    def __init__(self, host: Host, path: str, pids: Sequence[int], seconds: float) -> None:
        """Attach to processes with one thread each. Raises TargetGone, NotPermitted, MissingFacility, OSError."""
        self._host, self._pids = host, tuple(pids)
        self._before = stopped(host, self._pids)
        words = [path, "-c", "-o", OUT, *(word for pid in self._pids for word in ("-p", str(pid)))]
        self._kept = Kept(words, seconds=seconds, most=MOST_OUTPUT, killable=False)
        self.pid = self._kept.pid
        self._left: str | None = None
        try:
            self._wait()
        except BaseException:
            self.stop()
            self._kept.close()
            raise

    def _wait(self) -> None:
        limit = Deadline(ATTACHES)
        while not self._kept.ended:
            if all(self._traced(pid) for pid in self._pids):
                return
            if limit.over:
                raise MissingFacility(f"ltrace did not attach within {ATTACHES:g} s")
            clock.sleep(0.005)
        errors = self._kept.errors
        if "Operation not permitted" in errors:
            other = tracer_of(self._host, self._pids)
            if other is not None and other[0] != self.pid:
                who = f"{other[1]} (pid {other[0]})"
                raise NotPermitted(f"it is traced already by {who}, and only one tracer may be attached")
            raise NotPermitted("ptrace(2) is refused; run gotriage as root (sudo)")
        if "No such process" in errors:
            raise TargetGone("the target has ended")
        last = clean(errors.strip().splitlines()[-1], 300) if errors.strip() else self._kept.ended
        raise MissingFacility(f"ltrace ended before it was attached: {last}")

    def _traced(self, pid: int) -> bool:
        try:
            return self._host.proc.status(pid).get("TracerPid") == str(self.pid)
        except (GotriageError, OSError):
            return True  # it has ended: nothing to wait for

    @property
    def ended(self) -> str:
        """Why it has ended, "" while it runs."""
        return self._kept.ended

    def stop(self) -> str:
        """Ask it to end and wait; what is not well afterwards, in words, "" when the target runs as before."""
        if self._left is None:
            why = self._kept.end()
            self._left = let_go(self._host, self._pids, self.pid, self._before)
            if why.startswith("not"):
                self._left = f"ltrace (pid {self.pid}) does not end, and killing it would kill the target"
        return self._left

    def summary(self) -> list[tuple[str, int, float]]:
        """Function, calls, seconds; nothing before the end."""
        return parse_summary(self._kept.read(0, MOST_OUTPUT).decode("utf-8", "replace"))

    def close(self) -> None:
        """Forget what it has written."""
        self._kept.close()

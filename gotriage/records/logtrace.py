"""Panics, fatal errors and race reports of Go programs, kept together as one line each.

The forms are those of runtime/panic.go, runtime/traceback.go and runtime/signal_unix.go (Go 1.19 to 1.27), of
net/http's recovered panics, and of the race detector's reports.
"""

from __future__ import annotations

import re
from operator import attrgetter
from typing import TYPE_CHECKING

import msgspec

from gotriage.records.text import MAX_TEXT

if TYPE_CHECKING:
    from gotriage.records.logs import LogLine

MAX_LINES = 20_000
"""Most physical lines that become one entry; a trace of more goroutines goes on in a second entry."""
MAX_OPEN = 256
"""Most traces that may be open at once, one a process."""
HEAD_LINES = 50
"""Lines between `panic:` and the first goroutine: a panic value may print itself over several lines."""

_STARTS = (
    "panic: ",
    "fatal error: ",
    "goroutine ",
    "runtime: ",
    "SIG",
    "==================",
    "WARNING: DATA RACE",
    "http: panic serving ",
    "http2: panic serving ",
    "unexpected fault address ",
    "[signal SIG",
)
_FIRST = frozenset(start[0] for start in _STARTS)
_SIGNAL = re.compile(r"SIG[A-Z]{3,6}: ")
_GOROUTINE = re.compile(r"goroutine \d+ (?:gp=\S+ m=\S+ (?:mp=\S+ )?)?\[")
_SERVING = re.compile(r"http2?: panic serving ")
_INSIDE = re.compile(
    r"$|\t|goroutine |created by |\[signal |\[originating |\[recovered|\.\.\.|exit status \d|runtime stack:|runtime[:.]"
    r"|fatal error: |panic: |SIG[A-Z]+: |PC=|signal arrived |stack: frame=|-----|==================|WARNING: DATA RACE"
    r"|(?:r[a-z0-9]{1,5}|[a-z]{1,3}\d{0,2}|trap|error|oldmask|fault|rflags|cs|fs|gs)\s+0x[0-9a-f]+"
    r"|(?:Read|Write|Previous (?:atomic )?(?:read|write)|Goroutine \d+|Previous \w+) |  \S| {6}\S"
    r"|(?>\S+?\()(?>.*)(?<=\))$|(?=\S+?\.\S)\S++ in goroutine "
)
"""No alternative goes back over what it has passed: a line is as long as its writer likes."""


def kind_of(message: str) -> str | None:
    """How a line opens a trace: its kind ("" when only a trace without cause), None when it opens none."""
    if message.startswith(("panic: ", "http: panic serving ", "http2: panic serving ")):
        return "panic"
    if message.startswith(("fatal error: ", "unexpected fault address ")) or _SIGNAL.match(message):
        return "fatal error"
    if message.startswith("WARNING: DATA RACE"):
        return "race"
    if message.startswith(("[signal SIG", "runtime: ")) or _GOROUTINE.match(message):
        return ""
    return "" if message == "==================" else None


class _Open:
    """A trace that may go on."""

    __slots__ = ("chars", "count", "cut", "first", "kind", "last_us", "recovered", "slot", "stack", "texts")

    def __init__(self, first: LogLine, kind: str, slot: int, at_us: int) -> None:
        self.first, self.kind, self.slot, self.last_us = first, kind, slot, at_us
        self.texts = [first.message]
        self.chars = len(first.message)
        self.count = first.count
        self.cut = first.truncated
        self.stack = bool(_GOROUTINE.match(first.message)) or "\ngoroutine " in first.message
        self.recovered = bool(_SERVING.match(first.message))

    def append(self, line: LogLine, at_us: int) -> None:
        text = line.message
        self.count += 1
        self.last_us = at_us
        if self.chars + len(text) < MAX_TEXT:
            self.texts.append(text)
            self.chars += len(text) + 1
        else:
            self.cut = True
        if not self.stack and _GOROUTINE.match(text):
            self.stack = True
        if self.kind == "" and (kind := kind_of(text)):
            self.kind = kind

    def line(self) -> LogLine:
        fields = self.first.fields
        if self.recovered:
            fields = fields | {"recovered": "net/http"}
        return msgspec.structs.replace(
            self.first,
            message="\n".join(self.texts),
            kind=self.kind,
            count=self.count,
            truncated=self.cut,
            fields=fields,
        )


class Joiner:
    """Takes lines one by one, gives them back in order with every trace as one line of kind panic and so on.

    A trace whose end is not seen yet is held back over `take`, until its process says something else or `hold_us`
    microseconds have passed without more of it.
    """

    def __init__(self, hold_us: int = 700_000) -> None:
        self.hold_us = hold_us
        self._out: list[LogLine | None] = []
        self._open: dict[object, _Open] = {}
        self._late = False

    def push(self, line: LogLine, at_us: int) -> None:
        """Take one line; `at_us` is its time in microseconds."""
        message = line.message
        if not self._open and not (message[:1] in _FIRST and message.startswith(_STARTS)):
            self._out.append(line)
            return
        self._push(line, at_us)

    def _push(self, line: LogLine, at_us: int) -> None:
        key = (line.source, line.pid, line.stream)
        trace = self._open.get(key)
        if trace and self._belongs(trace, line, at_us):
            trace.append(line, at_us)
            if trace.kind == "race" and line.message == "==================":
                self._close(key)
            return
        if trace and not (trace.stack or (line.level == "" and not line.fields)):
            self._out.append(line)  # another goroutine's log line between the panic and its trace
            return
        if trace:
            self._close(key)
        kind = None if line.kind else kind_of(line.message)
        if kind is None:
            self._out.append(line)
            return
        if len(self._open) >= MAX_OPEN:
            self._close(next(iter(self._open)))
        self._open[key] = _Open(line, kind, len(self._out), at_us)
        self._out.append(None)

    @staticmethod
    def _belongs(trace: _Open, line: LogLine, at_us: int) -> bool:
        text = line.message
        if trace.count >= MAX_LINES or at_us - trace.last_us > 2_000_000 or line.kind:
            return False
        if trace.stack or trace.kind in ("race", ""):
            again = trace.stack and text.startswith(("panic: ", "fatal error: ", "http: panic serving "))
            return not again and _INSIDE.match(text) is not None
        return trace.count < HEAD_LINES and not line.level and not line.fields

    def _close(self, key: object) -> None:
        trace = self._open.pop(key)
        if trace.slot < 0:
            self._out.append(trace.line())
            self._late = True
        else:
            self._out[trace.slot] = trace.line()

    def take(self, now_us: int | None = None) -> list[LogLine]:
        """The lines so far, in time order. With a time, traces that may still grow are held back; without, all come."""
        for key in list(self._open):
            trace = self._open[key]
            if now_us is None or now_us - trace.last_us > self.hold_us:
                self._close(key)
            else:
                trace.slot = -1
        lines = [line for line in self._out if line is not None]
        self._out = []
        if self._late:
            lines.sort(key=attrgetter("at"))
            self._late = False
        return lines

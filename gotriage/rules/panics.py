"""Panics and fatal errors in the log, with the place where they happened.

One that ended the process a moment ago is critical; one that net/http recovered costs a request and is a warning.
Older than an hour they are only worth knowing, older than a day they are left to the log view. The form of the traces
is that of runtime/traceback.go (Go 1.19 to 1.27): a line with the function, a line with a tab, its file and line.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from gotriage.records.findings import Fine, Severity
from gotriage.records.units import clock, count, seconds
from gotriage.rules import remedies
from gotriage.session.logs import log_state

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from gotriage.records.logs import LogLine
    from gotriage.rules import Claim
    from gotriage.rules.evidence import Evidence

ID: Final = "panic"
DEFAULTS: Final = {ID: {"critical_seconds": 600.0, "warning_seconds": 3600.0, "info_seconds": 86400.0}}
MOST: Final = 3
"""Different panics that become findings; more are counted."""
MAX_LINES: Final = 400
"""Lines of a trace that are searched for the first user frame."""
MAX_CALL: Final = 2000
LONGEST: Final = 160

_PLACE = re.compile(r"^\t(.+):(\d+)(?: \+0x[0-9a-f]+)?$")
_GOROUTINE = re.compile(r"^goroutine \d+ ")
_VARYING = re.compile(r"0x[0-9a-f]+|\d+")
_STANDARD: Final = frozenset(
    [
        "archive", "bufio", "bytes", "cmp", "compress", "container", "context", "crypto", "database", "debug",
        "embed", "encoding", "errors", "expvar", "flag", "fmt", "go", "hash", "html", "image", "index",
        "internal", "io", "iter", "log", "maps", "math", "mime", "net", "os", "path", "plugin", "reflect",
        "regexp", "runtime", "slices", "sort", "strconv", "strings", "structs", "sync", "syscall", "testing",
        "text", "time", "unicode", "unique", "unsafe", "vendor", "weak",
    ]
)  # fmt: skip
"""First elements of the import paths of Go's standard library (go list std, Go 1.27)."""


@dataclass(frozen=True, slots=True)
class Frame:
    """Where it happened."""

    function: str
    file: str
    line: int

    def __str__(self) -> str:
        return f"{self.function} ({self.file.rpartition('/')[2]}:{self.line})"


@dataclass(slots=True)
class Group:
    """The same panic, several times."""

    lines: list[LogLine]
    head: str
    frame: Frame | None

    @property
    def recovered(self) -> bool:
        """Whether net/http went on after every one of them."""
        return all("recovered" in line.fields for line in self.lines)

    @property
    def last(self) -> datetime:
        """When it last happened."""
        return self.lines[-1].at


def panics(evidence: Evidence) -> Iterator[Claim]:
    """A finding for each of the worst few groups."""
    window = evidence.limit(ID, "info_seconds")
    lines = [line for kind in ("panic", "fatal error") for line in evidence.lines_of(kind, window, most=200)]
    if not lines:
        yield from _none(evidence)
        return
    groups = sorted(_groups(lines), key=lambda group: (group.recovered, -group.last.timestamp()))
    for group in groups[:MOST]:
        yield _finding(evidence, group, len(groups) - MOST)


def _none(evidence: Evidence) -> Iterator[Claim]:
    if log_state(evidence.session) is not None or len(evidence.session.logs):
        yield Fine(ID, "no panic in the log")
        return
    for source in ("journal", "container_log", "file_log"):
        if evidence.gap(source) is not None:
            yield evidence.unknown(ID, source)


def _groups(lines: list[LogLine]) -> list[Group]:
    groups: dict[tuple[str, str], Group] = {}
    for line in sorted(lines, key=lambda line: line.at):
        head, frame = head_of(line.message), first_frame(line.message)
        key = (_VARYING.sub("#", head), str(frame))
        if key in groups:
            groups[key].lines.append(line)
            groups[key].head = head
        else:
            groups[key] = Group([line], head, frame)
    return list(groups.values())


def _finding(evidence: Evidence, group: Group, more: int) -> Claim:
    title = group.head if len(group.head) <= LONGEST else group.head[: LONGEST - 1] + "…"
    if group.frame is not None:
        title += f" in {group.frame}"
    if len(group.lines) > 1:
        title += f", {count(len(group.lines))} times"
    return evidence.finding(
        ID,
        _severity(evidence, group),
        title,
        evidence=tuple(_told(group, more)),
        fix=f"the whole trace with all goroutines is in the log: {remedies.logs(evidence)}",
        view="logs",
        subject=str(group.frame) if group.frame else group.head[:LONGEST],
        since=group.lines[0].at,
    )


def _severity(evidence: Evidence, group: Group) -> Severity:
    ago = evidence.ago(group.last) or 0.0
    if not group.recovered and (ago <= evidence.limit(ID, "critical_seconds") or _ended_it(evidence, group.last)):
        return "critical"
    return "warning" if ago <= evidence.limit(ID, "warning_seconds") else "info"


def _ended_it(evidence: Evidence, last: datetime) -> bool:
    """Whether the target is down since that moment."""
    if evidence.running:
        return False
    unit, container = evidence.unit, evidence.container
    ends = (unit.exec_main_exit if unit else None, container.finished_at if container else None)
    return any(end is not None and abs((end - last).total_seconds()) <= 10 for end in ends)


def _told(group: Group, more: int) -> Iterator[str]:
    last = group.lines[-1]
    if group.frame is not None:
        yield f"at {group.frame.function}, {group.frame.file}:{group.frame.line}"
    if group.recovered:
        yield "recovered by net/http: the request failed, the process lives"
    if len(group.lines) > 1:
        span = (group.last - group.lines[0].at).total_seconds()
        yield f"{count(len(group.lines))} times in {seconds(span)}, last at {clock(group.last)}"
    else:
        pid = f", pid {last.pid}" if last.pid is not None else ""
        yield f"at {clock(last.at)}{pid}"
    signal = next((line for line in last.message.split("\n", 8)[:8] if line.startswith("[signal ")), "")
    if signal:
        yield signal[:LONGEST]
    if more > 0:
        yield f"{count(more)} other panics are in the log"


def head_of(message: str) -> str:
    """The line that says what happened: the last `panic:` or `fatal error:` before the first goroutine."""
    lines = message.split("\n", 60)
    heads = []
    for line in lines[:60]:
        if _GOROUTINE.match(line):
            break
        if line.lstrip("\t").startswith(("panic: ", "fatal error: ", "http: panic serving ", "http2: panic serving ")):
            heads.append(line.lstrip("\t"))
    return (heads[0] if heads else lines[0]).removesuffix(" [recovered]")


def first_frame(message: str) -> Frame | None:
    """The innermost frame of the first goroutine that is not Go's own; else the innermost outside the runtime."""
    frames = _frames(message)
    start = next((place + 1 for place, frame in enumerate(frames) if frame.function == "panic"), 0)
    inner = frames[start:]
    for wanted in (_is_users, _outside_runtime):
        found = next((frame for frame in inner if wanted(frame)), None)
        if found is not None:
            return found
    return None


def _frames(message: str) -> list[Frame]:
    frames: list[Frame] = []
    function, goroutines = "", 0
    for line in message.split("\n", MAX_LINES)[:MAX_LINES]:
        if _GOROUTINE.match(line):
            goroutines += 1
            if goroutines > 1:
                break
        elif place := _PLACE.match(line):
            if function:
                frames.append(Frame(function, place[1], int(place[2])))
            function = ""
        elif line.startswith("created by "):
            break
        else:
            function = _called(line)
    return frames


def _called(line: str) -> str:
    """The function of a line "package.(*Type).Method(0xc000…, {0x1, 0x2})": arguments hold no parentheses."""
    name = line[: line.rfind("(")] if line.endswith(")") and len(line) <= MAX_CALL else ""
    return name if name == "panic" or ("." in name and " " not in name) else ""


def _outside_runtime(frame: Frame) -> bool:
    return not frame.function.startswith(("runtime.", "runtime/", "panic", "internal/runtime/"))


def _is_users(frame: Frame) -> bool:
    """Functions of the standard library have an import path that begins with one of its names."""
    first = frame.function.partition("/")[0].partition(".")[0]
    return frame.function != "panic" and first not in _STANDARD

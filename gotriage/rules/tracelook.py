"""What the rules over traces share: what was seen in the last seconds, what the log says of it, and why nothing was.

Records of traces count since their start. What is true now is the difference between the newest one and the oldest of
the same run within the window; a run that began inside the window counts whole. Old counts say nothing about now.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Final, NamedTuple, TypeVar

from gotriage.records.findings import Unknown
from gotriage.records.http import Http
from gotriage.records.probes import ProbeEvents, Probes
from gotriage.records.straced import Straced
from gotriage.records.syscalls import Syscalls
from gotriage.records.tracing import Traces
from gotriage.records.units import clock, count

if TYPE_CHECKING:
    import re
    from collections.abc import Sequence
    from datetime import datetime

    from gotriage.records.logs import LogLine
    from gotriage.records.probes import ProbeEvent
    from gotriage.rules.evidence import Evidence

SYSCALLS: Final = "syscalls"
HTTP: Final = "http"
PROBES: Final = "probes"
"""Names of the sources."""
STALE: Final = 60.0
"""Seconds after which a look says nothing about now."""
LONGEST_STRACE: Final = 300.0
"""... and what strace saw, which runs for seconds and on request only."""
HOW: Final = {
    SYSCALLS: ("system calls were not traced", "press Y, or: gotriage show syscalls"),
    HTTP: ("requests were not looked at", "press H, or: gotriage show http"),
    PROBES: (
        "connections and look-ups were not traced",
        "press B and start connects and dns, or: gotriage show probes --option probe=connects,dns",
    ),
}
LONGEST_LINE: Final = 4096

T = TypeVar("T", Syscalls, Http)


class Window(NamedTuple):
    """The newest record of a run, the one that the window began with (None: the run did), and seconds attached."""

    now: Syscalls
    before: Syscalls | None
    seconds: float


def _pair(evidence: Evidence, known: Sequence[T], long: float) -> tuple[T, T | None] | None:
    """The newest record that is not stale, and where its run has begun earlier, the one that the window begins with."""
    if not known or (evidence.moment - known[-1].at).total_seconds() > STALE:
        return None
    run = [known[-1]]
    for one in reversed(known[:-1]):
        if one.attached > run[-1].attached or (one.count or 0) > (run[-1].count or 0):
            break  # an earlier run
        run.append(one)
    now, first = run[0], run[-1]
    if (now.at - first.at).total_seconds() + first.attached <= long:
        return now, None
    return now, next((one for one in run if (now.at - one.at).total_seconds() >= long), first if first != now else None)


def syscalls(evidence: Evidence, long: float) -> Window | None:
    """System calls of the last seconds; None when none were looked at lately."""
    pair = _pair(evidence, evidence.series(Syscalls, long + STALE), long)
    if pair is None or pair[0].level is None:
        return None
    now, before = pair
    return Window(now, before, now.attached - (before.attached if before is not None else 0.0))


def failures(window: Window) -> Counter[tuple[str, str]]:
    """How often each call failed with each error in the window."""
    found = Counter({(row.call, name): number for row in window.now.rows for name, number in row.errnos.items()})
    if window.before is not None:
        found.subtract({(row.call, name): number for row in window.before.rows for name, number in row.errnos.items()})
    return Counter({key: number for key, number in found.items() if number > 0})


def calls(window: Window) -> Counter[str]:
    """How often each call was made and did not fail."""
    found = Counter({row.call: row.count - row.errors for row in window.now.rows})
    if window.before is not None:
        found.subtract({row.call: row.count - row.errors for row in window.before.rows})
    return +found


def http(evidence: Evidence, long: float) -> list[tuple[Http, Http | None]]:
    """Requests of the last seconds, by each way of looking that has looked lately."""
    known = evidence.series(Http, long + STALE)
    pairs = (_pair(evidence, [one for one in known if one.way == way], long) for way in {one.way for one in known})
    return [pair for pair in pairs if pair is not None]


def strace(evidence: Evidence) -> Straced | None:
    """What strace saw within the last minutes."""
    record = evidence.current(Straced)
    if record is None or (evidence.moment - record.at).total_seconds() > LONGEST_STRACE:
        return None
    return record


def events(evidence: Evidence, probe: str, long: float) -> list[ProbeEvent]:
    """What the probe saw in the last seconds: the last word on each event."""
    last: dict[tuple[int, datetime], ProbeEvent] = {}
    for record in evidence.series(ProbeEvents, long):
        for row in record.rows:
            if row.probe == probe:
                last[row.number, row.at] = row
    return [row for row in last.values() if (evidence.moment - row.at).total_seconds() <= long]


def probed(evidence: Evidence, probe: str) -> bool:
    """Whether the probe runs, or ran within the last minute."""
    record = evidence.current(Probes)
    row = record.of(probe) if record is not None else None
    if record is None or row is None or (evidence.moment - record.at).total_seconds() > STALE:
        return False
    return row.state == "on"


def unseen(evidence: Evidence, rule: str, source: str) -> Unknown:
    """Why the rule has nothing to go by: the trace was refused, its source has a gap, or nobody asked for it."""
    gap = evidence.gap(source)
    if gap is not None:
        return Unknown(rule, gap.reason, gap.remedy)
    traces = evidence.latest(Traces)
    row = traces.of(source) if traces is not None else None
    if row is not None and row.state in ("refused", "failed") and row.reason:
        return Unknown(rule, f"{source}: {row.reason}", row.remedy)
    reason, remedy = HOW[source]
    return Unknown(rule, reason, remedy)


# -- the log as a witness


class Said(NamedTuple):
    """What log lines name, by what they name: how often, and when first and last."""

    number: int
    first: datetime
    last: datetime

    def __str__(self) -> str:
        times = "once" if self.number == 1 else f"{count(self.number)} times"
        return f"the log says so {times}, last at {clock(self.last)}"


def said(evidence: Evidence, text: str, pattern: re.Pattern[str], long: float) -> dict[str, Said]:
    """What group 1 of the pattern names in the lines that hold the text, of the last seconds."""
    found: dict[str, list[LogLine]] = {}
    for line in evidence.lines(text, long, most=500):
        for part in (line.message, *line.fields.values()):
            if match := pattern.search(part[:LONGEST_LINE]):
                found.setdefault(match[1] or "", []).append(line)
                break
    return {name: Said(len(lines), lines[0].at, lines[-1].at) for name, lines in found.items()}

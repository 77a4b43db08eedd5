"""File descriptors: the limit reached or near, and a number that only ever grows.

fd-exhaustion
    At RLIMIT_NOFILE open(2), accept(2) and socket(2) fail with EMFILE. 95 % is critical: what is left of the usual
    1024 is a second of load. 80 % is the usual warning level of alert rules, and leaves time to act. EMFILE in the log
    is proof, whatever the count says by now.
fd-leak
    The floor of the count (rules.trend) rises through a whole window by 10 or more. Growth of what load does not
    explain (files, pipes, sockets that are not connected) is told after 30 s; growth of connections only after five
    minutes and by a quarter, for a morning's rising load looks the same for a while. The first 30 s of a process are
    left out: it opens what it needs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from gotriage.records import raising
from gotriage.records.files import FileCounts, FileTable
from gotriage.records.findings import Finding, Fine, Severity, Unknown
from gotriage.records.units import clock, count, per_minute, seconds, share
from gotriage.rules import remedies
from gotriage.rules.trend import Growth, growth

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from gotriage.records.logs import LogLine
    from gotriage.rules import Claim
    from gotriage.rules.evidence import Evidence

EXHAUSTION: Final = "fd-exhaustion"
LEAK: Final = "fd-leak"
DEFAULTS: Final = {
    EXHAUSTION: {"critical": 0.95, "warning": 0.80, "log_seconds": 60.0},
    LEAK: {"seconds": 30.0, "rise": 10.0, "connection_seconds": 300.0, "connection_share": 0.25, "grace": 30.0},
}
LONGER: Final = (2, 4, 10, 20)
"""Windows that are tried besides the shortest one, as multiples of it: a slow leak shows in a long window only."""
ENOUGH: Final = 65536
"""The least soft limit to ask for: below the hard limit that systemd gives."""
USUAL_HARD: Final = 524288
"""The hard limit that systemd gives since version 240, where that of the process is not known."""
CONNECTED: Final = ("ESTABLISHED", "SYN_SENT", "SYN_RECV", "TIME_WAIT", "FIN_WAIT1", "FIN_WAIT2", "LAST_ACK", "CLOSING")
"""TCP states that load explains (include/net/tcp_states.h); CLOSE_WAIT is the program's own omission."""
WATCH_ON: Final = "keep watching, or give --for 1m"
EMFILE: Final = "too many open files"
"""strerror(EMFILE) in lower case, as Go's syscall package has it."""
ENFILE: Final = f"{EMFILE} in system"
"""The machine's limit, not the process's."""


@dataclass(frozen=True, slots=True)
class Leak:
    """A growth and what grows: descriptors by type since the window's start, and how many of them are connections."""

    growth: Growth
    kinds: tuple[tuple[str, int], ...]


def descriptors(evidence: Evidence) -> Iterator[Claim]:
    """Both ids, for a leak that has reached the limit is one finding, which names the level and the slope."""
    if not evidence.running:
        return
    counts = evidence.current(FileCounts)
    if counts is None or counts.fullest is None:
        why = counts.unknown.get("fullest") if counts else None
        yield evidence.unknown(EXHAUSTION, "file_counts", why)
        yield evidence.unknown(LEAK, "file_counts", why)
        return
    leak = _leak(evidence, counts)
    full = _exhaustion(evidence, counts, leak)
    if full is not None:
        yield full
    elif leak is not None:
        yield _leak_finding(evidence, counts, leak)
    else:
        yield from _fine(evidence, counts)


def _fine(evidence: Evidence, counts: FileCounts) -> Iterator[Claim]:
    if counts.soft_limit is None and (why := counts.unknown.get("soft_limit")):
        yield Unknown(EXHAUSTION, why.reason, why.remedy)
    limit = "no limit" if counts.soft_limit is None else count(counts.soft_limit)
    yield Fine(EXHAUSTION, f"fds {count(counts.fullest)} of {limit}")
    if _watched(evidence) < evidence.limit(LEAK, "seconds"):
        age, shortest = evidence.age, seconds(evidence.limit(LEAK, "seconds"))
        reason = f"growth shows after {shortest} of watching"
        if age is not None and age < 2 * evidence.limit(LEAK, "grace"):
            reason += f", not counting the first {seconds(evidence.limit(LEAK, 'grace'))} of the process"
        yield Unknown(LEAK, reason, WATCH_ON)
    else:
        yield Fine(LEAK, "fds do not grow")


# -- the limit


def _exhaustion(evidence: Evidence, counts: FileCounts, leak: Leak | None) -> Finding | None:
    used, limit = counts.fullest or 0, counts.soft_limit
    said = _emfile(evidence)
    level = used / limit if limit else 0.0
    if level >= evidence.limit(EXHAUSTION, "critical"):
        severity: Severity = "critical"
    elif said:
        severity = "critical" if level >= evidence.limit(EXHAUSTION, "warning") else "warning"
    elif level >= evidence.limit(EXHAUSTION, "warning"):
        severity = "warning"
    else:
        return None
    title = f"{count(used)} of {count(limit)} descriptors open"
    if leak is not None:
        title += f", {per_minute(leak.growth.rate)}"
        if limit and used < limit:
            title += f"; full in {seconds(max(1.0, (limit - used) / leak.growth.rate))}"
    if said and severity == "warning":
        title = f"descriptors ran out at {clock(said[-1].at)}; now {title}"
    return evidence.finding(
        EXHAUSTION,
        severity,
        title,
        evidence=tuple(_why_full(evidence, counts, said, leak)),
        fix=_raise(evidence, counts),
        view="files",
        since=_since(evidence, said),
    )


def _emfile(evidence: Evidence) -> list[LogLine]:
    """Lines that say EMFILE, of this process and of late."""
    window = min(evidence.limit(EXHAUSTION, "log_seconds"), evidence.age or float("inf"))
    return [line for line in evidence.lines(EMFILE, window) if ENFILE not in _whole(line)]


def _whole(line: LogLine) -> str:
    return " ".join((line.message, *line.fields.values())).lower()


def _why_full(evidence: Evidence, counts: FileCounts, said: list[LogLine], leak: Leak | None) -> Iterator[str]:
    if counts.fullest_pid is not None and (counts.total or 0) > (counts.fullest or 0):
        yield f"process {counts.fullest_pid} has {count(counts.fullest)}; all processes together {count(counts.total)}"
    yield from _holders(evidence, counts)
    if leak is not None:
        yield _slope(leak)
    if said:
        lines = "1 log line says" if len(said) == 1 else f"{count(len(said))} log lines say"
        yield f'{lines} "{EMFILE}" in the last {_late(evidence)}, the newest at {clock(said[-1].at)}'
        if counts.soft_limit and (counts.fullest or 0) < counts.soft_limit / 2:
            yield "few are open now: inotify_init(2) gives the same error at fs.inotify.max_user_instances"


def _late(evidence: Evidence) -> str:
    """How far back the log is searched for EMFILE, in words."""
    window = evidence.limit(EXHAUSTION, "log_seconds")
    return "minute" if window == 60 else seconds(window)


def _holders(evidence: Evidence, counts: FileCounts) -> Iterator[str]:
    """What most of the descriptors are, and which peers have hung up."""
    kinds = sorted(counts.by_type.items(), key=lambda item: -item[1])[:3]
    if kinds:
        yield "open: " + ", ".join(f"{count(number)} {_plural(kind, number)}" for kind, number in kinds)
    table = evidence.current(FileTable)
    if table is None:
        return
    peers = sorted(table.by_peer.get("CLOSE_WAIT", {}).items(), key=lambda item: -item[1])
    waiting = sum(number for state, number in table.by_state.items() if state.endswith("CLOSE_WAIT"))
    if waiting and peers:
        more = f" and {len(peers) - 1} more" if len(peers) > 1 else ""
        yield f"{count(waiting)} sockets in CLOSE_WAIT to {peers[0][0]}{more}: hung up by the peer, not closed here"


_PLURALS: Final = {
    "dir": "directories",
    "anon": "anonymous (epoll, eventfd, timerfd …)",
}
_NAMES: Final = {"dir": "directory", "char": "character device", "block": "block device", "anon": "anonymous (epoll …)"}


def _plural(kind: str, number: int) -> str:
    if number == 1:
        return _NAMES.get(kind, kind)
    return _PLURALS.get(kind, f"{_NAMES.get(kind, kind)}s")


def _since(evidence: Evidence, said: list[LogLine]) -> datetime | None:
    """Since when it is so: the level was passed while we looked, or a line says EMFILE, whichever was first.

    Of the lines, those before a level that was seen to be lower are of another time. None when neither is known.
    """
    level = evidence.limit(EXHAUSTION, "warning")
    above: datetime | None = None
    below: datetime | None = None
    for counts in evidence.series(FileCounts, 3600):
        if counts.fullest is None or not counts.soft_limit:
            continue
        if counts.fullest >= level * counts.soft_limit:
            above = above or counts.at
        else:
            above, below = None, counts.at
    first = evidence.first_line(EMFILE, below if above else None, but=ENFILE) if said else None
    times = [time for time in (above if below else None, first.at if first else None) if time is not None]
    return min(times, default=None)


def _raise(evidence: Evidence, counts: FileCounts) -> str:
    """Now and for good: the soft limit alone, for a hard limit that is lowered is gone for the process."""
    now, hard = counts.soft_limit or 0, counts.hard_limit
    new, most = max(ENOUGH, 1 << (4 * now).bit_length()), max(raising.NR_OPEN, hard or 0)
    before = f"sysctl -w fs.nr_open={new}; " if now >= most else ""
    new = new if before else min(new, most)
    both = max(new, hard or USUAL_HARD)
    pid = counts.fullest_pid or (evidence.target.pid if evidence.target else None)
    for_good = remedies.keep(
        evidence,
        line=f"LimitNOFILE={raising.directive(new, both)}",
        option=f"--ulimit nofile={raising.ulimit(new, both)}",
        otherwise=f"ulimit -Sn {new} before it is started (nofile in limits.conf(5))",
        was=str(now),
    )
    return f"now: {before}prlimit --pid {pid} --nofile={raising.prlimit(new, hard)}\nfor good: {for_good}"


# -- the slope


def _watched(evidence: Evidence) -> float:
    """Seconds that the count has been watched, without the process's first ones."""
    series = evidence.series(FileCounts, 3600)
    if not series:
        return 0.0
    age, grace = evidence.age, evidence.limit(LEAK, "grace")
    watched = evidence.ago(series[0].at) or 0.0
    return max(0.0, watched if age is None else min(watched, age - grace))


def _leak(evidence: Evidence, counts: FileCounts) -> Leak | None:
    watched, least = _watched(evidence), evidence.limit(LEAK, "rise")
    shortest, patient = evidence.limit(LEAK, "seconds"), evidence.limit(LEAK, "connection_seconds")
    windows = [size for size in (shortest, *(shortest * times for times in LONGER)) if size <= watched]
    if not windows:
        return None
    series = [
        record
        for record in evidence.series(FileCounts, windows[-1])
        if record.fullest is not None and record.fullest_pid == counts.fullest_pid
    ]
    points = [(record.at.timestamp(), float(record.fullest or 0)) for record in series]
    end = evidence.moment.timestamp()
    if not points or points[-1][1] < points[0][1] + least:
        return None
    found = growth(points, end, windows, least)
    connections = _connection_share(evidence, found.seconds) if found else 0.0
    if found is not None and connections > 1 / 3:
        long = [size for size in windows if size >= patient]
        found = growth(points, end, long, least)
        if found is not None and found.rise < evidence.limit(LEAK, "connection_share") * found.before:
            return None
    if found is None:
        return None
    first = next((record for record in reversed(series) if record.at.timestamp() <= end - found.seconds), series[0])
    grown = {kind: number - first.by_type.get(kind, 0) for kind, number in counts.by_type.items()}
    return Leak(found, tuple(sorted(((k, n) for k, n in grown.items() if n > 0), key=lambda item: -item[1])))


def _connection_share(evidence: Evidence, window: float) -> float:
    """Which share (0..1) of the growth in the window are connections that load explains.

    Without a list of the descriptors every socket counts as one: better late than a false alarm.
    """
    tables = evidence.series(FileTable, window)
    if len(tables) >= 2:
        grown = len(tables[-1].rows) + tables[-1].omitted - len(tables[0].rows) - tables[0].omitted
        connected = _connected(tables[-1]) - _connected(tables[0])
        return connected / grown if grown > 0 else 0.0
    series = evidence.series(FileCounts, window)
    grown = (series[-1].total or 0) - (series[0].total or 0)
    sockets = series[-1].by_type.get("socket", 0) - series[0].by_type.get("socket", 0)
    return sockets / grown if grown > 0 else 0.0


def _connected(table: FileTable) -> int:
    return sum(number for state, number in table.by_state.items() if state.rpartition(" ")[2] in CONNECTED)


def _slope(leak: Leak) -> str:
    grown = leak.growth
    kinds = ", ".join(f"{count(number)} {_plural(kind, number)}" for kind, number in leak.kinds[:3])
    more = f"; of these {kinds}" if kinds else ""
    return (
        f"the floor rose from {count(grown.before)} to {count(grown.after)} in {seconds(grown.seconds)},"
        f" in every sixth of it{more}"
    )


def _leak_finding(evidence: Evidence, counts: FileCounts, leak: Leak) -> Finding:
    used, limit = counts.fullest or 0, counts.soft_limit
    title = f"descriptors grow by {per_minute(leak.growth.rate)}: {count(used)} open"
    if limit:
        title += f" of {count(limit)} ({share(used / limit)}); full in {seconds((limit - used) / leak.growth.rate)}"
    kinds = ", ".join(kind for kind, _ in leak.kinds[:2]) or "see the list"
    time = _raise(evidence, counts).splitlines()[0].removeprefix("now: ")
    return evidence.finding(
        LEAK,
        "warning",
        title,
        evidence=(_slope(leak), *_holders(evidence, counts)),
        fix=f"close what is opened ({kinds}): a body, rows or a file without Close on some path\nto gain time: {time}",
        view="files",
    )

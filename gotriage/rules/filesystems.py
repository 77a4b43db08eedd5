"""File systems that take nothing more: inodes used up, read-only; and threads that hang in the kernel.

Read-only is a claim only where the target writes: a file open for writing there (the kernel turned the file system
read-only under it), a directory that it was given to write in, or a call or log line that says so. Containers with a
read-only root are in order.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from gotriage.records.findings import Fine
from gotriage.records.paths import FileSystems, Paths, Sleepers
from gotriage.records.probes import ProbeEvents
from gotriage.records.units import clock, count, counted, seconds, share
from gotriage.rules import remedies, tracelook

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from gotriage.records.findings import Severity
    from gotriage.records.paths import FileSystemUse, PathUse, Sleeper
    from gotriage.rules import Claim
    from gotriage.rules.evidence import Evidence

INODES: Final = "inodes-exhausted"
READ_ONLY: Final = "read-only-filesystem"
HANGS: Final = "uninterruptible-sleep"
DEFAULTS: Final = {
    INODES: {"warning": 0.97, "room": 20_000.0},
    READ_ONLY: {"log_seconds": 300.0, "seconds": 60.0},
    HANGS: {"warning": 10.0, "critical": 60.0},
}
MOST: Final = 4
FROZEN: Final = "refrigerator"
"""A thread that the cgroup freezer holds waits there (kernel/freezer.c): docker pause."""
_SAID = re.compile(
    r"\b(?:open|openat|write|mkdir|create|rename|remove|unlink|truncate|chmod|chown|mknod|link|symlink) "
    r"(/[^\s:\"']{1,1024}): read-only file system",
    re.IGNORECASE,
)


def inodes(evidence: Evidence) -> Iterator[Claim]:
    """A finding a file system that it writes to and that has no inodes left, or hardly any."""
    if not evidence.running:
        return
    record = evidence.current(FileSystems)
    if record is None:
        yield evidence.unknown(INODES, "paths")
        return
    found = False
    for one in record.systems:
        if not one.written or not one.inodes or one.inodes_room is None:
            continue
        level = 1 - one.inodes_room / one.inodes
        if level < evidence.limit(INODES, "warning") or one.inodes_room >= evidence.limit(INODES, "room"):
            continue
        found = True
        left = "none left" if not one.inodes_room else f"{count(one.inodes_room)} left"
        place = remedies.word(one.point)
        yield evidence.finding(
            INODES,
            "critical" if not one.inodes_room else "warning",
            f"{one.point}: {share(level)} of {count(one.inodes)} inodes in use, {left}: no file can be made",
            evidence=(f"{one.kind} from {one.source}", *_written(evidence, one)),
            fix=f"find what has very many files: du --inodes -xd2 {place} | sort -n | tail; "
            "tmpfs: mount -o remount,nr_inodes=N",
            view="paths",
            subject=one.point,
        )
    if not found:
        yield Fine(INODES, "inodes left on every file system that it writes to")


def _written(evidence: Evidence, one: FileSystemUse) -> Iterator[str]:
    record = evidence.current(Paths)
    rows = [row for row in record.rows if row.mount == one.point and "w" in row.needs] if record is not None else []
    if rows:
        yield f"written to: {', '.join(row.path for row in rows[:MOST])}"


def read_only(evidence: Evidence) -> Iterator[Claim]:
    """A finding a mount point, or a path where only a log line or a call tells of it."""
    paths = evidence.current(Paths)
    said = tracelook.said(evidence, "read-only file system", _SAID, evidence.limit(READ_ONLY, "log_seconds"))
    failed = _calls(evidence)
    witnesses = {path: f"the log says so of {path}: {lines}" for path, lines in said.items()}
    witnesses |= {path: told for path, told in failed.items() if path not in witnesses}
    rows = [row for row in paths.rows if row.state == "read-only" and row.source != "executable"] if paths else []
    by_mount: dict[str, list[PathUse]] = {}
    for row in rows:
        by_mount.setdefault(row.mount, []).append(row)
    for point, found in by_mount.items():
        mine = [path for path in witnesses if path == point or path.startswith(point.rstrip("/") + "/")]
        yield _mount(evidence, point, found, [witnesses.pop(path) for path in mine])
    for path, told in list(witnesses.items())[:MOST]:
        yield evidence.finding(
            READ_ONLY,
            "warning" if evidence.running else "critical",
            f"{path} is on a read-only file system",
            evidence=(told,),
            fix=f"see why: findmnt -T {remedies.word(path)}; {_WAYS}",
            view="paths",
            subject=path,
        )
    if by_mount or said or failed:
        return
    if paths is not None:
        yield Fine(READ_ONLY, "what it writes to is writable")
    elif evidence.running:
        yield evidence.unknown(READ_ONLY, "paths")


_WAYS: Final = "a unit: ReadWritePaths=; a container: a volume; a disk that failed: dmesg, then fsck"


def _calls(evidence: Evidence) -> dict[str, str]:
    """Path to what saw a call on it fail with EROFS."""
    long = evidence.limit(READ_ONLY, "seconds")
    window, found = tracelook.syscalls(evidence, long), dict[str, str]()
    for one in window.now.paths if window is not None else ():
        if one.error == "EROFS" and one.path.startswith("/") and (evidence.ago(one.last_at) or 0.0) <= long:
            found[one.path] = f"the kernel saw {one.call} on {one.path} fail with EROFS {counted(one.count, 'time')}"
    for event in (row for record in evidence.series(ProbeEvents, long) for row in record.rows):
        if event.result == "EROFS" and event.what.startswith("/"):
            found.setdefault(event.what, f"a probe saw a call on {event.what} fail with EROFS")
    return found


def _mount(evidence: Evidence, point: str, rows: list[PathUse], witnesses: list[str]) -> Claim:
    record = evidence.current(FileSystems)
    system = next((one for one in record.systems if one.point == point), None) if record is not None else None
    opened = [row for row in rows if row.source.startswith("fd ")]
    told = [f"{row.path} ({row.source}) is for writing" for row in rows[:MOST]] + witnesses[:MOST]
    if system is not None and system.errors:
        told.append(f"ext4 has counted {counted(system.errors, 'error')} on {system.source}")
    if (since := _since(evidence, point)) is not None:
        told.append(f"writable until {clock(since)}")
    severity: Severity = "critical" if opened or witnesses else "warning"
    word = remedies.word(point)
    return evidence.finding(
        READ_ONLY,
        severity,
        f"{point} is read-only, and it writes there",
        evidence=tuple(told),
        fix=f"see why: findmnt -T {word}; dmesg | grep -i remount; {_WAYS}\nfor a mount: mount -o remount,rw {word}",
        view="paths",
        subject=point,
        since=since,
    )


def _since(evidence: Evidence, point: str) -> datetime | None:
    """The last time that it was seen writable."""
    times = [
        record.at
        for record in evidence.series(FileSystems, 3600.0)
        if any(one.point == point and not one.read_only for one in record.systems)
    ]
    return times[-1] if times else None


def hanging(evidence: Evidence) -> Iterator[Claim]:
    """One finding for the threads that wait for the same thing."""
    if not evidence.running:
        return
    record = evidence.current(Sleepers)
    if record is None:
        yield evidence.unknown(HANGS, "sleepers")
        return
    least = evidence.limit(HANGS, "warning")
    long = [one for one in record.sleepers if (evidence.ago(one.since) or 0.0) >= least]
    if not long:
        yield Fine(HANGS, f"{counted(record.threads, 'thread')}, none hangs in the kernel")
        return
    first = long[0]
    age = evidence.ago(first.since) or 0.0
    frozen = all(FROZEN in one.wait for one in long)
    what = "frozen by the cgroup freezer (a paused container)" if frozen else "in uninterruptible sleep"
    where = f", in {first.call} on {first.path}" if first.path else f", in {first.call}" if first.call else ""
    yield evidence.finding(
        HANGS,
        "critical" if age >= evidence.limit(HANGS, "critical") and not frozen else "warning",
        f"{counted(len(long), 'thread')} {what} for {seconds(age)}{where}",
        evidence=tuple(_told(one) for one in long[:MOST]) + tuple(_stuck(evidence)),
        fix="docker unpause, podman unpause, or systemctl thaw"
        if frozen
        else "a disk or a server does not answer; no signal ends such a thread: dmesg | tail; cat /proc/mounts; "
        f"cat /proc/{first.pid}/task/{first.tid}/stack",
        view="paths",
        since=first.since,
    )


def _told(one: Sleeper) -> str:
    where = f" on {one.path}" if one.path else ""
    wait = f", waits in {one.wait}" if one.wait else ""
    stack = f" < {' < '.join(one.stack[:3])}" if one.stack else ""
    return f"thread {one.tid} ({one.name}): {one.call or 'in the kernel'}{where}{wait}{stack}"


def _stuck(evidence: Evidence) -> Iterator[str]:
    record = evidence.current(FileSystems)
    for one in record.systems if record is not None else ():
        if one.stalled:
            yield f"{one.point} ({one.kind} from {one.source}) does not answer"

"""A file system, or a user's quota on it, is full: what the target writes is lost.

ENOSPC and EDQUOT have no harmless reading for calls that write or make files; once is enough. Of inotify_add_watch and
epoll_ctl ENOSPC means that a table of watches is full, which is another matter. The log is a witness as well: Go names
the path ("write /var/lib/x: no space left on device"). Its lines count for five minutes, as long as a rotation takes.
"""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING, Final, NamedTuple

from gotriage.records.findings import Fine
from gotriage.records.limits import LimitTable
from gotriage.records.paths import FileSystems, Paths
from gotriage.records.probes import ProbeEvents
from gotriage.records.units import count, counted, seconds, share, size
from gotriage.rules import remedies, tracelook

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gotriage.records.limits import Limit
    from gotriage.records.paths import FileSystemUse
    from gotriage.rules import Claim
    from gotriage.rules.evidence import Evidence

ID: Final = "disk-full"
DEFAULTS: Final = {ID: {"log_seconds": 300.0, "seconds": 60.0, "full": 0.98, "filling": 0.97, "room": 2e9}}
FULL: Final = ("ENOSPC", "EDQUOT")
WATCHES: Final = frozenset({"inotify_add_watch", "inotify_init", "inotify_init1", "epoll_ctl", "fanotify_mark"})
_SAID: Final = {
    text: re.compile(
        r"(?:\b(?:write|open|openat|mkdir|sync|fsync|create|rename|truncate|close) (/[^\s:\"']{1,1024}): )?" + text,
        re.IGNORECASE,
    )
    for text in ("no space left on device", "disk quota exceeded")
}
MOST: Final = 4


class Seen(NamedTuple):
    """What a witness says: how many writes failed, in which words, and which paths it names."""

    times: int
    told: tuple[str, ...]
    paths: tuple[str, ...]
    quota: bool = False


def full(evidence: Evidence) -> Iterator[Claim]:
    """One finding for all writes that failed."""
    if evidence.target is None or evidence.target.state == "core":
        return
    traced = _traced(evidence)
    witnesses = [one for one in (traced, _straced(evidence), _probed(evidence), _logged(evidence)) if one is not None]
    seen = [one for one in witnesses if one.times]
    if not seen:
        filling = list(_filling(evidence))
        yield from filling
        if filling:
            return
        if traced is not None:
            yield Fine(ID, "no write failed for want of space")
        elif evidence.running:
            yield tracelook.unseen(evidence, ID, tracelook.SYSCALLS)
        return
    paths = list(dict.fromkeys(path for one in seen for path in one.paths))
    disk = _fullest(evidence, paths)
    what = "the disk quota is used up" if all(one.quota for one in seen) else "no space left on device"
    where = f"{disk.subject}: " if disk is not None else f"{paths[0]}: " if paths else ""
    told = [words for one in seen for words in one.told]
    told += [_use(disk)] if disk is not None else []
    told += [f"at {', '.join(paths[:MOST])}"] if paths else []
    yield evidence.finding(
        ID,
        "critical",
        f"{where}{what}: {counted(max(one.times for one in seen), 'write')} failed",
        evidence=tuple(told),
        fix=_fix(paths, disk),
        view="syscalls" if traced is not None and traced.times else "logs",
        subject=disk.subject if disk is not None else paths[0] if paths else evidence.name,
    )


def _filling(evidence: Evidence) -> Iterator[Claim]:
    """File systems that it writes to and that are nearly full, or whose quota is; nothing has failed so far."""
    record = evidence.current(FileSystems)
    for one in record.systems if record is not None else ():
        if not one.written or one.read_only:
            continue
        if (
            one.quota_bytes
            and one.quota_used is not None
            and one.quota_used >= evidence.limit(ID, "full") * one.quota_bytes
        ):
            use = f"{size(one.quota_used)} of {size(one.quota_bytes)}"
            yield _nearly(
                evidence, one, f"the disk quota is nearly used up: {use}", gone=one.quota_used >= one.quota_bytes
            )
        elif one.total_bytes and one.room_bytes is not None:
            level = 1 - one.room_bytes / one.total_bytes
            if level >= evidence.limit(ID, "filling") and one.room_bytes < evidence.limit(ID, "room"):
                left = f"{size(one.room_bytes)} of {size(one.total_bytes)} left" if one.room_bytes else "nothing left"
                yield _nearly(evidence, one, f"{share(level)} full, {left}", gone=not one.room_bytes)


def _nearly(evidence: Evidence, one: FileSystemUse, use: str, *, gone: bool) -> Claim:
    told = [f"{one.kind} from {one.source}" + (f", on {' on '.join(one.disks)}" if one.disks else "")]
    paths = evidence.current(Paths)
    rows = [row for row in paths.rows if row.mount == one.point and "w" in row.needs] if paths is not None else []
    told += [f"written to: {', '.join(row.path for row in rows[:MOST])}"] if rows else []
    if paths is not None and paths.deleted_bytes:
        told.append(f"{counted(paths.deleted, 'deleted file')} that it holds open keep {size(paths.deleted_bytes)}")
    return evidence.finding(
        ID,
        "critical" if gone else "warning",
        f"{one.point}: {use}",
        evidence=tuple(told),
        fix=_fix([f"{one.point}/"], None),
        view="paths",
        subject=one.point,
    )


def _traced(evidence: Evidence) -> Seen | None:
    """What the kernel's counters say."""
    window = tracelook.syscalls(evidence, evidence.limit(ID, "seconds"))
    if window is None:
        return None
    failed: Counter[tuple[str, str]] = Counter()
    for (call, error), number in tracelook.failures(window).items():
        if error in FULL and call not in WATCHES:
            failed[call, error] += number
    told = tuple(
        f"{call} failed with {error} {counted(number, 'time')} in {seconds(window.seconds)} of tracing"
        for (call, error), number in failed.most_common(MOST)
    )
    paths = [one.path for one in window.now.paths if one.error in FULL and one.path.startswith("/")]
    calls = {call for call, _ in failed}
    paths += [
        one.name
        for one in window.now.descriptors
        if one.type == "file" and one.name.startswith("/") and one.writes.errors and calls
    ]
    return Seen(failed.total(), told, tuple(paths) if failed else (), all(error == "EDQUOT" for _, error in failed))


def _straced(evidence: Evidence) -> Seen | None:
    record = tracelook.strace(evidence)
    rows = [
        row for row in (record.failures if record is not None else ()) if row.error in FULL and row.call not in WATCHES
    ]
    told = tuple(f"strace saw {row.call} fail with {row.error} {counted(row.count, 'time')}" for row in rows[:MOST])
    paths = tuple(row.where for row in rows if row.where.startswith("/"))
    return Seen(sum(row.count for row in rows), told, paths, all(row.error == "EDQUOT" for row in rows))


def _probed(evidence: Evidence) -> Seen | None:
    records = evidence.series(ProbeEvents, evidence.limit(ID, "seconds"))
    rows = [
        row
        for record in records
        for row in record.rows
        if row.result in FULL and (evidence.ago(row.at) or 0.0) <= evidence.limit(ID, "seconds")
    ]
    told = (f"a probe saw {counted(len(rows), 'call')} fail so",) if rows else ()
    return Seen(len(rows), told, tuple(row.what for row in rows if row.what.startswith("/")))


def _logged(evidence: Evidence) -> Seen | None:
    found = {
        text: tracelook.said(evidence, text, pattern, evidence.limit(ID, "log_seconds"))
        for text, pattern in _SAID.items()
    }
    lines = [lines for by_path in found.values() for lines in by_path.values()]
    if not lines:
        return None
    times = sum(one.number for one in lines)
    last = max(lines, key=lambda one: one.last)
    paths = tuple(path for by_path in found.values() for path in by_path if path)
    told = f"the log says so {counted(times, 'time')}" if len(lines) > 1 else str(last)
    return Seen(times, (told,), paths, not found["no space left on device"])


def _fullest(evidence: Evidence, paths: list[str]) -> Limit | None:
    """The file system that is full: the deepest mount point above one of the paths, where it is known to be full."""
    table = evidence.latest(LimitTable)
    rows = [
        row
        for row in (table.rows if table is not None else ())
        if row.scope == "filesystem" and row.used is not None and row.soft
        if row.used >= evidence.limit(ID, "full") * row.soft
    ]
    above = [
        row
        for row in rows
        if any(path == row.subject or path.startswith(row.subject.rstrip("/") + "/") for path in paths)
    ]
    return max(above, key=lambda row: len(row.subject), default=None)


def _use(disk: Limit) -> str:
    used, most = disk.used or 0, disk.soft or 1
    if disk.unit == "bytes":
        return f"{disk.subject}: {size(used)} of {size(most)} in use, {share(used / most)}"
    return f"{disk.subject}: {count(used)} of {count(most)} inodes in use, {share(used / most)}"


def _fix(paths: list[str], disk: Limit | None) -> str:
    place = remedies.word(disk.subject if disk is not None else paths[0].rpartition("/")[0] or "/" if paths else "/")
    return (
        f"see what is full and by whom: df -h {place}; df -i {place}; du -xh --max-depth=2 {place} | sort -h | tail\n"
        "deleted files that are still open count too: the files view (7)"
    )

"""Deleted files that a descriptor keeps on disk.

The blocks of an unlinked file are freed only when its last descriptor is closed (unlink(2)), so df shows them and du
does not. 100 MB is more than a program needs for scratch; files that lie where scratch files lie (unlinked on purpose
by databases, and by nginx for bodies) and are no logs are told from 1 GB on, or when their file system is nearly full.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from gotriage.records.files import FileTable
from gotriage.records.findings import Fine, Severity
from gotriage.records.limits import LimitTable
from gotriage.records.units import count, share, size
from gotriage.rules import remedies

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gotriage.records.files import OpenFile
    from gotriage.records.limits import Limit
    from gotriage.rules import Claim
    from gotriage.rules.evidence import Evidence

ID: Final = "deleted-file-held"
DEFAULTS: Final = {ID: {"warning": 100e6, "scratch": 1e9, "full": 0.90, "critical_full": 0.98}}
SCRATCH: Final = ("/tmp/", "/var/tmp/", "/dev/shm/", "/var/lib/nginx/", "/var/cache/")
SCRATCH_WORDS: Final = ("temp", "tmp")
DELETED: Final = " (deleted)"
"""What the kernel appends to the path of an unlinked file (fs/d_path.c)."""


def deleted_files(evidence: Evidence) -> Iterator[Claim]:
    """One finding for all of them, the largest first."""
    if not evidence.running:
        return
    table = evidence.current(FileTable)
    if table is None:
        yield evidence.unknown(ID, "files")
        return
    held = _held(table)
    total = sum(row.size or 0 for row in held)
    scratch = bool(held) and all(_is_scratch(row) for row in held if (row.size or 0) * 10 >= total)
    disk = _fullest(evidence, held)
    level = disk.used / disk.soft if disk is not None and disk.used is not None and disk.soft else None
    tight = level is not None and level >= evidence.limit(ID, "full")
    least = evidence.limit(ID, "scratch" if scratch and not tight else "warning")
    if total < least:
        yield Fine(ID, f"{size(total)} in deleted files" if total else "no deleted files held")
        return
    severity: Severity = "warning"
    if level is not None and level >= evidence.limit(ID, "critical_full"):
        severity = "critical"
    first = held[0]
    files = "a deleted file" if len(held) == 1 else f"{count(len(held))} deleted files"
    title = f"{size(total)} in {files} held open"
    if disk is not None and level is not None and tight:
        title += f"; {disk.subject} is {share(level)} full"
    yield evidence.finding(
        ID,
        severity,
        title,
        evidence=tuple(f"fd {row.fd} of {row.pid}: {size(row.size)}  {_path(row)}" for row in held[:5]),
        fix=f"make it open its log anew (SIGHUP or SIGUSR1 where it knows them), or {remedies.restart(evidence)}\n"
        f"to free the space now, if it is a log: truncate -s 0 /proc/{first.pid}/fd/{first.fd}",
        view="files",
    )


def _path(row: OpenFile) -> str:
    return row.name.removesuffix(DELETED)


def _held(table: FileTable) -> list[OpenFile]:
    """Deleted regular files, each once however many descriptors it has, largest first."""
    once: dict[tuple[int | None, str], OpenFile] = {}
    for row in table.rows:
        if row.deleted and row.type == "file" and row.size:
            once.setdefault((row.inode, row.name), row)
    return sorted(once.values(), key=lambda row: -(row.size or 0))


def _is_scratch(row: OpenFile) -> bool:
    """Whether it looks like a file that was unlinked on purpose: in a folder for such, and no log."""
    path = _path(row).lower()
    name = path.rpartition("/")[2]
    if "log" in name or "a" in row.mode or row.mode.startswith("w"):
        return False
    return path.startswith(SCRATCH) or any(word in path for word in SCRATCH_WORDS)


def _fullest(evidence: Evidence, held: list[OpenFile]) -> Limit | None:
    """The file system that the largest of them lies on, as the limits tell it: the deepest mount point above it."""
    table = evidence.latest(LimitTable)
    if table is None or not held:
        return None
    path = _path(held[0])
    above = [
        row
        for row in table.rows
        if row.scope == "filesystem" and row.unit == "bytes" and row.used is not None and row.soft
        if path == row.subject or path.startswith(row.subject.rstrip("/") + "/")
    ]
    return max(above, key=lambda row: len(row.subject), default=None)

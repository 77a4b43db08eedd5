"""Where a process's output goes: the files it appends to, and what its standard output and error are."""

from __future__ import annotations

import os
import re
import stat as stat_module
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from gotriage.errors import GotriageError
from gotriage.records.text import clean

if TYPE_CHECKING:
    from gotriage.host import Host

MAX_FDS = 8192
"""Descriptors of one process that are looked at."""
MAX_SCAN = 200_000
"""Descriptors of all processes that are looked at for the reader of a pipe."""
_STREAMS = {1: "stdout", 2: "stderr"}
_LOG_NAME = re.compile(r"\.(?:log|out|err|txt|json|jsonl)(?:[.-][\w.-]{1,40})?$|/log/|/logs/")

Kind = Literal["file", "pipe", "socket", "null", "terminal", "other"]


@dataclass(frozen=True, slots=True)
class Output:
    """A descriptor that a process writes to. `path` is what the kernel shows, cleaned; `stream` "" for other files."""

    pid: int
    fd: int
    kind: Kind
    path: str
    identity: tuple[int, int]
    stream: str = ""
    deleted: bool = False


def outputs(host: Host, pid: int) -> list[Output]:
    """Standard output and error of a process, and the log files it has open for appending.

    Raises TargetGone, NotPermitted or OSError when its descriptors cannot be listed.
    """
    found: list[Output] = []
    numbers = sorted(int(name) for name in host.proc.names(pid, "fd") if name.isdigit())[:MAX_FDS]
    for number in numbers:
        stream = _STREAMS.get(number, "")
        try:
            link = host.proc.link(pid, "fd", number)
            if not stream and not (link.startswith("/") and _LOG_NAME.search(link.removesuffix(" (deleted)"))):
                continue
            facts = os.stat(host.proc.path(pid, "fd", number))
            kind = _kind(facts, link)
            if stream or (kind == "file" and _appends(host, pid, number)):
                name = clean(link.removesuffix(" (deleted)"), 4096)
                deleted = kind == "file" and facts.st_nlink == 0
                found.append(Output(pid, number, kind, name, (facts.st_dev, facts.st_ino), stream, deleted))
        except (GotriageError, OSError):
            continue
    return found


def _kind(facts: os.stat_result, link: str) -> Kind:
    mode = facts.st_mode
    if stat_module.S_ISREG(mode):
        return "file" if link.startswith("/") and not link.startswith("/memfd:") else "other"
    if stat_module.S_ISFIFO(mode):
        return "pipe"
    if stat_module.S_ISSOCK(mode):
        return "socket"
    if stat_module.S_ISCHR(mode):
        if os.major(facts.st_rdev) == 1 and os.minor(facts.st_rdev) == 3:
            return "null"
        return "terminal" if os.major(facts.st_rdev) in (4, 5) or 136 <= os.major(facts.st_rdev) <= 143 else "other"
    return "other"


def _appends(host: Host, pid: int, number: int) -> bool:
    """Whether the descriptor is open for writing with O_APPEND (proc_pid_fdinfo(5): flags in octal)."""
    for line in host.proc.text(pid, "fdinfo", number).splitlines():
        if line.startswith("flags:"):
            flags = int(line.split()[1], 8)
            return bool(flags & os.O_ACCMODE) and bool(flags & os.O_APPEND)
    return False


def readers_of(host: Host, pipe: str, writers: frozenset[int]) -> list[str]:
    """Who holds the other end of a pipe ("pipe:[inode]"): "name (pid)" of processes that are none of the writers."""
    found: list[str] = []
    left = MAX_SCAN
    for pid in host.proc.pids():
        if pid in writers or left <= 0:
            continue
        try:
            numbers = host.proc.names(pid, "fd")
            left -= len(numbers)
            if any(_link(host, pid, number) == pipe for number in numbers[:MAX_FDS]):
                found.append(f"{clean(host.proc.read(pid, 'comm', limit=64).strip())} ({pid})")
        except (GotriageError, OSError):
            continue
        if len(found) >= 4:
            break
    return found


def _link(host: Host, pid: int, number: str) -> str:
    try:
        return host.proc.link(pid, "fd", number)
    except (GotriageError, OSError):
        return ""

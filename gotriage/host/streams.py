"""Where do standard input, output and error go?"""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gotriage.errors import GotriageError
from gotriage.host.outputs import readers_of

if TYPE_CHECKING:
    from gotriage.host import Host


@dataclass(frozen=True, slots=True)
class Destination:
    """One standard stream: fd 0, 1 or 2, what it is in words, and its type (file, pipe, socket, char, "")."""

    fd: int
    goes_to: str
    type: str


def standard_streams(host: Host, pid: int) -> list[Destination]:
    """The three streams; a closed one says so. Raises NotPermitted when /proc/PID/fd may not be read, TargetGone."""
    host.proc.names(pid, "fd")
    return [_stream(host, pid, fd) for fd in (0, 1, 2)]


def _stream(host: Host, pid: int, fd: int) -> Destination:
    try:
        link = host.proc.link(pid, "fd", fd)
        facts = os.stat(host.proc.path(pid, "fd", fd))
    except (GotriageError, OSError):
        return Destination(fd, "closed", "")
    if link.startswith("pipe:"):
        return Destination(fd, _pipe(host, pid, link), "pipe")
    if link.startswith("socket:"):
        journal = _is_journal(host, pid, facts)
        return Destination(fd, "journal (systemd-journald)" if journal else link.replace(":[", " [", 1), "socket")
    if stat.S_ISCHR(facts.st_mode):
        return Destination(fd, "nowhere (/dev/null)" if link == "/dev/null" else link, "char")
    return Destination(fd, link, "file")


def _is_journal(host: Host, pid: int, facts: os.stat_result) -> bool:
    """systemd.exec(5): $JOURNAL_STREAM is device:inode of the journal's socket."""
    try:
        said = host.proc.environ(pid).get("JOURNAL_STREAM", "")
    except (GotriageError, OSError):
        return False
    return said == f"{facts.st_dev}:{facts.st_ino}"


def _pipe(host: Host, pid: int, link: str) -> str:
    """The processes at the other end, as far as a bounded look finds them."""
    others = readers_of(host, link, frozenset((pid,)))
    return f"pipe to {', '.join(others)}" if others else "pipe; no process found at its other end"

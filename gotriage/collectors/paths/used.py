"""Which paths: the working directory, the executable, those it was given, those it has open; each once."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from gotriage.errors import GotriageError
from gotriage.host.given import Given, given_paths

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gotriage.host import Host

MOST_GIVEN: Final = 60
MOST_OPEN: Final = 60
MOST_DESCRIPTORS: Final = 4096
DELETED: Final = " (deleted)"
_KINDS: Final = ("/proc/", "/sys/", "/dev/")
"""Open files of the kernel are not looked at."""


@dataclass(slots=True)
class Used:
    """One path and what names it; `needs` "" is worked out from what the path is."""

    path: str
    given: Given | None = None
    source: str = ""
    needs: str = ""
    held: int | None = None
    """Bytes on disk of a deleted file that is open."""
    facts: os.stat_result | None = None


@dataclass(slots=True)
class Found:
    """All paths; `omitted` more descriptors were open, `deleted` files are held open with so many bytes."""

    paths: list[Used] = field(default_factory=list)
    omitted: int = 0
    deleted: int | None = None
    deleted_bytes: int | None = None


def paths_of(host: Host, pid: int, remote: tuple[str, ...], *, same_user: bool) -> Found:
    """The paths of one process; below a prefix of `remote` nothing is touched. Raises TargetGone, NotPermitted.

    One that changed its user since it started (not `same_user`) may have used before what it was given: what for is
    left open.
    """
    proc, found = host.proc, Found()
    cwd = proc.link(pid, "cwd")
    known: dict[str, Used] = {}

    def add(one: Used) -> None:
        if one.path in known:
            known[one.path].given = known[one.path].given or one.given
        elif one.path.startswith("/"):
            known[one.path] = one

    add(Used(cwd, source="working directory", needs="x"))
    add(Used(proc.link(pid, "exe"), source="executable", needs="x"))
    try:
        words, variables = proc.cmdline(pid), proc.environ(pid)
    except (GotriageError, OSError):
        words, variables = [], {}
    for given in given_paths(words, variables, "")[:MOST_GIVEN]:
        add(Used(given.path, given=given if same_user else None, source=given.source))
    _opened(host, pid, remote, found, known)
    found.paths = list(known.values())
    return found


def _opened(host: Host, pid: int, remote: tuple[str, ...], found: Found, known: dict[str, Used]) -> None:
    """Add open files and folders, deleted ones first; count what deleted ones hold."""
    try:
        every = sorted(host.proc.names(pid, "fd"), key=int)
    except (GotriageError, OSError, ValueError):
        return
    names = every[:MOST_DESCRIPTORS]
    opened: dict[str, Used] = {}
    held: dict[tuple[int, int], int] = {}
    for name in names:
        link = _link(host, pid, name)
        if not link.startswith("/") or link.startswith(_KINDS):
            continue
        used = opened.get(link) or Used(link, source=f"fd {name}")
        opened[link] = used
        used.needs = "".join(letter for letter in "rw" if letter in used.needs + _mode(host, pid, name))
        if link.endswith(DELETED) and used.facts is None and not link.startswith(remote or ("\0",)):
            used.facts = facts = _stat(host, pid, name)
            if facts is not None and not facts.st_nlink and stat.S_ISREG(facts.st_mode):
                used.held = held[facts.st_dev, facts.st_ino] = facts.st_blocks * 512
    if len(names) == len(every):  # else there may be more than were seen
        found.deleted, found.deleted_bytes = len(held), sum(held.values())
    rest = sorted(opened.values(), key=lambda used: -(used.held or 0))
    new = [used for used in rest if used.path not in known]
    for used in new[:MOST_OPEN]:
        known[used.path] = used
    for used in rest:  # a path that it was given as well: opened for writing is used for writing
        if used.path in known and known[used.path] is not used:
            known[used.path].needs += used.needs
    found.omitted = len(new[MOST_OPEN:]) + len(every[MOST_DESCRIPTORS:])


def _link(host: Host, pid: int, name: str) -> str:
    try:
        return host.proc.link(pid, "fd", name)
    except (GotriageError, OSError):
        return ""


def _stat(host: Host, pid: int, name: str) -> os.stat_result | None:
    try:
        return os.stat(host.proc.path(pid, "fd", name))
    except OSError:
        return None


def _mode(host: Host, pid: int, name: str) -> str:
    """r, w, rw of the descriptor's flags (proc_pid_fdinfo(5))."""
    try:
        text = host.proc.read(pid, "fdinfo", name, limit=1024)
        flags = int(next(line for line in text.splitlines() if line.startswith(b"flags:")).split()[1], 8)
    except (GotriageError, OSError, StopIteration, ValueError, IndexError):
        return ""
    return ("r", "w", "rw", "")[flags & os.O_ACCMODE]


def written(paths: Iterable[Used]) -> set[str]:
    """Those that are used for writing."""
    return {used.path for used in paths if "w" in used.needs}

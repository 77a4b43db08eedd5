"""Which process has which socket open: by the links of /proc/PID/fd (proc_pid_fd(5))."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final, NamedTuple

from gotriage.errors import GotriageError, NotPermitted
from gotriage.host import clock
from gotriage.host.fdread import read_links
from gotriage.host.proc import translated

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from gotriage.host import Host

MAX_DESCRIPTORS: Final = 20_000
"""Descriptors of other processes looked at in one search."""
SECONDS: Final = 0.25
"""How long a search through other processes may take."""
KEEP: Final = 60.0
"""Seconds that what a search found is believed; a socket not known yet is searched for every AGAIN seconds."""
AGAIN: Final = 15.0


class Holder(NamedTuple):
    """A process and its descriptor."""

    pid: int
    fd: int


class Held(NamedTuple):
    """The sockets of some processes by inode, the first holder each; `denied` could not be looked at."""

    sockets: dict[int, Holder]
    denied: tuple[int, ...]


def of(host: Host, pids: Sequence[int], limit: int) -> Held:
    """The sockets of these processes, out of `limit` descriptors at most."""
    found: dict[int, Holder] = {}
    denied = []
    for pid in pids:
        try:
            limit -= _of_process(host, pid, limit, found)
        except NotPermitted:
            denied.append(pid)
        except (GotriageError, OSError):
            continue
        if limit <= 0:
            break
    return Held(found, tuple(denied))


def _of_process(host: Host, pid: int, limit: int, found: dict[int, Holder]) -> int:
    """Add the sockets of a process; how many descriptors were looked at. Raises TargetGone, NotPermitted, OSError."""
    path = host.proc.path(pid, "fd")
    try:
        folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise translated(error, path) from error
    try:
        names = os.listdir(folder)[:limit]
        for name, link in zip(names, read_links(folder, names), strict=True):
            if link.startswith("socket:["):
                found.setdefault(int(link[8:-1]), Holder(pid, int(name)))
    finally:
        os.close(folder)
    return len(names)


class Others:
    """Who else holds sockets: a search through all processes, remembered for a while."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._known: dict[int, Holder | None] = {}
        self._at = -KEEP

    def holders(self, inodes: Iterable[int], own: Iterable[int]) -> dict[int, Holder]:
        """The holders of these sockets among all processes but `own`, as far as they may be looked at."""
        wanted, age = set(inodes), clock.monotonic() - self._at
        if wanted and (age >= KEEP or (age >= AGAIN and not wanted <= self._known.keys())):
            self._known, self._at = self._search(wanted, set(own)), clock.monotonic()
        return {inode: holder for inode in wanted if (holder := self._known.get(inode)) is not None}

    def _search(self, wanted: set[int], own: set[int]) -> dict[int, Holder | None]:
        found: dict[int, Holder | None] = dict.fromkeys(wanted)
        left, missing, end = MAX_DESCRIPTORS, len(wanted), clock.monotonic() + SECONDS
        for pid in self._host.proc.pids():
            if left <= 0 or missing <= 0 or clock.monotonic() > end:
                break
            if pid in own:
                continue
            theirs: dict[int, Holder] = {}
            try:
                left -= _of_process(self._host, pid, left, theirs)
            except (GotriageError, OSError):
                continue
            for inode in wanted & theirs.keys():
                missing -= found[inode] is None
                found[inode] = theirs[inode]
        return found

"""Which process has which socket open: by the links of /proc/PID/fd (proc_pid_fd(5))."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from gotriage.errors import GotriageError, NotPermitted
from gotriage.host import clock, fditer, fds
from gotriage.host.fdread import read_links
from gotriage.host.proc import translated

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

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
    """The sockets of some processes in ascending order of their inodes, the first holder of each; `denied` could not be
    looked at."""

    inodes: NDArray[np.int64]
    pids: NDArray[np.int64]
    fds: NDArray[np.int64]
    denied: tuple[int, ...] = ()

    def places(self, inodes: NDArray[np.int64]) -> NDArray[np.int64]:
        """Where each of these inodes is; all of them must be known."""
        return np.searchsorted(self.inodes, inodes)

    def holder(self, inode: int) -> Holder | None:
        """Who holds it, None when it is not known."""
        at = int(np.searchsorted(self.inodes, inode))
        if at >= len(self.inodes) or self.inodes[at] != inode:
            return None
        return Holder(int(self.pids[at]), int(self.fds[at]))


def of(host: Host, pids: Sequence[int], limit: int) -> Held:
    """The sockets of these processes, out of `limit` descriptors at most."""
    columns = [np.zeros((3, 0), np.int64)]
    denied = []
    for pid in pids:
        try:
            inodes, numbers = _many(host, pid) or _few(host, pid, limit)
        except NotPermitted:
            denied.append(pid)
            continue
        except (GotriageError, OSError):
            continue
        inodes, numbers = inodes[:limit], numbers[:limit]
        columns.append(np.stack([inodes, np.full(len(inodes), pid, np.int64), numbers]))
        limit -= len(inodes)
        if limit <= 0:
            break
    table = np.concatenate(columns, axis=1)
    known, first = np.unique(table[0], return_index=True)
    return Held(known, table[1][first], table[2][first], tuple(denied))


def _many(host: Host, pid: int) -> tuple[NDArray[np.int64], NDArray[np.int64]] | None:
    """A process with very many descriptors, read by the kernel's iterator; None where that does not work or pay."""
    if fds.count(host, pid) < fds.ITERATE_FROM:
        return None
    data = fditer.raw(host, pid)
    return fditer.socket_inodes(data) if data else None


def _few(host: Host, pid: int, limit: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    found: dict[int, Holder] = {}
    _of_process(host, pid, limit, found)
    numbers = np.fromiter((holder.fd for holder in found.values()), np.int64, len(found))
    return np.fromiter(found, np.int64, len(found)), numbers


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

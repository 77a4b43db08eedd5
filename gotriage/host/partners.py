"""Who holds the other end of a pipe: found by looking through other processes' descriptors, within bounds."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from gotriage.errors import GotriageError
from gotriage.host import clock

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gotriage.host import Host

MAX_DESCRIPTORS: Final = 20_000
"""Descriptors of other processes looked at in one search."""
MAX_PER_PROCESS: Final = 2_000
SECONDS: Final = 0.25
KEEP: Final = 30.0
"""How long an answer is believed, seconds; a search for pipes not yet known is made at most every AGAIN."""
AGAIN: Final = 5.0


@dataclass(frozen=True, slots=True)
class Holder:
    """A process that has a pipe open: its name (not cleaned), and which ends."""

    pid: int
    comm: str
    reads: bool
    writes: bool


class Partners:
    """Remembers what it found; a search runs only when a pipe is asked for that it does not know."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._known: dict[int, tuple[Holder, ...]] = {}
        self._searched = -KEEP
        self.complete = True
        """Whether the last search saw every process; else a pipe without holders proves nothing."""

    def holders(self, inodes: Iterable[int], own: Iterable[int]) -> dict[int, tuple[Holder, ...]]:
        """The holders of each pipe among all processes but `own`."""
        wanted = frozenset(inodes)
        age = clock.monotonic() - self._searched
        if wanted and (age >= KEEP or (age >= AGAIN and not wanted <= self._known.keys())):
            self._known = self._search(wanted, frozenset(own))
            self._searched = clock.monotonic()
        return {inode: self._known[inode] for inode in wanted if inode in self._known}

    def _search(self, wanted: frozenset[int], own: frozenset[int]) -> dict[int, tuple[Holder, ...]]:
        names = {f"pipe:[{inode}]": inode for inode in wanted}
        found: dict[int, list[Holder]] = {inode: [] for inode in wanted}
        left, end = MAX_DESCRIPTORS, clock.monotonic() + SECONDS
        self.complete = True
        for pid in self._host.proc.pids():
            if pid in own:
                continue
            if left <= 0 or clock.monotonic() > end:
                self.complete = False
                break
            try:
                left -= self._of_process(pid, names, found)
            except (GotriageError, OSError, ValueError) as error:
                self.complete = self.complete and "gone" in str(error)
        return {inode: tuple(holders) for inode, holders in found.items()}

    def _of_process(self, pid: int, names: dict[str, int], found: dict[int, list[Holder]]) -> int:
        """Look through one process; how many descriptors that took."""
        folder = self._host.proc.path(pid, "fd")
        numbers = self._host.proc.names(pid, "fd")
        if len(numbers) > MAX_PER_PROCESS:
            self.complete = False
        numbers = numbers[:MAX_PER_PROCESS]
        ends: dict[int, int] = {}
        for number in numbers:
            path = f"{folder}/{number}"
            try:
                inode = names.get(os.readlink(path))
                if inode is not None:
                    ends[inode] = ends.get(inode, 0) | os.lstat(path).st_mode
            except OSError:
                continue
        if ends:
            comm = self._host.proc.read(pid, "comm", limit=64).rstrip(b"\n").decode("utf-8", "surrogateescape")
            for inode, mode in ends.items():
                found[inode].append(Holder(pid, comm, bool(mode & 0o400), bool(mode & 0o200)))
        return len(numbers)


def far_end(holders: Iterable[Holder], *, we_read: bool, we_write: bool) -> list[Holder]:
    """Those who hold the end that we do not: writers for a reader, readers for a writer."""
    return [holder for holder in holders if (we_read and holder.writes) or (we_write and holder.reads)]

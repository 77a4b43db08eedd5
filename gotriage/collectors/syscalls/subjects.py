"""What a descriptor is: the file or the connection behind it, looked up only for those that are shown."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final, NamedTuple

from gotriage.host import descriptors, socktables
from gotriage.host.fdread import read_links
from gotriage.records.text import clean

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gotriage.host import Host

NAME: Final = 512
MOST_SOCKETS: Final = 4096
"""Sockets that are remembered: who is at the other end does not change while a connection lasts."""


class Subject(NamedTuple):
    """As the view of open files has it: type, name, peer; all "" for a descriptor that is closed now."""

    type: str = ""
    name: str = ""
    peer: str = ""


class Subjects:
    """Looks up descriptors of one process."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._sockets: dict[int, Subject] = {}

    def of(self, pid: int, fds: Iterable[int]) -> dict[int, Subject]:
        """Those descriptors that are open."""
        wanted = sorted(set(fds))
        try:
            folder = os.open(self._host.proc.path(pid, "fd"), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError:
            return {}
        try:
            links = read_links(folder, [str(fd) for fd in wanted])
        finally:
            os.close(folder)
        known = self._find(pid, {inode for link in links if (inode := _socket(link)) is not None})
        found = {}
        for fd, link in zip(wanted, links, strict=True):
            inode = _socket(link)
            if inode is not None:
                found[fd] = known.get(inode, Subject("socket", clean(link, NAME)))
            elif link:
                name = link.removeprefix("anon_inode:").strip("[]") if link.startswith("anon_inode:") else link
                found[fd] = Subject(descriptors.kind_of(link), clean(name, NAME))
        return found

    def _find(self, pid: int, inodes: set[int]) -> dict[int, Subject]:
        missing = inodes - self._sockets.keys()
        if missing:
            if len(self._sockets) > MOST_SOCKETS:
                self._sockets.clear()
            table, _ = socktables.find(self._host, pid, missing)
            for inode, (protocol, state, local, peer, _, _) in table.items():
                words = f"{protocol} {state}" if state == "LISTEN" else protocol
                self._sockets[inode] = Subject(clean(words, 64), local, peer)
        return self._sockets


def _socket(link: str) -> int | None:
    return descriptors.inode_of(link) if link.startswith("socket:[") else None

"""The end of a file that another process writes: what is there, and what comes; rotated, cut and removed files too."""

from __future__ import annotations

import errno
import os
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING

from gotriage.host.inroot import InRoot, readable
from gotriage.records.text import clean

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from gotriage.host import Host

MAX_LINE = 1024 * 1024
"""Longest line kept, bytes; what is beyond is dropped up to the next end of line."""
READ = 1024 * 1024
"""Bytes of one look."""


def open_descriptor(host: Host, pid: int, number: int, name: str = "") -> int:
    """A descriptor of our own of the regular file that descriptor `number` of a process leads to, unlinked or not.

    Raises OSError; with a `name` also when the descriptor leads to a file of another name by now. The file is opened
    anew, so the process's offset stays where it is; pipes and devices are refused before they are opened.
    """
    path = host.proc.path(pid, "fd", number)
    if name and clean(os.readlink(path).removesuffix(" (deleted)"), 4096) != name:
        raise OSError(errno.ESTALE, "the descriptor is of another file now", name)
    place = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        return readable(place, path)
    finally:
        os.close(place)


def open_in_view(host: Host, path: str) -> int:
    """A descriptor of a regular file below the view's root, links resolved inside it. Raises OSError."""
    with InRoot(str(host.view)) as root, root.opened(path) as fd:
        return os.dup(fd)


class Tail:
    """Lines at the end of one file. `opened` opens what has the name now; asked again to notice a rotation."""

    def __init__(self, opened: Callable[[], int], *, history: int = READ, position: int | None = None) -> None:
        """Begins `history` bytes before the end, at a line's begin, or at `position`. Raises OSError."""
        self._opened = opened
        self._fd = opened()
        facts = os.fstat(self._fd)
        self.identity = (facts.st_dev, facts.st_ino)
        self.modified = facts.st_mtime
        self.position = max(0, facts.st_size - history) if position is None else min(position, facts.st_size)
        self._rest = b""
        self._skipping = position is None and self.position > 0
        self.truncations = 0
        self.rotations = 0

    @property
    def resume(self) -> int:
        """Where another reader would have to begin to miss nothing."""
        return self.position - len(self._rest)

    @property
    def deleted(self) -> bool:
        """Whether the file has no name any more."""
        return os.fstat(self._fd).st_nlink == 0

    def lines(self, limit: int = READ) -> list[bytes]:
        """The whole lines among the next `limit` bytes, without their ends."""
        data = self._read(limit)
        if not data and self._renewed():
            data = self._read(limit)
        if not data:
            return []
        if self._skipping:
            _, found, data = data.partition(b"\n")
            if not found:
                return []
            self._skipping = False
        *whole, rest = (self._rest + data).split(b"\n")
        if len(rest) > MAX_LINE:
            whole.append(rest[:MAX_LINE])
            rest, self._skipping = b"", True
        self._rest = rest
        return whole

    def flush(self) -> list[bytes]:
        """What stands behind the last end of line."""
        rest, self._rest = self._rest, b""
        return [rest] if rest else []

    def _read(self, limit: int) -> bytes:
        facts = os.fstat(self._fd)
        self.modified = facts.st_mtime
        if facts.st_size < self.position:  # truncated in place (logrotate's copytruncate)
            self.position, self._rest, self._skipping = 0, b"", False
            self.truncations += 1
        data = os.pread(self._fd, limit, self.position)
        self.position += len(data)
        return data

    def _renewed(self) -> bool:
        """At the end: whether the name leads to another file now; then that one is read from its begin."""
        try:
            fd = self._opened()
        except OSError:
            return False
        facts = os.fstat(fd)
        unread = os.fstat(self._fd).st_size > self.position  # written just before the file was renamed
        if unread or (facts.st_dev, facts.st_ino) == self.identity:
            os.close(fd)
            return False
        os.close(self._fd)
        self._fd, self.identity = fd, (facts.st_dev, facts.st_ino)
        self.position, self._rest, self._skipping = 0, b"", False
        self.rotations += 1
        return True

    def close(self) -> None:
        """Let go of the file."""
        with suppress(OSError):
            os.close(self._fd)


def newest_lines(fd: int, limit: int = 64 * READ) -> Iterator[bytes]:
    """The whole lines of the last `limit` bytes of a file, oldest first; closes the descriptor."""
    try:
        size = os.fstat(fd).st_size
        position = max(0, size - limit)
        rest: bytes | None = b"" if position == 0 else None
        while data := os.pread(fd, READ, position):
            position += len(data)
            *whole, last = ((rest or b"") + data).split(b"\n")
            yield from whole[1:] if rest is None else whole
            rest = last[:MAX_LINE] if rest is not None or whole else None
        if rest:
            yield rest
    finally:
        os.close(fd)


def rotated(host: Host, path: str, most: int = 20) -> list[str]:
    """The names of the older parts of a rotated log, newest first: PATH.1, PATH.2 ... that exist, uncompressed."""
    found: deque[str] = deque()
    with InRoot(str(host.view)) as root:
        for number in range(1, most + 1):
            if not root.exists(f"{path}.{number}"):
                break
            found.append(f"{path}.{number}")
    return list(found)

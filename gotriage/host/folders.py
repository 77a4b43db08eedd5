"""Which of many folders hold a file of some name: each folder of the target's root is opened once, then asked.

A loader tries the same few folders for every library. A descriptor for each makes a try one fstatat(2) that follows no
link; what is there is then opened by its full path in the root, where links resolve safely.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from gotriage.host.inroot import InRoot

MAX_OPEN: Final = 400
"""Folders remembered (open or absent) at a time; the oldest makes room."""
MAX_TRIES: Final = 200_000
"""Tries in all: a hostile file may ask for thousands of names in thousands of folders."""


class Folders:
    """Folders of a root; a context manager. Paths are absolute in that root."""

    def __init__(self, root: InRoot) -> None:
        self.root = root
        self.tries = 0
        self._fds: dict[str, int | None] = {}

    def __enter__(self) -> Folders:
        return self

    def __exit__(self, *_: object) -> None:
        for fd in self._fds.values():
            if fd is not None:
                os.close(fd)
        self._fds.clear()

    @property
    def exhausted(self) -> bool:
        """No more tries are left: nothing is found any longer."""
        return self.tries >= MAX_TRIES

    def has(self, folder: str, name: str) -> bool:
        """Whether the folder has an entry of that name, a broken link included."""
        if self.exhausted:
            return False
        self.tries += 1
        fd = self._fds[folder] if folder in self._fds else self._open(folder)
        if fd is None:
            return False
        try:
            os.stat(name, dir_fd=fd, follow_symlinks=False)
        except (OSError, ValueError):
            return False
        return True

    def exists(self, folder: str) -> bool:
        """Whether there is such a folder."""
        return (self._fds[folder] if folder in self._fds else self._open(folder)) is not None

    def identity(self, folder: str) -> tuple[int, int] | None:
        """Device and inode of the folder, None when there is none: two names may lead to one folder."""
        fd = self._fds[folder] if folder in self._fds else self._open(folder)
        if fd is None:
            return None
        facts = os.fstat(fd)
        return facts.st_dev, facts.st_ino

    def _open(self, folder: str) -> int | None:
        fd: int | None
        try:
            fd = self.root.folder(folder)
        except (OSError, ValueError):
            fd = None
        if fd is not None and len(self._fds) >= MAX_OPEN:
            oldest = next(iter(self._fds))
            closed = self._fds.pop(oldest)
            if closed is not None:
                os.close(closed)
        self._fds[folder] = fd
        return fd

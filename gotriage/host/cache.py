"""Small files that spare work the next time, and that nothing needs: what cannot be read or written is not there.

In /run/gotriage for root, in $XDG_RUNTIME_DIR/gotriage for others: gone with the next boot. Only a folder that is ours
alone is used, and only files that are ours in it: what root reads there, root has written.
"""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT_FOLDER: Final = "/run/gotriage"
LONGEST: Final = 256 * 1024
"""Bytes of a file that is read or written."""
MOST: Final = 256
"""Files in the folder; with more of them it is emptied."""


def folder() -> str:
    """Where the files lie; "" where there is no place for them."""
    if os.geteuid() == 0:
        return ROOT_FOLDER
    base = os.environ.get("XDG_RUNTIME_DIR", "")
    return f"{base}/gotriage" if base.startswith("/") else ""


def load(name: str, place: str | None = None) -> bytes | None:
    """What was stored under that name (letters, digits, dots and dashes); None when it cannot be had."""
    with suppress(OSError):
        home = _opened(folder() if place is None else place, make=False)
        try:
            fd = os.open(name, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=home)
            try:
                return os.read(fd, LONGEST) if _ours(os.fstat(fd), stat.S_ISREG) else None
            finally:
                os.close(fd)
        finally:
            os.close(home)
    return None


def store(name: str, data: bytes, place: str | None = None) -> None:
    """Keep it for the next time, if that can be done; replaces an older one in one step."""
    if len(data) >= LONGEST:
        return
    with suppress(OSError):
        home = _opened(folder() if place is None else place, make=True)
        try:
            _make_room(home)
            part = f"{name}.{os.getpid()}"
            fd = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600, dir_fd=home)
            try:
                written = os.write(fd, data)
            finally:
                os.close(fd)
            if written == len(data):
                os.rename(part, name, src_dir_fd=home, dst_dir_fd=home)
            else:
                os.unlink(part, dir_fd=home)
        finally:
            os.close(home)


def _opened(place: str, *, make: bool) -> int:
    """A descriptor of the folder. Raises OSError when there is none, or when it is not ours alone."""
    if not place:
        raise FileNotFoundError
    if make:
        with suppress(FileExistsError):
            os.mkdir(place, 0o700)
    fd = os.open(place, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | os.O_NOFOLLOW)
    if _ours(os.fstat(fd), stat.S_ISDIR):
        return fd
    os.close(fd)
    raise PermissionError


def _ours(facts: os.stat_result, kind: Callable[[int], bool]) -> bool:
    """Of that kind, owned by us, and nobody else may write it."""
    return kind(facts.st_mode) and facts.st_uid == os.geteuid() and not facts.st_mode & 0o022


def _make_room(home: int) -> None:
    names = os.listdir(home)
    if len(names) >= MOST:
        for name in names:
            with suppress(OSError):
                os.unlink(name, dir_fd=home)

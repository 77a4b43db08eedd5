"""A run of descriptors of one process, read with as few system calls as can be: links, fdinfo, stat.

This is the innermost loop of everything that lists descriptors; it hands on plain tuples, which also cross a pipe
cheaply, and leaves their meaning to `host.descriptors`.
"""

from __future__ import annotations

import os
import re
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

Info = tuple[str, int | None, int | None]
"""Mode in the letters of records.files.OpenFile, offset, PID of a pidfd; ("", None, None) where it was not read."""
Stat = tuple[int | None, int | None, int | None, int | None]
"""st_mode, size, inode, hard links of what the descriptor leads to; all None where it was not read."""
Entry = int | str | tuple[int, str] | tuple[str, Info, Stat]
"""One descriptor: the inode of a socket, alone or with its mode; the link of anything else, alone or with more; ""
when it is closed now."""

NO_INFO: Final[Info] = ("", None, None)
NO_STAT: Final[Stat] = (None, None, None, None)

LINKS, FILES, ALL = 0, 1, 2
"""How much is read: of no descriptor, of what is no socket, or of every descriptor the fdinfo file."""

_ACCESS: Final = ("r", "w", "rw", "")
"""By O_ACCMODE; 3 is a descriptor for ioctl only."""
_PID = re.compile(rb"^Pid:\t(-?\d+)", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Chunk:
    """Descriptors of one process: the two opened folders, the numbers as text, and how much is wanted."""

    pid: int
    links: int
    infos: int
    fds: Sequence[str]
    level: int


def read(chunk: Chunk, remote: tuple[str, ...], known: dict[str, Stat]) -> list[Entry]:
    """The entries of a chunk.

    `known` remembers what stat(2) said about a path, which many descriptors may share; below a prefix of `remote`
    stat might hang, and is left out.
    """
    links = read_links(chunk.links, chunk.fds)
    if chunk.level == ALL:
        return [_entry(chunk, fd, link, remote, known) for fd, link in zip(chunk.fds, links, strict=True)]
    return [
        int(link[8:-1]) if link.startswith("socket:[") else _entry(chunk, fd, link, remote, known)
        for fd, link in zip(chunk.fds, links, strict=True)
    ]


def read_links(folder: int, fds: Sequence[str]) -> list[str]:
    """What each descriptor leads to, "" for one that is closed now."""
    readlink = os.readlink
    try:
        return [readlink(fd, dir_fd=folder) for fd in fds]
    except OSError:
        if len(fds) == 1:
            return [""]
    half = len(fds) // 2
    return read_links(folder, fds[:half]) + read_links(folder, fds[half:])


def _entry(chunk: Chunk, fd: str, link: str, remote: tuple[str, ...], known: dict[str, Stat]) -> Entry:
    """Anything that more may be known of than the link."""
    if not link:
        return ""
    info = _info(chunk.infos, fd) if chunk.level else NO_INFO
    if link.startswith("socket:["):
        return int(link[8:-1]), info[0]
    if link[0] != "/" or (remote and link.startswith(remote)):
        return link if info is NO_INFO else (link, info, NO_STAT)
    facts = None if link.endswith(")") else known.get(link)  # deleted files of one name are not one file
    if facts is None:
        facts = known[link] = _stat(chunk.links, fd)
    return link, info, facts


def _stat(folder: int, fd: str) -> Stat:
    try:
        facts = os.stat(fd, dir_fd=folder)
    except OSError:
        return NO_STAT
    return facts.st_mode, facts.st_size, facts.st_ino, facts.st_nlink


def _info(folder: int, fd: str) -> Info:
    try:
        file = os.open(fd, os.O_RDONLY | os.O_CLOEXEC, dir_fd=folder)
    except OSError:
        return NO_INFO
    try:
        return parse_info(os.read(file, 512))
    except OSError:
        return NO_INFO
    finally:
        os.close(file)


def parse_info(data: bytes) -> Info:
    """Parse a fdinfo file: "pos:", then "flags:" in octal, as open(2) takes them; a pidfd has a "Pid:" besides."""
    words = data.split(None, 4)
    if len(words) < 4 or words[0] != b"pos:" or words[2] != b"flags:":
        return NO_INFO
    with suppress(ValueError):
        offset, mode = int(words[1]), _mode_of(words[3])
        found = _PID.search(data) if b"\nPid:\t" in data else None
        return mode, offset, int(found[1]) if found else None
    return NO_INFO


@cache
def _mode_of(flags: bytes) -> str:
    return mode(int(flags[:16], 8))


def mode(flags: int) -> str:
    """Open flags in letters: r, w or rw, then a for O_APPEND, n for O_NONBLOCK, c for O_CLOEXEC."""
    letters = _ACCESS[flags & os.O_ACCMODE]
    for flag, letter in ((os.O_APPEND, "a"), (os.O_NONBLOCK, "n"), (os.O_CLOEXEC, "c")):
        if flags & flag:
            letters += letter
    return letters

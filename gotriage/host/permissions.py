"""May this process use that path? Mode, POSIX ACL, capabilities, as the kernel decides (path_resolution(7), acl(5)).

Everything is looked at in the process's own root, and nothing is tried out: no access(2) under another identity.
"""

from __future__ import annotations

import stat
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gotriage.host import capabilities

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterator

    from gotriage.host.inroot import InRoot

READ, WRITE, SEARCH = 4, 2, 1
"""Bits of an access, as in a mode; SEARCH is x: execute a file, enter a directory."""
LETTERS = {"r": READ, "w": WRITE, "x": SEARCH}
MAX_DEPTH = 64
"""Components of a path that are looked at."""

_ACL_VERSION = 2
_USER_OBJ, _USER, _GROUP_OBJ, _GROUP, _MASK, _OTHER = 0x01, 0x02, 0x04, 0x08, 0x10, 0x20
"""include/uapi/linux/posix_acl.h, posix_acl_xattr.h."""


@dataclass(frozen=True, slots=True)
class Identity:
    """Whom the kernel asks about: the file system uid and gid, the other groups, the effective capabilities."""

    uid: int
    gid: int
    groups: frozenset[int]
    capabilities: frozenset[str]


def identity_of(status: dict[str, str]) -> Identity:
    """From /proc/PID/status: the fourth of Uid and Gid is the file system's. Raises KeyError, ValueError."""
    return Identity(
        uid=int(status["Uid"].split()[3]),
        gid=int(status["Gid"].split()[3]),
        groups=frozenset(int(word) for word in status["Groups"].split()),
        capabilities=frozenset(capabilities.names(status["CapEff"])),
    )


def parse_acl(data: bytes) -> list[tuple[int, int, int]]:
    """The xattr system.posix_acl_access: (tag, permissions, id) a line; empty when it is no such value."""
    if len(data) < 4 or (len(data) - 4) % 8 or struct.unpack_from("<I", data)[0] != _ACL_VERSION:
        return []
    return [struct.unpack_from("<HHI", data, place) for place in range(4, len(data), 8)]


def allowed(facts: os.stat_result, acl: list[tuple[int, int, int]], who: Identity, wanted: int) -> bool:
    """Whether the kernel grants all the `wanted` bits (fs/namei.c generic_permission, fs/posix_acl.c)."""
    # The kernel asks the ACL only when the group bits, which are the ACL's mask, grant anything at all.
    asks_acl = acl and facts.st_uid != who.uid and facts.st_mode & 0o070
    granted = _by_acl(facts, acl, who, wanted) if asks_acl else _by_mode(facts, who)
    if granted & wanted == wanted:
        return True
    folder = stat.S_ISDIR(facts.st_mode)
    if "CAP_DAC_OVERRIDE" in who.capabilities:
        return folder or not wanted & SEARCH or bool(facts.st_mode & 0o111)
    if "CAP_DAC_READ_SEARCH" in who.capabilities:
        return wanted in ((READ, SEARCH, READ | SEARCH) if folder else (READ,))
    return False


def _by_mode(facts: os.stat_result, who: Identity) -> int:
    mode = facts.st_mode
    if facts.st_uid == who.uid:
        return mode >> 6 & 7
    if facts.st_gid == who.gid or facts.st_gid in who.groups:
        return mode >> 3 & 7
    return mode & 7


def _by_acl(facts: os.stat_result, acl: list[tuple[int, int, int]], who: Identity, wanted: int) -> int:
    """What the ACL grants someone who is not the owner: named user, then any group entry that fits, then others."""
    mask = next((bits for tag, bits, _ in acl if tag == _MASK), 7)
    for tag, bits, number in acl:
        if tag == _USER and number == who.uid:
            return bits & mask
    groups = {who.gid, *who.groups}
    fitting = [
        bits & mask
        for tag, bits, number in acl
        if (tag == _GROUP_OBJ and facts.st_gid in groups) or (tag == _GROUP and number in groups)
    ]
    if fitting:
        return next((bits for bits in fitting if bits & wanted == wanted), 0)
    return next((bits for tag, bits, _ in acl if tag == _OTHER), facts.st_mode & 7)


@dataclass(frozen=True, slots=True)
class Step:
    """A component of a path: its facts, its ACL, and the access to it that is refused ("" when none is)."""

    path: str
    facts: os.stat_result
    acl: bytes
    refused: str = ""

    @property
    def mode(self) -> str:
        """As ls prints it, + for an ACL."""
        return stat.filemode(self.facts.st_mode) + ("+" if parse_acl(self.acl) else "")


def steps(root: InRoot, path: str, needs: str, grants: Callable[[os.stat_result, bytes, str], bool]) -> Iterator[Step]:
    """Every component of the path with its links resolved, from / down; the last one is asked for `needs`.

    `needs` is of "r", "w", "x"; `grants` says of facts and ACL whether all of them are granted. Raises OSError when the
    path leads nowhere.
    """
    parts = [part for part in root.real(path).split("/") if part][:MAX_DEPTH]
    for depth in range(len(parts) + 1):
        here = "/" + "/".join(parts[:depth])
        facts, acl = root.facts(here)
        asked = needs if depth == len(parts) else "x"
        yield Step(here, facts, acl, asked if asked and not grants(facts, acl, asked) else "")


def granted(facts: os.stat_result, acl: bytes, who: Identity, needs: str) -> bool:
    """Whether mode, ACL and capabilities grant all of `needs`."""
    return allowed(facts, parse_acl(acl), who, sum(LETTERS[letter] for letter in needs))


def refusal(root: InRoot, path: str, needs: str, who: Identity) -> Step | None:
    """The first component of the path that refuses, None when the kernel would grant `needs`. Raises OSError."""
    every = steps(root, path, needs, lambda facts, acl, asked: granted(facts, acl, who, asked))
    return next((step for step in every if step.refused), None)

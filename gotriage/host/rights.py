"""What a process may do with a file: mode, ACL, capabilities over the ids of its user namespace.

As `host.permissions`, and also of a process in another user namespace: a capability counts only over files whose owner
and group are mapped in it (capabilities(7), user_namespaces(7)).
"""

from __future__ import annotations

import stat
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from gotriage.errors import GotriageError
from gotriage.host import permissions
from gotriage.host.permissions import Identity, identity_of

if TYPE_CHECKING:
    import os

    from gotriage.host import Host
    from gotriage.host.inroot import InRoot

MAX_EXTENTS: Final = 340
"""Lines of a uid_map (user_namespaces(7))."""


@dataclass(frozen=True, slots=True)
class Rights:
    """A process's identity, and the ranges of ids (first, count) that its user namespace maps; None is all of them."""

    who: Identity
    uids: tuple[tuple[int, int], ...] | None = None
    gids: tuple[tuple[int, int], ...] | None = None

    def over(self, facts: os.stat_result) -> Identity:
        """The identity with the capabilities that count over this file."""
        if _holds(self.uids, facts.st_uid) and _holds(self.gids, facts.st_gid):
            return self.who
        return replace(self.who, capabilities=frozenset())

    def grants(self, facts: os.stat_result, acl: bytes, needs: str) -> bool:
        """Whether mode, ACL and capabilities grant all of `needs` ("r", "w", "x")."""
        wanted = sum(permissions.LETTERS[letter] for letter in needs)
        return permissions.allowed(facts, permissions.parse_acl(acl), self.over(facts), wanted)


def _holds(ranges: tuple[tuple[int, int], ...] | None, number: int) -> bool:
    return ranges is None or any(first <= number < first + count for first, count in ranges)


def parse_map(text: str) -> tuple[tuple[int, int], ...] | None:
    """uid_map or gid_map as read from outside: (first id out here, how many); None when it maps all of them."""
    found = []
    for line in text.splitlines()[:MAX_EXTENTS]:
        words = line.split()
        if len(words) == 3 and all(word.isdigit() for word in words):
            found.append((int(words[1]), int(words[2])))
    return None if any(count >= 0xFFFFFFFF for _, count in found) else tuple(found)


def rights_of(host: Host, pid: int) -> Rights:
    """Of a process. Raises TargetGone, NotPermitted, KeyError, ValueError."""
    who = identity_of(host.proc.status(pid))
    try:
        same = host.proc.shares(pid, "user")
    except GotriageError:
        same = False
    if same:
        return Rights(who)
    return Rights(who, parse_map(host.proc.text(pid, "uid_map")), parse_map(host.proc.text(pid, "gid_map")))


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
        return stat.filemode(self.facts.st_mode) + ("+" if permissions.parse_acl(self.acl) else "")


def walk(root: InRoot, path: str, needs: str, rights: Rights) -> list[Step]:
    """Every component of the path with its links resolved, from / down; the last one is asked for `needs`.

    Raises OSError when the path leads nowhere.
    """
    real = root.real(path)
    parts = [part for part in real.split("/") if part][: permissions.MAX_DEPTH]
    found = []
    for depth in range(len(parts) + 1):
        here = "/" + "/".join(parts[:depth])
        facts, acl = root.facts(here)
        asked = needs if depth == len(parts) else "x"
        refused = asked if asked and not rights.grants(facts, acl, asked) else ""
        found.append(Step(here, facts, acl, refused))
    return found

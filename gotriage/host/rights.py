"""What a process may do with a file: mode, ACL, capabilities over the ids of its user namespace.

As `host.permissions`, and also of a process in another user namespace: a capability counts only over files whose owner
and group are mapped in it (capabilities(7), user_namespaces(7)).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from gotriage.errors import GotriageError
from gotriage.host import permissions, users
from gotriage.host.permissions import Identity, identity_of

if TYPE_CHECKING:
    import os

    from gotriage.host import Host
    from gotriage.host.inroot import InRoot
    from gotriage.host.permissions import Step


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
        return permissions.granted(facts, acl, self.over(facts), needs)


def _holds(ranges: tuple[tuple[int, int], ...] | None, number: int) -> bool:
    return ranges is None or any(first <= number < first + count for first, count in ranges)


def parse_map(text: str) -> tuple[tuple[int, int], ...] | None:
    """uid_map or gid_map as read from outside: (first id out here, how many); None when it maps all of them."""
    found = tuple((outside, count) for _, outside, count in users.extents(text))
    return None if any(count >= 0xFFFFFFFF for _, count in found) else found


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


def walk(root: InRoot, path: str, needs: str, rights: Rights) -> list[Step]:
    """Every component of the path, and what each refuses. Raises OSError when the path leads nowhere."""
    return list(permissions.steps(root, path, needs, rights.grants))


def refusal(root: InRoot, path: str, needs: str, rights: Rights) -> Step | None:
    """The first component that refuses, None when the kernel would grant `needs`. Raises OSError."""
    return next((step for step in permissions.steps(root, path, needs, rights.grants) if step.refused), None)

"""The target's own files against its own identity: what it was given and may not use.

Only what is certain is a problem: the path exists in the target's root, the access is one that the path is plainly
for, and mode, ACL and capabilities refuse it. A process that has changed its identity since it started may have read
its configuration before; of such a one only the working directory is checked.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from gotriage.collectors import Unavailable
from gotriage.errors import GotriageError, NotPermitted
from gotriage.host import clock, users
from gotriage.host.given import Given, given_paths, needs_of
from gotriage.host.inroot import InRoot
from gotriage.host.permissions import Identity, identity_of, refusal
from gotriage.records.environment import Access, AccessProblem
from gotriage.records.text import clean

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gotriage.host import Host
    from gotriage.records import Record
    from gotriage.target.model import Target


class AccessCollector:
    """One `Access` a look."""

    backend = "modes and ACLs"

    def __init__(self, host: Host, target: Target) -> None:
        self._proc, self._target = host.proc, target
        self._users, self._groups = users.names(host), users.names(host, "/etc/group")

    def collect(self) -> Iterator[Record]:
        """Look once."""
        pid = self._target.pid
        if pid is None:
            return
        who = identity_of(self._proc.status(pid))
        self._need_same_users(pid)
        cwd = self._proc.link(pid, "cwd").removesuffix(" (deleted)")
        given = given_paths(*self._given(pid), cwd) if self._kept_identity(pid, who) else given_paths([], {}, cwd)
        try:
            root = InRoot(self._proc.path(pid, "root"))
        except PermissionError as error:
            raise NotPermitted("the target's root: permission denied; run gotriage as root (sudo)") from error
        with root:
            problems = [problem for path in given if (problem := self._problem(root, path, who)) is not None]
        yield Access(at=clock.now(), checked=len(given), problems=tuple(problems))

    def _given(self, pid: int) -> tuple[list[str], dict[str, str]]:
        return self._proc.cmdline(pid), self._proc.environ(pid)

    def _need_same_users(self, pid: int) -> None:
        """In another user namespace a capability holds only over the ids mapped there: nothing is certain."""
        try:
            same = self._proc.shares(pid, "user")
        except GotriageError:
            return
        if not same:
            raise Unavailable("the target is in another user namespace: its rights are not worked out", lost=False)

    def _kept_identity(self, pid: int, who: Identity) -> bool:
        """The kernel gives the files of /proc/PID to root once the process changed its ids (proc(5): dumpable)."""
        return os.stat(self._proc.path(pid, "status")).st_uid == who.uid

    def _problem(self, root: InRoot, given: Given, who: Identity) -> AccessProblem | None:
        try:
            needs = needs_of(given, root.stat(given.path).st_mode)
            found = refusal(root, given.path, needs, who) if needs else None
        except OSError:
            return None
        if found is None:
            return None
        what = {"r": "read", "w": "write", "x": "enter", "wx": "write in"}[found.refused]
        uid, gid = found.facts.st_uid, found.facts.st_gid
        where = "it" if found.path == given.path else clean(found.path)
        return AccessProblem(
            path=clean(given.path),
            needs=needs,
            reason=f"uid {who.uid} may not {what} {where}",
            owner=f"{self._users.get(uid, uid)}:{self._groups.get(gid, gid)}",
            mode=found.mode,
            source=clean(given.source),
        )

    def close(self) -> None:
        """Nothing is held."""

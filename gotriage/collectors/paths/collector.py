"""One `Paths` and one `FileSystems` a look."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

from gotriage.collectors.paths import rights, systems, used
from gotriage.errors import NotPermitted
from gotriage.host import clock, mounts, users
from gotriage.host.filesystems import Asker, Space
from gotriage.host.inroot import InRoot
from gotriage.host.rights import rights_of
from gotriage.records.paths import FileSystems, Paths, PathUse
from gotriage.records.text import clean

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gotriage.collectors.paths.used import Used
    from gotriage.host import Host
    from gotriage.host.mounts import Mount
    from gotriage.host.rights import Rights
    from gotriage.records import Record
    from gotriage.target.model import Target

ORDER: Final = {"refused": 0, "read-only": 0, "stalled": 0, "unknown": 1, "missing": 1, "deleted": 2, "ok": 3}
STALLED: Final = "its file system does not answer"


def kept(host: Host, pid: int, who: Rights) -> bool:
    """The kernel gives the files of /proc/PID to root once the process changed its ids (proc(5): dumpable)."""
    return os.stat(host.proc.path(pid, "status")).st_uid == who.who.uid


class PathCollector:
    """Looks at the paths of the main process in its own root."""

    backend = "the target's root, mountinfo, statfs"

    def __init__(self, host: Host, target: Target) -> None:
        self._host, self._target = host, target
        self._asker = Asker()
        self._names = rights.Names(users.names(host), users.names(host, "/etc/group"))

    def collect(self) -> Iterator[Record]:
        """Look once. Raises TargetGone, NotPermitted, OSError."""
        pid = self._target.pid
        if pid is None:
            return
        points = mounts.of(self._host, pid)
        who = rights_of(self._host, pid)
        try:
            root = InRoot(self._host.proc.path(pid, "root"))
        except PermissionError as error:
            raise NotPermitted("the target's root: permission denied; run gotriage as root (sudo)") from error
        with root:
            found = used.paths_of(self._host, pid, mounts.hanging(points), same_user=kept(self._host, pid, who))
            answers = self._ask(root, points, found.paths)
            rows = [self._row(root, one, who, points, answers) for one in found.paths]
            self._ask_rest(root, points, rows, answers)
        yield Paths(
            at=clock.now(),
            rows=tuple(sorted(rows, key=lambda row: (ORDER[row.state], -(row.held_bytes or 0)))),
            omitted=found.omitted,
            uid=who.who.uid,
            deleted=found.deleted,
            deleted_bytes=found.deleted_bytes,
        )
        yield self._systems(points, rows, answers, who)

    def _ask(self, root: InRoot, points: list[Mount], paths: list[Used]) -> dict[int, Space | Exception]:
        """Each mount that a path lies on by its name is asked once, by mount id, before anything below is touched."""
        asked: dict[int, Space | Exception] = {}
        for one in paths:
            mount = mounts.holding(points, one.path)
            if mount is not None and mount.id not in asked and len(asked) < systems.MOST:
                asked[mount.id] = systems.answers(self._asker, root, mount)
        return asked

    def _ask_rest(
        self, root: InRoot, points: list[Mount], rows: list[PathUse], answers: dict[int, Space | Exception]
    ) -> None:
        """Those that links led to: the newest mount at each mount point that a row names."""
        places = {clean(mount.point): mount for mount in points}
        for point in {row.mount for row in rows if row.mount in places}:
            mount = places[point]
            if mount.id not in answers and len(answers) < systems.MOST:
                answers[mount.id] = systems.answers(self._asker, root, mount)

    def _row(
        self, root: InRoot, one: Used, who: Rights, points: list[Mount], answers: dict[int, Space | Exception]
    ) -> PathUse:
        mount = mounts.holding(points, one.path)
        answer = answers.get(mount.id) if mount is not None else None
        if mount is not None and mount.may_hang and not isinstance(answer, Space):
            return _unseen(one, answer, mount)
        if any(point.may_hang for point in points) and not root.plain(one.path):
            try:
                self._asker.real(root, one.path)
            except TimeoutError as error:
                return _unseen(one, error, None)
            except OSError:
                pass  # it leads nowhere, which the look itself tells
        return rights.use(root, one, who, {point.id: point for point in points}, self._names)

    def _systems(
        self, points: list[Mount], rows: list[PathUse], answers: dict[int, Space | Exception], who: Rights
    ) -> FileSystems:
        written = {row.mount for row in rows if "w" in row.needs}
        asked = [mount for mount in points if mount.id in answers]
        found = [
            systems.use(self._host, mount, answers[mount.id], who, written=clean(mount.point) in written)
            for mount in asked
        ]
        return FileSystems(at=clock.now(), systems=tuple(sorted(found, key=lambda one: one.point)))

    def close(self) -> None:
        """Give up on what still hangs."""
        self._asker.close()


def _unseen(one: Used, answer: object, mount: Mount | None) -> PathUse:
    """The row of a path that is better not touched; `mount` None is one that its links lead to."""
    stalled = isinstance(answer, TimeoutError)
    return PathUse(
        path=clean(one.path),
        state="stalled" if stalled else "unknown",
        source=clean(one.source),
        needs=one.needs,
        reason=STALLED if stalled else clean(str(answer or "its file system was not asked"), 200),
        mount=clean(mount.point) if mount is not None else "",
        system=clean(mount.kind, 64) if mount is not None else "",
    )

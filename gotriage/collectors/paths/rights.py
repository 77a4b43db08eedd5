"""May this process do with the path what it is for? Each component, the mount, the flags of the file."""

from __future__ import annotations

import errno
import os
import stat
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from gotriage.collectors.paths.used import DELETED, Used
from gotriage.host.given import needs_of
from gotriage.host.permissions import parse_acl
from gotriage.host.rights import walk
from gotriage.records.paths import Component, PathUse
from gotriage.records.text import clean

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gotriage.host.inroot import InRoot
    from gotriage.host.mounts import Mount
    from gotriage.host.permissions import Step
    from gotriage.host.rights import Rights
    from gotriage.records.paths import PathState

_DOES: Final = {"r": "read", "w": "write", "x": "enter", "wx": "write in", "rw": "read and write", "rx": "read"}
_TAGS: Final = {0x02: "user", 0x08: "group"}
"""Entries of an ACL that name somebody (include/uapi/linux/posix_acl.h)."""
MOST_ENTRIES: Final = 16


@dataclass(frozen=True, slots=True)
class Names:
    """Uid and gid to name."""

    users: Mapping[int, str]
    groups: Mapping[int, str]

    def owner(self, facts: os.stat_result) -> str:
        """user:group, numbers where there is no name."""
        return f"{self.users.get(facts.st_uid, facts.st_uid)}:{self.groups.get(facts.st_gid, facts.st_gid)}"


def acl_words(data: bytes) -> str:
    """The named entries of an ACL: "user 33 r-x, group 4 rw-" (getfacl(1) says more)."""
    entries = [(tag, bits, number) for tag, bits, number in parse_acl(data) if tag in _TAGS][:MOST_ENTRIES]
    return ", ".join(f"{_TAGS[tag]} {number} {_letters(bits)}" for tag, bits, number in entries)


def _letters(bits: int) -> str:
    return "".join(letter if bits & bit else "-" for letter, bit in (("r", 4), ("w", 2), ("x", 1)))


def use(root: InRoot, used: Used, rights: Rights, mounts: Mapping[int, Mount], names: Names) -> PathUse:
    """The row of one path."""
    path = used.path.removesuffix(DELETED)
    if path != used.path:
        return _deleted(used, path, names)
    try:
        given = needs_of(used.given, root.stat(path).st_mode) if used.given is not None else ""
        needs = "".join(letter for letter in "rwx" if letter in used.needs + given)
        steps = walk(root, path, needs, rights)
        mount, flags = mounts.get(root.mount(path) or -1), root.flags(path)
    except OSError as error:
        return _missing(root, used, error, rights)
    last = steps[-1]
    state, reason = _judged(steps, needs, mount, flags, rights.who.uid)
    if state == "refused" and used.source.startswith("fd "):
        state, reason = "ok", f"open; opening it anew is refused: {reason}"
    return PathUse(
        path=clean(path),
        state=state,
        source=clean(used.source),
        needs=needs,
        reason=clean(reason),
        owner=names.owner(last.facts),
        mode=last.mode,
        mount=clean(mount.point) if mount is not None else "",
        system=clean(mount.kind, 64) if mount is not None else "",
        flags=flags,
        device=f"{os.major(last.facts.st_dev)}:{os.minor(last.facts.st_dev)}",
        inode=last.facts.st_ino,
        components=tuple(
            Component(clean(step.path), names.owner(step.facts), step.mode, acl_words(step.acl), step.refused)
            for step in steps
        ),
    )


def _judged(
    steps: list[Step], needs: str, mount: Mount | None, flags: tuple[str, ...], uid: int
) -> tuple[PathState, str]:
    """What stands in the way, in the order in which the kernel asks."""
    refusing = next((step for step in steps if step.refused), None)
    last = steps[-1]
    plain = stat.S_ISREG(last.facts.st_mode)
    if refusing is not None:
        where = "it" if refusing is last else refusing.path
        does = (
            "execute" if refusing.refused == "x" and refusing is last and plain else _DOES.get(refusing.refused, "use")
        )
        return "refused", f"uid {uid} may not {does} {where}"
    if not (plain or stat.S_ISDIR(last.facts.st_mode)):
        return "ok", ""
    if mount is not None and "w" in needs and not mount.writable:
        which = "the mount" if "ro" in mount.own and "ro" not in mount.system else "the file system"
        return "read-only", f"{which} at {mount.point} is read-only"
    if "w" in needs and "immutable" in flags:
        return "refused", "it is immutable (chattr +i): not even root may write"
    if mount is not None and plain and needs == "x" and "noexec" in mount.own:
        return "refused", f"{mount.point} is mounted noexec: it could not be started again"
    return "ok", "append-only (chattr +a)" if "append-only" in flags else ""


def _deleted(used: Used, path: str, names: Names) -> PathUse:
    facts = used.facts
    return PathUse(
        path=clean(path),
        state="deleted",
        source=clean(used.source),
        needs=used.needs,
        reason="deleted, and still in use" if used.held is None else "deleted; its blocks are free when it is closed",
        owner=names.owner(facts) if facts is not None else "",
        mode=stat.filemode(facts.st_mode) if facts is not None else "",
        held_bytes=used.held,
        device=f"{os.major(facts.st_dev)}:{os.minor(facts.st_dev)}" if facts is not None else "",
        inode=facts.st_ino if facts is not None else None,
    )


def _missing(root: InRoot, used: Used, error: OSError, rights: Rights) -> PathUse:
    state: PathState = "missing" if error.errno in (errno.ENOENT, errno.ENOTDIR) else "unknown"
    reason = (error.strerror or "").lower()
    parent = used.path.rstrip("/").rpartition("/")[0] or "/"
    if state == "missing":
        try:
            steps = walk(root, parent, "wx", rights)
            may = all(not step.refused for step in steps) and stat.S_ISDIR(steps[-1].facts.st_mode)
            reason = "not there; it may make it" if may else f"not there, and it may not make it in {parent}"
        except OSError:
            reason = f"not there, nor is {parent}"
    return PathUse(path=clean(used.path), state=state, source=clean(used.source), reason=clean(reason))

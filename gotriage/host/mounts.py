"""The mounts that a process sees (proc_pid_mountinfo(5)), and which of them may hang or forbid something."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from gotriage.errors import GotriageError
from gotriage.host.cgroupfs import unescaped

if TYPE_CHECKING:
    from gotriage.host import Host

MAX_MOUNTS: Final = 20_000
REMOTE: Final = frozenset(("nfs", "nfs4", "cifs", "smb3", "smbfs", "ceph", "9p", "afs", "ncpfs", "glusterfs", "lustre"))
"""File systems whose server may be gone: a stat(2) there can hang for ever. FUSE and autofs may, too."""


@dataclass(frozen=True, slots=True)
class Mount:
    """One mount: its options and those of its file system, in one set."""

    device: str
    point: str
    kind: str
    source: str
    options: frozenset[str]
    id: int = 0
    root: str = "/"
    """What of the file system is mounted."""
    own: frozenset[str] = frozenset()
    """The options of the mount alone: "ro" there leaves the file system writable elsewhere."""
    system: tuple[str, ...] = ()
    """Those of the file system, in its order: upperdir=, errors=, size= ..."""

    @property
    def writable(self) -> bool:
        """Neither the mount nor its file system is read-only."""
        return "ro" not in self.options

    @property
    def may_hang(self) -> bool:
        """It asks somebody else, who may not answer."""
        return self.kind in REMOTE or self.kind.startswith("fuse") or self.kind == "autofs"


def parse(text: str) -> list[Mount]:
    """Parse a mountinfo file, in the order of mounting."""
    found = []
    for line in text.splitlines()[:MAX_MOUNTS]:
        left, dash, right = line.partition(" - ")
        fields, facts = left.split(" "), right.split(" ")
        if not dash or len(fields) < 6 or len(facts) < 3:
            continue
        own, system = frozenset(fields[5].split(",")), tuple(facts[2].split(","))
        number = int(fields[0]) if fields[0].isdigit() else 0
        found.append(
            Mount(
                device=fields[2],
                point=unescaped(fields[4]),
                kind=facts[0],
                source=unescaped(facts[1]),
                options=own | frozenset(system),
                id=number,
                root=unescaped(fields[3]),
                own=own,
                system=system,
            )
        )
    return found


def of(host: Host, pid: int) -> list[Mount]:
    """The mounts of the process; empty when they cannot be read."""
    try:
        return parse(host.proc.text(pid, "mountinfo"))
    except (GotriageError, OSError):
        return []


def holding(mounts: list[Mount], path: str) -> Mount | None:
    """The mount that a path without symbolic links is on: the longest mount point above it, the newest of equals."""
    best: Mount | None = None
    for mount in mounts:
        point = mount.point.rstrip("/")
        if (path == point or path.startswith(point + "/")) and (
            best is None or len(point) >= len(best.point.rstrip("/"))
        ):
            best = mount
    return best


def hanging(mounts: list[Mount]) -> tuple[str, ...]:
    """Path prefixes below which stat(2) may hang."""
    return tuple(sorted({mount.point.rstrip("/") + "/" for mount in mounts if mount.may_hang}))

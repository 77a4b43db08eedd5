"""The paths that a target uses, and the file systems that they lie on, as it sees them."""

from __future__ import annotations

from datetime import datetime
from typing import ClassVar, Literal

import msgspec

from gotriage.records.base import Record, Row, Why

PathState = Literal["ok", "refused", "read-only", "missing", "deleted", "stalled", "unknown"]


class Component(msgspec.Struct, frozen=True, omit_defaults=True):
    """A component of a path, links resolved: owner and mode as ls prints them; `refused` access, "" for none."""

    path: str
    owner: str = ""
    mode: str = ""
    acl: str = ""
    refused: str = ""


class PathUse(Row, frozen=True, kw_only=True):
    """One path, and whether this process may do with it what it is for.

    Attributes:
        source: where the path comes from: "working directory", "executable", "argument 3", "CONFIG_FILE", "fd 7".
        needs: the access that it is for (r, w, x), "" when that cannot be told.
        reason: why it is refused, or what is odd.
        mount: mount point; `system` the file system's type.
        flags: of the file: "immutable", "append-only" (statx(2)).
        held_bytes: what a deleted file that is still open keeps on its disk.
        device, inode: of the file, the device as major:minor.
    """

    path: str
    state: PathState = "ok"
    source: str = ""
    needs: str = ""
    reason: str = ""
    owner: str = ""
    mode: str = ""
    mount: str = ""
    system: str = ""
    flags: tuple[str, ...] = ()
    held_bytes: int | None = None
    device: str = ""
    inode: int | None = None
    components: tuple[Component, ...] = ()


class Paths(Record, frozen=True, kw_only=True, tag="paths"):
    """The paths, those that are not in order first; `omitted` more open ones were not looked at.

    `deleted` files that are still open hold `deleted_bytes` of disk; `uid` is whose rights were worked out.
    """

    keep: ClassVar[int] = 30

    rows: tuple[PathUse, ...] = ()
    omitted: int = 0
    uid: int | None = None
    deleted: int | None = None
    deleted_bytes: int | None = None


class FileSystemUse(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A file system that paths of the target lie on.

    Attributes:
        point: where it is mounted, in the target's root.
        source: what is mounted, in the words of mountinfo; `device` is major:minor.
        disks: the block devices below it, the mounted one first ("dm-0 (vg-data, LVM)", "sda2", "sda").
        options: of the mount; `system_options` of the file system.
        total_bytes, room_bytes: size, and what this process can still take; None when it was not measured.
        inodes, inodes_room: the same of inodes; None where they are made as needed.
        read_only: "mount" (writable elsewhere), "file system" (the kernel gave up, or it was mounted so), or "".
        written: the target has a file open for writing there, or was given a directory there to write in.
        errors: errors that ext4 has counted; None for other file systems.
        stalled: it did not answer in time; `remote`: it asks somebody else.
        layers: of an overlay: lower directories, then the upper one, the innermost first.
        quota_bytes, quota_used: the user's block quota there; None without one.
    """

    point: str
    kind: str
    source: str = ""
    device: str = ""
    disks: tuple[str, ...] = ()
    options: str = ""
    system_options: str = ""
    total_bytes: int | None = None
    room_bytes: int | None = None
    inodes: int | None = None
    inodes_room: int | None = None
    read_only: Literal["", "mount", "file system"] = ""
    written: bool = False
    errors: int | None = None
    stalled: bool = False
    remote: bool = False
    layers: tuple[str, ...] = ()
    quota_bytes: int | None = None
    quota_used: int | None = None
    unknown: Why | None = None


class FileSystems(Record, frozen=True, kw_only=True, tag="filesystems"):
    """The file systems under the paths, in order of their mount points."""

    keep: ClassVar[int] = 120

    systems: tuple[FileSystemUse, ...] = ()


class Sleeper(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A thread in uninterruptible sleep (state D) that has not run between two looks.

    Attributes:
        since: the look that first saw it so.
        wait: the kernel function that it waits in (wchan); "" when that is hidden.
        call: the system call, with the path or descriptor that it works on.
        stack: the innermost kernel functions, where root may read them.
    """

    pid: int
    tid: int
    since: datetime
    name: str = ""
    wait: str = ""
    call: str = ""
    path: str = ""
    stack: tuple[str, ...] = ()


class Sleepers(Record, frozen=True, kw_only=True, tag="sleepers"):
    """Threads that sleep uninterruptibly, the longest first; `threads` were looked at."""

    keep: ClassVar[int] = 120

    sleepers: tuple[Sleeper, ...] = ()
    threads: int = 0


class Inode(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An inode of ext2, ext3 or ext4 as it lies on the disk (debugfs(8)).

    Attributes:
        mode: octal, without the type. `flags`: "immutable", "append-only", "extents", "inline" ...
        disk_bytes: blocks that it takes; `extents` in how many pieces (0: inline or empty).
        deleted: when its last link went; None while it has one, or while it is open.
    """

    path: str
    device: str
    number: int
    type: str = ""
    mode: str = ""
    flags: tuple[str, ...] = ()
    links: int | None = None
    size: int | None = None
    disk_bytes: int | None = None
    extents: int | None = None
    created: datetime | None = None
    changed: datetime | None = None
    modified: datetime | None = None
    deleted: datetime | None = None


class Inodes(Record, frozen=True, kw_only=True, tag="inodes"):
    """The executable, the working directory, deleted files that are open, where they lie on such a file system."""

    keep: ClassVar[int] = 10

    inodes: tuple[Inode, ...] = ()

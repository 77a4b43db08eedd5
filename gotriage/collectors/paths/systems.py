"""The file systems that paths lie on: space, inodes, what is read-only, what does not answer, what is below."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from gotriage.host import filesystems
from gotriage.records.base import Why
from gotriage.records.paths import FileSystemUse
from gotriage.records.text import clean

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gotriage.host import Host
    from gotriage.host.filesystems import Asker, Space
    from gotriage.host.inroot import InRoot
    from gotriage.host.mounts import Mount
    from gotriage.host.rights import Rights

MOST: Final = 40
MOST_LAYERS: Final = 24
LONGEST: Final = 1024
OVERLAY: Final = "overlay"
UNSEEN: Final = Why("it did not answer within 1s: its server or its device is stuck")


def layers(mount: Mount) -> tuple[str, ...]:
    """The directories of an overlay mount (Documentation/filesystems/overlayfs.rst): upper first, then lower ones."""
    if mount.kind != OVERLAY:
        return ()
    found: list[str] = []
    for option in mount.system:
        key, _, value = option.partition("=")
        if key == "upperdir":
            found.insert(0, f"upper {clean(value, LONGEST)}")
        elif key == "lowerdir":
            found += [f"lower {clean(path, LONGEST)}" for path in value.split(":")[:MOST_LAYERS] if path]
    return tuple(found)


def read_only(mount: Mount, space: Space | None) -> str:
    """Whether the mount alone, or the file system, forbids writing."""
    if "ro" in mount.system:
        return "file system"
    if "ro" in mount.own or (space is not None and space.read_only):
        return "mount"
    return ""


def answers(asker: Asker, root: InRoot, mount: Mount) -> Space | Exception:
    """What the file system says of its space, or why it says nothing; autofs is left alone: a look would mount."""
    if mount.kind == "autofs":
        return OSError("autofs: not mounted so far")
    try:
        return asker.space(root, mount.point, mount.device, may_hang=mount.may_hang)
    except (OSError, TimeoutError) as error:
        return error


def use(host: Host, mount: Mount, answer: Space | Exception, rights: Rights, *, written: bool) -> FileSystemUse:
    """What is told of one file system."""
    space = answer if isinstance(answer, filesystems.Space) else None
    stalled = isinstance(answer, TimeoutError)
    reserved = "CAP_SYS_RESOURCE" in rights.who.capabilities
    node = None if space is None else filesystems.node(host.sys, mount.device)
    limit = None
    if node is not None and any(option.startswith(filesystems.QUOTA_OPTIONS) for option in mount.system):
        limit = filesystems.quota(node, rights.who.uid)
    facts: Mapping[str, int | None] = {}
    if space is not None and space.total:
        facts = {
            "total_bytes": space.total,
            "room_bytes": space.free if reserved else space.available,
            "inodes": space.inodes or None,
            "inodes_room": (space.inodes_free if reserved else space.inodes_available) if space.inodes else None,
        }
    return FileSystemUse(
        point=clean(mount.point, LONGEST),
        kind=clean(mount.kind, 64),
        source=clean(mount.source, LONGEST),
        device=mount.device,
        disks=filesystems.disks(host.sys, mount.device),
        options=clean(",".join(sorted(mount.own)), LONGEST),
        system_options=clean(",".join(word for word in mount.system if "dir=" not in word), LONGEST),
        read_only=read_only(mount, space),  # type: ignore[arg-type]  # one of the three words
        written=written,
        errors=filesystems.counted_errors(host.sys, mount.device),
        stalled=stalled,
        remote=mount.may_hang,
        layers=layers(mount),
        quota_bytes=limit[0] if limit else None,
        quota_used=limit[1] if limit else None,
        unknown=UNSEEN if stalled else Why(clean(str(answer), 200)) if space is None else None,
        **facts,
    )

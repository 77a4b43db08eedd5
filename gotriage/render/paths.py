"""The file systems below the table of paths, and threads that hang in them: plain lines."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gotriage.records.paths import FileSystems, Inodes, Paths, Sleepers
from gotriage.records.units import counted, share, size, timestamp
from gotriage.render.columns import Column
from gotriage.render.text import table

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gotriage.records.paths import FileSystemUse, Inode, Sleeper
    from gotriage.session.store import Session

SYSTEMS = (
    Column("point", "MOUNTED AT", "text", 20),
    Column("kind", "TYPE", "text", 8),
    Column("total_bytes", "SIZE", "bytes", 6),
    Column("room_bytes", "ROOM", "bytes", 6),
    Column("inodes_room", "INODES LEFT", "count", 11),
    Column("source", "FROM", "text", 0),
)


def full(one: FileSystemUse) -> float | None:
    """The share of its space, or of its inodes if that is more, which this process cannot take any more."""
    shares = [
        1 - room / total
        for total, room in ((one.total_bytes, one.room_bytes), (one.inodes, one.inodes_room))
        if total and room is not None
    ]
    return max(shares, default=None)


def notes(one: FileSystemUse) -> str:
    """What is worth saying of its state, in words."""
    level = full(one)
    words = [
        "does not answer" if one.stalled else "",
        f"read-only ({one.read_only})" if one.read_only else "",
        f"{share(level)} full" if level is not None and level >= 0.9 else "",
        counted(one.errors, "error") if one.errors else "",
        f"quota {size(one.quota_used)} of {size(one.quota_bytes)}" if one.quota_bytes else "",
        one.unknown.reason if one.unknown is not None and not one.stalled else "",
    ]
    return "; ".join(word for word in words if word)


def below(one: FileSystemUse) -> list[str]:
    """What it is made of."""
    layers = [counted(len(one.layers), "layer")] if one.layers else []
    return layers + ([" on ".join(one.disks)] if one.disks else [])


def inode(one: Inode) -> str:
    """One inode in a line."""
    words = [
        f"inode {one.number} on {one.device}",
        f"{one.type} {one.mode}",
        counted(one.links, "link"),
        f"{size(one.disk_bytes)} in {counted(one.extents, 'extent')}" if one.extents else "",
        ", ".join(one.flags),
        f"made {timestamp(one.created)}" if one.created else "",
        f"deleted {timestamp(one.deleted)}" if one.deleted else "",
    ]
    return ", ".join(word for word in words if word)


def sleeper(one: Sleeper) -> str:
    """One thread that hangs."""
    where = f" on {one.path}" if one.path else ""
    wait = f", in {one.wait}" if one.wait else ""
    return f"thread {one.tid} ({one.name}) hangs in {one.call or 'the kernel'}{where}{wait}"


def lines(session: Session, width: int | None) -> Iterator[str]:
    """What follows the table of paths."""
    paths, systems, hanging = session.latest(Paths), session.latest(FileSystems), session.latest(Sleepers)
    if paths is not None and paths.deleted:
        yield f"{counted(paths.deleted, 'deleted file')} still open, {size(paths.deleted_bytes)} on disk"
        yield ""
    if systems is not None:
        for one, line in zip((None, *systems.systems), table(systems.systems, SYSTEMS, width), strict=True):
            yield line
            if one is not None and (said := "; ".join(filter(None, [notes(one), *below(one)]))):
                yield f"    {said}"
    inodes = session.latest(Inodes)
    if inodes is not None:
        yield ""
        for each in inodes.inodes:
            yield each.path
            yield f"    {inode(each)}"
    if hanging is not None and hanging.sleepers:
        yield ""
        yield from (sleeper(one) for one in hanging.sleepers)

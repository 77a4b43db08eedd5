"""Inodes of ext2, ext3 and ext4 as they lie on the disk, by debugfs(8), which opens the device for reading only.

What the disk says may be older than what the kernel has in memory. Of the target only numbers reach the command line.
"""

from __future__ import annotations

import os
import re
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from gotriage.collectors import Unavailable
from gotriage.errors import GotriageError, MissingFacility
from gotriage.host import clock, filesystems, mounts, tools
from gotriage.records.paths import Inode, Inodes
from gotriage.records.text import clean

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gotriage.host import Host
    from gotriage.records import Record
    from gotriage.target.model import Target

KINDS: Final = frozenset(["ext2", "ext3", "ext4"])
MOST: Final = 4
"""Deleted files that are looked at, besides the executable and the working directory."""
MOST_DESCRIPTORS: Final = 1024
MOST_OUTPUT: Final = 256 * 1024
SECONDS: Final = 3.0
FLAGS: Final = (
    (0x4, "compressed"),
    (0x10, "immutable"),
    (0x20, "append-only"),
    (0x80, "noatime"),
    (0x800, "encrypted"),
    (0x1000, "indexed"),
    (0x4000, "journals data"),
    (0x80000, "extents"),
    (0x100000, "verity"),
    (0x10000000, "inline"),
    (0x40000000, "casefolded"),
)
"""fs/ext4/ext4.h."""
_HEAD: Final = re.compile(r"^Inode: (\d+)\s+Type: (\w[\w ]*?)\s+Mode:\s+(\d+)\s+Flags: 0x([0-9a-f]+)", re.MULTILINE)
_COUNTS: Final = re.compile(r"^Links: (\d+)\s+Blockcount: (\d+)", re.MULTILINE)
_SIZE: Final = re.compile(r"\bSize: (\d+)")
_TIME: Final = re.compile(r"^\s*(ctime|mtime|crtime|dtime): 0x([0-9a-f]{8})", re.MULTILINE)
_EXTENTS: Final = re.compile(r"\((?!ETB|IND|DIND|TIND)\d+(?:-\d+)?(?:\[u\])?\):")


def parse_stat(text: str, path: str, device: str) -> Inode:
    """What `debugfs -R "stat <N>"` prints. Raises ValueError when it is something else."""
    head, counts, size = _HEAD.search(text), _COUNTS.search(text), _SIZE.search(text)
    if head is None or counts is None:
        raise ValueError("not the output of debugfs stat")
    flags = int(head[4], 16)
    times = {name: clock.from_epoch(int(value, 16)) for name, value in _TIME.findall(text) if int(value, 16)}
    return Inode(
        path=path,
        device=device,
        number=int(head[1]),
        type=head[2],
        mode=head[3],
        flags=tuple(name for bit, name in FLAGS if flags & bit),
        links=int(counts[1]),
        size=int(size[1]) if size is not None else None,
        disk_bytes=int(counts[2]) * 512,
        extents=len(_EXTENTS.findall(text)),
        created=times.get("crtime"),
        changed=times.get("ctime"),
        modified=times.get("mtime"),
        deleted=times.get("dtime"),
    )


class InodeCollector:
    """Asks again only about inodes that changed since."""

    backend = "debugfs"

    def __init__(self, host: Host, target: Target) -> None:
        self._host, self._target = host, target
        self._known: dict[tuple[int, int, int], Inode] = {}

    def collect(self) -> Iterator[Record]:
        """Look once. Raises Unavailable where there is no such file system, no debugfs, or no right to the device."""
        pid = self._target.pid
        if pid is None:
            return
        found: dict[tuple[int, int, int], Inode] = {}
        problem = "none of its files lies on ext2, ext3 or ext4"
        devices = {mount.device for mount in mounts.of(self._host, pid) if mount.kind in KINDS}
        for path, facts in self._files(pid):
            device = f"{os.major(facts.st_dev)}:{os.minor(facts.st_dev)}"
            if device not in devices:
                continue
            key = (facts.st_dev, facts.st_ino, facts.st_ctime_ns)
            node = filesystems.node(self._host.sys, device)
            if node is None or not os.access(node, os.R_OK):
                problem = f"the block device {device} is not there or may not be read"
                continue
            try:
                found[key] = self._known.get(key) or read(node, facts.st_ino, clean(path), device)
            except (MissingFacility, ValueError) as error:
                problem = clean(str(error), 200)
        self._known = found
        if not found:
            raise Unavailable(problem, lost=False)
        yield Inodes(at=clock.now(), inodes=tuple(found.values()))

    def _files(self, pid: int) -> Iterator[tuple[str, os.stat_result]]:
        """The executable, the working directory, deleted files that are open; nothing that might hang."""
        remote = mounts.hanging(mounts.of(self._host, pid)) or ("\0",)
        left = MOST
        names: list[tuple[str, ...]] = [("exe",), ("cwd",)]
        with suppress(GotriageError, OSError, ValueError):
            names += [("fd", name) for name in sorted(self._host.proc.names(pid, "fd"), key=int)[:MOST_DESCRIPTORS]]
        for parts in names:
            try:
                link = self._host.proc.link(pid, *parts)
                wanted = parts[0] != "fd" or (left and link.endswith(" (deleted)") and link.startswith("/"))
                if not wanted or link.startswith(remote):
                    continue
                left -= parts[0] == "fd"
                yield link, os.stat(self._host.proc.path(pid, *parts))
            except (GotriageError, OSError):
                continue

    def close(self) -> None:
        """Nothing is held."""


def read(node: str, number: int, path: str, device: str) -> Inode:
    """One inode. Raises MissingFacility, ValueError."""
    done = tools.run(["debugfs", "-c", "-R", f"stat <{number}>", node], timeout=SECONDS, limit=MOST_OUTPUT)
    if not done.out.strip():
        raise ValueError(next((line for line in done.err.splitlines() if line.startswith("debugfs:")), "no answer"))
    return parse_stat(done.out.decode("utf-8", "replace"), path, device)
